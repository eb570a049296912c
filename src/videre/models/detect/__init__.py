"""Detectors: where the things are."""
