"""Two processes under torchrun train as one does: same losses, same weights; all of them stop together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from videre.tensors import read_tensors
from videre.train import train

from .several import ACCUMULATED, THREE_STEPS, unsampled, unvaried
from .test_resume import TESTS
from .tiny import log_of, measure


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("together")
    paths = os.pathsep.join([str(TESTS), str(TESTS / "models")])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "train.several",
            str(out),
        ],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_two_processes_give_the_losses_and_weights_of_one(together: Path, tmp_path: Path) -> None:
    """Pictures of different sizes, so that the processes must agree on the padding; one picture without objects."""
    train(unsampled(), *THREE_STEPS, tmp_path, evaluate=measure, progress="none")
    alone, both = log_of(tmp_path), log_of(together / "detector")
    assert [line["step"] for line in both] == [line["step"] for line in alone]
    losses = ("loss", "rpn_objectness", "rpn_box", "class", "box")
    for name in losses:
        assert both[0][name] == pytest.approx(alone[0][name], rel=1e-5)
    for one, two in zip(alone, both):
        if "loss" in one:  # a proposal on the edge of a threshold may be sampled in one and not in the other
            assert two["loss"] == pytest.approx(one["loss"], rel=5e-3)
    one, two = (read_tensors(d / "state/state.safetensors")[0] for d in (tmp_path, together / "detector"))
    assert one.keys() == two.keys() - {"random/1"}  # of the second process
    begun = unsampled().state_dict()
    for part in ("model/", "average/"):
        apart = sum((two[part + n] - one[part + n]).square().sum() for n in begun).sqrt()
        moved = sum((one[part + n] - v).square().sum() for n, v in begun.items()).sqrt()
        assert 0 < apart < 0.02 * moved, (apart, moved)


def test_an_early_stop_stops_all_and_only_the_first_evaluates(together: Path) -> None:
    first, second = ((together / f"asked-{rank}").read_text().split()[:3] for rank in (0, 1))
    assert first == ["3", "{'box", "AP':"] and second == ["0", "{'box", "AP':"]
    steps = [line["step"] for line in log_of(together / "toy") if "loss" in line]
    assert steps == list(range(1, 10))  # each written once; best after one epoch of three steps, then two without gain


def test_gradients_of_a_half_done_accumulation_are_not_exchanged(together: Path, tmp_path: Path) -> None:
    """Six steps in two updates: four backward passes by themselves, and the weights of one process in the end."""
    assert [(together / f"alone-{rank}").read_text() for rank in (0, 1)] == ["4", "4"]
    train(unvaried(), *ACCUMULATED, tmp_path, evaluate=measure, progress="none")
    one, two = (read_tensors(d / "state/state.safetensors")[0] for d in (tmp_path, together / "accumulated"))
    begun = unvaried().state_dict()
    for name, value in begun.items():
        moved = (one[f"model/{name}"] - value).norm()
        assert moved > 0 and (two[f"model/{name}"] - one[f"model/{name}"]).norm() < 0.01 * moved, name


def test_what_a_stage_is_given_is_found_by_the_first_alone(together: Path) -> None:
    lines = log_of(together / "parts")
    assert [line["stage"] for line in lines if "loss" in line] == ["head"] * 2 + ["net"] * 2
    assert len((together / "parts/state/given-net.jsonl").read_text().splitlines()) == 4
