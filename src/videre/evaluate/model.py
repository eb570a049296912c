"""Evaluate a model on a data set: predict every picture, compare with its truth, keep numbers."""

from __future__ import annotations

import dataclasses
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist

from videre.data.dataset import Dataset
from videre.errors import DataError
from videre.evaluate.report import Evaluation, Report
from videre.evaluate.section import USUAL, Options
from videre.models.base import Model
from videre.predict.predictor import Predictor
from videre.structures import Renaming, Scene
from videre.structures.scene import field_of


@dataclasses.dataclass
class Counted:
    """What was counted on a data set, from which reports are made.

    Args:
        unread: what is said of each picture that could not be read, by its number. first: metrics that come first.
    """

    evaluation: Evaluation
    unread: dict[int, str]
    first: tuple[str, ...]

    def report(self, bootstrap: int = 500) -> Report:
        """bootstrap: resamplings for the intervals; 0: none."""
        return self.evaluation.report(self.first, self.unread, bootstrap)


def evaluate_model(
    predictor: Predictor,
    data: Dataset,
    *,
    max_detections: int | None = None,
    bootstrap: int = 500,
    tick: Callable[[int], None] | None = None,
    watch: Callable[[Scene, Scene], None] | None = None,
) -> Report:
    """Predict all pictures (everything above the model's own floor, no display threshold) and compare, in one pass.

    The data's classes and keypoints are brought to the model's by name; fields that the model takes are given to it. A
    picture that cannot be read is named on stderr and left out; `Report.unread` has it.

    Args:
        max_detections: counted a picture and class; more than the model gives of itself lifts its limit for this
            evaluation. None: as many as the model gives, at least COCO's 100.
        tick: called with the number of pictures done. watch: called with each prediction and its truth.

    Raises:
        DataError: a class or keypoint of the data is unknown to the model, the data lacks what it takes or have nothing to
        compare with, or no picture can be read.
    """
    return count_model(predictor, data, max_detections=max_detections, tick=tick, watch=watch).report(bootstrap)


def count_model(
    predictor: Predictor,
    data: Dataset,
    *,
    max_detections: int | None = None,
    tick: Callable[[int], None] | None = None,
    watch: Callable[[Scene, Scene], None] | None = None,
    shared: bool = False,
) -> Counted:
    """The pass of `evaluate_model`, of which several reports may be made.

    Args:
        shared: among the processes of a training: each takes its part of the pictures, the first one gets what all have
            counted, the others what they have themselves.
    """
    if missing := sorted(predictor.model.takes - data.fields - predictor.finds):
        raise DataError(
            f"{data.title} has no {', '.join(missing)}, which a {type(predictor.model).__name__} takes; it has "
            f"{', '.join(sorted(data.fields)) or 'nothing'}"
        )
    model, first = predictor.model, (dist.get_rank() == 0 if shared and dist.is_initialized() else True)
    limits = model.limits.lifted(max_detections)
    options = Options(
        max_detections=max_detections or max(USUAL, limits.max_detections or 0),
        limits=limits,
        thresholds=predictor.thresholds if model.thresholds else None,
    )
    evaluation, unread = Evaluation(model.schema, model.gives, data.fields, options), dict[int, str]()
    truths: deque[tuple[int, Scene]] = deque()
    with predictor.limited(limits):
        for found in predictor.stream(_pictures(data, model, truths, unread, shared), threshold=0.0):
            picture, truth = truths.popleft()
            if found.scene is None:
                unread[picture] = found.error or found.name
            else:
                prediction = found.scene.replace_unchecked(meta=truth.meta)
                evaluation.add(picture, prediction, truth)
                if watch is not None:
                    watch(prediction, truth)
            if tick is not None:
                tick(len(evaluation.pictures) + len(unread))
    evaluation, unread = _gathered(evaluation, unread) if shared else (evaluation, unread)
    for error in unread.values() if first else ():
        print(f"videre: {error}; left out of the evaluation", file=sys.stderr)
    if not evaluation.pictures and first:
        raise DataError(f"{data.title}: none of its {len(data)} pictures can be read; there is nothing to evaluate on")
    return Counted(evaluation, unread, tuple(model.headline))


def _pictures(
    data: Dataset, model: Model, truths: deque[tuple[int, Scene]], unread: dict[int, str], shared: bool
) -> Iterator[tuple[str, Any, Scene]]:
    """What is predicted, with what is given; its truth is put at the end of `truths`."""
    several = shared and dist.is_initialized()
    rank, world = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)
    table = renaming(data, model)
    for i in range(rank, len(data), world):
        try:
            truth = align(data.scene(i), table, data, model)
        except DataError as error:
            unread[i] = str(error)
            continue
        truths.append((i, truth))
        yield data.name(i), lambda i=i: data.picture(i), truth  # type: ignore[misc]


def _gathered(evaluation: Evaluation, unread: dict[int, str]) -> tuple[Evaluation, dict[int, str]]:
    """In the first process what all of them have counted."""
    if not dist.is_initialized():
        return evaluation, unread
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, (evaluation, unread))
    if dist.get_rank() == 0:
        for other, missing in parts[1:]:
            evaluation.merge(other)
            unread |= missing
    return evaluation, dict(sorted(unread.items()))


def renaming(data: Dataset, model: Model) -> Renaming | None:
    """From the data's labels to the model's, by name, for the parts of the schema that the model gives or takes; None where
    they are the same.

    Raises DataError for a class or keypoint that the model does not know.
    """
    if "segmentation" in model.gives & data.fields and data.schema.overlap != model.schema.overlap:
        words = {True: "overlap", False: "exclude each other"}
        raise DataError(
            f"the classes of {data.title} {words[data.schema.overlap]}, those of the model "
            f"{words[model.schema.overlap]}"
        )
    tables: dict[str, torch.Tensor] = {}
    here, there = model.schema.names, data.schema.names
    for part in _parts(model) & here.keys() & there.keys():
        if here[part] == there[part]:
            continue
        if part == "skeleton" and (odd := sorted({*here[part]} ^ {*there[part]})):
            raise DataError(
                f"{data.title} and the model do not have the same keypoints: {', '.join(odd)} only in "
                "one of them; give the same points the same names, in either order"
            )
        place = {name: i for i, name in enumerate(here[part])}
        if unknown := [name for name in there[part] if name not in place]:
            raise DataError(
                f"{data.title} has classes that the model does not know: {', '.join(unknown)}; "
                f"it knows {', '.join(here[part])}"
            )
        tables[part] = torch.tensor([place[name] for name in there[part]])
    return Renaming(tables.get, {part: len(names) for part, names in here.items()}) if tables else None


def _parts(model: Model) -> set[str]:
    """The parts of the schema that a model's predictions, or what it takes, have labels of."""
    return {part for field in model.gives | model.takes if (part := field_of(field).kind.names) is not None}


def align(scene: Scene, table: Renaming | None, data: Dataset, model: Model) -> Scene:
    """A truth with the labels and the order of keypoints of the model instead of the data's, see `renaming`.

    What has labels that the model does not give, and that mean something else in the data, is left out.
    """
    ours, here, there = _parts(model), model.schema.names, data.schema.names
    odd = [
        field
        for field in scene.present()
        if (part := field_of(field).kind.names) is not None and part not in ours and here.get(part) != there.get(part)
    ]
    scene = scene.without(odd) if odd else scene
    return scene if table is None else scene.renamed(table)
