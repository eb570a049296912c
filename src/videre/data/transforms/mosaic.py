"""Mosaic: four pictures in one, each at a quarter of its corner.

Bochkovskiy, Wang and Liao, YOLOv4, 2020, section 3.2: objects out of their usual surroundings, and four times as many a picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from videre.data.transforms.geometry import MIN_VISIBLE, crop, resize
from videre.data.transforms.joining import check_joined
from videre.errors import ConfigError
from videre.structures import Affine, Scene, Schema

JOINED = frozenset({"segmentation", "labels", "proposals", "proposal_scores"})
"""What of the pictures of a mosaic is joined beside their things."""


@dataclasses.dataclass(frozen=True)
class Mosaic:
    """Four pictures around a random point, in a frame of the first one's size. Each is brought to that size and shows the part
    of itself that lies in its quarter.

    Of the scenes things, classes of pixels, the pictures' classes and proposals are joined. Raises DataError for what cannot be:
    sentences, relations, cameras.

    Args:
        middle: how far the point may be from the middle, as a share of half a side. min_visible: see `crop`.
    """

    middle: float = 0.5
    min_visible: float = MIN_VISIBLE
    others = 3

    def __post_init__(self) -> None:
        if not 0 <= self.middle < 1:
            raise ConfigError(f"mosaic: middle lies in [0, 1), found {self.middle}")

    def mix(
        self, pairs: Sequence[tuple[np.ndarray, Scene]], rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        """The mosaic of four pictures with their scenes."""
        whole, first = pairs[0]
        height, width = first.size
        y, x = (
            min(max(1, round(side * (1 + self.middle * rng.uniform(-1, 1)) / 2)), side - 1) if side > 1 else 1
            for side in (height, width)
        )
        ground, parts = np.empty_like(whole), []
        windows = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
        for (picture, scene), window in zip(pairs, windows, strict=True):
            if window[0] >= window[2] or window[1] >= window[3]:
                continue
            check_joined("mosaic", JOINED, whole, picture, scene)
            cut, part = crop(*resize(picture, scene, first.size), window, self.min_visible)
            ground[window[1] : window[3], window[0] : window[2]] = cut
            shift = np.array([[1.0, 0, window[0]], [0, 1, window[1]]])
            parts.append(part.moved(Affine(shift, part.size, first.size)))
        return ground, _join(parts, first)


def _join(parts: Sequence[Scene], first: Scene) -> Scene:
    """All things, the classes of pixels of each part in its own place, every class of the pictures."""
    whole = Scene.cat([part.without(JOINED) for part in parts])
    maps = [part.segmentation for part in parts if part.segmentation is not None]
    labels = [part.labels for part in parts if part.labels is not None]
    segmentation = None
    if maps:  # each is void outside its own part
        segmentation = torch.stack(maps).amin(0)
    every = lambda found: torch.cat(found) if len(found) == len(parts) else None
    return whole.replace_unchecked(
        segmentation=segmentation,
        labels=torch.cat(labels).unique() if labels else None,
        meta=first.meta,
        proposals=every([part.proposals for part in parts if part.proposals is not None]),
        proposal_scores=every([part.proposal_scores for part in parts if part.proposal_scores is not None]),
    )
