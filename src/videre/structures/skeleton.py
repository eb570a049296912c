"""Skeleton: what the J keypoints of an instance are, how they connect, and how a mirror swaps them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from videre.errors import DataError


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """Named keypoints.

    Args:
        names: J unique names; their order is the order of `Instances.keypoints`.
        edges: pairs of indices drawn as limbs.
        flip_pairs: pairs (left, right) that change places under a horizontal mirror; points in no pair stay.
            None means unknown: mirroring is then refused.
        sigmas: J positive fall-offs of the object keypoint similarity, in units of sqrt(area)
            (COCO: facts of cocoeval.py, already divided by 10); 0.05 each when absent.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] | None = ()
    sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)
        put("names", tuple(self.names))
        put("edges", tuple((int(a), int(b)) for a, b in self.edges))
        if self.flip_pairs is not None:
            put("flip_pairs", tuple((int(a), int(b)) for a, b in self.flip_pairs))
        put("sigmas", tuple(float(s) for s in self.sigmas) or (0.05,) * len(self.names))
        count = len(self.names)
        if len(set(self.names)) < count:
            raise DataError(f"skeleton: keypoint names repeat: {self.names}")
        if len(self.sigmas) != count or min(self.sigmas, default=1.0) <= 0:
            raise DataError(f"skeleton: sigmas must be {count} positive numbers, found {self.sigmas}")
        for field in ("edges", "flip_pairs"):
            for pair in getattr(self, field) or ():
                if not all(0 <= i < count for i in pair):
                    raise DataError(f"skeleton: {field} names keypoint {pair}, there are {count}")
        flipped = [i for pair in self.flip_pairs or () for i in pair]
        if len(set(flipped)) < len(flipped):
            raise DataError(f"skeleton: a keypoint is in two flip pairs: {self.flip_pairs}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def flip_order(self) -> list[int]:
        """J indices: keypoint j of the mirrored picture is keypoint flip_order[j] of the original.

        Raises DataError when the flip pairs are unknown.
        """
        if self.flip_pairs is None:
            raise DataError(
                "this skeleton does not say which keypoints a mirror swaps (flip_pairs); "
                "give them, or train without horizontal flips"
            )
        order = list(range(len(self)))
        for a, b in self.flip_pairs:
            order[a], order[b] = b, a
        return order

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Skeleton:
        return cls(**{**data, "names": tuple(data["names"])})


COCO_PERSON = Skeleton(
    names=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    edges=(
        (15, 13),
        (13, 11),
        (16, 14),
        (14, 12),
        (11, 12),
        (5, 11),
        (6, 12),
        (5, 6),
        (5, 7),
        (6, 8),
        (7, 9),
        (8, 10),
        (1, 2),
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 4),
        (3, 5),
        (4, 6),
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    # cocoeval.py's sigmas, tenths already applied
    sigmas=(
        0.026,
        0.025,
        0.025,
        0.035,
        0.035,
        0.079,
        0.079,
        0.072,
        0.072,
        0.062,
        0.062,
        0.107,
        0.107,
        0.087,
        0.087,
        0.089,
        0.089,
    ),
)
"""The 17 keypoints of COCO persons."""


def mirror_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...] | None:
    """Pairs of keypoints whose names differ in left and right; None, unknown, when no name says so."""
    swap = {"left": "right", "right": "left", "l": "r", "r": "l", "Left": "Right", "Right": "Left", "L": "R", "R": "L"}
    place = {name: i for i, name in enumerate(names)}
    pairs = set()
    for i, name in enumerate(names):
        words = re.split(r"([ _-]|(?<=[a-z])(?=[A-Z]))", name)
        other = place.get("".join(swap.get(w or "", w or "") for w in words), i)
        if other != i:
            pairs.add((min(i, other), max(i, other)))
    return tuple(sorted(pairs)) or None
