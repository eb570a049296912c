"""Evaluate a model on a data set: predict every picture, compare with its truth."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from videre.data.dataset import Dataset
from videre.engine.predictor import Predictor
from videre.errors import DataError
from videre.evaluate.coco import USUAL
from videre.evaluate.labels import LabelReport
from videre.evaluate.pixels import PixelReport
from videre.evaluate.report import Report, evaluate
from videre.models.base import Model
from videre.structures import Categories, Scene
from videre.structures.scene import VOID


def evaluate_model(
    predictor: Predictor, data: Dataset, *, max_detections: int | None = None, bootstrap: int = 500,
    tick: Callable[[int], None] | None = None,
) -> tuple[Report | LabelReport | PixelReport, list[Scene], list[Scene]]:  # fmt: skip
    """Predict all pictures (everything above the model's own floor, no display threshold) and compare.

    The data's classes and keypoints are brought to the model's by name. A picture that cannot be read is told on stderr
    and left out; `report.unread` has it. `tick` is called with the number of pictures done.

    Args:
        max_detections: counted a picture and class; more than the model gives of itself lifts its limit for this
            evaluation. None: as many as the model gives, at least COCO's 100.

    Returns:
        the report, predictions and truths, both with the model's labels and of the pictures that could be read.

    Raises:
        DataError: a class or keypoint of the data is unknown to the model, or no picture can be read.
    """
    model = predictor.model
    truths, unread = _truths(data, model)
    predictions: list[Scene] = []
    readable = list(truths)
    pictures = ((data.name(i), lambda i=i: data.picture(i)) for i in readable)
    with _detections(predictor.running, max_detections) as (limit, limits):
        for i, found in zip(readable, predictor.stream(pictures, threshold=0.0)):
            if found.scene is None:
                unread[i] = found.error or found.name
                del truths[i]
            else:
                predictions.append(found.scene.replace(meta=truths[i].meta))
            if tick is not None:
                tick(len(predictions) + len(unread))
    for error in unread.values():
        print(f"videre: {error}; left out of the evaluation", file=sys.stderr)
    if unread and not predictions:
        raise DataError(f"{data.title}: none of its {len(data)} pictures can be read; there is nothing to evaluate on")
    report = evaluate(
        predictions, list(truths.values()), model.schema, max_detections=limit, bootstrap=bootstrap,
        thresholds=predictor.thresholds if model.thresholds else None, limits=limits, unread=unread,
    )  # fmt: skip
    return report, predictions, list(truths.values())


def _truths(data: Dataset, model: Model) -> tuple[dict[int, Scene], dict[int, str]]:
    """What is true of each picture by its number, and why some cannot be read."""
    truths: dict[int, Scene] = {}
    unread: dict[int, str] = {}
    for i in range(len(data)):
        try:
            scene = data.scene(i)
        except DataError as error:
            unread[i] = str(error)
        else:
            truths[i] = align(scene, data, model)
    return truths, unread


@contextmanager
def _detections(model: Model, wanted: int | None) -> Iterator[tuple[int, str]]:
    """How many detections are counted, and in words what the model itself leaves out, its limit lifted if need be."""
    heads = [part for part in model.modules() if "max_detections" in vars(part)]
    own: list[int] = [vars(head)["max_detections"] for head in heads]
    lifted = [max(most, wanted or 0) for most in own]
    words = [f"the model gives at most {max(lifted)} a picture"] if heads else []
    floor = model.config.get("score_threshold")
    words += [f"scores above {floor:g}"] if floor is not None else []
    try:
        for head, most in zip(heads, lifted):
            vars(head)["max_detections"] = most
        yield wanted or max([USUAL, *own]), ", ".join(words)
    finally:
        for head, most in zip(heads, own):
            vars(head)["max_detections"] = most


def align(scene: Scene, data: Dataset, model: Model) -> Scene:
    """A truth with the labels and the order of keypoints of the model instead of the data's, by their names."""
    if (
        scene.labels is not None
        and (table := _table(data, model, data.schema.pictures, model.schema.pictures)) is not None
    ):
        scene = scene.replace(labels=table[scene.labels])
    if (segmentation := scene.segmentation) is not None and "segmentation" in model.gives:
        if data.schema.overlap != model.schema.overlap:
            words = {True: "overlap", False: "exclude each other"}
            raise DataError(f"the classes of {data.title} {words[data.schema.overlap]}, those of the model "
                            f"{words[model.schema.overlap]}")  # fmt: skip
        table = _table(data, model, data.schema.pixels, model.schema.pixels)
        if table is not None and data.schema.overlap:
            planes = torch.zeros(len(model.schema.pixels or ()), *scene.size, dtype=torch.uint8)
            planes[table] = segmentation.to(torch.uint8)
            scene = scene.replace(segmentation=planes)
        elif table is not None:
            shades = torch.full((256,), VOID, dtype=torch.uint8)
            shades[: len(table)] = table.to(torch.uint8)
            scene = scene.replace(segmentation=shades[segmentation.long()])
    if scene.instances is None:
        return scene
    changes: dict[str, Any] = {}
    if (table := _table(data, model, data.schema.things, model.schema.things)) is not None:
        assert scene.instances.labels is not None
        changes["labels"] = table[scene.instances.labels]
    mine, theirs = model.schema.skeleton, data.schema.skeleton
    if mine is not None and theirs is not None and mine.names != theirs.names:
        points = {name: getattr(scene.instances, name) for name in ("keypoints", "visibility")}
        if odd := sorted({*mine.names} ^ {*theirs.names}):
            if "keypoints" in model.gives:
                raise DataError(f"{data.title} and the model do not have the same keypoints: {', '.join(odd)} only in "
                                "one of them; give the same points the same names, in either order")  # fmt: skip
            changes |= dict.fromkeys(points)  # compared with nothing, and our schema does not describe them
        else:
            order = [theirs.names.index(name) for name in mine.names]
            changes |= {name: None if value is None else value[:, order] for name, value in points.items()}
    return scene.replace(instances=scene.instances.replace(**changes)) if changes else scene


def _table(data: Dataset, model: Model, there: Categories | None, here: Categories | None) -> torch.Tensor | None:
    """The model's label for each of the data's; None where they are the same, or one of them names none."""
    if here is None or there is None or here.names == there.names:
        return None
    remap = there.remap(here)
    unknown = [name for name, label in zip(there, remap) if label is None]
    if unknown:
        raise DataError(f"{data.title} has classes that the model does not know: {', '.join(unknown)}; "
                        f"it knows {', '.join(here)}")  # fmt: skip
    return torch.tensor([label if label is not None else 0 for label in remap], dtype=torch.int64)
