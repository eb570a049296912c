"""Predictions written as they come, in constant memory: JSON lines, CSV, COCO results, VOC XML, id maps.

A file of many pictures grows as NAME.unfinished.SUFFIX and gets its own name when all is done: what was finished before
an interruption stays there.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree

import cv2
import numpy as np

from videre.data.formats.class_maps import as_palette
from videre.data.formats.class_planes import write_planes
from videre.data.formats.coco_results import result_rows
from videre.data.scene_lines import scene_line
from videre.errors import ConfigError, DataError
from videre.files import write_atomic
from videre.images.listing import SUFFIXES
from videre.structures import Scene, Schema
from videre.structures.scene import all_fields

HOLDS = {
    "json": {*all_fields()},
    "csv": {"boxes", "scores", "instances.labels", "labels", "label_scores"},
    "coco": {"boxes", "scores", "instances.labels", "masks", "keypoints", "keypoint_scores"},
    "voc": {"boxes", "scores", "instances.labels"},
    "png": {"masks", "segmentation"},
}
"""What each format keeps of a prediction, in the words of `Model.gives`."""


class Writer(Protocol):
    """Takes one predicted scene after the other."""

    def __call__(self, name: str, scene: Scene) -> None: ...


@contextmanager
def open_results(format: str, folder: Path, schema: Schema) -> Iterator[Writer]:
    """A writer of predictions into `folder`.

    json: predictions.jsonl, a line a picture: its name and the whole scene, see `scene_lines`.
    csv: predictions.csv, a row an instance, or a class of the picture. coco: predictions.json (COCO's result list) and pictures.json, which says
    which image_id is which picture. voc: an XML a picture. png: a 16-bit map of instance ids a picture, the best on top; of
    pixels with classes a palette PNG, ids to programs and colours to the eye; where classes overlap a folder for each, with
    a PNG of 0 and 255 a picture.
    """
    if format not in HOLDS:
        raise ConfigError(f"no result format {format!r}; there are: {', '.join(HOLDS)}")
    folder.mkdir(parents=True, exist_ok=True)
    make = {"json": _json_lines, "csv": _csv, "coco": _coco, "voc": _voc, "png": _png}[format]
    with make(folder, schema) as write:
        yield write


def lost(format: str, gives: Collection[str]) -> list[str]:
    """The fields of predictions that a format cannot hold."""
    return sorted({*gives} - HOLDS[format])


def describe(scene: Scene, schema: Schema) -> list[dict[str, Any]]:
    """The instances of a scene as plain values."""
    things = scene.instances
    if things is None:
        return []
    masks = things.masks.rle() if things.masks is not None else None
    rows: list[dict[str, Any]] = []
    for n in range(len(things)):
        row: dict[str, Any] = {}
        if things.labels is not None and schema.things is not None:
            row["class"] = schema.things[int(things.labels[n])]
        if things.scores is not None:
            row["score"] = round(float(things.scores[n]), 4)
        if things.boxes is not None:
            row["box"] = [round(v, 2) for v in things.boxes[n].tolist()]
        if masks is not None:
            row["mask"] = masks[n]
        if things.keypoints is not None and schema.skeleton is not None:
            points = things.keypoints[n].tolist()
            scores = things.keypoint_scores[n].tolist() if things.keypoint_scores is not None else [None] * len(points)
            row["keypoints"] = {
                name: [round(x, 2), round(y, 2), None if s is None else round(s, 4)]
                for name, (x, y), s in zip(schema.skeleton.names, points, scores)
            }
        rows.append(row)
    return rows


def describe_labels(scene: Scene, schema: Schema) -> list[dict[str, Any]]:
    """The classes of a whole picture as plain values, the likeliest first."""
    if scene.labels is None or schema.pictures is None:
        return []
    scores = [None] * len(scene.labels) if scene.label_scores is None else scene.label_scores.tolist()
    return [
        {"class": schema.pictures[label]} | ({} if score is None else {"score": round(score, 4)})
        for label, score in zip(scene.labels.tolist(), scores)
    ]


@contextmanager
def _growing(path: Path) -> Iterator[Any]:
    unfinished = path.with_name(f"{path.stem}.unfinished{path.suffix}")
    with unfinished.open("w", newline="", buffering=1) as file:  # a finished line is in the file, whatever comes
        yield file
    unfinished.replace(path)


@contextmanager
def _growing_list(path: Path) -> Iterator[Callable[[Any], None]]:
    """Appends to a JSON list, which is closed whatever happens."""
    with _growing(path) as file:
        before = "["

        def append(item: Any) -> None:
            nonlocal before
            file.write(f"{before}\n{json.dumps(item)}")
            before = ","

        try:
            yield append
        finally:
            file.write("[]\n" if before == "[" else "\n]\n")


@contextmanager
def _json_lines(folder: Path, schema: Schema) -> Iterator[Writer]:
    with _growing(folder / "predictions.jsonl") as file:

        def write(name: str, scene: Scene) -> None:
            file.write(scene_line(name, scene.replace_unchecked(meta={}), schema) + "\n")

        yield write


@contextmanager
def _csv(folder: Path, schema: Schema) -> Iterator[Writer]:
    with _growing(folder / "predictions.csv") as file:
        table = csv.writer(file)
        table.writerow(["picture", "class", "score", "x1", "y1", "x2", "y2"])

        def write(name: str, scene: Scene) -> None:
            for row in [*describe_labels(scene, schema), *describe(scene, schema)]:
                table.writerow([name, row.get("class"), row.get("score"), *row.get("box", [])])

        yield write


@contextmanager
def _coco(folder: Path, schema: Schema) -> Iterator[Writer]:
    if schema.things is None:
        raise DataError("COCO results are of instances; this model names no things")
    categories, numbers = schema.things, itertools.count(1)
    with (
        _growing_list(folder / "predictions.json") as add_result,
        _growing_list(folder / "pictures.json") as add_picture,
    ):

        def write(name: str, scene: Scene) -> None:
            number = scene.meta.get("id", next(numbers))  # that of the data, where they are of a data set
            add_picture({"id": number, "file_name": name, "height": scene.size[0], "width": scene.size[1]})
            for row in result_rows(scene, categories, number):
                add_result(row)

        yield write


@contextmanager
def _voc(folder: Path, schema: Schema) -> Iterator[Writer]:
    taken: set[str] = set()

    def write(name: str, scene: Scene) -> None:
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = Path(name).name
        size = ElementTree.SubElement(root, "size")
        for tag, value in zip(("width", "height"), scene.size[::-1]):
            ElementTree.SubElement(size, tag).text = str(value)
        for row in describe(scene, schema):
            item = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(item, "name").text = row.get("class", "object")
            ElementTree.SubElement(item, "score").text = str(row.get("score", ""))
            box = ElementTree.SubElement(item, "bndbox")
            x1, y1, x2, y2 = row["box"]  # VOC's pixels are inclusive and count from 1
            for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2, y2)):
                ElementTree.SubElement(box, tag).text = f"{value:.2f}"
        ElementTree.indent(root)
        write_atomic(
            _beside_nothing(folder, name) / f"{result_name(name, taken)}.xml", ElementTree.tostring(root, "utf-8")
        )

    yield write


@contextmanager
def _png(folder: Path, schema: Schema) -> Iterator[Writer]:
    taken: set[str] = set()

    def write(name: str, scene: Scene) -> None:
        things = scene.instances
        if scene.segmentation is not None and schema.pixels is not None:
            path = _beside_nothing(folder, name) / f"{result_name(name, taken)}.png"
            if schema.overlap:
                write_planes(scene.segmentation, schema.pixels, path.parent, path.name)
            else:
                write_atomic(path, as_palette(scene.segmentation.numpy(), schema.pixels))
            return
        if things is None or things.masks is None:
            raise DataError(
                "id maps need masks or classes of pixels; this model gives none (use json, csv, coco or voc)"
            )
        ids = np.zeros(scene.size, np.uint16)
        for n in range(len(things) - 1, -1, -1):
            ids[things.masks.select(_index(n)).bitmaps()[0].numpy() > 0] = n + 1
        _, data = cv2.imencode(".png", ids)
        write_atomic(_beside_nothing(folder, name) / f"{result_name(name, taken)}.png", data.tobytes())

    yield write


def _beside_nothing(folder: Path, name: str) -> Path:
    """The folder of results named like their pictures; ConfigError where the picture itself, or its XML, lies there."""
    picture = Path(name)
    if picture.is_file() and picture.parent.resolve() == folder.resolve():
        raise ConfigError(
            f"{folder}: the results would be named like the files of {name} and replace them; give another --out"
        )
    return folder


def result_name(name: str, taken: set[str]) -> str:
    """A file name for a picture's result: its own without the suffix of pictures, numbered where two share it."""
    path = Path(name)
    stem = (path.stem if path.suffix.lower() in SUFFIXES else path.name) or "picture"
    unique, number = stem, 2
    while unique in taken:
        unique, number = f"{stem}-{number}", number + 1
    taken.add(unique)
    return unique


def _index(n: int) -> Any:
    import torch

    return torch.tensor([n])
