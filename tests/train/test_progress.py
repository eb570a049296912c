"""The time left, once the pace is known."""

from __future__ import annotations

import math

import pytest

from videre.train import progress
from videre.train.progress import Pace, Progress


def lefts(seconds: list[float], steps: int, monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """What is said after each step, where they take so many seconds."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    pace, said = Pace(), []
    for done, taken in enumerate(seconds, 1):
        clock[0] += taken
        said.append(pace.left(done, steps))
    return said


def test_the_first_steps_are_no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slow ones, in which kernels are compiled, then a second each: no hours are promised."""
    said = lefts([40.0, 20, 10, *[1.0] * 8], 103, monkeypatch)
    assert said[:7] == [None] * 7 and said[7:] == pytest.approx([95, 94, 93, 92])


def test_a_pace_that_never_settles_is_told_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    said = lefts([50.0, 1] * 4, 100, monkeypatch)
    assert said[:4] == [None] * 4 and said[4] == pytest.approx(152 / 5 * 95)


def test_a_slower_second_half_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lefts([1.0] * 5 + [3.0] * 5, 20, monkeypatch)[-1] == pytest.approx(2.0 * 10)


def test_the_loss_that_is_shown_is_the_mean_of_the_last_steps(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(steps=30, mode="plain")
    for done, loss in enumerate([4.0, math.nan, *[1.0, 3.0] * 14], 1):
        shown.step(done, loss, 1e-3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("step 1/30  loss 4.000") and lines[-1].startswith("step 30/30  loss 2.000")
