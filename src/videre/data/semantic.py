"""From instances to classes of pixels: what polygons, RLE and id maps of things say about each pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from videre.data.dataset import Dataset, OverSource
from videre.errors import DataError
from videre.structures import Categories, Scene, Schema
from videre.structures.scene import VOID

BACKGROUND = "background"


def as_pixels(dataset: Dataset, background: str | None = BACKGROUND, overlap: bool = False) -> Dataset:
    """The same pictures with a class for every pixel instead of instances.

    Where masks overlap the smaller instance is seen, as it would lie in front. Ignored ones (crowds) become void.

    Args:
        background: name of the class, the first, of pixels that belong to nothing; None: these are void.
        overlap: a pixel has every class whose masks hold it instead; there is no background then.

    Raises DataError where the set has no masks, more than 255 classes, or a class named as the background.
    """
    things = dataset.schema.things
    if things is None or "masks" not in dataset.fields:
        raise DataError(
            f"{dataset.title}: only masks of things can become classes of pixels; it has "
            f"{', '.join(sorted(dataset.fields)) or 'no truth'}"
        )
    before = () if background is None or overlap else (background,)
    if not overlap and background in things.names:
        raise DataError(f"{dataset.title} has a class {background!r} of its own; name the background differently")
    if not overlap and len(before) + len(things) > VOID:
        raise DataError(f"{dataset.title}: {len(things)} classes; a map holds at most {VOID}")
    names, colors = (*before, *things.names), (*((0, 0, 0),) * len(before), *things.colors)
    pixels = Categories(names, colors, source_ids=tuple(range(len(names))))
    source = _PixelsOfThings(dataset.source, len(before), len(things) if overlap else 0)
    return dataset.over(source, Schema(pixels=pixels, overlap=overlap))


@dataclasses.dataclass
class _PixelsOfThings(OverSource):
    """Another source, its masks painted when they are asked for."""

    first: int
    planes: int = 0
    fields: frozenset[str] = frozenset({"segmentation"})

    def scene(self, i: int) -> Scene:
        scene = self.source.scene(i)
        classes = paint_planes(scene, self.planes) if self.planes else paint(scene, self.first)
        return Scene(scene.size, segmentation=torch.from_numpy(classes), meta=scene.meta)


def paint(scene: Scene, first: int = 1) -> np.ndarray:
    """The classes uint8 [H, W] of a scene's masks: label + `first`, 0 where there is none (void if `first` is 0)."""
    classes = np.full(scene.size, 0 if first else VOID, np.uint8)
    for label, ignored, inside, window in _in_painting_order(scene):
        classes[window][inside] = VOID if ignored else label + first
    return classes


def paint_planes(scene: Scene, classes: int) -> np.ndarray:
    """For each class uint8 [K, H, W] where any of a scene's masks of it is; void where an ignored one is alone."""
    planes = np.zeros((classes, *scene.size), np.uint8)
    for label, ignored, inside, window in _in_painting_order(scene):
        planes[label][window][inside] = VOID if ignored else 1
    return planes


def _in_painting_order(scene: Scene) -> Iterator[tuple[int, bool, np.ndarray, tuple[slice, slice]]]:
    """Label, whether it is ignored, mask and window of each thing: ignored ones, then large to small."""
    things = scene.instances
    if things is None or not len(things):
        return
    if things.masks is None or things.labels is None:
        raise DataError(f"{scene.name}: its things have no masks")
    areas = things.masks.area()
    ignored = torch.zeros(len(things), dtype=torch.bool) if things.ignore is None else things.ignore
    crops = list(things.masks.crops())
    for n in sorted(range(len(things)), key=lambda n: (not ignored[n], -int(areas[n]))):
        crop, (x1, y1, x2, y2) = crops[n]
        yield int(things.labels[n]), bool(ignored[n]), crop != 0, (slice(y1, y2), slice(x1, x2))
