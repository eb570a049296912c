"""A resumed training equals one that never stopped: weights, averages, optimiser, best, log, bit for bit."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from videre.engine.plan import Plan
from videre.errors import ConfigError
from videre.models.checkpoint import read_checkpoint
from videre.tensors import read_tensors
from videre.train import Run, folder, train

from .tiny import CASES, detector, log_of, measure, tiny_data, tiny_recipe, toy

TESTS = Path(__file__).parents[1]


class Killed(BaseException):
    """Stands for a kill, inside the process."""


def run(out: Path, resume: bool = False, **changes: object) -> Run:
    recipe = tiny_recipe(**changes)
    return train(toy(), tiny_data(), recipe, out, evaluate=measure, resume=resume, progress="none")


def killed_in_step(step: int, out: Path, **changes: object) -> None:
    """The same training, killed while it computes the losses of a step (from 1)."""
    model, calls = toy(), itertools.count(1)
    losses = model.losses

    def deadly(batch, truths):
        if next(calls) == step:
            raise Killed
        return losses(batch, truths)

    model.losses = deadly
    with pytest.raises(Killed):
        train(model, tiny_data(), tiny_recipe(**changes), out, evaluate=measure, progress="none")


def same(a: Path, b: Path) -> None:
    """Every file that two runs leave holds the same."""
    assert log_of(a) == log_of(b)
    for name in ("last.safetensors", "best.safetensors", "state/state.safetensors"):
        (one, _), (two, _) = read_tensors(a / name), read_tensors(b / name)
        assert one.keys() == two.keys()
        assert [n for n in one if not torch.equal(one[n], two[n])] == [], name
    assert list(a.rglob(".*.partial")) == list(b.rglob(".*.partial")) == []


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("straight")
    assert run(out).finished
    return out


def test_the_same_training_twice_is_the_same(straight: Path, tmp_path: Path) -> None:
    run(tmp_path, workers=3)
    same(straight, tmp_path)


@pytest.mark.parametrize(("kind", "where"), [("toy", "step"), ("toy", "between files"), ("detector", "step")])
def test_a_killed_training_resumes_bit_for_bit(straight: Path, tmp_path: Path, kind: str, where: str) -> None:
    whole, cut = straight, tmp_path / "cut"
    make, (data, recipe) = {"toy": toy, "detector": detector}[kind], CASES[kind]
    again = lambda out, resume: train(make(), data, recipe, out, evaluate=measure, resume=resume, progress="none")
    if kind == "detector":
        whole = tmp_path / "whole"
        again(whole, resume=False)
    paths = os.pathsep.join([str(TESTS), str(TESTS / "models")])
    done = subprocess.run(
        [sys.executable, "-m", "train.killed", str(cut), kind, where],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    saved = 3 if kind == "toy" else 2
    assert read_tensors(cut / "state/state.safetensors")[1]["state"].startswith(f'{{"step": {saved},')
    assert again(cut, resume=True).finished
    same(whole, cut)


@pytest.mark.parametrize(
    "changes",
    [{"accumulate": 2, "batch": 2}, {"optimizer": "sgd", "ema": 0.0}, {"accumulate": 4, "save_minutes": 0.0}],
    ids=str,
)
def test_resume_with_accumulation_and_without_average(tmp_path: Path, changes: dict) -> None:
    """Killed in step 6, whatever was saved before; one step of an accumulation may be lost, never half of one."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(whole, **changes)
    killed_in_step(6, cut, **changes)
    run(cut, resume=True, **changes)
    same(whole, cut)


@pytest.mark.parametrize("changes", [{}, {"accumulate": 4}], ids=str)
def test_ctrl_c_saves_the_state_and_the_rest_follows(tmp_path: Path, monkeypatch, capfd, changes: dict) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(whole, **changes)
    model = toy()
    losses, presses = model.losses, [signal.SIGINT]
    press = lambda: signal.raise_signal(presses.pop()) if presses else None
    monkeypatch.setattr(model, "losses", lambda *a: (press(), losses(*a))[1])
    before = signal.getsignal(signal.SIGINT)
    left = train(model, tiny_data(), tiny_recipe(**changes), cut, evaluate=measure, progress="plain")
    assert not left.finished and signal.getsignal(signal.SIGINT) is before
    stopped = changes.get("accumulate", 1)
    assert f"stopped at step {stopped} of 6, the state is saved; go on with --resume" in capfd.readouterr().err
    assert len(log_of(cut)) >= stopped
    assert run(cut, resume=True, **changes).finished
    same(whole, cut)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, monkeypatch) -> None:
    model = toy()
    monkeypatch.setattr(model, "losses", lambda *a: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt):
        train(model, tiny_data(), tiny_recipe(), tmp_path, progress="none")


