"""Counts and sizes by hand and against pycocotools."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from videre import data
from videre.data.stats import stats
from videre.images.reading import write_picture
from videre.structures import Preprocess

from .shared import real


def test_counts_equal_pycocotools():
    path = real("coco_mini") / "annotations" / "instances_train2017.json"
    judge, counted = COCO(path), stats(data.read(path))
    for c in counted.classes:
        category = judge.getCatIds(catNms=[c.name])
        assert c.instances == len(judge.getAnnIds(catIds=category, iscrowd=False)), c.name
        assert c.ignored == len(judge.getAnnIds(catIds=category, iscrowd=True))
    assert counted.pictures == 80 and counted.instances == 739 - 8
    areas = [judge.anns[a]["area"] for a in judge.getAnnIds(iscrowd=False)]
    assert np.sort(counted.sides) == pytest.approx(np.sort(np.sqrt(areas)))
    shares = counted.shares()
    assert shares["small"] == pytest.approx(np.mean(np.array(areas) < 32**2))
    assert sum(shares.values()) == pytest.approx(1)
    json.dumps(counted.to_json())


def test_sizes_after_a_resize():
    dataset = data.read(real("bccd"), "val")
    plain, small = stats(dataset), stats(dataset, 240)
    assert small.resized_sides == pytest.approx(plain.sides / 2)
    stretched = stats(dataset, Preprocess(size=(240, 1280)))
    assert stretched.resized_sides == pytest.approx(plain.sides)
    assert "87 pictures" in str(plain) and "RBC" in str(plain)


def test_classes_of_pictures_and_nothing_at_all(tmp_path):
    counted = stats(data.read(real("hymenoptera_data"), "val"))
    assert [(c.name, c.instances, c.pictures) for c in counted.classes] == [("ants", 70, 70), ("bees", 83, 83)]
    assert counted.instances == 0 and counted.shares()["large"] == 0
    both = stats(data.read(real("coco_mini"), "val2017"))
    assert both.captions == 395 and both.joints["nose"] > 10
    nothing = stats(data.read(real("kitti_sample"), format="folders"))
    assert nothing.pictures == 13 and not nothing.classes and "13 pictures" in str(nothing)


def test_shares_of_pixels(tmp_path):
    maps = [np.zeros((4, 5), np.uint8), np.full((4, 5), 255, np.uint8)]
    maps[0][:2], maps[1][:, 0] = 1, 0
    for folder in ("images", "annotations"):
        (tmp_path / folder).mkdir()
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    for n, ids in enumerate(maps):
        write_picture(tmp_path / "images" / f"{n}.png", np.full((4, 5, 3), 9, np.uint8))
        write_picture(tmp_path / "annotations" / f"{n}.png", ids[:, :, None])
    found = stats(data.read(tmp_path))
    assert found.pixels == {"sky": (14 / 40, 2), "road": (10 / 40, 1), "car": (0.0, 0), "void": (16 / 40, 1)}
    lines = str(found).splitlines()
    assert lines[2].split()[:2] == ["void", "40.00%"] and "in      2 pictures" in lines[3]
    assert found.to_json()["pixels"]["road"] == (0.25, 1)
