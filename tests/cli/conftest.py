"""A new user's fresh folder: a small blocks world, and a detector trained on it by the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from videre.cli import main

SMALL = [
    "--backbone",
    "mobilenet_v2",
    *(
        word
        for setting in (
            "width=16",
            "hidden=32",
            "rpn_pre_nms=[100,50]",
            "rpn_post_nms=[50,20]",
            "roi_batch=16",
            "short_side=64",
            "pictures=12",
            "batch=4",
            "score_threshold=0.0",
            "precision=fp32",
        )
        for word in ("-o", setting)
    ),
]
"""Options of a training of three steps; fp32, since what the trial of formats finds may differ from run to run."""


@dataclasses.dataclass
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


def videre(*words: object) -> Done:
    """Run the command line in this process: importing torch anew takes seconds."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["videre", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        return Done(int(stop.code or 0), out.getvalue(), err.getvalue())
    finally:
        sys.argv = before
    raise AssertionError("main always exits")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data` (12 pictures to train, 4 to validate) and a run `run`; the working folder of the tests."""
    folder = tmp_path_factory.mktemp("user")
    before = Path.cwd()
    os.chdir(folder)
    try:
        made = videre("data", "blocks", "data", "--count", 12, "--val", 4, "--size", 64)
        assert made.code == 0, made.err
        trained = videre("train", "faster-rcnn", "data", "--out", "run", *SMALL)
        assert trained.code == 0, trained.err
    finally:
        os.chdir(before)
    (folder / "printed.txt").write_text(trained.err + "\n---\n" + trained.out)
    return folder


@pytest.fixture(autouse=True)
def _there(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
