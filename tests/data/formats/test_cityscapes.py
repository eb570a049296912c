"""Cityscapes' polygons: frames painted by hand, objects over objects, groups, void; what is left out and refused."""

import json

import numpy as np
import pytest
import torch

from videre import data
from videre.cli import main
from videre.data.formats import cityscapes
from videre.errors import DataError
from videre.images.reading import read_ids, write_picture
from videre.structures import VOID

ROAD, SKY, PERSON, CAR = (cityscapes.PIXELS.index(name) for name in ("road", "sky", "person", "car"))
NAME = "aachen_000000_000019"


def thing(label, x1, y1, x2, y2, **more):
    """A rectangle whose outline runs through the centres of the pixels x1 to x2, y1 to y2: all of these are inside."""
    return {"label": label, "polygon": [[x1, y1], [x2, y1], [x2, y2], [x1, y2]], **more}


# Sky above road; a car on both, half behind a group of persons; the camera's own bonnet over the lowest row.
OBJECTS = [
    thing("sky", 0, 0, 7, 1),
    thing("road", 0, 2, 7, 5),
    thing("car", 1, 1, 4, 3),
    thing("license plate", 2, 2, 3, 2),
    thing("rider", 0, 0, 7, 5, deleted=1),
    thing("persongroup", 4, 2, 6, 4),
    thing("ego vehicle", -3, 5, 9, 8),
]
S, R, C, P, V = SKY, ROAD, CAR, PERSON, VOID
PAINTED = [
    [S, S, S, S, S, S, S, S],
    [S, C, C, C, C, S, S, S],
    [R, C, C, C, P, P, P, R],
    [R, C, C, C, P, P, P, R],
    [R, R, R, R, P, P, P, R],
    [V, V, V, V, V, V, V, V],
]


def put(root, objects, split="train", name=NAME, size=(6, 8), picture=True, **fields):
    """A frame; returns the root and leaves no JSON where there are no objects."""
    city = name.split("_")[0]
    file = root / "gtFine" / split / city / f"{name}_gtFine_polygons.json"
    if picture:
        write_picture(
            root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", np.full((*size, 3), 90, np.uint8)
        )
    if objects is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"imgHeight": size[0], "imgWidth": size[1], "objects": objects} | fields))
    return root


def test_later_objects_lie_over_earlier_ones(tmp_path):
    put(tmp_path, OBJECTS)
    assert data.find_format(tmp_path) == "cityscapes" and data.splits(tmp_path) == ["train"]
    dataset = data.read(tmp_path, "train")
    scene = dataset.scene(0)
    assert scene.segmentation.dtype == torch.uint8 and scene.segmentation.tolist() == PAINTED
    things = scene.instances
    assert [dataset.schema.things[k] for k in things.labels.tolist()] == ["car", "person"]
    assert things.boxes.tolist() == [[1, 1, 5, 4], [4, 2, 7, 5]] and things.ignore.tolist() == [False, True]
    bitmaps = things.masks.bitmaps().numpy()  # the car as far as the persons do not hide it
    assert np.array_equal(bitmaps[0], np.array(PAINTED) == CAR) and np.array_equal(
        bitmaps[1], np.array(PAINTED) == PERSON
    )
    assert dataset.fields == {"segmentation", "instances.labels", "boxes", "masks", "ignore"} and not dataset.repairs
    assert scene.meta["id"] == NAME and dataset.name(0) == f"train/aachen/{NAME}_leftImg8bit.png"
    assert dataset.picture(0).shape == (6, 8, 3)


def test_classes_are_those_of_training(tmp_path):
    pixels, things = data.read(put(tmp_path, OBJECTS)).schema.pixels, data.read(tmp_path).schema.things
    assert len(pixels) == 19 and pixels.names[::9] == ("road", "terrain", "bicycle")
    assert pixels.source_ids == (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33)
    assert pixels.colors[CAR] == (0, 0, 142) and pixels.supercategories[CAR] == "vehicle"
    assert things.names == ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
    assert things.source_ids == (24, 25, 26, 27, 28, 31, 32, 33)


def test_a_triangle_has_its_outline(tmp_path):
    put(tmp_path, [{"label": "road", "polygon": [[0, 0], [4, 4], [0, 4]]}])
    wanted = [[ROAD if x <= y <= 4 else VOID for x in range(8)] for y in range(6)]
    assert data.read(tmp_path).scene(0).segmentation.tolist() == wanted


def test_who_is_hidden_is_no_instance_and_unnamed_vehicles_are_void(tmp_path):
    hidden = [thing("person", 2, 2, 3, 3), thing("caravangroup", 0, 0, 7, 5), thing("car", 1, 1, 1, 1)]
    scene = data.read(put(tmp_path, hidden)).scene(0)
    assert scene.instances.boxes.tolist() == [[1, 1, 2, 2]] and scene.instances.labels.tolist() == [2]
    assert scene.segmentation.flatten().bincount()[[CAR, VOID]].tolist() == [1, 47]


def test_a_frame_without_objects_is_void(tmp_path):
    scene = data.read(put(tmp_path, [])).scene(0)
    assert (scene.segmentation == VOID).all() and len(scene.instances) == 0 and scene.instances.masks.size == (6, 8)


