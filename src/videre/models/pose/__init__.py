"""Systems that find the joints of one person."""
