"""Random truths with predictions around them: hits, near misses, false ones, ties, crowds, empty pictures."""

from __future__ import annotations

import numpy as np
import torch

from videre.structures import Categories, Instances, Masks, Scene, Schema, Skeleton

THINGS = Categories.of(["cat", "dog", "cow", "never there"])
SCHEMA = Schema(things=THINGS, skeleton=Skeleton(("a", "b", "c", "d"), sigmas=(0.05, 0.1, 0.07, 0.09)))
SIZE = (70, 90)


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes inside the picture, some of them of whole pixels, of all of COCO's size bins."""
    side = rng.choice([6.0, 20, 32, 60], (count, 2)) * rng.uniform(0.6, 1.1, (count, 2))
    corner = rng.random((count, 2)) * (np.array(SIZE[::-1]) - side)
    found = np.concatenate([corner, corner + side], 1)
    return np.where(rng.random((count, 1)) < 0.3, found.round(), found)


def bitmaps(rng: np.random.Generator, corners: np.ndarray) -> np.ndarray:
    """An ellipse in each box, with a bite taken out of some."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    masks = np.zeros((len(corners), *SIZE), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, corners):
        mask |= ((2 * x - x1 - x2) / (x2 - x1 + 1e-9)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1 + 1e-9)) ** 2 <= 1
        if rng.random() < 0.3:
            mask &= x > (x1 + x2) / 2
    return masks


def points(rng: np.random.Generator, corners: np.ndarray) -> np.ndarray:
    """Four keypoints in each box."""
    return corners[:, None, :2] + rng.random((len(corners), 4, 2)) * (corners[:, None, 2:] - corners[:, None, :2])


def pair(rng: np.random.Generator, most: int = 6, false: int = 5) -> tuple[Scene, Scene]:
    """A prediction and a truth of one picture."""
    count = int(rng.integers(0, most + 1))
    true = boxes(rng, count)
    place = points(rng, true)
    truth = Instances(
        boxes=true,
        labels=rng.integers(0, 3, count),
        masks=Masks.from_bitmaps(bitmaps(rng, true)),
        keypoints=place,
        visibility=rng.integers(0, 3, (count, 4)),
        ignore=rng.random(count) < 0.25,
    )
    # what is found: each truth nought to two times, moved; and false ones
    again = rng.integers(0, 3, count) if count else np.zeros(0, int)
    source = np.repeat(np.arange(count), again)
    moved = true[source] + rng.normal(0, 1.5, (len(source), 4))
    moved = np.concatenate([np.minimum(moved[:, :2], moved[:, 2:] - 0.5), moved[:, 2:]], 1)
    extra = boxes(rng, int(rng.integers(0, false + 1)))
    guessed = np.concatenate([moved, extra]).clip(0, [*SIZE[::-1], *SIZE[::-1]])
    labels = np.concatenate(
        [np.where(rng.random(len(source)) < 0.8, truth.labels.numpy()[source], 1), rng.integers(0, 3, len(extra))]
    )
    near = np.concatenate([place[source] + rng.normal(0, 1.0, (len(source), 4, 2)), points(rng, extra)])
    scores = (
        rng.choice([rng.random(len(guessed)), np.full(len(guessed), 0.5)])
        if rng.random() < 0.5
        else rng.random(len(guessed)).round(1)
    )
    prediction = Instances(
        boxes=torch.tensor(guessed, dtype=torch.float32),
        labels=labels.astype(np.int64),
        scores=scores,
        masks=Masks.from_bitmaps(bitmaps(rng, guessed)),
        keypoints=near,
        keypoint_scores=np.ones((len(guessed), 4)),
    )
    return Scene(SIZE, prediction), Scene(SIZE, truth)


def pairs(seed: int, pictures: int = 4, **options: int) -> tuple[list[Scene], list[Scene]]:
    """Predictions and truths of several pictures."""
    rng = np.random.default_rng(seed)
    both = [pair(rng, **options) for _ in range(pictures)]
    return [p for p, _ in both], [t for _, t in both]


def boxed(rows: list[list[float]], labels: list[int] | None = None, scores: list[float] | None = None, **more) -> Scene:
    """A scene of boxes alone."""
    found = Instances(
        boxes=torch.tensor(rows, dtype=torch.float32).reshape(-1, 4),
        labels=labels or [0] * len(rows),
        scores=scores,
        **more,
    )
    return Scene((200, 200), found)
