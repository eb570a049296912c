"""Label Studio's exports: percents to pixels, worked by hand; names of pictures; what is left out, refused, written."""

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
from videre.data.flat import FlatMasks, FlatSource, Ragged
from videre.data.formats import label_studio
from videre.errors import DataError
from videre.images.reading import write_picture
from videre.structures import Categories, Polygons, Schema, Skeleton


def result(kind: str, value: dict[str, Any], label: str = "cup", number: str = "r", **more: Any) -> dict[str, Any]:
    common = {"from_name": "label", "to_name": "image", "original_width": 10, "original_height": 8, "image_rotation": 0}
    return {"id": number, "type": kind, "value": {**value, kind: [label]}, **common, **more}


RECTANGLE = result("rectanglelabels", {"x": 10, "y": 25, "width": 40, "height": 50, "rotation": 0})
POLYGON = result("polygonlabels", {"points": [[50, 0], [80, 0], [80, 25], [50, 25]], "closed": True}, number="p")
ELLIPSE = result("ellipselabels", {"x": 40, "y": 50, "radiusX": 30, "radiusY": 25, "rotation": 0}, "ball", "e")
CHOICE = {"id": "c", "type": "choices", "from_name": "choice", "to_name": "image", "value": {"choices": ["dark"]}}


def task(
    results: list[Any], image: str = "/data/upload/1/0a1b2c3d-a.png", number: int = 1, **more: Any
) -> dict[str, Any]:
    annotation = {"id": 11, "completed_by": 1, "was_cancelled": False, "lead_time": 2.5, "result": results}
    return {"id": number, "annotations": [annotation], "data": {"image": image}, "predictions": [], **more}


def put(
    folder: Path, tasks: list[Any], pictures: tuple[str, ...] = ("images/a.png",), file: str = "export.json"
) -> Path:
    for name in pictures:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_picture(folder / name, np.zeros((8, 10, 3), np.uint8))
    (folder / file).write_text(json.dumps(tasks))
    return folder


def test_percents_become_pixels(tmp_path: Path) -> None:
    text = {"id": "t", "type": "textarea", "from_name": "t", "to_name": "image", "value": {"text": ["hello"]}}
    found = data.read(put(tmp_path, [task([RECTANGLE, POLYGON, ELLIPSE, CHOICE, text])]))
    assert data.find_format(tmp_path) == "label-studio" == data.find_format(tmp_path / "export.json")
    assert list(found.schema.things) == ["ball", "cup"] and list(found.schema.pictures) == ["dark"]
    scene = found.scene(0)
    assert scene.instances.boxes.tolist() == [[1, 2, 5, 6], [5, 0, 8, 2], [1, 2, 7, 6]] and scene.labels.tolist() == [0]
    assert scene.instances.labels.tolist() == [1, 1, 0] and scene.instances.masks.area().tolist()[:2] == [0, 6]
    assert found.name(0) == "a.png" and scene.meta["id"] == 1
    assert found.repair_counts() == {"textarea of Label Studio, dropped": 1, "instance without mask, ignored": 1}


def test_rectangles_turn_about_their_first_corner(tmp_path: Path) -> None:
    turned = result("rectanglelabels", {"x": 50, "y": 25, "width": 30, "height": 25, "rotation": 90})
    things = data.read(put(tmp_path, [task([turned])])).scene(0).instances
    # 3 wide and 2 high at (5, 2), a quarter turn clockwise: 2 to the left and 3 down
    assert torch.allclose(things.boxes, torch.tensor([[3.0, 2, 5, 5]])) and things.masks.area().tolist() == [6]


def test_regions_with_labels_of_the_same_id(tmp_path: Path) -> None:
    bare = {"id": "r", "type": "rectangle", "value": {"x": 10, "y": 25, "width": 40, "height": 50}}
    labels = {"id": "r", "type": "labels", "value": {**bare["value"], "labels": ["cup"]}}
    for results in ([bare, labels], [labels, bare], [labels]):
        things = data.read(put(tmp_path, [task(results)])).scene(0).instances
        assert things.boxes.tolist() == [[1, 2, 5, 6]]


def test_keypoints_belong_to_their_parents(tmp_path: Path) -> None:
    point = lambda x, y, label, n, **more: result("keypointlabels", {"x": x, "y": y, "width": 1}, label, n, **more)
    points = [
        point(20, 50, "nose", "k0", parentID="r"),
        point(30, 25, "ear", "k1", parentID="r"),
        point(1, 1, "ear", "k2"),
    ]
    found = data.read(put(tmp_path, [task([points[0], RECTANGLE, *points[1:], {**RECTANGLE, "id": "s"}])]))
    assert found.schema.skeleton.names == ("ear", "nose")
    things = found.scene(0).instances
    assert things.keypoints.tolist() == [[[3, 2], [2, 4]], [[0, 0], [0, 0]]] and things.visibility.tolist() == [
        [2, 2],
        [0, 0],
    ]
    assert found.repair_counts() == {"keypoint of Label Studio, dropped": 1}


