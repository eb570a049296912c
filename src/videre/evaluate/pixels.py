"""How well pixels are told apart: intersection over union, accuracy, and both at the boundaries.

Everything is summed over the whole set, not averaged over pictures, as FCN's and VOC's protocols have it. What is kept of
a picture are counts; so intervals are a bootstrap over pictures, and memory does not grow with their size.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from videre.errors import DataError
from videre.evaluate.examples import Examples
from videre.evaluate.intervals import Interval, number
from videre.evaluate.intervals import bootstrap as intervals_of
from videre.evaluate.section import Options, Undecided, flat, unseen
from videre.structures import Scene, Schema
from videre.structures.scene import VOID

if TYPE_CHECKING:
    from videre.data.dataset import Dataset
    from videre.draw.page import Section as PageSection
    from videre.evaluate.report import Report

BAND = 0.02
"""Of the picture's diagonal: width of the band along a contour that boundary IoU looks at (Cheng et al., Boundary IoU, 2021)."""
NEAR = 0.0075
"""Of the diagonal: how far a contour may be off for boundary F (Csurka et al., What is a good evaluation measure for
semantic segmentation?, 2013; SegNet's script)."""
_SQUARE = np.ones((3, 3), np.uint8)


@dataclasses.dataclass(frozen=True)
class PixelCounts:
    """What is kept of each picture, all [N, K] but the first.

    Args:
        confusion: int64 [N, K, K + 1]: true class by row, predicted one by column, the last for void; None where classes
            overlap.
        shared, assigned, there, asked: pixels that have the class and were given it; were given it; have it; of which it is
            known.
        band_shared, band_either: pixels of both boundary bands, and of one of them.
        found, predicted, matched, true: pixels of the predicted contour near a true one, of all predicted contours; of the
            true contour near a predicted one, of all true contours.
    """

    confusion: np.ndarray | None
    shared: np.ndarray
    assigned: np.ndarray
    there: np.ndarray
    asked: np.ndarray
    band_shared: np.ndarray
    band_either: np.ndarray
    found: np.ndarray
    predicted: np.ndarray
    matched: np.ndarray
    true: np.ndarray


