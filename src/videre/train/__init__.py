"""Training: a recipe, one readable loop, and runs that can be resumed."""

from videre.train.loop import Run, train
from videre.train.recipe import Recipe

__all__ = ["Recipe", "Run", "train"]
