"""Resize, scale jitter and crops. Crops decide what stays of the instances that they cut.

Augmentation comes before the net's own `Preprocess`, which brings every picture to its size: objects look larger after
a crop and smaller after the picture was laid on a larger ground. So scale jitter needs no resampling, and the truth
stays exact.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from videre.errors import ConfigError
from videre.images.prepare import resample
from videre.ops.boxes import box_iou
from videre.structures import Affine, Scene, Schema

Window = tuple[int, int, int, int]

FILL = 0.45
"""Brightness of the ground outside the picture: about the mean of photographs."""

MIN_VISIBLE = 0.25
"""The part of an instance (of its mask, else its box) that must stay in a crop for it to stay in the truth."""


@dataclasses.dataclass(frozen=True)
class Resize:
    """Bring the short side to `short_side`, unless the long side would pass `long_side`; or stretch to `size`.

    Args:
        short_side, long_side: pixels. size: (height, width).
    """

    short_side: int | None = None
    long_side: int | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if (self.size is None) == (self.short_side is None):
            raise ConfigError("resize: give either short_side (and long_side) or size")

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        size = self.size
        if size is None:
            assert self.short_side is not None
            scale = self.short_side / min(scene.size)
            scale = scale if self.long_side is None else min(scale, self.long_side / max(scene.size))
            size = (max(1, round(scene.size[0] * scale)), max(1, round(scene.size[1] * scale)))
        return resize(picture, scene, size)


@dataclasses.dataclass(frozen=True)
class ScaleJitter:
    """Make everything between `low` and `high` times as large, log-uniformly, in a frame of the picture's shape.

    Above 1 a random window is cut out; below 1 the picture is laid somewhere on a grey ground.

    Args:
        low, high: factors. min_visible: see `crop`.
    """

    low: float = 0.5
    high: float = 2.0
    min_visible: float = MIN_VISIBLE

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise ConfigError(f"scale jitter needs 0 < low <= high, found {self.low} and {self.high}")

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        factor = float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        size = (max(1, round(scene.size[0] / factor)), max(1, round(scene.size[1] / factor)))
        return crop(picture, scene, _place(scene.size, size, rng), self.min_visible)


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Cut out a window whose sides are between `smallest` and 1 times the picture's, each on its own.

    Where there are instances at least one stays: after `tries` windows without any, the picture stays whole.
    """

    smallest: float = 0.5
    min_visible: float = MIN_VISIBLE
    tries: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= 1:
            raise ConfigError(f"random crop: smallest lies in (0, 1], found {self.smallest}")

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        for _ in range(self.tries):
            height, width = (max(1, round(n * rng.uniform(self.smallest, 1))) for n in scene.size)
            cut = crop(picture, scene, _place(scene.size, (height, width), rng), self.min_visible)
            if len(scene) == 0 or len(cut[1]):
                return cut
        return picture, scene


@dataclasses.dataclass(frozen=True)
class IoUCrop:
    """A window that overlaps some instance by at least a share drawn for it, so that things are seen whole and cut off.

    Liu et al., SSD, 2016, section 2.2, "data augmentation": the picture as it is, or a window with a least IoU of one of `overlaps`;
    an instance stays where its middle is inside. After `tries` windows that do not do the share is drawn anew, at most 10 times.

    Args:
        smallest: side of a window, of the picture's. narrowest: least ratio of a window's sides, in shares of the picture's.
    """

    smallest: float = 0.3
    narrowest: float = 0.5
    overlaps: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    tries: int = 40

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= 1 or not 0 < self.narrowest <= 1:
            raise ConfigError(
                f"iou crop: smallest and narrowest lie in (0, 1], found {self.smallest} and {self.narrowest}"
            )
        object.__setattr__(self, "overlaps", tuple(self.overlaps))

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        things = scene.instances
        boxes = None if things is None else things.boxes
        if things is None or boxes is None or len(boxes) == 0:
            return picture, scene
        ignored = things.ignore if things.ignore is not None else torch.zeros(len(boxes), dtype=torch.bool)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        for _ in range(10):
            share = int(rng.integers(len(self.overlaps) + 1))
            if share == len(self.overlaps):
                return picture, scene
            for _ in range(self.tries):
                height, width = rng.uniform(self.smallest, 1, 2)
                if not self.narrowest <= width / height <= 1 / self.narrowest:
                    continue
                sides = max(1, round(scene.size[0] * height)), max(1, round(scene.size[1] * width))
                window = _place(scene.size, sides, rng)
                corners = torch.tensor(window, dtype=torch.float32)
                inside = ((middles > corners[:2]) & (middles < corners[2:])).all(1)
                if inside.any() and box_iou(boxes[inside], corners[None]).max() >= self.overlaps[share]:
                    return crop(picture, scene.select(inside | ignored), window, min_visible=0.0)
        return picture, scene


@dataclasses.dataclass(frozen=True)
class CropTo:
    """A window of exactly this size at a random place; a smaller picture is laid on a grey ground."""

    height: int
    width: int
    min_visible: float = MIN_VISIBLE

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        return crop(picture, scene, _place(scene.size, (self.height, self.width), rng), self.min_visible)


