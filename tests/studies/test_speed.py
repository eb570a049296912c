"""`videre bench`: both sides work on the same weights, and a row says what was measured."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from videre.errors import ConfigError, VidereError, WeightsError
from videre.models import Model, find_model
from videre.models.official import from_torchvision, to_torchvision
from videre.structures import COCO_PERSON, Categories, Schema
from videre.studies.speed.bench import agreement, find_peer
from videre.studies.speed.job import Timer
from videre.studies.speed.jobs import JOBS, ours
from videre.studies.speed.sides import Side

GOLDEN = Path(__file__).parents[1] / "golden"


def detector(system: str, classes: int, **settings: object) -> Model:
    things = Categories.of([f"class {i}" for i in range(classes)])
    return find_model(system)(Schema(things=things, skeleton=COCO_PERSON), **settings)  # type: ignore[call-arg]


@pytest.mark.parametrize(("system", "classes"), [("faster-rcnn", 90), ("mask-rcnn", 90), ("keypoint-rcnn", 1)])
def test_weights_go_to_torchvision_and_back(system: str, classes: int) -> None:
    """Names and shapes are those of torchvision's own models, which the golden files list."""
    model = detector(system, classes)
    theirs = to_torchvision(model)
    with np.load(GOLDEN / f"torchvision_{system.replace('-', '')}.npz") as file:
        shapes = dict(zip(file["tensor_names"].tolist(), (tuple(n for n in s if n) for s in file["tensor_shapes"])))
    assert {name: tuple(value.shape) for name, value in theirs.items()} == shapes
    again = from_torchvision(theirs, range(1, classes + 1), model)
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def test_other_detectors_have_no_place_in_torchvision() -> None:
    with pytest.raises(WeightsError, match="no place"):
        to_torchvision(detector("faster-rcnn-c4", 3, backbone="resnet18"))


def test_a_step_of_training_runs_in_every_format() -> None:
    losses, job = {}, dataclasses.replace(JOBS["mobilenet-training"], batch=1)
    for engine in ("plain", "fp32", "bf16"):
        timer = Timer()
        losses[engine] = ours(job, engine, timer)()["loss"][0]
        assert list(timer.seconds) == ["forward", "backward", "update"]
    assert losses["fp32"] == pytest.approx(losses["plain"], rel=1e-3) and losses["plain"] > 0
    assert losses["bf16"] == pytest.approx(losses["plain"], rel=2e-2)


def test_parts_inside_others_count_once() -> None:
    timer = Timer()
    with timer.part("outer"), timer.part("inner"):
        sum(range(200_000))
    assert timer.seconds["inner"] > 10 * timer.seconds["outer"] > 0


def test_answers_are_compared_in_words() -> None:
    a = {"boxes": [[0.0, 0, 10, 10]], "scores": [0.5]}
    b = {"boxes": [[0.0, 0, 10, 10.25]], "scores": [0.501]}
    assert agreement(a, b) == "1 detections, scores within 1e-03, boxes within 0.25 px"
    assert agreement(a, {"boxes": [], "scores": []}) == "0 detections"
    assert agreement({"loss": [1.0]}, {"loss": [1.5]}) == "loss 1.500"


def test_what_stops_a_side_is_said() -> None:
    with pytest.raises(ConfigError, match="No such file"):
        find_peer("/no/such/python")
    assert find_peer(None) in (None, sys.executable)
    side = Side(sys.executable, "plain", "no-such-checkpoint")
    try:
        with pytest.raises(VidereError, match=r"plain of no-such-checkpoint stopped; it said: .*no-such-checkpoint"):
            side.run()
    finally:
        side.close()
