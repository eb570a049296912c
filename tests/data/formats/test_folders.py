"""Class folders, splits of class folders, and plain pictures."""

import numpy as np
import pytest

from videre import data
from videre.errors import DataError
from videre.images.reading import write_picture

from ..shared import real


def make(root, *names):
    for name in names:
        write_picture(root / name, np.zeros((4, 6, 3), np.uint8))


def test_folders_are_classes(tmp_path):
    make(tmp_path, "dog/1.png", "ant/2.png", "ant/deep/3.png")
    dataset = data.read(tmp_path)
    assert dataset.schema.pictures.names == ("ant", "dog") and dataset.fields == {"labels"}
    assert [dataset.name(i) for i in range(3)] == ["ant/2.png", "ant/deep/3.png", "dog/1.png"]
    assert [dataset.scene(i).labels.tolist() for i in range(3)] == [[0], [0], [1]]
    assert dataset.scene(0).size == (4, 6) and dataset.scene(0).instances is None


def test_splits_agree_about_classes(tmp_path):
    make(tmp_path, "train/dog/1.png", "train/ant/2.png", "val/dog/3.png", "test_2/cow/4.png")
    assert data.splits(tmp_path) == ["test_2", "train", "val"]
    val = data.read(tmp_path, "val")
    assert val.schema.pictures.names == ("ant", "cow", "dog") and val.scene(0).labels.tolist() == [2]
    assert len(data.read(tmp_path)) == 4


def test_plain_pictures_have_no_truth(tmp_path):
    make(tmp_path, "b.png", "images/a.png")
    dataset = data.read(tmp_path)
    assert len(dataset) == 2 and dataset.fields == frozenset()
    make(tmp_path / "s", "train/1.png", "val/2.png")
    assert len(data.read(tmp_path / "s", "val")) == 1


def test_kinds_of_files_are_no_classes(tmp_path):
    make(tmp_path, "JPEGImages/a.png", "SegmentationClassVisualization/a.png", "SegmentationSomething/a.png")
    assert data.read(tmp_path).schema.pictures is None


def test_what_cannot_be_meant_is_refused(tmp_path):
    make(tmp_path, "a/1.png", "b/2.png", "3.png")
    with pytest.raises(DataError, match=r"1 pictures lie outside the class folders: \['3.png'\]"):
        data.read(tmp_path)
    make(tmp_path / "c", "train/1.png", "trainannot/1.png")
    with pytest.raises(DataError, match="train look like splits, but there are pictures in trainannot too"):
        data.read(tmp_path / "c")


def test_written_sets_come_back(tmp_path):
    make(tmp_path / "in", "dog/1.png", "ant/1.png")
    before = data.read(tmp_path / "in")
    assert data.write(before, tmp_path / "out", "folders", split="val") == []
    after = data.read(tmp_path / "out", "val")
    assert after.schema == before.schema
    assert [after.scene(i).labels.tolist() for i in range(2)] == [[0], [1]]
    boxes = data.read(real("bccd"), "val")
    with pytest.raises(
        DataError, match=r"a tree of class folders cannot hold boxes, ignore, instances\.labels of bccd val"
    ):
        data.write(boxes, tmp_path / "no", "folders")
    assert not (tmp_path / "no").exists()


def test_hymenoptera_reads_whole():
    root = real("hymenoptera_data")
    counts = {
        s: np.bincount([int(d.scene(i).labels[0]) for i in range(len(d))]).tolist()
        for s in data.splits(root)
        for d in [data.read(root, s)]
    }
    assert counts == {"train": [123, 121], "val": [70, 83]}
    assert data.read(root).schema.pictures.names == ("ants", "bees")
