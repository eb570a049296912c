"""Proposals: boxes that may hold a thing, of whatever class."""
