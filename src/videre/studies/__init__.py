"""Questions answered with all of the library."""
