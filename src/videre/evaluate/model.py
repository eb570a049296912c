"""Evaluate a model on a data set: predict every picture, compare with its truth."""

from __future__ import annotations

from collections.abc import Callable

import torch

from videre.data.dataset import Dataset
from videre.engine.predictor import Predictor
from videre.errors import DataError
from videre.evaluate.report import Report, evaluate
from videre.structures import Scene


def evaluate_model(
    predictor: Predictor, data: Dataset, *, max_detections: int = 100, bootstrap: int = 500,
    tick: Callable[[int], None] | None = None,
) -> tuple[Report, list[Scene], list[Scene]]:  # fmt: skip
    """Predict all pictures (everything above the model's own floor, no display threshold) and compare.

    The data's classes are brought to the model's by name. `tick` is called with the number of pictures done.

    Returns:
        the report, predictions and truths, both with the model's labels.

    Raises:
        DataError: a class of the data is unknown to the model, or a picture cannot be read.
    """
    truths = [align(data.scene(i), data, predictor) for i in range(len(data))]
    pictures = ((data.name(i), lambda i=i: data.picture(i)) for i in range(len(data)))
    predictions: list[Scene] = []
    for found in predictor.stream(pictures, threshold=0.0):
        if found.scene is None:
            raise DataError(found.error or found.name)
        predictions.append(found.scene.replace(meta=truths[len(predictions)].meta))
        if tick is not None:
            tick(len(predictions))
    report = evaluate(predictions, truths, predictor.model.schema, max_detections=max_detections, bootstrap=bootstrap)
    return report, predictions, truths


def align(scene: Scene, data: Dataset, predictor: Predictor) -> Scene:
    """A truth with the model's labels instead of the data's, by class name."""
    here, there = predictor.model.schema.things, data.schema.things
    if here is None or there is None or here.names == there.names or scene.instances is None:
        return scene
    remap = there.remap(here)
    unknown = [name for name, label in zip(there, remap) if label is None]
    if unknown:
        raise DataError(f"{data.title} has classes that the model does not know: {', '.join(unknown)}; "
                        f"it knows {', '.join(here)}")  # fmt: skip
    assert scene.instances.labels is not None
    table = torch.tensor([label if label is not None else 0 for label in remap], dtype=torch.int64)
    return scene.replace(instances=scene.instances.replace(labels=table[scene.instances.labels]))
