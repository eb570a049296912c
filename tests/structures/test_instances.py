"""Instances: every rule of validation, select and cat."""

import numpy as np
import pytest
import torch

from videre.errors import DataError, ShapeError
from videre.structures import Box3D, Instances, Masks, Mesh

BOX = [[0.0, 0, 2, 2], [1, 1, 3, 4]]


def full(count: int, seed: int = 0) -> Instances:
    """Instances with every field, no two rows alike."""
    rng = np.random.default_rng(seed)
    corners = rng.random((count, 2, 2)).cumsum(1) * 4
    return Instances(
        boxes=corners.reshape(count, 4),
        labels=rng.integers(0, 5, count),
        scores=rng.random(count),
        class_scores=rng.random((count, 5)),
        masks=Masks.from_bitmaps(rng.random((count, 6, 7)) < 0.5),
        keypoints=rng.random((count, 3, 2)),
        visibility=rng.integers(0, 3, (count, 3)),
        keypoint_scores=rng.random((count, 3)),
        attributes=rng.random((count, 4)) < 0.5,
        captions=tuple(f"thing {i}" for i in range(count)),
        boxes3d=Box3D(rng.random((count, 3)), rng.random((count, 3)), rng.random(count)),
        meshes=tuple(Mesh(rng.random((3, 3)), [[0, 1, 2]]) for _ in range(count)),
        ignore=rng.random(count) < 0.3,
        ids=rng.integers(0, 10**9, count),
        areas=rng.random(count) * 9,
    )


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"boxes": BOX, "labels": [0]}, ShapeError, r"different lengths: \{'boxes': 2, 'labels': 1\}"),
        ({"boxes": [[0, 0, 1]]}, ShapeError, r"boxes must be \[N, 4\], found shape \(1, 3\)"),
        ({"boxes": []}, ShapeError, r"boxes must be \[N, 4\], found shape \(0,\)"),
        ({"labels": [[1]]}, ShapeError, r"labels must be \[N\], found shape \(1, 1\)"),
        ({"labels": 3}, ShapeError, "labels must be a list, found the single number 3"),
        ({"keypoints": torch.zeros(2, 3)}, ShapeError, r"keypoints must be \[N, J, 2\], found shape \(2, 3\)"),
        ({"keypoints": torch.zeros(2, 3, 3)}, ShapeError, r"keypoints must be \[N, J, 2\], found shape \(2, 3, 3\)"),
        ({"class_scores": torch.zeros(2)}, ShapeError, r"class_scores must be \[N, K\], found shape \(2,\)"),
        ({"keypoints": torch.zeros(2, 3, 2), "visibility": torch.zeros(2, 4)}, ShapeError, r"visibility \(2, 4\) for"),
        ({"boxes": [[0, 0, float("nan"), 1]]}, DataError, r"boxes must be finite, found nan at \[0, 2\]"),
        ({"areas": [1, float("inf")]}, DataError, r"areas must be finite, found inf at \[1\]"),
        ({"boxes": [*BOX, [5, 0, 4, 1]]}, DataError, r"boxes: \[5.0, 0.0, 4.0, 1.0\] at 2 is turned over"),
        ({"scores": [0.5, 1.5]}, DataError, r"scores must lie in \[0, 1\], found 0.5..1.5"),
        ({"keypoint_scores": [[-1.0]]}, DataError, r"keypoint_scores must lie in \[0, 1\], found -1..-1"),
        ({"labels": [2, -1]}, DataError, "labels start at 0 .* found -1"),
        ({"labels": [0, 1.5]}, DataError, r"labels must be int64, found 1.5 at \[1\]"),
        ({"visibility": [[2, 3]]}, DataError, r"visibility must lie in \[0, 2\], found 2..3"),
        ({"visibility": [[0, 258]]}, DataError, r"visibility must be uint8, found 258 at \[0, 1\]"),
        ({"ignore": [0, 2]}, DataError, r"ignore must be bool, found 2 at \[1\]"),
    ],
)
def test_each_rule_names_field_and_value(fields, error, says):
    with pytest.raises(error, match=says):
        Instances(**fields)


def test_absent_is_absent():
    assert len(Instances()) == 0 and Instances().fields() == []
    one = Instances(boxes=BOX)
    assert one.fields() == ["boxes"] and one.labels is None and one.boxes.dtype == torch.float32


@pytest.mark.parametrize("index", [[2, 0, 3], [], [1, 1], [-1]])
def test_select_takes_the_same_rows_of_every_field(index):
    things = full(4)
    taken = things.select(torch.tensor(index, dtype=torch.int64))
    assert taken.fields() == things.fields() and len(taken) == len(index)
    for name in ("boxes", "labels", "scores", "class_scores", "keypoints", "visibility", "attributes", "ids", "areas"):
        assert torch.equal(getattr(taken, name), getattr(things, name)[index])
    assert list(taken.captions) == [things.captions[i] for i in index]
    assert list(taken.meshes) == [things.meshes[i] for i in index]
    assert torch.equal(taken.masks.bitmaps(), things.masks.bitmaps()[index])
    assert torch.equal(taken.boxes3d.yaw, things.boxes3d.yaw[index])


def test_select_by_flags_and_out_of_range():
    things = full(3)
    assert things.select(torch.tensor([True, False, True])).captions == ("thing 0", "thing 2")
    with pytest.raises(ShapeError, match="names instance 3, there are 3"):
        things.select(torch.tensor([3]))


def test_cat_then_select_gives_the_parts_back():
    parts = [full(2, 1), full(0, 2), full(3, 3)]
    whole = Instances.cat(parts)
    assert len(whole) == 5
    again = whole.select(torch.arange(2, 5))
    for name in whole.fields():
        a, b = getattr(again, name), getattr(parts[2], name)
        if isinstance(a, torch.Tensor):
            assert torch.equal(a, b)
    assert torch.equal(again.masks.bitmaps(), parts[2].masks.bitmaps()) and again.captions == parts[2].captions


def test_what_only_some_have_cannot_be_joined():
    with pytest.raises(DataError, match="labels is there in some and absent in others"):
        Instances.cat([Instances(boxes=BOX), Instances(boxes=BOX, labels=[0, 1])])
