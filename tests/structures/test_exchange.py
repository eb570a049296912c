"""To supervision and torchvision, and back: what both sides can hold comes back as it was."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
import torch

from videre.errors import DataError, ShapeError
from videre.structures import Instances, Masks, Scene
from videre.structures.exchange import detections

SIZE = (20, 30)
NAMES = ("cat", "dog", "cow")


def bitmaps(count: int) -> torch.Tensor:
    dense = torch.zeros((count, *SIZE), dtype=torch.uint8)
    for n in range(count):
        dense[n, n : n + 4, 2 * n : 2 * n + 7] = 1
    return dense


def things(count: int, **more: Any) -> Instances:
    masks = Masks.from_bitmaps(bitmaps(count)) if count else Masks.from_rle([], SIZE)
    labels = torch.arange(count) % 3
    return Instances(boxes=masks.boxes().float(), labels=labels, masks=masks, **more)


def as_detections(scene: Scene, names: Any = None) -> Any:
    """supervision's own where it is installed, else what has its attributes."""
    try:
        import supervision  # noqa: F401
    except ImportError:
        return types.SimpleNamespace(**detections(scene, names))
    return scene.to_supervision(names)


def same(a: Scene, b: Scene) -> None:
    assert a.size == b.size and a.instances is not None and b.instances is not None
    assert sorted(a.instances.fields()) == sorted(b.instances.fields())
    for name in a.instances.fields():
        x, y = getattr(a.instances, name), getattr(b.instances, name)
        if name == "masks":
            x, y = x.bitmaps(), y.bitmaps()
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_supervision_and_back(count: int) -> None:
    scene = Scene(SIZE, things(count, scores=torch.linspace(0.1, 0.9, count)))
    found = as_detections(scene, NAMES)
    assert found.xyxy.shape == (count, 4) and found.mask.dtype == bool and found.mask.shape == (count, *SIZE)
    assert list(found.data["class_name"]) == [NAMES[k % 3] for k in range(count)]
    same(Scene.from_supervision(found, SIZE), scene)
    same(Scene.from_supervision(found, SIZE, NAMES), scene)


def test_classes_of_supervision_are_matched_by_name() -> None:
    found = as_detections(Scene(SIZE, things(3)), NAMES)
    assert found.confidence is None
    turned = Scene.from_supervision(found, SIZE, ("cow", "dog", "cat"))
    assert turned.instances is not None and turned.instances.labels.tolist() == [2, 1, 0]
    with pytest.raises(DataError, match="not known: cow; known: cat, dog"):
        Scene.from_supervision(found, SIZE, ("cat", "dog"))
    found.data.pop("class_name")
    with pytest.raises(DataError, match="have class 2, there are 2: 0 to 1"):
        Scene.from_supervision(found, SIZE, ("cat", "dog"))


def test_supervision_without_classes_masks_or_anything() -> None:
    plain = types.SimpleNamespace(xyxy=np.array([[1, 2, 3, 4]]), mask=None, confidence=None, class_id=None, data={})
    scene = Scene.from_supervision(plain, SIZE)
    assert scene.instances is not None and set(scene.instances.fields()) == {"boxes"}
    only_masks = Scene(SIZE, Instances(masks=Masks.from_bitmaps(bitmaps(1))))
    assert detections(only_masks)["xyxy"].tolist() == [[0, 0, 7, 4]]
    assert detections(Scene(SIZE))["xyxy"].shape == (0, 4)
    with pytest.raises(DataError, match="neither boxes nor masks"):
        detections(Scene(SIZE, Instances(labels=[0])))
    ignored = as_detections(Scene(SIZE, things(2, ignore=torch.tensor([True, False]))))
    same(Scene.from_supervision(ignored, SIZE), Scene(SIZE, things(2, ignore=torch.tensor([True, False]))))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_target_of_torchvision_and_back(count: int) -> None:
    visibility = (torch.arange(count * 4) % 3).reshape(count, 4).to(torch.uint8)
    points = torch.rand(count, 4, 2) * 20 * (visibility > 0)[..., None]
    truth = things(
        count,
        keypoints=points,
        visibility=visibility,
        ignore=torch.arange(count) == 1,
        areas=torch.full((count,), 20.0, dtype=torch.float64),
    )
    scene = Scene(SIZE, truth, meta={"id": 7})
    target = scene.to_torchvision_dict()
    assert target["labels"].tolist() == [k % 3 + 1 for k in range(count)] and target["image_id"] == 7
    assert target["masks"].dtype == torch.uint8 and target["masks"].shape == (count, *SIZE)
    assert target["keypoints"].shape == (count, 4, 3) and target["iscrowd"].dtype == torch.int64
    back = Scene.from_torchvision_dict(target, SIZE)
    same(back, scene)
    assert back.meta["id"] == 7


def test_a_prediction_of_torchvision_and_back() -> None:
    scores = {"scores": torch.tensor([0.9, 0.2]), "keypoint_scores": torch.rand(2, 4) * 0.9 + 0.05}
    scene = Scene(SIZE, things(2, keypoints=torch.rand(2, 4, 2) * 20, **scores))
    found = scene.to_torchvision_dict()
    assert "area" not in found and "iscrowd" not in found
    same(Scene.from_torchvision_dict(found, SIZE), scene)
    soft = found | {"masks": bitmaps(2)[:, None].float() * 0.6 + 0.1}  # probabilities, as its Mask R-CNN gives them
    same(Scene.from_torchvision_dict(soft, SIZE), scene)


def test_convention_keypoints_of_torchvision_count_from_the_middle_of_the_first_pixel() -> None:
    """A joint in the middle of the first pixel is (0, 0) in a COCO file, which torchvision takes as it is."""
    target = {
        "boxes": torch.tensor([[0.0, 0, 9, 9]]),
        "labels": torch.tensor([1]),
        "keypoints": torch.tensor([[[0.0, 0, 2]]]),
    }
    scene = Scene.from_torchvision_dict(target, SIZE)
    assert scene.instances is not None and scene.instances.keypoints.tolist() == [[[0.5, 0.5]]]
    assert scene.to_torchvision_dict()["keypoints"].tolist() == [[[0, 0, 2]]]
    assert scene.to_torchvision_dict()["boxes"].tolist() == [[0, 0, 9, 9]]  # boxes have no such difference
    assert scene.to_torchvision_dict()["area"].tolist() == [81]


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(DataError, match="thing 1 has label 0, the background"):
        Scene.from_torchvision_dict({"boxes": torch.zeros(2, 4), "labels": torch.tensor([1, 0])}, SIZE)
    with pytest.raises(ShapeError, match=r"masks must be \[N, 20, 30\].*found \[1, 30, 20\]"):
        Scene.from_torchvision_dict(
            {"boxes": torch.zeros(1, 4), "labels": torch.tensor([1]), "masks": torch.zeros(1, 30, 20)}, SIZE
        )
