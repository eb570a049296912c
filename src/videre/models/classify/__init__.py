"""What is in a picture as a whole."""
