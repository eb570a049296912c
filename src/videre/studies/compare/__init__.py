"""Which detector at which speed for a user's own pictures."""

from videre.studies.compare.study import Comparison, compare

__all__ = ["Comparison", "compare"]
