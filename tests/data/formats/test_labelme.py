"""labelme's JSONs: shapes to instances, worked by hand; what is left out, refused, written."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from videre import data
from videre.data.semantic import as_pixels
from videre.errors import DataError
from videre.images.reading import write_picture
from videre.structures import Categories, Instances, Masks, Schema


def shape(label: str, points: list[list[float]], kind: str = "polygon", group: int | None = None) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": group, "flags": {}}


CUP = shape("cup", [[1, 1], [4, 1], [4, 3], [1, 3]])
SHAPES = [
    CUP,
    shape("table", [[9, 7], [0, 4]], "rectangle"),
    shape("cup", [[6, 0], [8, 0], [8, 2], [6, 2]], group=3),
    shape("cup", [[6, 3], [7, 3], [7, 4], [6, 4]], group=3),
    shape("__ignore__", [[0, 0], [1, 0], [1, 1], [0, 1]]),
    shape("rim", [[0, 0], [5, 5]], "line"),
    shape("_background_", [[0, 0], [5, 0], [5, 5]]),
]


def put(folder: Path, name: str, shapes: list[dict[str, Any]], size: tuple[int, int] = (8, 10), **fields: Any) -> Path:
    write_picture(folder / f"{name}.png", np.zeros((*size, 3), np.uint8))
    content = {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{name}.png",
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
        **fields,
    }
    (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_shapes_become_instances(tmp_path: Path) -> None:
    found = data.read(put(tmp_path, "a", SHAPES))
    assert data.find_format(tmp_path) == "labelme" and list(found.schema.things) == ["cup", "table"]
    things = found.scene(0).instances
    assert things.labels.tolist() == [0, 1, 0, 0] and things.ignore.tolist() == [False, False, False, True]
    assert things.boxes.tolist() == [[1, 1, 4, 3], [0, 4, 9, 7], [6, 0, 8, 4], [0, 0, 1, 1]]
    assert things.masks.area().tolist() == [6, 27, 5, 1]
    assert things.masks.bitmaps()[2].nonzero().tolist() == [[0, 6], [0, 7], [1, 6], [1, 7], [3, 6]]
    assert [(r.kind, r.found) for r in found.repairs] == [
        ("line of labelme", "rim"),
        ("polygon of labelme", "_background_"),
    ]


def test_a_circle_is_as_large_as_it_should(tmp_path: Path) -> None:
    put(tmp_path, "a", [shape("coin", [[50, 40], [50, 70]], "circle")], (90, 100))
    things = data.read(tmp_path).scene(0).instances
    assert things.boxes.tolist() == [[20, 10, 80, 70]]
    assert things.masks.area().item() == pytest.approx(math.pi * 30**2, rel=0.01)


def test_splits_lists_and_what_lacks_its_half(tmp_path: Path) -> None:
    for split in ("train", "val"):
        put(tmp_path / split, "a", [CUP])
    write_picture(tmp_path / "val" / "bare.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "val" / "lost.json").write_text((tmp_path / "val" / "a.json").read_text().replace("a.png", "lost.png"))
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nplate\ncup\n")
    assert data.splits(tmp_path) == ["train", "val"]
    found = data.read(tmp_path, "val")
    assert list(found.schema.things) == ["plate", "cup"] and found.scene(0).instances.labels.tolist() == [1]
    assert {(r.kind, r.picture) for r in found.repairs} == {
        ("shapes without picture", "val/lost.json"),
        ("picture without shapes", "val/bare.png"),
    }
    (tmp_path / "labels.txt").write_text("plate\n")
    with pytest.raises(
        DataError, match=r"labels.txt: shapes are labelled cup \(1 times\), which it does not name; it has plate"
    ):
        data.read(tmp_path, "val")


@pytest.mark.parametrize("folder", ["annotations", "labels"])
@pytest.mark.parametrize("split", ["", "train"])
def test_jsons_may_lie_apart(tmp_path: Path, folder: str, split: str) -> None:
    put(tmp_path / "images" / split, "a", [CUP])
    (tmp_path / folder / split).mkdir(parents=True)
    (tmp_path / "images" / split / "a.json").rename(tmp_path / folder / split / "a.json")
    assert data.find_format(tmp_path) == "labelme" and data.splits(tmp_path) == [split][: len(split)]
    found = data.read(tmp_path)
    assert found.scene(0).instances.masks.area().tolist() == [6] and found.path(0).is_file() and not found.repairs


def test_classes_are_the_same_in_every_split(tmp_path: Path) -> None:
    put(tmp_path / "train", "a", [CUP])
    put(tmp_path / "val", "a", [shape("plate", CUP["points"]), shape("rim", [[0, 0], [5, 5]], "line")])
    parts = [data.read(tmp_path, split) for split in ("train", "val")]
    assert [list(part.schema.things) for part in parts] == [["cup", "plate"]] * 2
    assert parts[1].scene(0).instances.labels.tolist() == [1]


def test_many_shapes_before_an_embedded_picture(tmp_path: Path) -> None:
    put(tmp_path, "a", [CUP] * 100, imageData="A" * 10_000)
    assert data.find_format(tmp_path) == "labelme" and len(data.read(tmp_path).scene(0).instances) == 100


def test_bitmaps_are_instances_with_their_holes(tmp_path: Path) -> None:
    bitmap = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8) * 255
    png = base64.b64encode(cv2.imencode(".png", bitmap)[1].tobytes()).decode()
    put(tmp_path, "a", [{**shape("ring", [[2, 3], [4, 5]], "mask"), "mask": png}])
    things = data.read(tmp_path).scene(0).instances
    assert things.boxes.tolist() == [[2, 3, 5, 6]]
    assert np.array_equal(
        things.masks.bitmaps()[0, 3:6, 2:5].numpy() * 255, bitmap
    ) and things.masks.area().tolist() == [8]


def test_there_and_back_and_on_to_pixels(tmp_path: Path) -> None:
    before = data.read(put(tmp_path / "in", "a", SHAPES))
    assert data.write(before, tmp_path / "out", "labelme") == []
    after = data.read(tmp_path / "out", "train")
    one, two = before.scene(0).instances, after.scene(0).instances
    assert after.schema == before.schema and torch.equal(one.boxes, two.boxes) and torch.equal(one.labels, two.labels)
    assert torch.equal(one.ignore, two.ignore) and torch.equal(one.masks.bitmaps(), two.masks.bitmaps())
    classes = as_pixels(before).scene(0).segmentation
    assert classes.flatten().bincount(minlength=256)[[0, 1, 2, 255]].tolist() == [80 - 27 - 11 - 1, 11, 27, 1]


def test_masks_of_pixels_are_outlined_and_holes_refused(tmp_path: Path) -> None:
    source = put(tmp_path / "in", "a", [CUP])
    bitmap = np.zeros((1, 8, 10), bool)
    bitmap[0, 2:6, 3:8] = True
    bitmap[0, 5, 3] = False
    before = data.read(source)

    class Source(type(before.source)):  # the same picture with another mask
        def scene(self, i: int) -> Any:
            masks = Masks.from_bitmaps(bitmap)
            return (
                super()
                .scene(i)
                .replace(instances=Instances(masks.boxes(), torch.zeros(1, dtype=torch.int64), masks=masks))
            )

    before.source.__class__ = Source
    data.write(before, tmp_path / "out", "labelme")
    assert np.array_equal(data.read(tmp_path / "out", "train").scene(0).instances.masks.bitmaps().numpy() > 0, bitmap)
    bitmap[0, 3, 5] = False
    with pytest.raises(DataError, match="has a hole, which a shape of labelme cannot have"):
        data.write(before, tmp_path / "holes", "labelme")


@pytest.mark.parametrize(
    ("shapes", "fields", "message"),
    [
        ([shape("cup", [[1, 1], [2, 2]])], {}, r"a.json: shape 0 \(cup\): a polygon has at least 3 points, found 2"),
        (
            [{**CUP, "points": [[1, 1], [2, "x"], [3, 3]]}],
            {},
            r"shape 0 \(cup\): point 1 should be \[x, y\], finite numbers, found \[2, 'x'\]",
        ),
        ([{**CUP, "points": [[1, 1], [2, 10**400], [3, 3]]}], {}, "point 1 should be .* finite numbers"),
        ([{**CUP, "group_id": [1]}], {}, r"group_id should be a number, or null, found \[1\]"),
        ([{**CUP, "shape_type": "mask", "mask": "?"}], {}, "mask should be a grey PNG as base64"),
        ([{**CUP, "label": " "}], {}, "shape at place 0: label should be text, found ' '"),
        (
            [CUP],
            {"imageHeight": 9},
            r"a\.png: the picture is 10x8 \(width x height\), its annotation says 10x9; it is another",
        ),
        ([shape("rim", [[0, 0], [5, 5]], "line")], {}, "no shape encloses anything"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, shapes: Any, fields: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        data.read(put(tmp_path, "a", shapes, **fields))


def test_all_faults_are_listed_or_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a", [CUP, shape("cup", [[1, 1], [2, 2]])])
    put(tmp_path, "b", [{**CUP, "label": None}, CUP])
    put(tmp_path, "c", [CUP])
    (tmp_path / "c.json").write_text((tmp_path / "c.json").read_text()[:-9])
    with pytest.raises(
        DataError, match=r"^3 faults(.|\n)*a\.json: shape 1 (.|\n)*b\.json: shape at place 0(.|\n)*c\.json: not"
    ):
        data.read(tmp_path)
    part = data.read(tmp_path, skip_broken=True)
    assert [len(part.scene(i)) for i in range(len(part))] == [1, 1]
    assert part.repair_counts()["broken annotation, dropped"] == 3


def test_turned_rectangles_and_numbers_as_labels(tmp_path: Path) -> None:
    corners = [[4, 1], [7, 4], [4, 7], [1, 4]]
    put(
        tmp_path,
        "a",
        [shape("cup", corners, "rotation"), shape("cup", corners, "oriented_rectangle"), {**CUP, "label": 3}],
    )
    dataset = data.read(tmp_path)
    assert list(dataset.schema.things) == ["3", "cup"] and dataset.repairs == ()
    assert dataset.scene(0).instances.boxes[:2].tolist() == [[1, 1, 7, 7]] * 2


def test_a_picture_may_stand_in_its_json(tmp_path: Path) -> None:
    root = put(tmp_path, "a", [CUP])
    content, picture = json.loads((root / "a.json").read_text()), (root / "a.png").read_bytes()
    content |= {"imageData": base64.b64encode(picture).decode(), "imagePath": "gone.png"}
    before = data.read(root).picture(0)
    (root / "a.json").write_text(json.dumps(content))
    (root / "a.png").unlink()
    inside = data.read(root)
    assert inside.path(0) is None and np.array_equal(inside.picture(0), before)
    assert data.write(inside, tmp_path / "out", "coco") == []
    assert np.array_equal(data.read(tmp_path / "out").picture(0), before)


def test_folders_apart_paths_of_windows_and_flags(tmp_path: Path) -> None:
    put(tmp_path / "pics", "b", [CUP])
    (tmp_path / "json").mkdir()
    content = json.loads((tmp_path / "pics" / "b.json").read_text())
    content |= {"imagePath": "..\\pics\\b.png", "flags": {"indoors": True, "blurred": False}}
    (tmp_path / "json" / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    (tmp_path / "pics" / "b.json").unlink()
    dataset = data.read(tmp_path)
    assert len(dataset) == 1 and dataset.path(0) == tmp_path / "pics" / "b.png"
    assert list(dataset.schema.pictures) == ["indoors"] and dataset.scene(0).labels.tolist() == [0]
    assert data.write(dataset, tmp_path / "out", "labelme") == []
    assert data.read(tmp_path / "out").scene(0).labels.tolist() == [0]


def test_without_masks_nothing_is_written(tmp_path: Path) -> None:
    bare = data.read(put(tmp_path / "in", "a", [CUP]))
    bare.schema = Schema(pictures=Categories.of(["x"]))
    with pytest.raises(DataError, match="labelme holds outlines of things"):
        data.write(bare, tmp_path / "out", "labelme", lossy=True)


def test_flags_alone_are_classes_of_pictures(tmp_path: Path) -> None:
    put(tmp_path, "a", [], flags={"__ignore__": False, "cat": True, "dog": False})
    put(tmp_path, "b", [], flags={"__ignore__": True, "cat": False, "dog": True})
    found = data.read(tmp_path)
    assert found.schema.things is None and list(found.schema.pictures) == ["cat", "dog"]
    assert found.fields == {"labels"} and [found.scene(i).labels.tolist() for i in range(2)] == [[0], [1]]
