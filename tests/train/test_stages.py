"""Stages: each trains what is its own, is killed and resumed to the bit, and hands on to the next."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from probes import Regions
from scenes import PREPROCESS
from torch import Tensor

from videre.errors import ConfigError
from videre.models import Descent, Fit, Model, Stage, find_model
from videre.models.checkpoint import read_checkpoint
from videre.predict import Predictor
from videre.structures import ImageBatch, Scene
from videre.tensors import read_tensors
from videre.train import Run, train
from videre.train.samples import TrainingSamples

from .tiny import SCHEMA, Parts, log_of, measure, regions, tiny_data, tiny_recipe

TESTS = Path(__file__).parents[1]
WHERE = ("descent", "between", "fit", "second pass")
SIX = {"pictures": 6, "ema": 0.0, "save_minutes": 0.0}


def run(model: Model, out: Path, resume: bool = False, **changes: object) -> Run:
    return train(
        model, tiny_data(), tiny_recipe(**{**SIX, **changes}), out, evaluate=measure, resume=resume, progress="none"
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("straight")
    assert run(regions(), out).finished
    return out


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same training killed by SIGKILL at each of the places, in processes of their own, side by side."""
    paths = os.pathsep.join([str(TESTS), str(TESTS / "models"), os.environ.get("PYTHONPATH", "")])
    folders = {where: tmp_path_factory.mktemp("killed") for where in WHERE}
    running = {
        where: subprocess.Popen(
            [sys.executable, "-m", "train.killed_stages", str(folder), where],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        )
        for where, folder in folders.items()
    }
    for process in running.values():
        _, told = process.communicate()
        assert process.returncode == -signal.SIGKILL, told
    return folders


@pytest.mark.parametrize("where", WHERE)
def test_a_training_killed_in_or_between_stages_resumes_to_the_bit(
    straight: Path, killed: dict[str, Path], where: str
) -> None:
    status = json.loads(read_tensors(killed[where] / "state/state.safetensors")[1]["state"])
    reached = {"descent": (0, 0), "between": (1, 0), "fit": (1, 0), "second pass": (1, 1)}
    assert (status["stage"], status["passes"]) == reached[where]
    assert run(regions(), killed[where], resume=True).finished
    assert log_of(killed[where]) == log_of(straight)
    for name in ("last.safetensors", "best.safetensors", "state/state.safetensors"):
        (one, _), (two, _) = read_tensors(straight / name), read_tensors(killed[where] / name)
        assert one.keys() == two.keys() and [n for n in one if not torch.equal(one[n], two[n])] == [], name


def test_a_finished_run_whose_last_stage_is_solved_is_resumed_as_finished(straight: Path) -> None:
    before = read_tensors(straight / "last.safetensors")[0]
    assert run(regions(), straight, resume=True).finished
    after = read_tensors(straight / "last.safetensors")[0]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_each_stage_changes_what_is_its_own(straight: Path) -> None:
    begun, ended = regions().state_dict(), read_checkpoint(straight / "last.safetensors").tensors
    assert not torch.equal(begun["net.0.weight"], ended["net.0.weight"])
    assert ended["svm"].abs().sum(1).min() > 0
    lines = log_of(straight)
    assert [line["stage"] for line in lines if "stage" in line] == ["features"] * 3 + ["svm"]
    assert sum("metrics" in line for line in lines) == 1  # a stage that cannot be judged is not, the last one is


def test_a_trained_region_classifier_says_what_its_machines_say(straight: Path) -> None:
    """The margins of scikit-learn's machines, on the features that the state holds."""
    model = read_checkpoint(straight / "last.safetensors").build()
    picture, truth = tiny_data()[0]
    scene = Predictor(model, engine="plain").predict(picture, threshold=0, given=truth.only({"proposals"}))
    assert torch.equal(scene.instances.boxes, truth.proposals) and len(scene.instances.labels) == len(truth.proposals)


def parts() -> Model:
    torch.manual_seed(0)
    return Parts(SCHEMA, PREPROCESS)


def test_stages_train_their_parameters_with_their_recipe_and_what_was_found(tmp_path: Path) -> None:
    model, seen, states = parts(), [], []
    losses = model.losses

    def spy(batch: ImageBatch, targets: Sequence[Scene]) -> dict[str, Tensor]:
        seen.append([scene.proposals for scene in batch.given])
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return losses(batch, targets)

    model.losses = spy
    run(model, tmp_path, batch=2, flip=0.0)
    first, second, end = states[0], states[3], model.state_dict()  # 6 pictures in each, two a step
    changed = lambda a, b: {name.partition(".")[0] for name in a if not torch.equal(a[name], b[name])}
    assert changed(first, second) == {"softmax"} and changed(second, end) == {"net"}
    assert not changed(first, states[2]) and changed(states[3], states[4])  # accumulates in the first stage alone
    assert (
        max(line["lr"] for line in log_of(tmp_path) if "lr" in line) <= tiny_recipe().lr
    )  # what a user sets counts more
    assert [len(p) for group in seen[:3] for p in group] == [8 if i != 2 else 6 for i in order(model, 6)]
    mark = float(second["softmax.bias"].sum().abs() % 1)
    for i, (proposal,) in zip(order(model, 6), (p for group in seen[3:] for p in group), strict=True):
        height, width = tiny_data().size(i)
        scale = PREPROCESS.resized((height, width))[1] / width
        torch.testing.assert_close(proposal[2], torch.tensor((10 + mark) * scale), atol=1e-3, rtol=0)
    assert (tmp_path / "state" / "given-net.jsonl").exists()


