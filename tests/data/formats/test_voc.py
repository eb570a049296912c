"""Pascal VOC: inclusive corners from 1 become continuous corners from 0; nothing is dropped in silence."""

import numpy as np
import pytest
import torch

from videre import data
from videre.data.audit import check
from videre.errors import DataError
from videre.images.reading import write_picture

from ..shared import real

XML = """<annotation><filename>old name.jpg</filename><size><width>{width}</width><height>20</height></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><bndbox><ymax>{y2}</ymax><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax></bndbox>{rest}</object>"""
PART = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"


def make(
    root, pictures: dict[str, list[str]], width: int = 30, sizes: dict[str, tuple[int, int]] | None = None
) -> None:
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for stem, objects in pictures.items():
        (root / "Annotations" / f"{stem}.xml").write_text(XML.format(width=width, objects="".join(objects)))
        size = (sizes or {}).get(stem, (20, 30))
        write_picture(root / "JPEGImages" / f"{stem}.jpg", np.zeros((*size, 3), np.uint8))


def thing(name, x1, y1, x2, y2, rest="") -> str:
    return OBJECT.format(name=name, x1=x1, y1=y1, x2=x2, y2=y2, rest=rest)


def test_corners_children_parts_and_difficult(tmp_path):
    make(
        tmp_path,
        {
            "a": [thing("dog", 1, 1, 30, 20, PART), thing("cat", "3.5", 4, 10, 11, "<difficult>1</difficult>")],
            "b": [],
        },
    )
    dataset = data.read(tmp_path)
    assert dataset.schema.things.names == ("cat", "dog")
    scene = dataset.scene(0)
    assert scene.size == (20, 30)
    assert scene.instances.boxes.tolist() == [[0, 0, 30, 20], [2.5, 3, 10, 11]]
    assert scene.instances.labels.tolist() == [1, 0]
    assert scene.instances.ignore.tolist() == [False, True]
    assert scene.meta == {"path": str(tmp_path / "JPEGImages" / "a.jpg"), "id": "a"}
    assert dataset.scene(1).instances.boxes.shape == (0, 4)
    assert dataset.fields == {"instances.labels", "boxes", "ignore"}
    assert dataset.repairs == ()


def test_what_cannot_be_used_is_dropped_or_clipped_and_counted(tmp_path):
    make(
        tmp_path,
        {
            "a": [
                thing("x", 5, 5, 5, 5),
                thing("x", 9, 3, 4, 8),
                thing("x", 40, 3, 44, 8),
                thing("x", 0, 3, 35, 8),
                thing("x", 7, 3, 7, 18),
            ]
        },
    )
    dataset = data.read(tmp_path)
    assert dataset.scene(0).instances.boxes.tolist() == [[0, 2, 30, 8], [6, 2, 7, 18]]
    assert dataset.repair_counts() == {
        "box without area, dropped": 1,
        "turned-over box, dropped": 1,
        "box outside the picture, dropped": 1,
        "box outside the picture, clipped": 1,
    }
    assert str(dataset.repairs[2]) == "a, annotation 2: box outside the picture (39, 2, 44, 8) in 30x20, dropped"
    with pytest.raises(
        DataError, match=r"3 boxes cannot be used.*on_invalid='drop'(.|\n)*a, annotation 1: turned-over"
    ):
        data.read(tmp_path, on_invalid="error")


def test_splits_are_lists_and_agree_about_classes(tmp_path):
    make(tmp_path, {"a": [thing("dog", 1, 1, 5, 5)], "b": [thing("ant", 1, 1, 5, 5)]})
    lists = tmp_path / "ImageSets" / "Main"
    (lists / "train.txt").write_text("b\na\n")
    (lists / "val.txt").write_text("a\n")
    (lists / "dog_train.txt").write_text("a  1\nb -1\n")
    assert data.splits(tmp_path) == ["train", "val"]
    train, val = data.read(tmp_path, "train"), data.read(tmp_path, "val")
    assert [train.name(i) for i in range(2)] == ["b", "a"]
    assert train.schema == val.schema and val.scene(0).instances.labels.tolist() == [1]
    (lists / "test.txt").write_text("zebra\n")
    with pytest.raises(DataError, match=r"test\.txt: names 1 pictures without Annotations/\*\.xml: \['zebra'\]"):
        data.read(tmp_path, "test")
    with pytest.raises(DataError, match="there is no split 'dev'; there are: test, train, val"):
        data.read(tmp_path, "dev")


