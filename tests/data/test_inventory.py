"""The words before a training: how it was read, what is there, what was passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videre import data
from videre.data.blocks import blocks_dataset
from videre.data.inventory import take_inventory
from videre.images.reading import write_picture


@pytest.fixture(scope="module")
def blocks(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("blocks") / "set"
    data.write(blocks_dataset(3, size=(48, 64)), root, "coco", lossy=True)
    (root / "scans.docx").write_bytes(b"x")
    (root / ".cache").mkdir()
    (root / "train" / "._a.png").write_bytes(b"x")
    (root / "walk.mp4").write_bytes(b"x")
    return root


def test_what_was_read_and_passed_over(blocks):
    dataset = data.read(blocks)
    counts = np.bincount(np.concatenate([dataset.scene(i).instances.labels for i in range(3)]), minlength=4)
    inventory = take_inventory(dataset, blocks)
    assert inventory.counts == dict(zip(dataset.schema.things, counts.tolist())) and inventory.labelled == 3
    assert inventory.passed == {".docx files": 1, "hidden folders": 1, "hidden files": 1, "clips": 1}
    lines = inventory.lines()
    assert lines[0].startswith(
        "set train: read as coco (captions_train.json, instances_train.json), 3 pictures, 3 with"
    )
    assert lines[-1] == "  passed over: 1 .docx files, 1 clips, 1 hidden files, 1 hidden folders"
    assert inventory.nothing == ""


def test_nothing_to_learn_is_said_with_its_reason(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    write_picture(tmp_path / "images" / "a.png", picture)
    (tmp_path / "masks").mkdir()
    write_picture(tmp_path / "masks" / "a.png", np.full((4, 4, 1), 255, np.uint8))
    (tmp_path / "classes.txt").write_text("ground\nroad\nsky\n")
    void = take_inventory(data.read(tmp_path), tmp_path)
    assert void.nothing == "none of the 1 pictures has any pixels of a class" and void.absent == [
        "ground",
        "road",
        "sky",
    ]
    write_picture(tmp_path / "masks" / "a.png", np.array([[0, 0, 2, 255]] * 4, np.uint8)[:, :, None])
    some = take_inventory(data.read(tmp_path), tmp_path)
    assert some.nothing == "" and some.counts == {"ground": 8, "road": 0, "sky": 4}
    assert "  WARNING: nothing is there of 1 of 3 classes: road" in some.lines()


def test_all_ignored_is_nothing(blocks):
    dataset = data.read(blocks)
    dataset.source.columns["ignore"][:] = True
    assert "things of the 3 pictures are ignored (crowd, difficult)" in take_inventory(dataset).nothing