def resize(picture: np.ndarray, scene: Scene, size: tuple[int, int]) -> tuple[np.ndarray, Scene]:
    """The picture at `size` (height, width), resampled as for the net."""
    height, width = scene.size
    if size == (height, width):
        return picture, scene
    matrix = np.array([[size[1] / width, 0, 0], [0, size[0] / height, 0]], float)
    return resample(picture, size), scene.moved(Affine(matrix, scene.size, size))


def crop(
    picture: np.ndarray, scene: Scene, window: Window, min_visible: float = MIN_VISIBLE
) -> tuple[np.ndarray, Scene]:
    """The part of a picture inside `window` (x1, y1, x2, y2, whole pixels); grey where it leaves the picture."""
    x1, y1, x2, y2 = window
    height, width = picture.shape[:2]
    inside = picture[max(y1, 0) : max(min(y2, height), 0), max(x1, 0) : max(min(x2, width), 0)]
    if inside.shape[:2] == (y2 - y1, x2 - x1):
        return np.ascontiguousarray(inside), crop_scene(scene, window, min_visible)
    top = 1.0 if picture.dtype.kind == "f" else np.iinfo(picture.dtype).max
    ground = np.full((y2 - y1, x2 - x1, picture.shape[2]), FILL * top).astype(picture.dtype)
    row, column = max(-y1, 0), max(-x1, 0)
    ground[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    return ground, crop_scene(scene, window, min_visible)


def crop_scene(scene: Scene, window: Window, min_visible: float = MIN_VISIBLE) -> Scene:
    """What is true of the part of the picture inside `window`.

    Boxes are cut at the border; of an instance with a mask that is cut, the box becomes the extent of what is left.
    Keypoints outside become not labelled. An instance stays when at least `min_visible` of its mask (else its box, else
    any of its keypoints) is inside, an ignored one when anything is. Sentences stay as they are.
    """
    x1, y1, x2, y2 = window
    moved = scene.moved(Affine(np.array([[1.0, 0, -x1], [0, 1, -y1]]), scene.size, (y2 - y1, x2 - x1)))
    limits = torch.tensor([x2 - x1, y2 - y1] * 2, dtype=torch.float32)
    if moved.proposals is not None:
        proposals, kept = _clip(moved.proposals, limits)
        moved = moved.take_rows("proposals", kept.nonzero().flatten(), proposals=proposals[kept])
    if moved.instances is None:
        return moved
    keep, part, boxes, seen = _what_stays(moved, scene, limits, min_visible)
    areas = None if moved.instances.areas is None else moved.instances.areas * part
    cut = {
        name: value for name, value in (("boxes", boxes), ("visibility", seen), ("areas", areas)) if value is not None
    }
    return moved.replace_unchecked(instances=moved.instances.replace_unchecked(**cut)).select(keep)


def _what_stays(
    moved: Scene, before: Scene, limits: Tensor, min_visible: float
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Which instances stay, bool [N]; the part of each that is inside; all boxes, cut; all visibilities."""
    instances, old = moved.instances, before.instances
    assert instances is not None and old is not None
    count = len(instances)
    part = torch.ones(count)
    boxes, seen = instances.boxes, instances.visibility
    if instances.keypoints is not None:
        points = instances.keypoints
        outside = ((points < 0) | (points >= limits[:2])).any(-1)
        seen = torch.where(outside, 0, seen if seen is not None else torch.tensor(2)).to(torch.uint8)
        if boxes is None and instances.masks is None:
            part = (seen > 0).any(1).float()
    if boxes is not None:
        cut, has_area = _clip(boxes, limits)
        whole = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        # a box that is all inside stays even without area: the crop did nothing to it
        part = torch.where((cut == boxes).all(1), 1.0, (cut[:, 2:] - cut[:, :2]).prod(1) / whole.clamp(min=1e-6))
        part = torch.where(has_area | (cut == boxes).all(1), part, 0.0)
        if instances.masks is None:
            boxes = cut
    if instances.masks is not None and old.masks is not None:
        touched = (
            torch.arange(count) if boxes is None else (boxes != _clip(boxes, limits)[0]).any(1).nonzero().flatten()
        )
        if len(touched):
            rest = instances.masks.select(touched).as_rle()
            left, whole = rest.area(), old.masks.select(touched).area()
            # a mask that was empty from the start has nothing to lose
            part[touched] = torch.where(whole > 0, left / whole.clamp(min=1), part[touched])
            if boxes is not None:
                boxes = boxes.clone()
                boxes[touched] = torch.where((left > 0)[:, None], rest.boxes(), _clip(boxes[touched], limits)[0])
    ignored = instances.ignore if instances.ignore is not None else torch.zeros(count, dtype=torch.bool)
    return (part > 0) & (ignored | (part >= min_visible)), part, boxes, seen


def _clip(boxes: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    cut = torch.minimum(boxes.clamp(min=0), limits)
    return cut, (cut[:, 2:] > cut[:, :2]).all(1)


def _place(size: tuple[int, int], window: tuple[int, int], rng: np.random.Generator) -> Window:
    """A random place for a window: inside the picture where it is smaller, around it where it is larger."""
    y, x = (int(rng.integers(min(0, n - w), max(0, n - w) + 1)) for n, w in zip(size, window))
    return x, y, x + window[1], y + window[0]
