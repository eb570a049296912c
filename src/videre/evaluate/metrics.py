"""The table of metrics, loaded when asked for."""

from __future__ import annotations

import importlib

from videre.evaluate.section import Metric

METRICS: dict[str, str | type[Metric]] = {
    "things": "videre.evaluate.detection:Detection",
    "joints": "videre.evaluate.pck:Joints",
    "pixels": "videre.evaluate.pixels:Pixels",
    "labels": "videre.evaluate.labels:Labels",
    "proposals": "videre.evaluate.proposals:ProposalRecall",
    "localisation": "videre.evaluate.localisation:Localisation",
}
"""Every metric by the name of its section; where a model says nothing, the first that runs leads the headline."""


def find_metric(name: str) -> type[Metric]:
    """The class of a metric."""
    place = METRICS[name]
    if not isinstance(place, str):
        return place
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def metrics_for(predicted: frozenset[str], true: frozenset[str]) -> dict[str, type[Metric]]:
    """The metrics whose fields predictions and truths have."""
    found = {name: find_metric(name) for name in METRICS}
    return {name: kind for name, kind in found.items() if kind.predicted <= predicted and kind.true <= true}