def test_splits_and_what_lacks_its_half(tmp_path):
    put(tmp_path, OBJECTS)
    put(tmp_path, [thing("sky", 0, 0, 7, 5)], split="val", name="bonn_000001_000019")
    put(tmp_path, None, split="val", name="bonn_000002_000019")
    put(tmp_path, OBJECTS, split="val", name="bonn_000003_000019", picture=False)
    assert data.splits(tmp_path) == ["train", "val"] and len(data.read(tmp_path)) == 2
    found = data.read(tmp_path, "val")
    assert len(found) == 1 and found.scene(0).segmentation.unique().tolist() == [SKY]
    assert {(r.kind, r.picture) for r in found.repairs} == {
        ("picture without polygons", "val/bonn/bonn_000002_000019_leftImg8bit.png"),
        ("polygons without picture", "gtFine/val/bonn/bonn_000003_000019_gtFine_polygons.json"),
    }
    assert not data.read(tmp_path, "train").repairs
    with pytest.raises(DataError, match="there is no split 'test'; there are: train, val"):
        data.read(tmp_path, "test")


def test_polygons_alone_are_told(tmp_path):
    put(tmp_path, OBJECTS, picture=False)
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(DataError, match=r"no polygons of train have a picture in .*leftImg8bit; unpack both"):
        data.read(tmp_path)


CORNERS = [[0, 0], [4, 0], [4, 4]]


@pytest.mark.parametrize(
    ("objects", "fields", "message"),
    [
        ([{"label": "car", "polygon": CORNERS[:2]}], {}, r"object 0 \(car\): a polygon .* 3 corners, found 2"),
        ([{"label": "car", "polygon": [*CORNERS, [1, float("nan")]]}], {}, r"0 \(car\): corner 3 .*found \[1, nan\]"),
        ([{"label": "car", "polygon": [*CORNERS, [1, 10**400]]}], {}, "corner 3 should be .*finite"),
        ([{"label": "car", "polygon": [*CORNERS, [1, "2"]]}], {}, r"corner 3 should be .*found \[1, '2'\]"),
        ([{"label": "car", "polygon": [*CORNERS, 7]}], {}, "corner 3 should be .*found 7"),
        ([{"label": "car"}], {}, r"object 0 \(car\): polygon should be a list of corners \[x, y\], found None"),
        ([{"label": 3, "polygon": CORNERS}], {}, "object 0: label should be text, found 3"),
        (["car"], {}, "objects should be a list of objects"),
        (OBJECTS, {"imgHeight": None}, "imgHeight should be a whole number of pixels, found None"),
        (OBJECTS, {"imgWidth": 9}, r"polygons.json: the polygons are of a picture of 9x6 .*_leftImg8bit.png is 8x6"),
        (
            [thing("cat", 0, 0, 1, 1), thing("cat", 2, 2, 3, 3)],
            {},
            rf"{NAME}_gtFine_polygons.json: 'cat' on 2 objects: Cityscapes has no such labels",
        ),
        ([thing("catgroup", 0, 0, 1, 1)], {}, "'catgroup' on 1 objects"),
    ],
)
def test_bad_files_are_told(tmp_path, objects, fields, message):
    with pytest.raises(DataError, match=message) as caught:
        data.read(put(tmp_path, objects, **fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "polygons.json: not a JSON file"), ("[1, 2]", r"frame at place 0: should be an object, found \[1, 2\]")],
)
def test_other_files_of_the_name_are_told(tmp_path, text, message):
    put(tmp_path, [])
    next(tmp_path.rglob("*.json")).write_text(text)
    with pytest.raises(DataError, match=message):
        data.read(tmp_path)


def test_all_faults_are_told_and_other_frames_read(tmp_path):
    put(tmp_path, OBJECTS)
    put(tmp_path, [thing("cat", 0, 0, 1, 1), {"label": "car"}, {"polygon": []}], name="bonn_000000_000000")
    put(tmp_path, [thing("cat", 0, 0, 1, 1)], name="koeln_000000_000000", imgWidth=8)
    with pytest.raises(DataError) as caught:
        data.read(tmp_path)
    for message in ("object 1 (car): polygon should", "object 2: label should be text", "koeln_000000_000000_gtFine"):
        assert message in str(caught.value)
    dataset = data.read(tmp_path, skip_broken=True)
    assert len(dataset) == 1 and dataset.scene(0).segmentation.tolist() == PAINTED
    assert [r.kind for r in dataset.repairs] == ["broken annotation"] * 3


def test_found_beside_other_formats(tmp_path):
    put(tmp_path / "streets", OBJECTS)
    found = {name for name, module in data.FORMATS.items() if module.recognise(tmp_path / "streets")}
    assert found == {"cityscapes", "folders"}  # folders are taken where nothing else is there
    streets = data.read(tmp_path / "streets")
    for format in ("coco", "panoptic", "coco-stuff", "maps", "labelme"):
        data.write(streets, tmp_path / format, format, lossy=True)
        assert not cityscapes.recognise(tmp_path / format) and data.find_format(tmp_path / format) == format
    assert not cityscapes.recognise(tmp_path / "streets" / "gtFine")


def test_what_is_written_elsewhere_says_the_same(tmp_path, monkeypatch):
    before = data.read(put(tmp_path / "in", OBJECTS))
    assert data.write(before, tmp_path / "segments", "panoptic") == []
    after = data.read(tmp_path / "segments").scene(0)
    assert after.segmentation.tolist() == PAINTED
    assert torch.equal(after.instances.masks.bitmaps(), before.scene(0).instances.masks.bitmaps())
    command = ["videre", "data", "convert", str(tmp_path / "in"), "maps", str(tmp_path / "maps"), "--lossy", "--quiet"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    written = read_ids(next((tmp_path / "maps" / "annotations" / "train").iterdir()))
    assert written.tolist() == PAINTED
    with pytest.raises(DataError, match="polygons are read, not written; write labelme"):
        data.write(before, tmp_path / "out", "cityscapes")
