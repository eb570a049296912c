"""How well pictures are told apart: accuracy, or average precision where a picture may have several classes.

Every number is of the test pictures, with a bootstrap interval over them; calibration is judged by the same
probabilities that are shown.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from videre.evaluate.intervals import Interval, number
from videre.evaluate.intervals import bootstrap as intervals_of
from videre.evaluate.section import Options, flat, unseen
from videre.structures import Scene, Schema

if TYPE_CHECKING:
    from videre.data.dataset import Dataset
    from videre.draw.page import Section as PageSection
    from videre.evaluate.report import Report

BINS = 15
"""Of the calibration error (Guo et al., On Calibration of Modern Neural Networks, 2017)."""
LOWEST, HIGHEST = 0.05, 0.95
"""Thresholds stay between these, and temperatures between those: few pictures may choose extreme ones by luck."""
TEMPERATURES = (0.25, 8.0)


@dataclasses.dataclass(frozen=True)
class LabelSection:
    """How well pictures are told apart.

    Args:
        probabilities: float64 [N, K], of each picture and class. truths: bool [N, K].
        intervals: by metric. schema: names the classes. options: of the evaluation. bootstrap: resamplings for the
            intervals; 0: none.
        temperature: where it was chosen on these very pictures.
    """

    probabilities: np.ndarray
    truths: np.ndarray
    intervals: dict[str, Interval]
    schema: Schema
    options: Options
    bootstrap: int
    temperature: float | None = None

    @property
    def names(self) -> list[str]:
        """Of the classes."""
        return list(self.schema.pictures or [])

    @property
    def single(self) -> bool:
        """Whether every picture has exactly one class."""
        return bool((self.truths.sum(1) == 1).all())

    @functools.cached_property
    def metrics(self) -> dict[str, float]:
        """Every number by name; the first is the one to follow."""
        return measure(self.probabilities, self.truths, self.single)(np.arange(len(self.truths)))

    @property
    def headline(self) -> list[str]:
        """The first three."""
        return list(self.metrics)[:3]

    @property
    def cards(self) -> list[str]:
        """The same."""
        return self.headline

    @property
    def protocol(self) -> str:
        """How it was measured."""
        return (
            "one class a picture: the likeliest one"
            if self.single
            else "any number of classes a picture; AP is the area under precision over recall, by class"
        )

    @functools.cached_property
    def per_class(self) -> dict[str, dict[str, float]]:
        """By class: pictures, precision and recall of the likeliest class; or AP, where there may be several."""
        rows = {}
        shown = self.probabilities.argmax(1)
        for k, name in enumerate(self.names):
            true = self.truths[:, k]
            if self.single:
                taken = shown == k
                right = float((true & taken).sum())
                row = {"precision": _share(right, taken.sum()), "recall": _share(right, true.sum())}
            else:
                row = {"AP": average_precision(self.probabilities[:, k], true)}
            rows[name] = {"pictures": float(true.sum()), **row}
        return rows

    def confusion(self) -> np.ndarray:
        """Counts [K, K] of single labels: true class by row, likeliest class by column."""
        counts = np.zeros((len(self.names), len(self.names)), np.int64)
        np.add.at(counts, (self.truths.argmax(1), self.probabilities.argmax(1)), 1)
        return counts

    def calibration(self) -> dict[str, Any]:
        """How far probabilities are from the share that is right: "ece" and the "bins" it comes from."""
        return calibrate(*_claims(self.probabilities, self.truths, self.single))

    def decided(self, thresholds: Mapping[str, float], chosen_here: bool) -> Self:
        """The same: nothing here depends on a threshold."""
        return self

    def best_thresholds(self) -> dict[str, float]:
        """Where pictures may have several classes: by class the probability at which F1 is largest on these pictures."""
        if self.single:
            return {}
        best = {}
        for k, name in enumerate(self.names):
            found = _best_threshold(self.probabilities[:, k], self.truths[:, k])
            if found is not None:
                best[name] = found
        return best

    def lines(self) -> list[str]:
        """The report as plain text."""
        first = f"labels: {self.protocol}"
        if self.temperature is not None:
            first += f"; temperature {self.temperature:.2f}, chosen on these pictures"
        numbers = "  ".join(f"{n} {self.intervals.get(n) or number(v)}" for n, v in self.metrics.items())
        lines = [first, f"  {numbers}"]
        columns = list(next(iter(self.per_class.values()), {}))
        width = max([5, *map(len, self.names)])
        lines.append("  " + "class".ljust(width) + "".join(c.rjust(12) for c in columns))
        for name, row in self.per_class.items():
            cells = [f"{row['pictures']:.0f}", *(number(row[c]) for c in columns[1:])]
            lines.append("  " + name.ljust(width) + "".join(cell.rjust(12) for cell in cells))
        return lines + unseen({name: row["pictures"] for name, row in self.per_class.items()})

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; what has no value is null."""
        return {
            "protocol": self.protocol,
            "per_class": {name: flat(row) for name, row in self.per_class.items()},
            "confusion": self.confusion().tolist() if self.single else None,
        }

    def page(self, report: Report, data: Dataset) -> list[PageSection]:
        """Metrics, classes and pictures."""
        from videre.evaluate.label_page import label_sections

        return label_sections(self, report, data)

    def best_temperature(self, exclusive: bool) -> float:
        """What the logits are to be divided by so that the log-likelihood of these pictures is largest.

        Within `TEMPERATURES`: pictures that are all told apart would ask for 0. `exclusive`: as in `at_temperature`.
        """
        from scipy.optimize import minimize_scalar

        def loss(log_temperature: float) -> float:
            p = np.clip(at_temperature(self.probabilities, math.exp(log_temperature), exclusive), 1e-12, 1 - 1e-12)
            if exclusive:
                return float(-np.log(p[self.truths]).mean())
            return float(-np.where(self.truths, np.log(p), np.log1p(-p)).mean())

        found = minimize_scalar(loss, bounds=[math.log(t) for t in TEMPERATURES], method="bounded")
        return float(math.exp(found.x))

    def at_temperature(self, temperature: float, exclusive: bool) -> LabelSection:
        """The section of the same net at this temperature; now it is at 1."""
        # rounded as a prediction's scores are
        probabilities = at_temperature(self.probabilities, temperature, exclusive).astype(np.float32).astype(float)
        section = compare_labels(probabilities, self.truths, self.schema, self.options, self.bootstrap)
        return dataclasses.replace(section, temperature=temperature)