def test_an_early_stop_is_final_and_resuming_it_trains_no_further(tmp_path: Path) -> None:
    recipe = tiny_recipe(pictures=60, patience=2)
    falling = lambda model: {"box AP": 0.5}
    for resume in (False, True):
        train(toy(), tiny_data(), recipe, tmp_path, evaluate=falling, resume=resume, progress="none")
        assert log_of(tmp_path)[-1] == {"step": 9, "metrics": {"box AP": 0.5}}


def test_best_is_kept_by_the_first_metric_and_survives_numbers_that_are_none(tmp_path: Path) -> None:
    values = iter([float("nan"), 0.3, 0.2, float("nan")])
    train(
        toy(),
        tiny_data(),
        tiny_recipe(pictures=24),
        tmp_path,
        progress="none",
        evaluate=lambda model: {"box AP": next(values)},
    )
    assert read_checkpoint(tmp_path / "best.safetensors").provenance["metrics"] == {"box AP": 0.3}


def test_what_cannot_be_resumed_is_refused(straight: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no state to resume"):
        run(tmp_path / "nothing", resume=True)
    with pytest.raises(ConfigError, match=r"another recipe: clip was 10\.0, is 0\.5"):
        run(straight, resume=True, clip=0.5)
    with pytest.raises(ConfigError, match="there is a run already; go on with --resume"):
        run(straight)
    with pytest.raises(ConfigError, match=r"another data: 1 of 7 pictures are new \(tiny-6\)"):
        train(toy(), tiny_data(7), tiny_recipe(), straight, resume=True, progress="none")


def test_a_run_of_an_older_version_goes_on(straight: Path, tmp_path: Path) -> None:
    """Its recipe lacks the settings that have come since."""
    shutil.copytree(straight, tmp_path / "old")
    record = json.loads((tmp_path / "old" / "run.json").read_text())
    del record["recipe"]["invert"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(record))
    assert run(tmp_path / "old", resume=True).finished
    with pytest.raises(ConfigError, match=r"another recipe: invert was 0\.0, is 1\.0"):
        run(tmp_path / "old", resume=True, invert=1.0)


def test_partial_files_of_a_kill_are_removed(straight: Path) -> None:
    left = straight / "state" / ".state.safetensors.123.partial"
    left.write_bytes(b"half")
    run(straight, resume=True)
    assert not left.exists()


def test_a_full_disk_leaves_the_last_good_files(tmp_path: Path, monkeypatch) -> None:
    saves = []

    def full(*arguments: object) -> None:
        saves.append(1)
        if len(saves) == 2:
            raise OSError(28, "No space left on device")
        return whole(*arguments)

    whole = folder.save_state
    monkeypatch.setattr(folder, "save_state", full)
    with pytest.raises(OSError) as caught:
        run(tmp_path)
    assert "the state of step 3 stands: make room and go on with --resume" in caught.value.strerror
    assert str(caught.value.filename).endswith("state/state.safetensors")
    monkeypatch.undo()
    assert run(tmp_path, resume=True).finished


def test_a_run_that_died_before_its_first_save_begins_again(straight: Path, tmp_path: Path) -> None:
    killed_in_step(2, tmp_path)
    assert len(log_of(tmp_path)) == 1
    assert run(tmp_path, resume=True).finished
    same(straight, tmp_path)


def test_a_resumed_run_keeps_the_number_format_it_began_with(tmp_path: Path, monkeypatch) -> None:
    """Found by trying where it began; another machine, or a busy moment, might choose otherwise."""
    formats = iter(["bf16", "fp32"])
    monkeypatch.setattr("videre.train.loop.Plan.precision", lambda plan, device: next(formats))
    run(tmp_path / "whole", precision="auto")
    record = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert record["recipe"]["precision"] == "bf16"
    assert run(tmp_path / "whole", resume=True, precision="auto").finished
    assert json.loads((tmp_path / "whole" / "run.json").read_text())["recipe"]["precision"] == "bf16"


def test_a_resumed_run_follows_the_plan_it_began_with(tmp_path: Path, monkeypatch) -> None:
    """Found by timing where it began; another machine has a plan of its own."""
    fastest = iter(["winograd4", "direct"])
    monkeypatch.setattr("videre.engine.plan.fastest", lambda candidates: next(fastest))
    followed = []

    @contextlib.contextmanager
    def planned(plan: Plan):
        followed.append(plan.choose("a layer", dict.fromkeys(("direct", "winograd4"))))
        yield

    monkeypatch.setattr("videre.train.step.planned", planned)
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path / "first"))
    killed_in_step(2, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["plan"]["choices"]["a layer"] == "winograd4"
    assert Plan.here().choices["a layer"] == "winograd4", "other runs profit"
    shutil.copytree(tmp_path / "run", tmp_path / "moved")
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path / "second"))
    before = len(followed)
    assert run(tmp_path / "run", resume=True).finished and set(followed[before:]) == {"winograd4"}
    monkeypatch.setattr("videre.train.folder.this_machine", lambda: "another")
    before = len(followed)
    assert run(tmp_path / "moved", resume=True).finished and set(followed[before:]) == {"direct"}
