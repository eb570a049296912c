"""Models put to work: predictions fused and planned, the convolutions of trainings, export."""

from videre.engine.predictor import Prediction, Predictor, load

__all__ = ["Prediction", "Predictor", "load"]
