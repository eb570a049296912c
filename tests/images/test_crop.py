"""`Preprocess.centre_crop`: the middle of the resized picture, as classifiers are measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from videre.errors import ConfigError
from videre.images.prepare import prepare, prepare_truth
from videre.structures import Instances, Preprocess, Scene

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "divisor": 1}


def test_the_middle_is_cut_out() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    whole = prepare(picture, Preprocess(short_side=None, long_side=None, **PLAIN)).image
    part = prepare(picture, Preprocess(short_side=None, long_side=None, centre_crop=(12, 10), **PLAIN))
    assert part.image.shape == (1, 3, 12, 10) and part.sizes == ((12, 10),)
    assert torch.equal(part.image, whole[:, :, 4:16, 10:20])


def test_a_smaller_picture_lies_on_zeros() -> None:
    picture = np.full((6, 30, 3), 200, np.uint8)
    part = prepare(picture, Preprocess(short_side=None, long_side=None, centre_crop=(8, 8), **PLAIN))
    assert part.sizes == ((6, 8),)
    assert (part.image[:, :, :6] > 0).all() and (part.image[:, :, 6:] == 0).all()


def test_what_is_true_moves_along() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    batch = prepare(picture, Preprocess(short_side=20, long_side=None, centre_crop=(16, 16), **PLAIN))
    boxes = torch.tensor([[20.0, 10, 40, 30]])
    moved = prepare_truth(Scene((40, 60), Instances(boxes=boxes)), batch)
    # halved, then 7 columns and 2 rows cut away
    assert moved.instances.boxes.tolist() == [[3, 3, 13, 13]]
    back = torch.as_tensor(batch.inverse(0)).float()
    points = moved.instances.boxes.reshape(2, 2) @ back[:, :2].T + back[:, 2]
    assert torch.allclose(points.reshape(1, 4), boxes)


def test_every_picture_has_the_same_size() -> None:
    preprocess = Preprocess(short_side=256, long_side=None, centre_crop=(224, 224), divisor=1)
    for size in ((256, 256), (1000, 40), (3, 500)):
        assert preprocess.padded(size) == (224, 224)
        top, left, height, width = preprocess.window(size)
        rows, columns = preprocess.resized(size)
        assert (height, width) == (min(rows, 224), min(columns, 224)) and top >= 0 and left >= 0
    assert Preprocess.from_json(preprocess.to_json()) == preprocess


def test_a_crop_of_nothing_is_refused() -> None:
    for bad in ((0, 5), (5,)):
        with pytest.raises(ConfigError, match="centre_crop must be at least 1 x 1"):
            Preprocess(centre_crop=bad)