def test_json_min(tmp_path: Path) -> None:
    box = {**RECTANGLE["value"], "original_width": 10, "original_height": 8}
    row = {
        "id": 1,
        "image": "/data/upload/1/0a1b2c3d-a.png",
        "label": [box],
        "choice": "dark",
        "annotator": 1,
        "annotation_id": 3,
    }
    more = {"id": 2, "image": "b.png", "annotator": 1, "annotation_id": 4, "lead_time": 3}
    found = data.read(put(tmp_path, [row, {**row, "annotation_id": 5}, more], ("images/a.png", "b.png")))
    assert data.find_format(tmp_path) == "label-studio" and len(found) == 2
    assert found.scene(0).instances.boxes.tolist() == [[1, 2, 5, 6]] and found.scene(0).labels.tolist() == [0]
    assert len(found.scene(1)) == 0 and found.repair_counts() == {"another annotation, dropped": 1}


@pytest.mark.parametrize(
    ("url", "picture"),
    [
        ("https://host/bucket/x/a%20b.png?sig=1", "x/a b.png"),
        ("s3://bucket/deep/a.png", "images/a.png"),
        ("/data/local-files/?d=set/images/a%20b.png", "images/a b.png"),
        ("/data/upload/7/0a1b2c3d-a.png", "a.png"),
        ("/data/upload/7/0a1b2c3d-a.png", "images/0a1b2c3d-a.png"),
        ("a.PNG", "images/a.png"),
    ],
)
def test_pictures_are_found_by_address(tmp_path: Path, url: str, picture: str) -> None:
    put(tmp_path, [task([RECTANGLE], url)], (picture,))
    assert data.read(tmp_path).path(0) == tmp_path / picture


def test_one_annotation_of_a_task_counts(tmp_path: Path) -> None:
    cancelled, first, second = ({"id": n, "result": [RECTANGLE] * (n > 0), "was_cancelled": n == 0} for n in range(3))
    tasks = [
        {"id": 1, "data": {"image": "a.png"}, "annotations": [cancelled, first, second]},
        {"id": 2, "data": {"image": "b.png"}, "annotations": [cancelled]},
        {"id": 3, "data": {"other": "x", "photo": "c.png"}, "annotations": [{"id": 9, "result": []}]},
    ]
    found = data.read(put(tmp_path, tasks, ("a.png", "b.png", "c.png")))
    assert [len(found.scene(i)) for i in range(2)] == [1, 0] and found.size(1) == (8, 10)
    assert [(r.kind, r.picture, r.found) for r in found.repairs] == [
        ("another annotation", "a.png", "2: the first of the task counts"),
        ("task without annotation", "b.png", "nothing, or all cancelled"),
    ]


def test_files_are_splits_and_the_interface_orders_the_classes(tmp_path: Path) -> None:
    put(tmp_path, [task([RECTANGLE])], ("images/train/a.png",), "train.json")
    put(tmp_path, [task([ELLIPSE])], ("images/val/a.png",), "val.json")
    (tmp_path / "config.xml").write_text(
        '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="plate"/>'
        '<Label value="cup" background="red"/><Label value="ball"/></RectangleLabels>'
        '<Choices name="choice" toName="image"><Choice value="dark"/></Choices></View>'
    )
    assert data.splits(tmp_path) == ["train", "val"]
    parts = [data.read(tmp_path, split) for split in ("train", "val")]
    assert [list(part.schema.things) for part in parts] == [["plate", "cup", "ball"]] * 2
    assert [part.path(0) for part in parts] == [tmp_path / "images" / split / "a.png" for split in ("train", "val")]
    assert [part.name(0) for part in parts] == ["train/a.png", "val/a.png"] and len(data.read(tmp_path)) == 2
    assert parts[0].fields == parts[1].fields
    put(tmp_path, [task([{**RECTANGLE, "value": {**RECTANGLE["value"], "rectanglelabels": ["mug"]}}])], (), "val.json")
    with pytest.raises(
        DataError, match=r"rectanglelabels should be of config.xml, plate, cup, ball, found 'mug'; correct"
    ):
        data.read(tmp_path)


