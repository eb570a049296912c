"""Four pictures in one, worked by hand where the point is the middle, and by what lies under the labels elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from videre.data.transforms.mosaic import Mosaic
from videre.errors import DataError
from videre.structures import Categories, Instances, Scene, Schema
from videre.structures.scene import VOID

SCHEMA = Schema(things=Categories.of(["a", "b"]), pixels=Categories.of(["p", "q", "r", "s"]))


def picture(n: int, size: tuple[int, int] = (40, 60)) -> tuple[np.ndarray, Scene]:
    """Grey n + 1 with a box around the whole, and one in the top left corner, of class n % 2; pixels of class n."""
    height, width = size
    boxes = [[0.0, 0, width, height], [0, 0, width / 4, height / 4]]
    scene = Scene(
        size,
        Instances(boxes=boxes, labels=[n % 2, n % 2]),
        segmentation=torch.full(size, n, dtype=torch.uint8),
        labels=[n % 2],
    )
    return np.full((*size, 3), n + 1, np.uint8), scene


def test_four_quarters_by_hand() -> None:
    mixed, scene = Mosaic(middle=0.0).mix([picture(n) for n in range(4)], np.random.default_rng(0), SCHEMA)
    assert [int(mixed[y, x, 0]) for y, x in ((0, 0), (0, 59), (39, 0), (39, 59))] == [1, 2, 3, 4]
    assert (scene.segmentation.numpy() == mixed[..., 0] - 1).all()
    # a box that fills its picture fills its quarter; one in the corner of its picture is seen at the top left alone
    whole = {(0.0, 0.0, 30.0, 20.0), (30.0, 0.0, 60.0, 20.0), (0.0, 20.0, 30.0, 40.0), (30.0, 20.0, 60.0, 40.0)}
    found = {
        tuple(box): label
        for box, label in zip(scene.instances.boxes.tolist(), scene.instances.labels.tolist(), strict=True)
    }
    assert whole | {(0.0, 0.0, 15.0, 10.0)} == set(found)
    assert [found[box] for box in sorted(whole)] == [0, 0, 1, 1] and scene.labels.tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_labelled_lies_under_its_label(seed: int) -> None:
    sizes = ((40, 60), (33, 80), (64, 20), (40, 60))
    mixed, scene = Mosaic().mix([picture(n, size) for n, size in enumerate(sizes)], np.random.default_rng(seed), SCHEMA)
    assert mixed.shape == (40, 60, 3) and scene.size == (40, 60)
    assert (scene.segmentation.numpy() == mixed[..., 0] - 1).all() and VOID not in scene.segmentation
    for (x1, y1, x2, y2), label in zip(
        scene.instances.boxes.round().int().tolist(), scene.instances.labels.tolist(), strict=True
    ):
        assert {int(v - 1) % 2 for v in np.unique(mixed[y1:y2, x1:x2, 0])} == {label}


def test_what_cannot_be_joined_is_refused() -> None:
    pairs = [(pixels, scene.replace(captions=["two boxes"])) for pixels, scene in map(picture, range(4))]
    with pytest.raises(DataError, match="captions cannot be joined in a mosaic"):
        Mosaic().mix(pairs, np.random.default_rng(0), SCHEMA)