@dataclasses.dataclass(frozen=True)
class PixelSection(Undecided):
    """How well pixels are told apart.

    Args:
        counts: of every picture. intervals: by metric. schema: names the classes. numbers: of the pictures in the data.
        examples: the pictures with the least and the largest mean IoU, as they were predicted and as they are.
    """

    counts: PixelCounts
    intervals: dict[str, Interval]
    schema: Schema
    numbers: list[int]
    examples: Examples

    @property
    def pictures(self) -> int:
        """How many were compared."""
        return len(self.counts.shared)

    @property
    def names(self) -> list[str]:
        """Of the classes."""
        return list(self.schema.pixels or [])

    @functools.cached_property
    def metrics(self) -> dict[str, float]:
        """Every number by name; the first is the one to follow."""
        return summarise(self.counts, np.ones(self.pictures, np.int64))

    @property
    def headline(self) -> list[str]:
        """mIoU first."""
        return ["mIoU", "pixel accuracy", "boundary F"]

    @property
    def overlap(self) -> bool:
        """Whether a pixel may have several classes."""
        return self.counts.confusion is None

    @property
    def protocol(self) -> str:
        """How it was measured."""
        each = "each class by itself; " if self.overlap else ""
        return (
            f"pixels of the whole set; {each}void left out; mean over the classes that occur; boundary IoU within {BAND:.0%}, "
            f"boundary F within {NEAR:.2%} of the diagonal"
        )

    @functools.cached_property
    def per_class(self) -> dict[str, dict[str, float]]:
        """By class: share of the pixels, IoU, Dice, accuracy, boundary IoU, boundary F."""
        of = by_class(self.counts, np.ones(self.pictures, np.int64))
        return {name: {column: float(values[k]) for column, values in of.items()} for k, name in enumerate(self.names)}

    def confusion(self) -> np.ndarray | None:
        """Pixels [K, K]: true class by row, predicted one by column; None where classes overlap."""
        return None if self.counts.confusion is None else self.counts.confusion.sum(0)[:, :-1]

    def picture_iou(self) -> np.ndarray:
        """The mean IoU of each picture alone [N]; NaN where all of it is void."""
        of = self.counts
        return np.array([mean_iou(*rows) for rows in zip(of.shared, of.assigned, of.there, strict=True)])

    def lines(self) -> list[str]:
        """The report as plain text."""
        numbers = "  ".join(f"{n} {self.intervals.get(n) or number(v)}" for n, v in self.metrics.items())
        lines = [f"pixels: {self.protocol}", f"  {numbers}"]
        columns = list(next(iter(self.per_class.values()), {}))
        width = max([5, *map(len, self.names)])
        lines.append("  " + "class".ljust(width) + "".join(c.rjust(14) for c in columns))
        for name, row in self.per_class.items():
            lines.append("  " + name.ljust(width) + "".join(number(row[c]).rjust(14) for c in columns))
        return lines + unseen({name: row["share"] for name, row in self.per_class.items()})

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; what has no value is null."""
        confusion = self.confusion()
        table = {} if confusion is None else {"confusion": confusion.tolist()}
        return {"protocol": self.protocol, "per_class": {n: flat(row) for n, row in self.per_class.items()}, **table}

    def page(self, report: Report, data: Dataset) -> list[PageSection]:
        """Metrics, classes and pictures."""
        from videre.evaluate.pixel_page import pixel_sections

        return pixel_sections(self, report, data)


class Pixels:
    """The tally of classes of pixels: of each picture its counts are kept, and of a few examples all."""

    predicted = frozenset({"segmentation"})
    true = frozenset({"segmentation"})

    def __init__(self, schema: Schema, options: Options) -> None:
        self.schema, self.options, self.classes = schema, options, len(schema.pixels or [])
        self.rows: dict[int, np.ndarray] = {}
        self.confusions: dict[int, np.ndarray] = {}
        self.examples = Examples()

    def add(self, picture: int, prediction: Scene, truth: Scene) -> None:
        """Count the pixels of a picture.

        Raises DataError for a prediction of another size than its truth, or a picture without either.
        """
        if prediction.segmentation is None or truth.segmentation is None:
            raise DataError(
                f"{truth.name}: {'the prediction' if truth.segmentation is not None else 'the truth'} says nothing "
                "of its pixels"
            )
        assigned, true, overlap = prediction.segmentation.numpy(), truth.segmentation.numpy(), self.schema.overlap
        if assigned.shape[-2:] != true.shape[-2:]:
            raise DataError(
                f"{truth.name}: the prediction is {assigned.shape[-1]}x{assigned.shape[-2]} (width x height), the truth "
                f"{true.shape[-1]}x{true.shape[-2]}"
            )
        for side, planes in (("prediction", assigned), ("truth", true)):
            if planes.shape[:-2] != ((self.classes,) if overlap else ()):
                raise DataError(
                    f"{truth.name}: the {side} is {list(planes.shape)}; classes that "
                    + (f"overlap have a plane each, {self.classes}" if overlap else "exclude each other have one plane")
                )
        self.rows[picture] = counts = count_picture(assigned, true, self.classes)
        if not overlap:
            self.confusions[picture] = confusion_of(assigned, true, self.classes)
        self.examples.add(picture, mean_iou(*counts[:3]), prediction, truth)

    def merge(self, other: Pixels) -> None:
        """Take over another process's pictures."""
        self.rows |= other.rows
        self.confusions |= other.confusions
        self.examples.merge(other.examples)

    def section(self, bootstrap: int) -> PixelSection | None:
        """Everything summed over the set."""
        if not self.rows:
            return None
        numbers = sorted(self.rows)
        confusion = None if self.schema.overlap else np.array([self.confusions[i] for i in numbers])
        counts = PixelCounts(confusion, *np.array([self.rows[i] for i in numbers]).swapaxes(0, 1))
        of = lambda drawn: summarise(counts, np.bincount(drawn, minlength=len(numbers)))
        intervals = intervals_of(of, len(numbers), bootstrap, self.options.seed)
        return PixelSection(counts, intervals, self.schema, numbers, self.examples)


def mean_iou(shared: np.ndarray, assigned: np.ndarray, there: np.ndarray) -> float:
    """Of the classes of one picture, from its counts [K]; NaN where all of it is void."""
    iou = _share(shared, there + assigned - shared)
    return math.nan if np.isnan(iou).all() else float(np.nanmean(iou))


