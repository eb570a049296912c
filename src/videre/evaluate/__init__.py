"""Metrics that equal the reference tools, each with its protocol and an interval."""

from videre.evaluate.coco import CocoResult, coco_evaluate
from videre.evaluate.intervals import Interval
from videre.evaluate.labels import LabelReport, evaluate_labels
from videre.evaluate.model import evaluate_model
from videre.evaluate.report import Report, evaluate
from videre.evaluate.thresholds import Decision, choose_thresholds
from videre.evaluate.voc import voc_evaluate, voc_mean

__all__ = [
    "CocoResult", "Decision", "Interval", "LabelReport", "Report", "choose_thresholds", "coco_evaluate", "evaluate", "evaluate_labels", "evaluate_model", "voc_evaluate", "voc_mean",
]  # fmt: skip
