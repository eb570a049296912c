"""Why a picture went wrong: each prediction and each truth of it with the kind of its error.

After Bolya et al., TIDE, 2020, with its two overlaps: .5 is found, .1 is touched. Unlike average precision, this speaks
of what is shown: predictions above a threshold.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from videre.draw.scene import above
from videre.structures import Scene, Schema
from videre.structures.matches import Matches, match

Kind = Literal["right", "localisation", "classification", "both", "duplicate", "background", "excused"]
FOUND, TOUCHED = 0.5, 0.1
IN_WORDS: dict[Kind, str] = {
    "right": "right",
    "localisation": "badly placed",
    "classification": "wrong class",
    "both": "wrong class and badly placed",
    "duplicate": "found twice",
    "background": "nothing there",
    "excused": "on ignored truths",
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one picture.

    Args:
        picture: its number. kinds: one per prediction above the threshold: "right"; "localisation": a truth of its class
            is touched, not found; "classification": it finds a truth of another class; "both": it touches one;
            "duplicate": its truth was found already; "background": it touches nothing; "excused": on an ignored truth.
        missed: indices of truths that no prediction of their class found. matches: which is which.
    """

    picture: int
    kinds: tuple[Kind, ...]
    missed: tuple[int, ...]
    matches: Matches

    @property
    def right(self) -> int:
        """True positives."""
        return self.kinds.count("right")

    @property
    def false(self) -> int:
        """False positives of any kind."""
        return len(self.kinds) - self.right - self.kinds.count("excused")

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where there is nothing and nothing was predicted."""
        return self.matches.f1

    def __str__(self) -> str:
        counts = Counter(self.kinds)
        parts = [f"{counts[kind]} {words}" for kind, words in IN_WORDS.items() if counts[kind] and kind != "excused"]
        return (
            ", ".join(parts + ([f"{len(self.missed)} missed"] if self.missed else [])) or "nothing there, nothing found"
        )


def picture_errors(
    predictions: Sequence[Scene],
    truths: Sequence[Scene],
    schema: Schema,
    threshold: float | Mapping[str, float] | None = None,
) -> list[Outcome]:
    """The outcome of each picture, matched by boxes at IoU .5.

    Args:
        threshold: least score of a prediction, or one per class name; None: all.
    """
    outcomes = []
    for i, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        shown, _ = above(prediction, schema, threshold)
        matches = match(shown, truth, FOUND)
        outcomes.append(
            Outcome(i, _kinds(matches, shown, truth), tuple(np.flatnonzero(matches.missed).tolist()), matches)
        )
    return outcomes


def _kinds(matches: Matches, prediction: Scene, truth: Scene) -> tuple[Kind, ...]:
    overlap = np.where(matches.ignored[None], 0.0, matches.iou)  # (P, T)
    here, there = _labels(prediction), _labels(truth)
    kinds: list[Kind] = []
    for p in range(len(prediction)):
        same = overlap[p, there == here[p]].max(initial=0.0)
        other = overlap[p, there != here[p]].max(initial=0.0)
        if matches.truth_of[p] >= 0:
            kinds.append("right")
        elif matches.excused[p]:
            kinds.append("excused")
        elif same >= FOUND:
            kinds.append("duplicate")
        elif other >= FOUND:
            kinds.append("classification")
        elif same >= TOUCHED:
            kinds.append("localisation")
        else:
            kinds.append("both" if other >= TOUCHED else "background")
    return tuple(kinds)


def _labels(scene: Scene) -> np.ndarray:
    things = scene.instances
    return things.labels.numpy() if things is not None and things.labels is not None else np.zeros(len(scene), np.int64)