def test_lost_pictures_are_counted_and_none_at_all_is_told(tmp_path: Path) -> None:
    put(tmp_path, [task([RECTANGLE]), task([], "https://host/gone.png", 2)])
    found = data.read(tmp_path)
    assert [(r.kind, r.picture, r.annotation) for r in found.repairs] == [("picture unreadable", "gone.png", 2)]
    (tmp_path / "images/a.png").unlink()
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/export.json: no picture 'a.png' in {tmp_path}/images or {tmp_path}, or below, nor any other of the 2 "
        "that it names; put the pictures there"
    )


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_marks_and_line_ends(tmp_path: Path, mark: str) -> None:
    file = put(tmp_path, []) / "export.json"
    file.write_bytes((mark + json.dumps([task([RECTANGLE])], indent=1).replace("\n", "\r\n")).encode())
    assert data.find_format(tmp_path) == "label-studio" and len(data.read(tmp_path).scene(0)) == 1


def changed(row: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**row, "id": "r", "value": {**row["value"], **values}}


CORRECT = "; correct the file"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (changed(RECTANGLE, x="1"), "x should be a finite number, percent, found '1'" + CORRECT),
        (changed(RECTANGLE, y=float("inf")), "y should be a finite number, percent, found inf" + CORRECT),
        (changed(RECTANGLE, rotation="x"), "rotation should be a finite number of degrees, found 'x'" + CORRECT),
        (
            {**RECTANGLE, "value": {"rectanglelabels": ["cup"]}},
            "x should be a finite number, percent, but it is missing" + CORRECT,
        ),
        (
            changed(RECTANGLE, rectanglelabels=["a", "b"]),
            "rectanglelabels should be a list of one name, found ['a', 'b']" + CORRECT,
        ),
        (changed(RECTANGLE, rectanglelabels=[]), "rectanglelabels should be a list of one name, found []" + CORRECT),
        (
            changed(POLYGON, points=[[1, 1], [2, 2]]),
            "points should be at least 3 pairs [x, y] of finite numbers, percent, found [[1, 1], [2, 2]]" + CORRECT,
        ),
        (
            changed(POLYGON, points=[[1, 1], [2, 2], [3]]),
            "points should be at least 3 pairs [x, y] of finite numbers, percent, found [[1, 1], [2, 2], [3]]"
            + CORRECT,
        ),
        (changed(CHOICE, choices="dark"), "choices should be a list of names, found 'dark'" + CORRECT),
        (
            result("brushlabels", {"format": "rle", "rle": [0, 1]}),
            "strokes of a brush are run lengths of Label Studio's own; export the project as COCO",
        ),
        (
            {**RECTANGLE, "image_rotation": 90},
            "image_rotation should be 0, found 90; turn the picture itself, annotate it so",
        ),
        (
            {**RECTANGLE, "type": 5},
            "type should be text and value an object, found 5 and " + f"{RECTANGLE['value']!r:.60}" + CORRECT,
        ),
    ],
)
def test_spoiled_results_are_told(tmp_path: Path, row: Any, message: str) -> None:
    put(tmp_path, [task([row, {**RECTANGLE, "id": "s"}])])
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    told = f"{tmp_path}/export.json: task 1: result r: {message}"
    assert str(error.value) == f"{told} (or go on without it: --skip-broken, skip_broken=True)"
    found = data.read(tmp_path, skip_broken=True)
    assert found.repair_counts() == {"broken annotation, dropped": 1} and len(found.scene(0)) == 1


def test_spoiled_tasks_are_told_at_once(tmp_path: Path) -> None:
    sides = {**RECTANGLE, "original_width": -1}
    tasks = [task([5]), task([sides], "b.png", 2), task([], "", 3), 7, task([RECTANGLE], "images/a.png", 4)]
    put(tmp_path, tasks, ("images/a.png", "b.png"))
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    file = f"  {tmp_path}/export.json: "
    assert str(error.value).splitlines()[1:] == [
        f"{file}task at place 3: should be an object, found 7; correct it",
        f"{file}task 1: result at place 0: should be an object, found 5; correct it",
        f"{file}task 2: result r: original_height and original_width should be numbers of pixels, found [8, -1]; correct the file",
        f"{file}task 3: data.image should name a picture, but nothing there does; correct the file",
        f"{file}task 4: {tmp_path}/images/a.png is the picture of {tmp_path}/export.json: task 1, too; leave one",
    ]


def test_bad_files_are_told(tmp_path: Path) -> None:
    file = put(tmp_path, [task([])]) / "export.json"
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    assert str(error.value) == f"{file}: has no annotation with a label that encloses anything, and no choice"
    file.write_text(file.read_text()[:-1])
    with pytest.raises(DataError, match=r"export.json: not a JSON file \(Expecting ',' delimiter"):
        data.read(tmp_path)
    put(tmp_path, [task([RECTANGLE])])
    (tmp_path / "config.xml").write_text("<View>")
    with pytest.raises(DataError, match=r"config.xml: not an XML file \(no element found: line 1, column 6\)"):
        data.read(tmp_path)


