"""YOLO's texts: every layout and kind of row worked by hand; what is refused, repaired, written."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from videre import data
from videre.data.dataset import FileSource
from videre.errors import DataError
from videre.images.reading import write_picture
from videre.structures import COCO_PERSON, Categories, Instances, Masks, Polygons, Scene, Schema, Skeleton
from videre.structures.scene import qualified

from ..shared import real

BOX = "1 0.5 0.25 0.4 0.3"  # of 100x40 pixels: 30..70, 4..16
PIXELS = [30, 4, 70, 16]
NAMES = "names: [cat, dog]\n"


def picture(file: Path, size: tuple[int, int] = (40, 100)) -> Path:
    write_picture(file.with_suffix(".png"), np.zeros((*size, 3), np.uint8))
    if file.suffix != ".png":
        file.with_suffix(".png").rename(file)
    return file


def text(file: Path, *lines: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


def put(root: Path, *rows: str, config: str = NAMES, name: str = "a") -> Path:
    """One picture with its rows in images/ and labels/."""
    picture(root / "images" / f"{name}.png")
    text(root / "labels" / f"{name}.txt", *rows)
    if config:
        text(root / "data.yaml", config)
    return root


def kinds(dataset: data.Dataset) -> list[tuple[str, str, str]]:
    return [(r.kind, r.picture, r.action) for r in dataset.repairs]


# layouts ----------------------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, dict[str, str]] = {
    "ultralytics": {
        "images/train/a.png": "labels/train/a.txt",
        "images/val/b.png": "labels/val/b.txt",
        "data.yaml": "path: ../datasets/gone\ntrain: images/train\nval: images/val\ntest:\nnames:\n  0: cat\n  1: dog\n",
    },
    "ultralytics without data.yaml": {
        "images/train/a.png": "labels/train/a.txt",
        "images/val/b.png": "labels/val/b.txt",
        "labels/classes.txt": "cat\ndog\n",
    },
    "roboflow": {
        "train/images/a.png": "train/labels/a.txt",
        "valid/images/b.png": "valid/labels/b.txt",
        "README.roboflow.txt": "about\n",
        "data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n",
    },
    "another machine's": {
        "train/images/a.png": "train/labels/a.txt",
        "val/images/b.png": "val/labels/b.txt",
        "pets.yaml": "train: C:\\work\\train\\images\nval: /content/pets/val/images\nnames: [cat, dog]\n",
    },
    "lists in data.yaml": {
        "images/a.png": "labels/a.txt",
        "images/b.png": "labels/b.txt",
        "one.txt": "./images/a.png\n",
        "two.txt": "/elsewhere/set/images/b.png\n",
        "data.yaml": "train: one.txt\nval: [two.txt]\nnames: [cat, dog]\n",
    },
    "roboflow's darknet": {
        "train/a.png": "train/a.txt",
        "train/_darknet.labels": "cat\ndog\n",
        "valid/b.png": "valid/b.txt",
        "valid/_darknet.labels": "cat\ndog\n",
    },
    "darknet": {
        "obj_train_data/a.png": "obj_train_data/a.txt",
        "obj_train_data/b.png": "obj_train_data/b.txt",
        "obj.names": "cat\ndog\n",
        "obj.data": "classes = 2\ntrain = data/train.txt\n",
        "train.txt": "data/obj_train_data/a.png\n",
        "valid.txt": "data/obj_train_data/b.png\n",
    },
    "darknet in data/": {
        "data/obj/a.png": "data/obj/a.txt",
        "data/obj/b.png": "data/obj/b.txt",
        "data/obj.names": "cat\ndog\n",
        "data/train.txt": "data/obj/a.png\n",
        "data/test.txt": "data/obj/b.png\n",
    },
    "darknet's folders": {
        "obj_train_data/a.png": "obj_train_data/a.txt",
        "obj_valid_data/b.png": "obj_valid_data/b.txt",
        "obj.names": "cat\ndog\n",
    },
}
WITHOUT: dict[str, dict[str, str]] = {
    "flat": {"images/a.png": "labels/a.txt", "images/b.png": "labels/b.txt", "data.yaml": NAMES},
    "flat with classes.txt": {
        "images/a.png": "labels/a.txt",
        "images/b.png": "labels/b.txt",
        "classes.txt": "cat\ndog",
    },
    "one folder": {"a.png": "a.txt", "b.png": "b.txt", "classes.txt": "cat\ndog\n"},
}


def lay(root: Path, layout: dict[str, str]) -> Path:
    for place, other in layout.items():
        if place.endswith(".png"):
            picture(root / place)
            text(root / other, BOX)
        else:
            text(root / place, other)
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found(tmp_path: Path, layout: str) -> None:
    root = lay(tmp_path, LAYOUTS[layout])
    assert [name for name, m in data.FORMATS.items() if m.recognise(root) and name != "folders"] == ["yolo"]
    first, second = sorted(data.splits(root), key=lambda name: name != "train")
    assert data.find_format(root) == "yolo" and first == "train" and second in ("val", "valid", "test")
    whole, train, val = (data.read(root, split) for split in (None, first, second))
    assert [[d.name(i) for i in range(len(d))] for d in (whole, train, val)] == [
        ["a.png", "b.png"],
        ["a.png"],
        ["b.png"],
    ]
    for part in (whole, train, val):
        assert list(part.schema.things) == ["cat", "dog"] and part.schema.things.source_ids == (0, 1)
        things = part.scene(len(part) - 1).instances
        assert things.boxes.tolist() == [PIXELS] and things.labels.tolist() == [1] and part.repairs == ()
        assert part.fields == {"boxes", "instances.labels"} and part.picture(0).shape == (40, 100, 3)


@pytest.mark.parametrize("layout", WITHOUT)
def test_layouts_without_splits(tmp_path: Path, layout: str) -> None:
    root = lay(tmp_path, WITHOUT[layout])
    assert [name for name, m in data.FORMATS.items() if m.recognise(root) and name != "folders"] == ["yolo"]
    found = data.read(root)
    assert data.splits(root) == [] and [found.name(i) for i in range(2)] == ["a.png", "b.png"]
    assert found.scene(1).instances.boxes.tolist() == [PIXELS] and not found.repairs


def test_lists_are_splits_of_a_flat_set(tmp_path: Path) -> None:
    root = lay(tmp_path, WITHOUT["flat"])
    text(root / "fold1-train.txt", "b.png")
    text(root / "fold1-val.txt", "a")
    assert data.splits(root) == ["fold1-train", "fold1-val"] and len(data.read(root)) == 2
    assert [data.read(root, split).name(0) for split in data.splits(root)] == ["b.png", "a.png"]


def test_a_data_yaml_may_be_named(tmp_path: Path) -> None:
    root = lay(tmp_path, LAYOUTS["ultralytics"])
    assert data.find_format(root / "data.yaml") == "yolo" and data.splits(root / "data.yaml") == ["train", "val"]
    assert data.read(root / "data.yaml", "val").scene(0).instances.boxes.tolist() == [PIXELS]
    text(root / "other.yaml", NAMES + "train: images/val\n")
    assert data.read(root / "other.yaml").name(0) == "b.png" and len(data.read(root)) == 2
    (root / "data.yaml").rename(root / "third.yaml")
    with pytest.raises(DataError, match=r"other.yaml, third.yaml may all be its data.yaml; name the one to read"):
        data.read(root)


def test_path_lists_of_folders_and_shared_names(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        picture(tmp_path / "set" / folder / "images" / "a.png")
        text(tmp_path / "set" / folder / "labels" / "a.txt", BOX)
    text(tmp_path / "conf" / "data.yaml", "path: ../set\ntrain: [one/images, two/images]\nval: one/images\n" + NAMES)
    whole, val = (data.read(tmp_path / "conf" / "data.yaml", split) for split in (None, "val"))
    assert [whole.name(i) for i in range(len(whole))] == ["../set/one/images/a.png", "../set/two/images/a.png"]
    assert [val.name(i) for i in range(len(val))] == ["../set/one/images/a.png"]


def test_a_split_that_is_not_there_is_told(tmp_path: Path) -> None:
    root = lay(tmp_path, LAYOUTS["roboflow"])
    text(root / "data.yaml", LAYOUTS["roboflow"]["data.yaml"] + "test: ../test/images")
    found = data.read(root)
    assert data.splits(root) == ["train", "val"] and kinds(found) == [("split without pictures", "-", "left out")]
    assert found.repairs[0].found == f"{root / 'data.yaml'}: no ../test/images"
    text(root / "empty" / "data.yaml", "train: images/train\n" + NAMES)
    message = f"{root}/empty/data.yaml: no pictures in images/train; correct the paths in {root}/empty/data.yaml"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        data.read(root / "empty")


def test_names_of_files(tmp_path: Path) -> None:
    for name in ("My Cat 1.PNG", "b.c.png", ".hidden.png", "ünder.png"):
        picture(tmp_path / "images" / name)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "My Cat 1.TXT").write_bytes(b"\xef\xbb\xbf" + BOX.encode() + b"\r\n\r\n0 .5 .5 1 1\r\n")
    text(tmp_path / "labels" / "b.c.txt", BOX)
    text(tmp_path / "labels" / "ünder.txt")
    text(tmp_path / "labels" / "._b.c.txt", "resource fork")
    text(tmp_path / "data.yaml", NAMES)
    found = data.read(tmp_path)
    assert {found.name(i): len(found.scene(i)) for i in range(len(found))} == {
        "My Cat 1.PNG": 2,
        "b.c.png": 1,
        "ünder.png": 0,
    }
    assert not found.repairs


def test_pictures_and_texts_without_the_other(tmp_path: Path) -> None:
    put(tmp_path, BOX)
    picture(tmp_path / "images" / "bare.png")
    text(tmp_path / "labels" / "lost.txt", BOX)
    found = data.read(tmp_path)
    assert len(found) == 2 and len(found.scene(1)) == 0
    assert kinds(found) == [
        ("picture without labels file", "bare.png", "taken as empty"),
        ("labels without picture", "labels/lost.txt", "dropped"),
    ]
    for file in (tmp_path / "labels").iterdir():
        file.unlink()
    text(tmp_path / "data.yaml", NAMES + "train: images\n")
    texts = f"{tmp_path}/labels/a.txt or {tmp_path}/images/a.txt"
    message = f"{tmp_path}/data.yaml: none of 2 pictures has labels; looked for {texts}, …"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        data.read(tmp_path)


def test_each_split_tells_its_own(tmp_path: Path) -> None:
    root = lay(tmp_path, LAYOUTS["ultralytics without data.yaml"])
    picture(root / "images" / "loose.png")
    text(root / "labels" / "train" / "lost.txt", BOX)
    (root / "labels" / "val" / "b.txt").unlink()
    found = [data.read(root, split) for split in ("train", "val", None)]
    assert [kinds(part) for part in found[:2]] == [
        [("labels without picture", "labels/train/lost.txt", "dropped")],
        [("picture without labels file", "b.png", "taken as empty")],
    ]
    assert [found[2].name(i) for i in range(3)] == ["a.png", "b.png", "loose.png"] and len(found[2].repairs) == 3
    root = lay(tmp_path / "lists", LAYOUTS["lists in data.yaml"])
    text(root / "two.txt", "gone.png")
    assert len(data.read(root, "train")) == 1


# rows -------------------------------------------------------------------------------------------------------------------


def test_outlines_are_masks_and_boxes_among_them_are_ignored(tmp_path: Path) -> None:
    found = data.read(put(tmp_path, "0 0.1 0.25 0.3 0.25 0.3 0.75 0.1 0.75", BOX))
    things = found.scene(0).instances
    assert things.boxes.tolist() == [[10, 10, 30, 30], PIXELS] and things.labels.tolist() == [0, 1]
    assert things.masks.area().tolist() == [400, 0] and things.ignore.tolist() == [False, True]
    assert kinds(found) == [("instance without mask", "a.png", "ignored")]
    found = data.read(put(tmp_path / "boxes", "0 0.1 0.25 0.3 0.25 0.3 0.75 0.1 0.75", BOX, "0 .5 .5 .2 .2"))
    assert "masks" not in found.fields and found.scene(0).instances.ignore is None and len(found.scene(0)) == 3
    assert kinds(found) == [("mask among boxes", "a.png", "left out")]
    text(tmp_path / "labels" / "a.txt", "0 0.1 0.25 0.3 0.25 0.2 0.75")
    things = data.read(tmp_path).scene(0).instances
    assert things.ignore is None and things.masks.polygons()[0].parts[0].tolist() == [[10, 10], [30, 10], [20, 30]]


POSE = "kpt_shape: [3, {}]\nflip_idx: [0, 2, 1]\n" + NAMES


def test_poses(tmp_path: Path) -> None:
    found = data.read(put(tmp_path, f"{BOX} 0.5 0.5 2 0.3 0.125 1 0 0 0", config=POSE.format(3)))
    things, skeleton = found.scene(0).instances, found.schema.skeleton
    assert things.boxes.tolist() == [PIXELS] and things.visibility.tolist() == [[2, 1, 0]]
    assert torch.allclose(things.keypoints, torch.tensor([[[50.0, 20], [30, 5], [0, 0]]]))
    assert skeleton == Skeleton(("keypoint 0", "keypoint 1", "keypoint 2"), (), ((1, 2),)) and not found.repairs
    config = POSE.format(2).replace("flip_idx: [0, 2, 1]", "kpt_names: {0: [nose, left, right]}")
    found = data.read(put(tmp_path, f"{BOX} 0.5 0.5 0 0.125 0 0", config=config))
    assert found.scene(0).instances.visibility.tolist() == [[2, 2, 0]]
    assert found.schema.skeleton == Skeleton(("nose", "left", "right"), (), None)


def test_rows_that_are_repaired(tmp_path: Path) -> None:
    rows = [BOX, BOX, "0 0.5 0.5 0 0.3", "0 0.5 0.5 1.008 0.5", "0 0.9 0.5 0.4 0.5", "0 1.00001 0.5 0.2 0.1"]
    found = data.read(put(tmp_path, *rows))
    boxes = found.scene(0).instances.boxes
    assert torch.allclose(boxes, torch.tensor([PIXELS, [0, 10, 100, 30], [70, 10, 100, 30], [90, 18, 100, 22.0]]))
    assert [(r.kind, r.annotation, r.action) for r in found.repairs] == [
        ("row twice", "line 2", "dropped"),
        ("row slightly outside 0..1", "line 4", "clipped"),
        ("box without area", "line 3", "dropped"),
        ("box outside the picture", "line 5", "clipped"),
        ("box outside the picture", "line 6", "clipped"),
    ]


@pytest.mark.parametrize(("config", "count"), [("", 2), ("nc: 3\n", 3)])
def test_classes_without_names(tmp_path: Path, config: str, count: int) -> None:
    found = data.read(put(tmp_path, BOX, config=config))
    assert data.find_format(tmp_path) == "yolo" and list(found.schema.things) == [f"class {k}" for k in range(count)]
    assert [str(r) for r in found.repairs] == [
        f"-, annotation -: class names missing neither data.yaml nor classes.txt nor obj.names names the {count} "
        "classes, named 'class 0', …"
    ]


@pytest.mark.parametrize("config", [NAMES, POSE.format(3)])
def test_a_set_without_any_thing(tmp_path: Path, config: str) -> None:
    found = data.read(put(tmp_path, config=config))
    assert len(found.scene(0)) == 0 and list(found.schema.things) == ["cat", "dog"] and not found.repairs


def test_classes_without_names_are_the_same_in_every_split(tmp_path: Path) -> None:
    root = lay(tmp_path, {k: v for k, v in LAYOUTS["ultralytics"].items() if k != "data.yaml"})
    text(root / "labels" / "train" / "a.txt", "4 0.5 0.5 0.1 0.1")
    assert [len(data.read(root, split).schema.things) for split in ("train", "val", None)] == [5, 5, 5]


def test_numbers_of_another_set(tmp_path: Path) -> None:
    found = data.read(put(tmp_path, BOX, "17 0.5 0.5 0.1 0.1", config="names:\n  17: dog\n  1: cat\n"))
    assert list(found.schema.things) == ["cat", "dog"] and found.schema.things.source_ids == (1, 17)
    assert found.scene(0).instances.labels.tolist() == [0, 1]
    text(tmp_path / "labels" / "a.txt", "2 0.5 0.5 0.1 0.1")
    with pytest.raises(
        DataError, match=r"class should be one of 1, 17, … \(2 names in .*data.yaml\), found 2; correct"
    ):
        data.read(tmp_path)


@pytest.mark.parametrize("split", ["train", "val"])
def test_real_boxes_are_those_of_the_json(tmp_path: Path, split: str) -> None:
    (tmp_path / "images").symlink_to(real("coco256") / "images")
    for name in ("labels", "config.yaml"):
        (tmp_path / name).symlink_to(real("coco256") / "object_detection" / name)
    found, told = data.read(tmp_path, split), data.read(real("coco256") / f"boxes_{split}2017.json")
    assert list(found.schema.things) == list(told.schema.things) and len(found) == len(told) == 128
    place = {Path(told.name(i)).name: i for i in range(len(told))}
    for i in range(len(found)):
        one, two = found.scene(i).instances, told.scene(place[found.name(i)]).instances
        assert torch.equal(one.labels, two.labels) and torch.allclose(one.boxes, two.boxes, rtol=0, atol=0.02)


def test_real_outlines_have_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "images").symlink_to(real("coco256") / "images")
    for name in ("labels", "config.yaml"):
        (tmp_path / name).symlink_to(real("coco256") / "instance_segmentation" / name)
    found = data.read(tmp_path)
    assert len(found.schema.things) == 80 and found.schema.things.source_ids[-1] == 90 and "masks" in found.fields
    assert sum(len(found.scene(i)) for i in range(len(found))) > 1000


def test_names_stay_as_they_are_written(tmp_path: Path) -> None:
    found = data.read(put(tmp_path, BOX, config="names: {1: 1e3, 0: no, 2: 'yes: or 007'}\n"))
    assert list(found.schema.things) == ["no", "1e3", "yes: or 007"]


OUTSIDE = "looks like pixels, YOLO is relative: divide by the picture's size"


@pytest.mark.parametrize(
    ("row", "config", "message"),
    [
        ("1 0.5 x 0.4 0.3", NAMES, "should be numbers with blanks between, found 'x'; correct the row"),
        (
            "1,0.5,0.5,0.4,0.3",
            NAMES,
            "should be numbers with blanks between, found '1,0.5,0.5,0.4,0.3'; correct the row",
        ),
        ("1 0.5 nan 0.4 0.3", NAMES, "cy should be a finite number, found nan; correct the row"),
        (
            "2 0.5 0.5 0.4 0.3",
            NAMES,
            "class should be a whole number of 0 to 1 (2 names in {root}/data.yaml), found 2; correct the row, or add "
            "the name",
        ),
        (
            "0.5 0.5 0.5 0.4 0.3",
            "nc: 7\n",
            "class should be a whole number of 0 to 6 (nc in {root}/data.yaml), found 0.5; correct the row, or add the name",
        ),
        (
            "10000 0.5 0.5 0.4 0.3",
            "",
            "class should be a whole number of 0 to 9999 (there are no names), found 10000; correct the row, or add the name",
        ),
        ("1 0.5 0.5 1.02 0.3", NAMES, "width should lie in 0..1, found 1.02; correct the row"),
        ("1 -0.02 0.5 0.2 0.3", NAMES, "cx should lie in 0..1, found -0.02; correct the row"),
        ("1 50 20 40 12", NAMES, f"cx should lie in 0..1, found 50; {OUTSIDE}"),
        ("1 .1 .1 .2 .2 30 .1", NAMES, f"x of point 2 should lie in 0..1, found 30; {OUTSIDE}"),
        (
            "1 0.5 0.5 0.4",
            NAMES,
            "should be 5 columns (class and box) or an odd number from 7 on (class and points x y), found 4; correct the row",
        ),
        (
            "1 .1 .1 .2 .2 .3 .1 .4",
            NAMES,
            "should be 5 columns (class and box) or an odd number from 7 on (class and points x y), found 8; correct the "
            "row; if these are keypoints, data.yaml needs kpt_shape",
        ),
        (
            f"{BOX} 0.9",
            NAMES,
            "should be class cx cy width height, found 6 columns: with a confidence these are predictions, not truth; "
            "take the last column off if they are to be learned from",
        ),
        (
            BOX,
            POSE.format(3),
            "should be 14 columns, a box and 3 keypoints of 3 numbers (kpt_shape), found 5; correct the row, with zeros "
            "for keypoints that are not labelled",
        ),
        (
            f"{BOX} 0.5 0.5 2 0.5 0.5 0.9 0 0 0",
            POSE.format(3),
            "visibility of keypoint 1 should be 0, 1 or 2, found 0.9; correct the row",
        ),
        (
            f"{BOX} 0.5 0.5 0.5 1.5 0 0",
            POSE.format(2),
            "y of keypoint 1 should lie in 0..1, found 1.5; correct the row",
        ),
    ],
)
def test_broken_rows(tmp_path: Path, row: str, config: str, message: str) -> None:
    put(tmp_path, row, config=config, name="b")
    zeros = " 0 0 0" * 3 if "3, 3" in config else " 0 0" * 3 if "kpt" in config else ""
    text(tmp_path / "labels" / "a.txt", BOX + zeros)
    picture(tmp_path / "images" / "a.png")
    told = f"{tmp_path}/labels/b.txt: line 1: {message.format(root=tmp_path)}"
    cure = " (or go on without it: --skip-broken, skip_broken=True)"
    with pytest.raises(DataError, match=f"^{re.escape(told + cure)}$"):
        data.read(tmp_path)
    found = data.read(tmp_path, skip_broken=True)
    assert [len(found.scene(i)) for i in range(2)] == [1, 0]
    assert ("broken annotation", "b.png", "dropped") in kinds(found)


def test_all_faults_at_once(tmp_path: Path) -> None:
    put(tmp_path, BOX, "1 2", "3 .5 .5 .1 .1", name="a")
    put(tmp_path, name="b")
    (tmp_path / "labels" / "b.txt").write_bytes(b"\0\xff\0\x81")
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("3 faults; correct them") and len(lines) == 4
    assert lines[1].startswith(f"  {tmp_path}/labels/a.txt: line 2: should be 5 columns")
    assert lines[2].startswith(f"  {tmp_path}/labels/a.txt: line 3: class should be")
    assert lines[3].startswith(f"  {tmp_path}/labels/b.txt: not a text in utf-8")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("names: [cat, dog\n", "not a YAML file (while parsing a flow sequence"),
        ("names: [cat, cat]\n", "classes 0 and 1 are both called 'cat'; give each a name of its own"),
        ("names: {0: cat, two: dog}\n", "names should be numbered from 0 on, found 'two'; correct the file"),
        (
            "names: {0: cat, 2: [dog]}\n",
            "names should be a list, or names by number, found {{'0': 'cat', '2': ['dog']}}",
        ),
        ("names: cat\n", "names should be a list, or names by number, found 'cat'; correct the file"),
        ("names: [cat, '']\n", "class 1 has no name; give it one"),
        ("names: [cat, dog]\nnc: 3\n", "nc is 3, but {file} has 2 names (cat, dog); make them agree"),
        ("nc: many\n", "nc should be a whole number of 1 to 10000, found 'many'; correct it"),
        (NAMES + "kpt_shape: 17\n", "kpt_shape should be [keypoints, 2 or 3], found '17'; correct the file"),
        (
            NAMES + "kpt_shape: [3, 3]\nflip_idx: [1, 2, 0]\n",
            "flip_idx should say for each of 3 keypoints with which it changes places, found ['1', '2', '0']; correct it",
        ),
        (NAMES + "kpt_shape: [2, 3]\nkpt_names: [nose]\n", "kpt_names should be 2 names, found ['nose']; correct it"),
    ],
)
def test_broken_data_yaml(tmp_path: Path, config: str, message: str) -> None:
    file = put(tmp_path, BOX, config=config) / "data.yaml"
    with pytest.raises(DataError, match=f"^{re.escape(f'{file}: {message.format(file=file)}')}"):
        data.read(tmp_path)


def test_a_list_that_names_no_picture(tmp_path: Path) -> None:
    root = lay(tmp_path, LAYOUTS["lists in data.yaml"])
    text(root / "one.txt", "./images/a.png", "./images/gone.png")
    message = f"{root}/one.txt: line 2: no picture 'images/gone.png' in {root}, or below; correct the list"
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        data.read(root, "train")
    assert len(data.read(root, "train", skip_broken=True)) == 1


def test_other_texts_are_no_labels(tmp_path: Path) -> None:
    for n, line in enumerate(["a cat on a mat", "1 2 3", "Car 0.0 0 1.5 10 10 20 20", ""]):
        picture(tmp_path / f"{n}.png")
        text(tmp_path / f"{n}.txt", line)
    text(tmp_path / "model.yaml", "nc: 80\nbackbone: []")
    assert data.find_format(tmp_path) == "folders"
    picture(tmp_path / "set" / "images" / "a.png")
    picture(tmp_path / "set" / "labels" / "a.png")
    text(tmp_path / "set" / "train.txt", "a")
    assert data.find_format(tmp_path / "set") == "instances"


# writing ----------------------------------------------------------------------------------------------------------------


class Made(FileSource):
    """Pictures with the instances given."""

    def __init__(self, root: Path, things: list[Instances], size: tuple[int, int]) -> None:
        paths = [picture(root / f"{n}.png", size) for n in range(len(things))]
        super().__init__(
            [str(p) for p in paths], [p.name for p in paths], fields=frozenset(map(qualified, things[0].fields()))
        )
        self.things = things

    def scene(self, i: int) -> Scene:
        return Scene(self.size(i), self.things[i], meta={"path": self.paths[i], "id": i})


def made(root: Path, *things: Instances, size: tuple[int, int] = (40, 100), **schema: Any) -> data.Dataset:
    root.mkdir(exist_ok=True)
    return data.Dataset(Made(root, list(things), size), Schema(things=Categories.of(["cat", "no"]), **schema))


def one(**fields: Any) -> Instances:
    return Instances(torch.tensor([[10.0, 10, 30, 30]]), torch.tensor([1]), **fields)


RING = np.array([[10.0, 10], [30, 10], [30, 30], [10, 30]])


def outline(*parts: np.ndarray, holes: tuple[np.ndarray, ...] = ()) -> Masks:
    return Masks.from_polygons([Polygons(parts, holes)], (40, 100))


def test_what_is_written(tmp_path: Path) -> None:
    things = made(tmp_path / "in", one(), Instances(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)))
    assert data.write(things, tmp_path / "out", "yolo") == []
    assert data.write(things, tmp_path / "out", "yolo", split="valid") == []
    assert (tmp_path / "out/labels/train/0.txt").read_text() == "1 0.2 0.5 0.2 0.5\n"
    assert (tmp_path / "out/labels/train/1.txt").read_text() == ""
    stated = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert stated == {"train": "images/train", "val": "images/valid", "names": {0: "cat", 1: "no"}}
    assert data.find_format(tmp_path / "out") == "yolo" and data.splits(tmp_path / "out") == ["train", "val"]
    found = data.read(tmp_path / "out", "val")
    assert not found.repairs and found.scene(0).instances.boxes.tolist() == [[10, 10, 30, 30]] and len(found) == 2
    with (tmp_path / "out/data.yaml").open("a") as file:
        file.write("license: CC BY 4.0\n")
    data.write(things, tmp_path / "out", "yolo", split="test")
    assert "license: CC BY 4.0" in (tmp_path / "out/data.yaml").read_text()
    things.schema = Schema(things=Categories.of(["cat", "dog"]))
    message = r"data.yaml: names is cat, no, of what is to be added cat, dog; write to a new folder"
    with pytest.raises(DataError, match=message):
        data.write(things, tmp_path / "out", "yolo", split="train2")
    assert not (tmp_path / "out/images/train2").exists()


def test_outlines_and_poses_there_and_back(tmp_path: Path) -> None:
    before = made(tmp_path / "in", one(masks=outline(RING)))
    assert data.write(before, tmp_path / "out", "yolo") == []
    after = data.read(tmp_path / "out").scene(0).instances
    assert np.allclose(after.masks.polygons()[0].parts[0], RING) and after.boxes.tolist() == [[10, 10, 30, 30]]
    points = torch.rand(1, 17, 2) * 30
    visibility = torch.arange(17, dtype=torch.uint8)[None] % 3
    before = made(tmp_path / "in", one(keypoints=points, visibility=visibility), skeleton=COCO_PERSON)
    assert data.write(before, tmp_path / "poses", "yolo") == []
    found = data.read(tmp_path / "poses")
    after = found.scene(0).instances
    assert found.schema.skeleton == COCO_PERSON and torch.equal(after.visibility, visibility)
    assert torch.allclose(after.keypoints, points * (visibility > 0)[..., None], atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "told", "lost"),
    [
        ({"ignore": torch.tensor([True])}, "is ignored, which", ["1 things that are ignored"]),
        ({"masks": outline(RING, holes=(RING / 2 + 10,))}, "has a mask with a hole, which", ["1 holes in masks"]),
        ({"masks": outline(RING / 2, RING)}, "has a mask of 2 parts, a row of YOLO has one", ["1 parts of masks"]),
        ({"masks": outline()}, "has an empty mask, which", ["1 things with an empty mask"]),
        (
            {"keypoints": torch.tensor([[[101.0, 3]]])},
            "has keypoint 0 outside the picture",
            ["1 keypoints outside the picture"],
        ),
        ({"captions": ("a cat",)}, None, ["instances.captions"]),
        ({"masks": outline(RING), "keypoints": torch.ones(1, 1, 2)}, None, ["masks"]),
    ],
)
def test_losses_are_refused_or_told(tmp_path: Path, fields: Any, told: str | None, lost: list[str]) -> None:
    dataset = made(tmp_path / "in", one(**fields), skeleton=Skeleton(("nose",)))
    message = f"0.png: instance 0 {told}.*allow the loss of such" if told else f"YOLO cannot hold.*{lost[0]}"
    with pytest.raises(DataError, match=message):
        data.write(dataset, tmp_path / "out", "yolo")
    assert not (tmp_path / "out").exists()
    found = data.write(dataset, tmp_path / "out", "yolo", lossy=True)
    assert [name.removeprefix("instances.") for name in found] == [name.removeprefix("instances.") for name in lost]
    after = data.read(tmp_path / "out").scene(0).instances
    if "masks" in fields and len(after) and "keypoints" not in fields:
        assert np.allclose(after.masks.polygons()[0].parts[0], RING)  # the largest part
    if "keypoints" in fields and "masks" not in fields:
        assert after.visibility.tolist() == [[0]]


def test_without_things_nothing_is_written(tmp_path: Path) -> None:
    dataset = made(tmp_path / "in", one())
    dataset.schema = Schema(pictures=Categories.of(["x"]))
    with pytest.raises(DataError, match="YOLO holds boxes, outlines or poses of things"):
        data.write(dataset, tmp_path / "out", "yolo", lossy=True)


SIDES = st.integers(8, 2000)


@settings(max_examples=40, deadline=None)
@given(st.data(), SIDES, SIDES)
def test_boxes_there_and_back(draw: st.DataObject, height: int, width: int) -> None:
    def ends(side: int) -> st.SearchStrategy[list[float]]:
        share = st.floats(0, 1, allow_nan=False, width=32)
        spans = st.tuples(share, share).map(lambda v: [min(v) * side, max(v) * side])
        return spans.filter(lambda v: v[1] - v[0] > 0.01)

    rows = draw.draw(st.lists(st.tuples(ends(width), ends(height), st.integers(0, 1)), max_size=5, unique_by=str))
    boxes = torch.tensor([[x[0], y[0], x[1], y[1]] for x, y, _ in rows], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([label for _, _, label in rows], dtype=torch.int64)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        before = made(root / "in", Instances(boxes, labels), size=(height, width))
        assert data.write(before, root / "out", "yolo") == []
        found = data.read(root / "out", "train")
        after = found.scene(0).instances
        assert torch.equal(after.labels, labels) and torch.allclose(after.boxes, boxes, rtol=0, atol=1e-4)
        assert found.repairs == () and list(found.schema.things) == ["cat", "no"]
