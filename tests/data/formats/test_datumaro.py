"""Datumaro's JSONs: annotations to instances, worked by hand; groups joined; what is left out, refused, written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre import data
from videre.data.dataset import Dataset
from videre.data.flat import FlatMasks, FlatSource, Ragged, Texts
from videre.errors import DataError
from videre.images.reading import write_picture
from videre.structures import Categories, Polygons, Schema, Skeleton

BOX = {"id": 1, "type": "bbox", "label_id": 0, "bbox": [1, 2, 3, 4], "group": 0, "attributes": {"occluded": False}}
RING = {"id": 2, "type": "polygon", "label_id": 0, "points": [5, 0, 8, 0, 8, 2, 5, 2], "group": 0, "attributes": {}}
RLE = {"counts": [8, 2, 70], "size": [8, 10]}  # column by column: the two upper pixels of column 1
MASK = {"id": 3, "type": "mask", "label_id": 1, "rle": RLE, "group": 0}
TAG = {"id": 4, "type": "label", "label_id": 2}
LABELS = ["cup", "ball", "indoors"]


def put(folder: Path, annotations: list[Any], subset: str = "train", labels: Any = LABELS, **fields: Any) -> Path:
    write_picture(folder / "images" / subset / "a.png", np.zeros((8, 10, 3), np.uint8))
    item = {
        "id": "a",
        "annotations": annotations,
        "image": {"path": "a.png", "size": [8, 10]},
        **fields.pop("item", {}),
    }
    categories = {
        "label": {"labels": [{"name": name, "parent": ""} for name in labels]},
        **fields.pop("categories", {}),
    }
    content = {"info": {}, "categories": categories, "items": [item], **fields}
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / f"{subset}.json").write_text(json.dumps(content))
    return folder


def test_annotations_become_instances(tmp_path: Path) -> None:
    line = {"id": 5, "type": "polyline", "label_id": 0, "points": [0, 0, 1, 1]}
    text = {"id": 6, "type": "caption", "caption": "A cup."}
    loose = {"id": 7, "type": "points", "label_id": 0, "points": [1, 1]}
    found = data.read(put(tmp_path, [BOX, RING, MASK, TAG, line, text, loose]))
    assert data.find_format(tmp_path) == "datumaro" and data.splits(tmp_path) == ["train"]
    assert list(found.schema.things) == ["cup", "ball"] and list(found.schema.pictures) == ["indoors"]
    scene = found.scene(0)
    assert scene.instances.boxes.tolist() == [[1, 2, 4, 6], [5, 0, 8, 2], [1, 0, 2, 2]] and scene.meta["id"] == "a"
    assert scene.instances.labels.tolist() == [0, 0, 1] and scene.instances.masks.area().tolist() == [0, 6, 2]
    assert scene.labels.tolist() == [0] and scene.captions == ("A cup.",) and found.name(0) == "train/a.png"
    assert found.repair_counts() == {
        "polyline of Datumaro, dropped": 1,
        "points of Datumaro, dropped": 1,
        "instance without mask, ignored": 1,
    }


def test_a_group_of_one_label_is_one_instance(tmp_path: Path) -> None:
    group = lambda row, n, **more: {**row, "group": n, **more}
    rows = [
        group(RING, 4),
        group(BOX, 4, attributes={"is_crowd": True}),
        group(RING, 4, points=[0, 0, 1, 0, 1, 1, 0, 1]),
    ]
    things = data.read(put(tmp_path, [*rows, group(MASK, 4), group(MASK, 0)])).scene(0).instances
    assert things.labels.tolist() == [0, 1, 1] and things.ignore.tolist() == [True, False, False]
    assert things.boxes[0].tolist() == [1, 2, 4, 6] and things.masks.area().tolist() == [7, 2, 2]
    several = data.read(put(tmp_path / "b", [group(BOX, 4), group(BOX, 4, bbox=[0, 0, 1, 1])])).scene(0).instances
    assert several.boxes.tolist() == [[1, 2, 4, 6], [0, 0, 1, 1]]
    mixed = data.read(put(tmp_path / "c", [group(RING, 1), group({**MASK, "label_id": 0}, 1)])).scene(0).instances
    assert mixed.masks.area().tolist() == [8] and mixed.boxes.tolist() == [[1, 0, 8, 2]]


def test_points_are_keypoints_where_their_label_names_them(tmp_path: Path) -> None:
    items = [{"label_id": 0, "labels": ["nose", "left ear", "right ear"], "joints": [[1, 3]]}]
    points = {
        "id": 9,
        "type": "points",
        "label_id": 0,
        "points": [1, 2, 3, 4, 5, 6],
        "visibility": [2, 0, 1],
        "group": 3,
    }
    found = data.read(put(tmp_path, [points, {**BOX, "group": 3}], categories={"points": {"items": items}}))
    assert found.schema.skeleton == Skeleton(("nose", "left ear", "right ear"), ((0, 2),), ((1, 2),))
    things = found.scene(0).instances
    assert things.keypoints.tolist() == [[[1, 2], [0, 0], [5, 6]]] and things.visibility.tolist() == [[2, 0, 1]]
    assert things.boxes.tolist() == [[1, 2, 4, 6]]
    alone = data.read(put(tmp_path / "b", [points], categories={"points": {"items": items}})).scene(0).instances
    assert alone.boxes.tolist() == [[1, 2, 5, 6]]


def test_classes_and_fields_are_the_same_in_every_subset(tmp_path: Path) -> None:
    put(tmp_path, [BOX])
    put(tmp_path, [RING, TAG], "val")
    parts = [data.read(tmp_path, split) for split in ("train", "val")]
    assert parts[0].schema == parts[1].schema == data.read(tmp_path).schema and parts[0].fields == parts[1].fields
    assert [len(part) for part in parts] == [1, 1] and parts[1].path(0) == tmp_path / "images/val/a.png"
    file = tmp_path / "annotations" / "val.json"
    assert data.find_format(file) == "datumaro" and data.read(file).name(0) == "val/a.png"


def test_labels_of_pictures_alone(tmp_path: Path) -> None:
    found = data.read(put(tmp_path, [TAG]))
    assert found.schema.things is None and list(found.schema.pictures) == LABELS and found.fields == {"labels"}
    assert found.scene(0).labels.tolist() == [2]


def test_pictures_without_a_path_or_a_size(tmp_path: Path) -> None:
    put(tmp_path, [MASK], item={"image": {}})
    assert data.read(tmp_path).size(0) == (8, 10)
    (tmp_path / "images/train/a.png").rename(tmp_path / "images/a.png")
    (tmp_path / "images/train").rmdir()
    found = data.read(tmp_path)
    assert found.path(0) == tmp_path / "images/a.png" and found.scene(0).instances.masks.area().tolist() == [2]


def test_no_picture_at_all_is_told(tmp_path: Path) -> None:
    put(tmp_path, [BOX])
    (tmp_path / "images/train/a.png").unlink()
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    images = tmp_path / "images"
    assert str(error.value) == (
        f"{tmp_path}/annotations/train.json: no picture 'a.png' in {images}/train or {images} or {tmp_path}, or below; put "
        "the pictures there"
    )


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_marks_and_line_ends(tmp_path: Path, mark: str) -> None:
    file = put(tmp_path, [BOX]) / "annotations" / "train.json"
    file.write_bytes((mark + json.dumps(json.loads(file.read_text()), indent=1).replace("\n", "\r\n")).encode())
    assert data.find_format(tmp_path) == "datumaro" and len(data.read(tmp_path).scene(0)) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**BOX, "bbox": [1, 2, 3]}, "bbox should be [x, y, width, height], finite numbers, found [1, 2, 3]"),
        (
            {**BOX, "bbox": [1, 2, 3, 1e99]},
            "bbox should be [x, y, width, height], finite numbers, found [1, 2, 3, 1e+99]",
        ),
        (
            {**BOX, "bbox": [1, 2, 3, float("nan")]},
            "bbox should be [x, y, width, height], finite numbers, found [1, 2, 3, nan]",
        ),
        ({**BOX, "label_id": 3}, "label_id should be the place of a label, 0 to 2, found 3"),
        ({**BOX, "label_id": None}, "label_id should be the place of a label, 0 to 2, found None"),
        (
            {**BOX, "points": [1, 1], "type": "polygon"},
            "points should be [x, y, x, y, …] of at least 3 points, finite numbers, found [1, 1]",
        ),
        (
            {**BOX, "type": "polygon"},
            "points should be [x, y, x, y, …] of at least 3 points, finite numbers, but it is missing",
        ),
        ({**BOX, "type": "mask"}, "rle should be an object with counts and size, found None"),
        (
            {**MASK, "id": 1, "rle": {**RLE, "size": [10, 8]}},
            "rle: run lengths of size (10, 8), the picture is (8, 10)",
        ),
        (
            {**MASK, "id": 1, "rle": {**RLE, "counts": [3]}},
            "rle: counts: run lengths sum to 3, the picture has 80 pixels",
        ),
        ({"id": 1, "type": "caption", "caption": 5}, "caption should be text, found 5"),
        ({**BOX, "type": 5}, "type should be text, found 5"),
        ({**BOX, "group": "x"}, "group should be a whole number, found 'x'"),
    ],
)
def test_spoiled_annotations_are_told(tmp_path: Path, row: Any, message: str) -> None:
    put(tmp_path, [row])
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    told = f"{tmp_path}/annotations/train.json: item a: annotation 1: {message}; correct the file"
    assert str(error.value) == f"{told} (or go on without it: --skip-broken, skip_broken=True)"
    found = data.read(tmp_path, skip_broken=True)
    assert found.repair_counts() == {"broken annotation, dropped": 1} and len(found.scene(0)) == 0


def test_spoiled_keypoints_and_categories_are_told_at_once(tmp_path: Path) -> None:
    items = [
        {"label_id": 0, "labels": ["a", "b"], "joints": [[1, 2]]},
        {"label_id": 1, "labels": ["a", "c"]},
        {"label_id": 7, "labels": ["a", "b"]},
        {"label_id": 2, "labels": ["a", "b"], "joints": [[1, 9]]},
    ]
    points = {"id": 9, "type": "points", "label_id": 0, "points": [1, 2, 3, 4]}
    rows = [{**points, "points": [1, 2]}, {**points, "visibility": [1, 5]}]
    put(
        tmp_path,
        rows,
        labels=["cup", "ball", "indoors", ""],
        categories={"points": {"items": items}},
        item={"extra": 1},
    )
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    file, item = f"{tmp_path}/annotations/train.json", f"{tmp_path}/annotations/train.json: item a: annotation 9"
    assert str(error.value).splitlines()[1:] == [
        f"  {file}: label at place 3: name should be text, found ''; correct the file",
        f"  {file}: skeleton at place 2: label_id should be the place of a label, found 7; correct the file",
        f"  {file}: label ball: should have the points a, b, as other labels have, found a, c; export their labels one by one",
        f"  {file}: skeleton of label indoors: joints should be pairs of its 2 points, found [[1, 9]]; correct the file",
        f"  {item}: points should be [x, y, x, y, …] of 2 points, finite numbers, found [1, 2]; correct the file",
        f"  {item}: points and visibility should be of 2 points, 0, 1 or 2 each, found [1, 5]; correct the file",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"items": {}}, "should be an object with items and categories.label.labels, both lists; export the set again"),
        ({"items": []}, "has no items; export the set again"),
        (
            {"items": [5]},
            "item at place 0: should be an object, found 5; correct it (or go on without it: --skip-broken, skip_broken=True)",
        ),
        (
            {"item": {"image": {"path": "a.png", "size": [8]}}},
            "item a: image.size should be [height, width], found [8]; correct the file (or go on without it: --skip-broken, skip_broken=True)",
        ),
        (
            {"item": {"image": {"path": 5}}},
            "item a: image.path should be text, found 5; correct the file (or go on without it: --skip-broken, skip_broken=True)",
        ),
    ],
)
def test_bad_files_are_told(tmp_path: Path, fields: Any, message: str) -> None:
    put(tmp_path, [BOX], **fields)
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    assert str(error.value) == f"{tmp_path}/annotations/train.json: {message}"


def test_one_of_several_files_may_be_broken(tmp_path: Path) -> None:
    put(tmp_path, [BOX])
    (put(tmp_path, [BOX], "val") / "annotations" / "val.json").write_text('{"categories": {"label"')
    with pytest.raises(DataError, match=r"annotations/val.json: not a JSON file .*--skip-broken"):
        data.read(tmp_path)
    found = data.read(tmp_path, skip_broken=True)
    assert len(found) == 1 and found.repair_counts() == {"broken annotation, dropped": 1}


def test_a_label_may_have_anything_for_a_name(tmp_path: Path) -> None:
    items = [{"label_id": 1, "labels": ["a"], "joints": []}]
    put(tmp_path, [{**BOX, "label_id": 1}], labels=["cup", ["ball"]], categories={"points": {"items": items}})
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    file = f"  {tmp_path}/annotations/train.json: "
    assert str(error.value).splitlines()[1:] == [
        f"{file}label at place 1: name should be text, found ['ball']; correct the file",
        f"{file}skeleton at place 0: label_id should be the place of a label, found 1; correct the file",
        f"{file}item a: annotation 1: label_id should be the place of a label, 0 to 1, found 1; correct the file",
    ]


def test_cocos_categories_are_a_list(tmp_path: Path) -> None:
    put(tmp_path, [BOX])
    (tmp_path / "annotations" / "train.json").rename(tmp_path / "annotations" / "instances_train.json")
    assert data.find_format(tmp_path) == "datumaro"


# writing --------------------------------------------------------------------------------------------------------------

SKELETON = Skeleton(("left", "right"), ((0, 1),), ((0, 1),))
spans = st.integers(0, 6).flatmap(lambda a: st.floats(a + 0.5, 8, width=32).map(lambda b: (float(a), b)))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(spans, spans, st.booleans(), st.integers(0, 2)), min_size=1, max_size=4), st.booleans())
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, found: list[Any], holes: bool) -> None:
    folder = tmp_path_factory.mktemp("datumaro")
    write_picture(folder / "p.png", np.zeros((8, 10, 3), np.uint8))
    boxes = [[x1, y1, x2, y2] for (x1, x2), (y1, y2), _, _ in found]
    rings = [np.array([[a, b], [c, b], [c, d], [a, (b + d) / 2], [a, d]]) for a, b, c, d in boxes]
    inner = (np.array([[1.0, 1], [2, 1], [2, 2], [1, 2]]),) if holes else ()
    masks = FlatMasks([Polygons((ring, ring[:3] / 2), inner) for ring in rings])
    seen = np.array([[v, 2 - v] for *_, v in found], np.uint8)
    points = np.array([[[a, b], [c, d]] for a, b, c, d in boxes], np.float32) * (seen > 0)[:, :, None]
    columns = {
        "boxes": np.array(boxes, np.float32),
        "labels": np.arange(len(found)) % 2,
        "ignore": np.array([crowd for _, _, crowd, _ in found]),
        "keypoints": points.astype(np.float32),
        "visibility": seen,
    }
    source = FlatSource(
        [str(folder / "p.png")],
        ["p.png"],
        np.array([[8, 10]]),
        starts=np.array([0, len(found)]),
        columns=columns,
        masks=masks,
        labels=Ragged.of([[0]], np.int64),
        captions=Texts([["one", "two"]]),
    )
    things, pictures = Categories.of(["cup", "mug"]), Categories.of(["dark", "mug"])
    before = Dataset(source, Schema(things=things, pictures=pictures, skeleton=SKELETON))
    assert data.write(before, folder / "out", "datumaro") == []
    after = data.read(folder / "out", "train")
    assert after.schema.skeleton == SKELETON and after.schema.things == things and after.fields == before.fields
    assert set(after.schema.pictures) == set(pictures) and not after.repairs
    one, two = before.scene(0), after.scene(0)
    for field in ("boxes", "labels", "ignore", "keypoints", "visibility"):
        assert torch.equal(getattr(one.instances, field), getattr(two.instances, field)), field
    assert torch.equal(one.instances.masks.bitmaps(), two.instances.masks.bitmaps())
    assert two.captions == ("one", "two") and [after.schema.pictures[k] for k in two.labels.tolist()] == ["dark"]
