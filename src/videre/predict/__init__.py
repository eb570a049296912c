"""Models put to work on pictures, folders, clips and arrays."""

from videre.predict.predictor import Prediction, Predictor, load

__all__ = ["Prediction", "Predictor", "load"]