class Labels:
    """The tally of classes of pictures."""

    predicted = frozenset({"labels", "label_scores"})
    true = frozenset({"labels"})

    def __init__(self, schema: Schema, options: Options) -> None:
        self.schema, self.options = schema, options
        self.rows: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, picture: int, prediction: Scene, truth: Scene) -> None:
        """Keep the probability of every class, and which are true; what is absent counts as 0."""
        classes = len(self.schema.pictures or [])
        probabilities, true = np.zeros(classes), np.zeros(classes, bool)
        if prediction.labels is not None and prediction.label_scores is not None:
            probabilities[prediction.labels.numpy()] = prediction.label_scores.double().numpy()
        if truth.labels is not None:
            true[truth.labels.numpy()] = True
        self.rows[picture] = probabilities, true

    def merge(self, other: Labels) -> None:
        """Take over another process's pictures."""
        self.rows |= other.rows

    def section(self, bootstrap: int) -> LabelSection | None:
        """Accuracy, or average precision where there may be several."""
        if not self.rows:
            return None
        probabilities, true = (np.array(side) for side in zip(*(self.rows[i] for i in sorted(self.rows)), strict=True))
        return compare_labels(probabilities, true, self.schema, self.options, bootstrap)


def compare_labels(
    probabilities: np.ndarray, truths: np.ndarray, schema: Schema, options: Options, bootstrap: int
) -> LabelSection:
    """The section of probabilities [N, K] and truths bool [N, K]."""
    of = measure(probabilities, truths, bool((truths.sum(1) == 1).all()))
    intervals = intervals_of(of, len(truths), bootstrap, options.seed)
    return LabelSection(probabilities, truths, intervals, schema, options, bootstrap)


