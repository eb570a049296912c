"""`python -m videre` is the command `videre`."""

from videre.cli import main

main()
