"""A trained model put to work: prediction on any pictures."""

from videre.engine.predictor import Prediction, Predictor, load

__all__ = ["Prediction", "Predictor", "load"]