def confusion_of(assigned: np.ndarray, true: np.ndarray, classes: int) -> np.ndarray:
    """Pixels int64 [K, K + 1] of one picture: true class by row, predicted one by column; both uint8 [H, W], 255 void."""
    valid = true != VOID
    columns = np.minimum(assigned, classes).astype(np.int64)  # void, and what is no class, in the last column
    places = true[valid].astype(np.int64) * (classes + 1) + columns[valid]
    return np.bincount(places, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def count_picture(assigned: np.ndarray, true: np.ndarray, classes: int) -> np.ndarray:
    """The rows [10, K] of one picture in the order of `PixelCounts`, without the confusion.

    Args:
        assigned, true: uint8 [H, W], 255 void; or [K, H, W] of 0, 1 and 255.
    """
    diagonal = math.hypot(*true.shape[-2:])
    width, near = max(1, round(BAND * diagonal)), NEAR * diagonal
    counts = np.zeros((10, classes), np.int64)
    for k in range(classes):
        if true.ndim == 3:
            valid, marked, wanted = true[k] != VOID, assigned[k] == 1, true[k] == 1
        else:
            valid, marked, wanted = true != VOID, assigned == k, true == k
        marked = marked & valid
        counts[:4, k] = (marked & wanted).sum(), marked.sum(), wanted.sum(), valid.sum()
        if not (marked.any() or wanted.any()):
            continue
        bands = [band(mask, width) & valid for mask in (marked, wanted)]
        lines = [band(mask, 1) & valid for mask in (marked, wanted)]
        counts[4:6, k] = (bands[0] & bands[1]).sum(), (bands[0] | bands[1]).sum()
        for row, (line, other) in enumerate((lines, lines[::-1])):
            counts[7 + 2 * row, k] = line.sum()
            if line.any() and other.any():
                away = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
                counts[6 + 2 * row, k] = (away[line] <= near).sum()
    return counts


def band(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a mask within `width` pixels (in steps to any of eight neighbours) of what is outside it or the picture."""
    padded = np.pad(mask.astype(np.uint8), 1)
    inner = cv2.erode(padded, _SQUARE, iterations=width, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & (inner[1:-1, 1:-1] == 0)


def by_class(counts: PixelCounts, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of the table [K], picture i counted weights[i] times; NaN where a class is nowhere."""
    total = lambda rows: np.tensordot(weights, rows, 1)
    shared, assigned, there = total(counts.shared), total(counts.assigned), total(counts.there)
    precision = _share(total(counts.found), total(counts.predicted))
    recall = _share(total(counts.matched), total(counts.true))
    f = np.where((precision + recall) > 0, 2 * precision * recall / np.maximum(precision + recall, 1e-12), 0.0)
    contours = total(counts.predicted) + total(counts.true) > 0
    one_side = (total(counts.predicted) == 0) | (total(counts.true) == 0)
    return {
        "share": _share(there, total(counts.asked)),
        "IoU": _share(shared, there + assigned - shared),
        "Dice": _share(2 * shared, there + assigned),
        "accuracy": _share(shared, there),
        "boundary IoU": _share(total(counts.band_shared), total(counts.band_either)),
        "boundary F": np.where(contours, np.where(one_side, 0.0, f), math.nan),
    }


def summarise(counts: PixelCounts, weights: np.ndarray) -> dict[str, float]:
    """The metrics by name, picture i counted weights[i] times."""
    table = by_class(counts, weights)
    shared, assigned, there, asked = (
        np.tensordot(weights, rows, 1) for rows in (counts.shared, counts.assigned, counts.there, counts.asked)
    )
    right, answers = shared, there  # of a pixel its one class is asked; where they overlap, each one
    if counts.confusion is None:
        right, answers = asked - assigned - there + 2 * shared, asked
    shares = _share(there, there.sum())
    mean = lambda values: float(np.nanmean(values)) if not np.isnan(values).all() else math.nan
    return {
        "mIoU": mean(table["IoU"]),
        "pixel accuracy": float(_share(right.sum(), answers.sum())),
        "mean accuracy": mean(table["accuracy"]),
        "fwIoU": float(np.nansum(shares * table["IoU"])) if there.any() else math.nan,
        "mean Dice": mean(table["Dice"]),
        "boundary IoU": mean(table["boundary IoU"]),
        "boundary F": mean(table["boundary F"]),
    }


def _share(part: Any, whole: Any) -> np.ndarray:
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(part.shape, math.nan), where=whole > 0)
