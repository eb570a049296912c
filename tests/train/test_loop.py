"""What a training does when something is odd: broken pictures, broken losses, full disks, sets without objects."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from videre.errors import ConfigError, DataError
from videre.models.checkpoint import read_checkpoint
from videre.predict import Predictor
from videre.tensors import read_tensors
from videre.train import Recipe, train
from videre.train.samples import TrainingSamples, stage_steps

from .test_resume import TESTS
from .tiny import SCHEMA, detector, log_of, measure, tiny_data, tiny_recipe, toy


def test_a_run_leaves_what_repeats_it(tmp_path: Path) -> None:
    run = train(toy(), tiny_data(), tiny_recipe(), tmp_path, progress="none", provenance={"command": "a test"})
    assert run.finished and not (tmp_path / "best.safetensors").exists()
    record = json.loads((tmp_path / "run.json").read_text())
    assert Recipe.from_json(record["recipe"]) == tiny_recipe()
    assert record["command"] == "a test" and record["data"]["hash"] == tiny_data().content_hash()
    log = log_of(tmp_path)
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6] and log[0]["lr"] == 1e-3
    kept = read_checkpoint(tmp_path / "last.safetensors")
    assert kept.provenance["step"] == 6 and kept.schema == SCHEMA


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_with_the_batch(tmp_path: Path, monkeypatch, what: str) -> None:
    model = toy()
    losses = model.losses

    def broken(batch, truths):
        parts, boxes = losses(batch, truths), model(batch)["boxes"]
        # the root of nothing: 0, with an infinite slope
        return {
            **parts,
            "odd": boxes.sum() * float("nan") if what == "loss" else ((boxes - boxes) * boxes).sum().sqrt(),
        }

    monkeypatch.setattr(model, "losses", broken)
    with pytest.raises(
        DataError, match=rf"step 1: the {what} is not finite \(box .*, small .*, odd .*\) on tiny-\d, tiny-\d"
    ):
        train(model, tiny_data(), tiny_recipe(), tmp_path, progress="none")
    assert not (tmp_path / "last.safetensors").exists()
    tensors, header = read_tensors(tmp_path / "not-finite-step-1.safetensors")
    assert tensors["image"].shape[:2] == (2, 3)
    assert [n[:5] for n in json.loads(header["names"])] == ["tiny-", "tiny-"]
    assert list(json.loads(header["losses"])) == ["box", "small", "odd"]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("step", [3, 4, 6])
def test_the_state_before_a_broken_step_stands_and_a_lower_rate_goes_on(
    tmp_path: Path, monkeypatch, step: int, late: bool
) -> None:
    """Also where numbers are read a step late, as on a GPU: an epoch ends, and is saved, with steps 3 and 6."""
    monkeypatch.setattr("videre.train.loop.reads_late", lambda device: late)
    model, calls = toy(), itertools.count(1)
    losses = model.losses
    monkeypatch.setattr(
        model,
        "losses",
        lambda *a: {k: v * (math.nan if next(calls) == 2 * step else 1) for k, v in losses(*a).items()},
    )
    saved = 0 if step == 3 else 3
    with pytest.raises(DataError, match=rf"step {step}: the loss is not finite") as caught:
        train(model, tiny_data(), tiny_recipe(), tmp_path, evaluate=measure, progress="none")
    stands = f"The state of step {saved} stands" if saved else "No state was saved yet"
    assert f"{stands}: look at" in str(caught.value) and str(caught.value).endswith("--resume -o lr=0.0001")
    assert (tmp_path / "best.safetensors").exists() == (tmp_path / "last.safetensors").exists() == bool(saved)
    if saved:
        tensors, header = read_tensors(tmp_path / "state/state.safetensors")
        assert json.loads(header["state"])["step"] == saved
        assert all(v.isfinite().all() for v in tensors.values() if v.is_floating_point())
    monkeypatch.undo()
    slower = tiny_recipe(lr=1e-4)
    assert train(toy(), tiny_data(), slower, tmp_path, evaluate=measure, resume=True, progress="none").finished
    assert log_of(tmp_path)[-1]["metrics"] and json.loads((tmp_path / "run.json").read_text())["recipe"]["lr"] == 1e-4


FULL = """
import resource, sys
from pathlib import Path
from train import tiny
from videre.train import folder, train
tiny.register()
saves, whole = [], folder.save_state
def save_state(*arguments):
    if saves:  # from now on no file may grow beyond 1 KB, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
    saves.append(1)
    whole(*arguments)
folder.save_state = save_state
sys.argv = ["videre", "train"]
from videre import cli
sys.exit(cli.run(lambda: train(tiny.toy(), tiny.tiny_data(), tiny.tiny_recipe(), OUT, progress="none")))
"""


def test_a_full_disk_is_one_line_and_the_last_state_is_readable(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(TESTS), str(TESTS / "models")])
    done = subprocess.run(
        [sys.executable, "-c", FULL.replace("OUT", repr(str(tmp_path)))],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"videre: {tmp_path}/state/state.safetensors: could not be written (File too large); the state of step 3 "
        "stands: make room and go on with --resume\n"
    )
    assert list(tmp_path.rglob(".*.partial")) == []
    assert train(toy(), tiny_data(), tiny_recipe(), tmp_path, resume=True, progress="none").finished


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError):
        train(toy(), tiny_data(), tiny_recipe(), tmp_path / "file" / "run", progress="none")


@pytest.mark.parametrize(("count", "empty"), [(3, True), (1, False), (1, True)])
def test_sets_without_objects_and_of_one_picture_train_and_predict(tmp_path: Path, count: int, empty: bool) -> None:
    """Fewer pictures than a batch, too."""
    model, recipe = detector(), tiny_recipe(pictures=8, batch=4)
    assert train(model, tiny_data(count, empty), recipe, tmp_path, progress="none").finished
    assert all(np.isfinite(line["loss"]) for line in log_of(tmp_path))
    assert Predictor(model, engine="plain").predict(tiny_data(count, empty).picture(0)).size == (64, 80)


def test_pictures_without_objects_are_shown_unless_they_are_not_wanted() -> None:
    """Of six tiny pictures number 2 is empty."""
    recipe = tiny_recipe(pictures=None, epochs=4, batch=2)
    shown = {empty: TrainingSamples(tiny_data(), toy(), recipe.replace(empty=empty)) for empty in (True, False)}
    assert {empty: len(samples.data) for empty, samples in shown.items()} == {True: 6, False: 5}
    steps = {empty: stage_steps(toy(), tiny_data(), recipe.replace(empty=empty)) for empty in (True, False)}
    assert steps == {True: [12], False: [10]}
    names = [shown[False].sample(position)[0] for position in range(5)]
    assert sorted(names) == ["tiny-0", "tiny-1", "tiny-3", "tiny-4", "tiny-5"]
    with pytest.raises(ConfigError, match="no picture has objects"):
        TrainingSamples(tiny_data(2, empty=True), toy(), recipe.replace(empty=False))


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no picture to train on"):
        train(toy(), tiny_data().subset([]), tiny_recipe(), tmp_path, progress="none")
    unlabelled = tiny_data()
    unlabelled.source.fields = frozenset({"captions"})
    with pytest.raises(
        DataError,
        match=r"trains on boxes, instances\.labels; tiny has no boxes, instances\.labels \(it has: captions\)",
    ):
        train(toy(), unlabelled, tiny_recipe(), tmp_path, progress="none")
    with pytest.raises(ConfigError, match="there is no device 'tpu' here"):
        train(toy(), tiny_data(), tiny_recipe(), tmp_path, device="tpu", progress="none")
