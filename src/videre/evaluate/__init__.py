"""Metrics that equal the reference tools, each with its protocol and an interval."""

from videre.evaluate.coco import CocoResult, coco_evaluate
from videre.evaluate.intervals import Interval
from videre.evaluate.labels import LabelReport, evaluate_labels
from videre.evaluate.model import evaluate_model
from videre.evaluate.pixels import PixelReport, evaluate_pixels
from videre.evaluate.report import Report, evaluate
from videre.evaluate.thresholds import Decision, choose_thresholds
from videre.evaluate.voc import voc_evaluate, voc_mean

__all__ = [
    "CocoResult", "Decision", "Interval", "LabelReport", "PixelReport", "Report", "choose_thresholds", "coco_evaluate", "evaluate", "evaluate_labels", "evaluate_model", "evaluate_pixels", "voc_evaluate", "voc_mean",
]  # fmt: skip
