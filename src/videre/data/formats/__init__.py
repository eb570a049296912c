"""Formats of annotations, one a file: `recognise(path)`, `splits(path)`, `read(path, split)`, `write(dataset, path)`."""