def test_damaged_files_are_named(tmp_path):
    make(tmp_path, {"a": [thing("dog", "left", 1, 5, 5)]})
    with pytest.raises(DataError, match=r"a\.xml: object 0 \(dog\): bndbox/xmin should be a number, found 'left'"):
        data.read(tmp_path)
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation><object>")
    with pytest.raises(DataError, match=r"a\.xml: not an XML file"):
        data.read(tmp_path)
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation><object/></annotation>")
    with pytest.raises(DataError, match=r"a\.xml: object 0: has no name"):
        data.read(tmp_path)


def test_a_picture_of_another_size_is_an_error_that_names_both(tmp_path):
    make(tmp_path, {"a": [], "b": []}, sizes={"a": (20, 31), "b": (30, 20)})
    dataset = data.read(tmp_path)
    with pytest.raises(DataError, match=r"a\.jpg: the picture is 31x20 \(width x height\), its annotation says 30x20"):
        dataset[0]
    with pytest.raises(DataError, match=r"b\.jpg.*width and height have changed places"):
        dataset.picture(1)


def test_size_comes_from_the_picture_where_the_file_has_none(tmp_path):
    make(tmp_path, {"a": [thing("dog", 1, 1, 99, 99)]}, width=0)
    dataset = data.read(tmp_path)
    assert dataset.size(0) == (20, 30)
    assert dataset.scene(0).instances.boxes.tolist() == [[0, 0, 30, 20]]


def test_an_unreadable_picture_without_stated_size_is_left_out_and_told(tmp_path):
    make(tmp_path, {"a": [thing("dog", 1, 1, 9, 9)], "b": [thing("cat", 1, 1, 5, 5)], "c": []}, width=0)
    (tmp_path / "JPEGImages" / "b.jpg").write_bytes(b"no picture")
    dataset = data.read(tmp_path)
    assert [dataset.name(i) for i in range(len(dataset))] == ["a", "c"]
    assert dataset.scene(0).instances.boxes.tolist() == [[0, 0, 9, 9]]
    assert dataset.repair_counts() == {"picture unreadable, dropped": 1}
    (told,) = check(dataset).errors
    assert (told.kind, told.picture) == ("picture unreadable", "b") and "b.jpg: not a picture" in told.values


def test_given_classes_must_cover_the_files(tmp_path):
    make(tmp_path, {"a": [thing("dog", 1, 1, 5, 5)]})
    assert data.read(tmp_path, class_names=["cow", "dog"]).scene(0).instances.labels.tolist() == [1]
    with pytest.raises(DataError, match=r"classes \['dog'\] are in the files but not among class_names \['cow'\]"):
        data.read(tmp_path, class_names=["cow"])


def test_written_sets_come_back(tmp_path):
    (tmp_path / "in").mkdir()
    make(
        tmp_path / "in",
        {"a.v2": [thing("dog", "1.25", 1, 30, 20), thing("cat", 2, 3, 9, 9, "<difficult>1</difficult>")], "b": []},
    )
    before = data.read(tmp_path / "in")
    assert data.write(before, tmp_path / "out", "voc", split="train") == []
    after = data.read(tmp_path / "out", "train")
    assert after.schema.things.names == before.schema.things.names
    for i in range(2):
        assert after.name(i) == before.name(i)
        for field in ("boxes", "labels", "ignore"):
            assert torch.equal(getattr(after.scene(i).instances, field), getattr(before.scene(i).instances, field))


def test_bccd_reads_whole():
    dataset = data.read(real("bccd"))
    labels = torch.cat([dataset.scene(i).instances.labels for i in range(len(dataset))])
    assert dataset.schema.things.names == ("Platelets", "RBC", "WBC")
    # two of 4,888 boxes are single pixels: one red cell and one more
    assert len(labels) == 4886 and len(dataset) == 364
    assert dataset.repair_counts() == {"box without area, dropped": 2}
    assert np.abs(labels.bincount().numpy() - [361, 4155, 372]).sum() == 2
    sizes = {split: len(data.read(real("bccd"), split)) for split in data.splits(real("bccd"))}
    assert sizes == {"test": 72, "train": 205, "trainval": 292, "val": 87}
    picture, scene = dataset[5]
    assert picture.shape == (*scene.size, 3)
