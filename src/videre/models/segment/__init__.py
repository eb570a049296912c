"""Systems that give every pixel a class."""
