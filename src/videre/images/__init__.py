"""Reading and writing pictures and clips; resize and pad."""
