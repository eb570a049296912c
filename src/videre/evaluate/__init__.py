"""Metrics that equal the reference tools, each with its protocol and an interval."""

from videre.evaluate.coco import CocoResult, coco_evaluate
from videre.evaluate.intervals import Interval
from videre.evaluate.metrics import METRICS
from videre.evaluate.model import evaluate_model
from videre.evaluate.report import Evaluation, Report, evaluate
from videre.evaluate.section import Metric, Options, Section
from videre.evaluate.thresholds import Decision, choose_thresholds
from videre.evaluate.voc import voc_evaluate, voc_mean

__all__ = [
    "METRICS",
    "CocoResult",
    "Decision",
    "Evaluation",
    "Interval",
    "Metric",
    "Options",
    "Report",
    "Section",
    "choose_thresholds",
    "coco_evaluate",
    "evaluate",
    "evaluate_model",
    "voc_evaluate",
    "voc_mean",
]
