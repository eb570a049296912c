"""Before a model is judged, the data's classes are brought to its own by name."""

from types import SimpleNamespace

import pytest
import torch

from videre.errors import DataError
from videre.evaluate.model import align
from videre.structures import Categories, Scene, Schema

from .scenes import boxed

ROWS = [[0, 0, 10, 10], [5, 5, 9, 9], [1, 1, 2, 2]]


def with_classes(*names):
    return Schema(things=Categories.of(list(names)))


def aligned(scene, data, model):
    predictor = SimpleNamespace(model=SimpleNamespace(schema=model))
    return align(scene, SimpleNamespace(schema=data, title="my data"), predictor)


def test_labels_follow_the_names():
    truth = boxed(ROWS, labels=[0, 1, 0])
    moved = aligned(truth, with_classes("dog", "cat"), with_classes("cat", "cow", "dog"))
    assert moved.instances.labels.tolist() == [2, 0, 2] and torch.equal(moved.instances.boxes, truth.instances.boxes)
    assert aligned(truth, with_classes("a", "b"), with_classes("a", "b")) is truth
    assert aligned(Scene((5, 5)), with_classes("a"), with_classes("b")).instances is None


def test_a_class_that_the_model_does_not_know_is_named():
    with pytest.raises(DataError, match="my data has classes that the model does not know: cow; it knows cat, dog"):
        aligned(boxed(ROWS), with_classes("cat", "cow"), with_classes("cat", "dog"))
