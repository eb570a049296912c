"""Maps of instance ids: one mask and one tight box for every value."""

import cv2
import numpy as np
import pytest
import torch

from videre import data
from videre.errors import DataError
from videre.images.reading import read_picture, write_picture

from ..shared import real


def make(root, ids, name="a", folder="labels"):
    write_picture(root / "images" / f"{name}.jpg", np.zeros((*ids.shape, 3), np.uint8))
    write_picture(root / folder / f"{name}.png", ids)


def test_values_become_instances(tmp_path):
    ids = np.zeros((9, 12), np.uint16)
    ids[1:4, 2:5], ids[5:9, 0:12], ids[2, 3] = 700, 3, 0
    make(tmp_path, ids)
    make(tmp_path, np.zeros((5, 5), np.uint16), "empty")
    dataset = data.read(tmp_path, class_name="cell")
    scene = dataset.scene(0)
    assert dataset.schema.things.names == ("cell",)
    assert scene.instances.ids.tolist() == [3, 700]
    assert scene.instances.boxes.tolist() == [[0, 5, 12, 9], [2, 1, 5, 4]]
    assert np.array_equal(scene.instances.masks.bitmaps(), np.stack([ids == 3, ids == 700]))
    assert len(dataset.scene(1)) == 0


def test_what_does_not_fit_is_named(tmp_path):
    make(tmp_path, np.zeros((9, 12), np.uint16))
    write_picture(tmp_path / "images" / "b.jpg", np.zeros((9, 12, 3), np.uint8))
    assert data.read(tmp_path).repair_counts() == {"picture without id map, dropped": 1}
    cv2.imwrite(str(tmp_path / "labels" / "b.png"), np.zeros((12, 9), np.uint16))
    with pytest.raises(DataError, match=r"b\.png: the id map is 9x12 \(width x height\), the picture .*b\.jpg is 12x9"):
        data.read(tmp_path).scene(1)
    write_picture(tmp_path / "images" / "b.png", np.zeros((9, 12, 3), np.uint8))
    with pytest.raises(DataError, match=r"two pictures of one name: \['b'\]"):
        data.read(tmp_path)


def test_written_sets_come_back(tmp_path):
    ids = np.zeros((9, 12), np.uint8)
    ids[1:4, 2:5], ids[5:9, 0:12] = 1, 2
    make(tmp_path / "in", ids, folder="masks")
    assert data.write(data.read(tmp_path / "in"), tmp_path / "out", "instances") == []
    after = data.read(tmp_path / "out", "train")
    assert np.array_equal(after.scene(0).instances.masks.bitmaps(), np.stack([ids == 1, ids == 2]))


def test_overlaps_and_classes_are_lost_only_when_allowed(tmp_path):
    dataset = data.read(real("coco_mini") / "annotations" / "instances_val2017.json").subset([0, 1, 2])
    with pytest.raises(DataError, match="cannot hold ignore of instances_val2017"):
        data.write(dataset, tmp_path, "instances")
    lost = data.write(dataset, tmp_path, "instances", lossy=True)
    assert lost[:2] == ["ignore", "class names"] and lost[2].endswith("pixels under other masks")


def test_dsb2018_reads_whole():
    root = real("dsb2018")
    splits = {name: data.read(root, name) for name in data.splits(root)}
    assert {name: len(d) for name, d in splits.items()} == {"test": 66, "train": 532, "val": 66}
    dataset = data.read(root, class_name="nucleus")
    count = 0
    for i in range(len(dataset)):
        scene = dataset.scene(i)
        count += len(scene)
        assert bool((scene.instances.boxes[:, 2:] > scene.instances.boxes[:, :2]).all())
    assert (len(dataset), count) == (664, 28986)
    assert torch.equal(dataset.scene(0).instances.masks.boxes(), dataset.scene(0).instances.boxes)
    assert read_picture(dataset.path(0)).shape[:2] == dataset.scene(0).size