class Anew(Parts):
    """The second stage begins with the weights that the first began with, and with what the first has found."""

    def stages(self) -> Sequence[Stage]:
        first, second = super().stages()
        return first, dataclasses.replace(second, anew=("softmax.",))


def test_a_stage_begins_anew_with_what_the_one_before_has_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, states = Anew(SCHEMA, PREPROCESS), []
    losses = model.losses

    def spy(batch: ImageBatch, targets: Sequence[Scene]) -> dict[str, Tensor]:
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return losses(batch, targets)

    model.losses = spy
    run(model, tmp_path / "a", batch=1, flip=0.0)
    softmax = lambda state: state["softmax.weight"]
    assert len(states) == 12 and not torch.equal(softmax(states[5]), softmax(states[0]))
    assert torch.equal(softmax(states[6]), softmax(states[0])) and torch.equal(softmax(states[11]), softmax(states[0]))
    found = [json.loads(line) for line in (tmp_path / "a/state/given-net.jsonl").read_text().splitlines()]
    assert len(found) == 6 and all(scene["proposals"][0][2] > 10 for scene in found)  # the mark of the first's biases
    # one that is stopped in the second stage goes on there, and does not begin it once more
    stopped = Anew(SCHEMA, PREPROCESS)
    stopped.load_state_dict(states[0])
    stopped.losses = lambda batch, targets: next(left) and type(stopped).losses(stopped, batch, targets)
    left = iter([True] * 10)
    with pytest.raises(StopIteration):
        run(stopped, tmp_path / "b", batch=1, flip=0.0)
    resumed = Anew(SCHEMA, PREPROCESS)
    assert run(resumed, tmp_path / "b", resume=True, batch=1, flip=0.0).finished
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in model.state_dict().items())


def order(model: Model, count: int) -> list[int]:
    samples = TrainingSamples(tiny_data(), model, tiny_recipe(**SIX))
    return [samples.place(position)[1] for position in range(count)]


def test_deconvnet_is_one_training_of_two_stages(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {"backbone": "vgg11_bn", "norm": "group", "multiplier": 0.125, "hidden": 64, "unpool": "nearest"}
    model, shown = find_model("deconvnet")(SCHEMA, PREPROCESS, **small, crops="both"), []
    choose = model._choose
    model._choose = lambda crops, *rest: (shown.append(crops), choose(crops, *rest))[1]
    train(model, tiny_data(), tiny_recipe(pictures=4, batch=2), tmp_path, progress="none", page=False)
    assert shown == ["objects"] * 4 + ["proposals"] * 4
    assert [line["stage"] for line in log_of(tmp_path)] == ["objects"] * 2 + ["proposals"] * 2


# what is given ----------------------------------------------------------------------------------------------------------


def test_nothing_but_what_a_model_takes_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training, evaluation and prediction: the truth has boxes, labels, masks, captions, and none of them leaks."""
    model, seen = regions(), []
    forward = Regions.forward
    monkeypatch.setattr(Regions, "forward", lambda self, batch: (seen.append(batch.given), forward(self, batch))[1])
    data = tiny_data()
    train(model, data, tiny_recipe(**SIX), tmp_path, validation=data, progress="none", page=False)
    Predictor(model, engine="plain").predict(data.picture(0), given=data.scene(0))
    assert len(seen) > 10
    assert {frozenset(scene.present()) for given in seen for scene in given} == {frozenset({"proposals"})}


def test_a_model_that_takes_nothing_is_given_nothing() -> None:
    samples = TrainingSamples(tiny_data(), find_model("unet")(SCHEMA, PREPROCESS, width=8), tiny_recipe())
    assert samples.sample(0)[1].given == ()


def test_given_fields_move_with_the_picture() -> None:
    """A proposal that lies on a true box lies on it after flips, crops and the net's own resizing."""
    samples = TrainingSamples(tiny_data(), regions(), tiny_recipe(flip=1.0, scale_min=0.8, scale_max=1.5))
    for position in range(4):
        _, batch, truth = samples.sample(position)
        for box in truth.instances.boxes:
            apart = (batch.given[0].proposals - box).abs().amax(1)
            assert apart.min() < 3, (box, batch.given[0].proposals)


def test_data_that_lack_what_a_model_takes_are_refused() -> None:
    data = tiny_data()
    data.source.fields = data.source.fields - {"proposals"}
    with pytest.raises(
        ValueError, match=r"Regions trains on boxes, instances\.labels, proposals; tiny has no proposals"
    ):
        regions().require(data.fields, data.title)


# many processes at once are in test_processes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stage",
    [Descent("a", recipe={"no such": 1}), Descent("a", recipe={"weight_decay": "much"})],
    ids=["unknown", "of another type"],
)
def test_a_stage_with_a_wrong_recipe_is_named(tmp_path: Path, stage: Descent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Regions, "stages", lambda self: (stage,))
    with pytest.raises(ConfigError):
        run(regions(), tmp_path)


def test_a_fit_that_is_content_ends_after_its_first_pass(tmp_path: Path) -> None:
    passes: list[int] = []

    def solve(state: dict[str, Tensor]) -> bool:
        passes.append(len(state["n"]))
        return False

    class Once(Regions):
        def stages(self) -> Sequence[Stage]:
            return (Fit("count", count, solve, passes=3),)

    def count(state: dict[str, Tensor], batch: ImageBatch, targets: Sequence[Any]) -> dict[str, Tensor]:
        return {"n": torch.cat([state.get("n", torch.zeros(0)), torch.ones(len(batch))])}

    torch.manual_seed(0)
    done: Callable[..., Run] = run
    assert done(Once(SCHEMA, PREPROCESS), tmp_path).finished and passes == [6]