def measure(probabilities: np.ndarray, truths: np.ndarray, single: bool) -> Callable[[np.ndarray], dict[str, float]]:
    """The metrics of probabilities [N, K] and truths [N, K], as a function of which pictures count, int [M].

    Of single labels: top-1 and (from six classes on) top-5 accuracy, recall averaged over the classes that occur,
    negative log-likelihood, calibration error. Of several labels: mean AP over the classes that occur, F1 over all
    decisions at probability .5, calibration error.
    """
    if not single:
        return lambda rows: _several(probabilities[rows], truths[rows])
    label = truths.argmax(1)
    own = probabilities[np.arange(len(label)), label]
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    hits = order == label[:, None]
    sure, top5 = probabilities.max(1), truths.shape[1] > 5

    def of(rows: np.ndarray) -> dict[str, float]:
        count, right = (np.bincount(label[rows], w, truths.shape[1]) for w in (None, hits[rows, 0]))
        return {
            "top-1": float(hits[rows, 0].mean()),
            **({"top-5": float(hits[rows].any(1).mean())} if top5 else {}),
            "mean recall": float((right[count > 0] / count[count > 0]).mean()),
            "log loss": float(-np.log(np.maximum(own[rows], 1e-12)).mean()),
            "calibration error": calibrate(sure[rows], hits[rows, 0])["ece"],
        }

    return of


def _several(probabilities: np.ndarray, truths: np.ndarray) -> dict[str, float]:
    each = [average_precision(probabilities[:, k], truths[:, k]) for k in np.flatnonzero(truths.any(0))]
    shown = probabilities >= 0.5
    return {
        "mAP": float(np.mean(each)) if each else math.nan,
        "F1": _share(2 * float((shown & truths).sum()), shown.sum() + truths.sum()),
        "calibration error": calibrate(probabilities.ravel(), truths.ravel())["ece"],
    }


def average_precision(scores: np.ndarray, truths: np.ndarray) -> float:
    """Area under precision over recall, a step a positive (as scikit-learn's); equal scores are one step. NaN without any."""
    if not truths.any():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], truths[order].cumsum()
    last = np.append(ranked[1:] != ranked[:-1], True).nonzero()[0]  # of equal scores
    precision, recall = right[last] / (last + 1), right[last] / right[-1]
    return float((precision * np.diff(recall, prepend=0)).sum())


def calibrate(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Expected calibration error over bins of equal width, and the bins."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins, error = [], 0.0
    for k in range(BINS):
        inside = place == k
        count = int(inside.sum())
        sure, share = (float(v[inside].mean()) if count else 0.0 for v in (confidence, right))
        error += count / max(len(confidence), 1) * abs(sure - share)
        bins.append(
            {
                "bin_lower": k / BINS,
                "bin_upper": (k + 1) / BINS,
                "count": count,
                "avg_confidence": sure,
                "avg_accuracy": share,
            }
        )
    return {"ece": error, "bins": bins}


def at_temperature(probabilities: np.ndarray, temperature: float, exclusive: bool) -> np.ndarray:
    """Probabilities [N, K] as they were with logits divided by `temperature`; now they are at 1.

    Exclusive ones come of a softmax and sum to 1, others each of a sigmoid.
    """
    p = np.clip(probabilities, 1e-30, None)
    if not exclusive:
        odds = (p / np.clip(1 - probabilities, 1e-30, None)) ** (1 / temperature)
        return odds / (1 + odds)
    powers = np.exp((np.log(p) - np.log(p.max(1, keepdims=True))) / temperature)
    return powers / powers.sum(1, keepdims=True)


def _claims(probabilities: np.ndarray, truths: np.ndarray, single: bool) -> tuple[np.ndarray, np.ndarray]:
    """What is claimed how surely, and whether it is right: the likeliest class, or every class."""
    if not single:
        return probabilities.ravel(), truths.ravel()
    best = probabilities.argmax(1)
    rows = np.arange(len(best))
    return probabilities[rows, best], truths[rows, best]


def _best_threshold(scores: np.ndarray, truths: np.ndarray) -> float | None:
    levels = np.unique(np.clip(np.floor(scores * 1e4) / 1e4, LOWEST, HIGHEST))[::-1]
    shown = scores[None] >= levels[:, None]
    f1 = 2 * (shown & truths).sum(1) / np.maximum(shown.sum(1) + truths.sum(), 1)
    return float(levels[f1.argmax()]) if f1.max(initial=0.0) > 0 else None


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else math.nan