# writing --------------------------------------------------------------------------------------------------------------

SKELETON = Skeleton(("nose", "left ear", "right ear"), (), ((1, 2),))
spans = st.integers(0, 6).flatmap(lambda a: st.floats(a + 0.5, 8, width=32).map(lambda b: (float(a), b)))


def make(
    folder: Path, boxes: Any, outlines: list[Polygons] | None = None, skeleton: Any = None, **more: Any
) -> Dataset:
    folder.mkdir(exist_ok=True)
    write_picture(folder / "p q.png", np.zeros((8, 10, 3), np.uint8))
    columns = {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "labels": np.arange(len(boxes)) % 2, **more}
    source = FlatSource(
        [str(folder / "p q.png")],
        ["p q.png"],
        np.array([[8, 10]]),
        starts=np.array([0, len(boxes)]),
        columns=columns,
        masks=FlatMasks(outlines) if outlines else None,
        labels=Ragged.of([[0, 1]], np.int64),
    )
    names = {"things": Categories.of(["mug", "cup"]), "pictures": Categories.of(["light", "dark"])}
    return Dataset(source, Schema(**names, skeleton=skeleton))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(spans, spans), max_size=4), st.booleans())
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, found: list[Any], outlined: bool) -> None:
    folder = tmp_path_factory.mktemp("studio")
    boxes = [[x1, y1, x2, y2] for (x1, x2), (y1, y2) in found]
    outlines = [Polygons((np.array([[a, b], [c, b], [c, d], [a, (b + d) / 2], [a, d]]),)) for a, b, c, d in boxes]
    seen = np.array([[2, 0, 2]] * len(boxes), np.uint8).reshape(-1, 3)
    points = np.array([[[a, b], [0, 0], [c, d]] for a, b, c, d in boxes], np.float32).reshape(-1, 3, 2)
    columns = {"keypoints": points, "visibility": seen}
    before = make(folder / "in", boxes, outlines if outlined else None, SKELETON, **columns)
    assert data.write(before, folder / "out", "label-studio") == []
    after = data.read(folder / "out", "train")
    one, two = before.scene(0), after.scene(0)
    assert after.schema == before.schema and after.fields == before.fields and not after.repairs
    assert torch.equal(one.labels, two.labels) and torch.equal(one.instances.labels, two.instances.labels)
    for field in ("boxes", "keypoints"):
        assert torch.allclose(getattr(one.instances, field), getattr(two.instances, field), atol=1e-6, rtol=0), field
    assert torch.equal(one.instances.visibility, two.instances.visibility)
    if one.instances.masks is not None:
        assert torch.equal(one.instances.masks.bitmaps(), two.instances.masks.bitmaps())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    ring = np.array([[1.0, 1], [5, 1], [5, 5], [1, 5]])
    hole = make(tmp_path / "in", [[1, 1, 5, 5]], [Polygons((ring,), (ring / 2 + 1,))])
    parts = make(tmp_path / "in", [[1, 1, 7, 7]], [Polygons((ring, ring + 2))])
    wide = make(tmp_path / "in", [[0, 0, 9, 8]], [Polygons((ring,))])
    hidden = make(
        tmp_path / "in", [[0, 0, 9, 8]], None, SKELETON,
        keypoints=np.ones((1, 3, 2), np.float32), visibility=np.array([[1, 2, 2]], np.uint8),
    )  # fmt: skip
    for n, dataset in enumerate((hole, parts, wide, hidden)):
        with pytest.raises(DataError, match=r"Label Studio holds a box or one outline .*; of number 0 there is more"):
            data.write(dataset, tmp_path / f"no{n}", "label-studio")
        lost = data.write(dataset, tmp_path / f"out{n}", "label-studio", lossy=True)
        assert lost == ["boxes, outlines or keypoints of 1 instances"]
    assert data.read(tmp_path / "out0").scene(0).instances.masks.area().tolist() == [16]


def test_splits_add_up(tmp_path: Path) -> None:
    before = make(tmp_path / "in", [[0, 0, 4, 4]])
    for split in ("train", "val"):
        label_studio.write(before, tmp_path / "out", split)
    assert data.splits(tmp_path / "out") == ["train", "val"] and len(data.read(tmp_path / "out")) == 2
    before.schema = before.schema.replace(things=Categories.of(["x", "y"]))
    with pytest.raises(DataError, match="is there already, with other labels; name a new folder"):
        label_studio.write(before, tmp_path / "out", "test")
