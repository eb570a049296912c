"""Maps of instance ids: one mask and one tight box for every value."""

import cv2
import numpy as np
import pytest
import torch

from videre import data
from videre.data.audit import check
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
    with pytest.raises(DataError, match=r"two pictures of one name, \['b'\]"):
        data.read(tmp_path)


def test_written_sets_come_back(tmp_path):
    ids = np.zeros((9, 12), np.uint8)
    ids[1:4, 2:5], ids[5:9, 0:12] = 1, 2
    make(tmp_path / "in", ids, folder="masks")
    assert data.write(data.read(tmp_path / "in"), tmp_path / "out", "instances") == []
    after = data.read(tmp_path / "out", "train")
    assert np.array_equal(after.scene(0).instances.masks.bitmaps(), np.stack([ids == 1, ids == 2]))


def test_masks_of_one_value_are_told_not_to_be_instances(tmp_path):
    """Two squares apart drawn in one value look semantic; one square, one picture alone, or real ids do not."""
    two = np.zeros((9, 20), np.uint8)
    two[1:4, 2:5] = two[5:9, 12:17] = 255
    one = np.zeros((9, 20), np.uint8)
    one[1:4, 2:5] = 255
    real_ids = np.where(two > 0, np.arange(20, dtype=np.uint8) // 10 + 1, 0).astype(np.uint8)
    cases = {"semantic": (two, one, two), "once": (two, one, one), "whole": (one, one), "ids": (two, two, real_ids)}
    for case, maps in cases.items():
        for n, ids in enumerate(maps):
            make(tmp_path / case, ids, f"{n}")
    counts = {case: data.read(tmp_path / case).repair_counts() for case in cases}
    assert counts.pop("semantic") == {"semantic mask in place of instance ids?, taken as one instance": 2}
    assert not any(counts.values())
    told = [f for f in check(data.read(tmp_path / "semantic")) if "semantic" in f.kind]
    assert [(f.picture, f.values) for f in told] == [(n, "value 255 in 2 separate regions") for n in ("0", "2")]


def test_the_class_is_named_in_a_file_that_writing_keeps(tmp_path):
    ids = np.zeros((9, 12), np.uint8)
    ids[1:4, 2:5] = 1
    make(tmp_path / "in", ids)
    assert data.read(tmp_path / "in").schema.things.names == ("object",)
    (tmp_path / "in" / "classes.txt").write_text("red blood cell\n\n")
    before = data.read(tmp_path / "in")
    assert before.schema.things.names == ("red blood cell",)
    assert data.read(tmp_path / "in", class_name="cell").schema.things.names == ("cell",)
    assert data.write(before, tmp_path / "out", "instances") == []
    assert data.read(tmp_path / "out", "train").schema == before.schema and data.splits(tmp_path / "out") == ["train"]
    for content in ("", "cat\ndog\n"):
        (tmp_path / "in" / "classes.txt").write_text(content)
        with pytest.raises(DataError, match=r"classes\.txt: id maps hold one class, .* found \["):
            data.read(tmp_path / "in", format="instances")
    # several names say that the values are classes, unless the format is named
    assert data.read(tmp_path / "in").schema.pixels.names == ("cat", "dog")


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


def test_pairs_as_penn_fudan_has_them(tmp_path):
    ids = np.array([[0, 1, 1, 0], [2, 2, 0, 0]], np.uint8)
    write_picture(tmp_path / "PNGImages" / "FudanPed00001.png", np.zeros((2, 4, 3), np.uint8))
    write_picture(tmp_path / "PedMasks" / "FudanPed00001_mask.png", ids[:, :, None])
    (tmp_path / "readme.txt").write_text("x")
    assert data.find_format(tmp_path) == "instances"
    (scene,) = [data.read(tmp_path).scene(i) for i in range(len(data.read(tmp_path)))]
    assert scene.instances.boxes.tolist() == [[1, 0, 3, 1], [0, 1, 2, 2]]


def test_several_maps_of_a_picture_are_a_fault(tmp_path):
    write_picture(tmp_path / "images" / "a.png", np.zeros((2, 4, 3), np.uint8))
    for name in ("a_1", "a_2"):
        write_picture(tmp_path / "masks" / f"{name}.png", np.ones((2, 4, 1), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: has 2 id maps, a_1\.png, a_2\.png; leave one, or join them"):
        data.read(tmp_path)


def test_objects_of_voc_have_the_classes_of_their_pixels(tmp_path):
    objects = np.array([[1, 1, 255, 2], [1, 1, 255, 2]], np.uint8)
    classes = np.array([[15, 15, 255, 12], [15, 15, 255, 12]], np.uint8)
    write_picture(tmp_path / "JPEGImages" / "2007_000032.jpg", np.zeros((2, 4, 3), np.uint8))
    for folder, ids in (("SegmentationObject", objects), ("SegmentationClass", classes)):
        write_picture(tmp_path / folder / "2007_000032.png", ids[:, :, None])
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("2007_000032\n")
    assert data.find_format(tmp_path) == "instances"
    dataset = data.read(tmp_path, "train")
    scene = dataset.scene(0)
    assert [dataset.schema.things[k] for k in scene.instances.labels.tolist()] == ["person", "dog"]
    assert scene.instances.boxes.tolist() == [[0, 0, 2, 2], [3, 0, 4, 2]]
    assert scene.segmentation.tolist() == classes.tolist()  # which is void at the border
    assert data.read(tmp_path, "train", format="maps").scene(0).segmentation.tolist() == classes.tolist()
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "2007_000032.xml").write_text(
        "<annotation><filename>2007_000032.jpg</filename><size><width>4</width><height>2</height><depth>3</depth></size>"
        "<object><name>dog</name><bndbox><xmin>4</xmin><ymin>1</ymin><xmax>4</xmax><ymax>2</ymax></bndbox></object>"
        "</annotation>"
    )
    assert data.find_format(tmp_path) == "voc"  # unless another is named
    assert data.read(tmp_path, "train", format="instances").fields >= {"masks", "segmentation"}


def test_objects_that_labelme_has_written_have_the_classes_of_its_list(tmp_path):
    write_picture(tmp_path / "JPEGImages" / "a.jpg", np.zeros((1, 4, 3), np.uint8))
    write_picture(tmp_path / "SegmentationObjectPNG" / "a.png", np.array([[[0], [1], [2], [2]]], np.uint8))
    write_picture(tmp_path / "SegmentationClassPNG" / "a.png", np.array([[[0], [1], [2], [2]]], np.uint8))
    for folder in ("SegmentationClass", "SegmentationObject"):  # as arrays
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", np.zeros((1, 4)))
    (tmp_path / "class_names.txt").write_text("_background_\nbus\ncar\n")
    dataset = data.read(tmp_path)
    assert dataset.schema.things.names == ("bus", "car")
    assert dataset.schema.pixels.names == ("_background_", "bus", "car")
    scene = dataset.scene(0)
    assert scene.instances.labels.tolist() == [0, 1] and scene.instances.boxes.tolist() == [[1, 0, 2, 1], [2, 0, 4, 1]]
    write_picture(tmp_path / "SegmentationObjectPNG" / "a.png", np.array([[[1], [1], [2], [2]]], np.uint8))
    write_picture(tmp_path / "SegmentationClassPNG" / "a.png", np.array([[[0], [0], [2], [2]]], np.uint8))
    with pytest.raises(DataError, match=r"a\.png: objects 1 \(_background_\) have no class of things in .*a\.png"):
        data.read(tmp_path).scene(0)
