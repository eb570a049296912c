"""What a training does when something is odd: broken pictures, broken losses, full disks, sets without objects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from videre import data
from videre.errors import ConfigError, DataError
from videre.images.reading import write_picture
from videre.models.checkpoint import read_checkpoint
from videre.predict import Predictor
from videre.tensors import read_tensors
from videre.train import Recipe, train
from videre.train.samples import TrainingSamples, stage_steps

from .test_resume import TESTS
from .tiny import SCHEMA, detector, log_of, tiny_data, tiny_recipe, toy


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


def test_an_unreadable_picture_gives_its_name(tmp_path: Path) -> None:
    for n in range(4):
        write_picture(tmp_path / "pictures" / f"{n}.png", np.full((40, 40, 3), n, np.uint8))
    (tmp_path / "pictures" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    source = data.read(tmp_path / "pictures").source
    tiny = tiny_data(4).source
    source.fields, source.scene, source.size = tiny.fields, tiny.scene, lambda i: (40, 40)
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"pictures/2\.png: ") as caught:
            train(
                toy(),
                data.Dataset(source, SCHEMA, title="broken"),
                tiny_recipe(workers=workers, pictures=8),
                tmp_path / f"run{workers}",
                progress="none",
            )
        assert str(caught.value).count("2.png") == 1 and "\n" not in str(caught.value)


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
    tensors, header = read_tensors(tmp_path / "not-finite-step-1.safetensors")
    assert tensors["image"].shape[:2] == (2, 3)
    assert [n[:5] for n in json.loads(header["names"])] == ["tiny-", "tiny-"]
    assert list(json.loads(header["losses"])) == ["box", "small", "odd"]


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
