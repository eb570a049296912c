"""videre export: a file and its report, or nothing at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from videre.cli.export import _as_input
from videre.export import FORMATS
from videre.models import find_model
from videre.models.checkpoint import save_checkpoint
from videre.structures import Categories, Preprocess, Schema

from .conftest import videre


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of fewer levels than the world's: tracing takes time for each layer."""
    torch.manual_seed(0)
    things = Schema(things=Categories.of(["cube", "ball"]))
    model = find_model("faster-rcnn")(
        things,
        Preprocess(short_side=64),
        backbone="vgg11",
        multiplier=0.25,
        width=16,
        hidden=32,
        strides=[16],
        anchor_sizes=[16, 32],
        rpn_post_nms=[50, 20],
        score_threshold=0.2,
    )
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    save_checkpoint(model, path, {"command": "by hand"})
    return path


def test_a_detector_becomes_a_file_with_its_report(small: Path) -> None:
    done = videre("export", small, "--format", "torch", "--out", "exported/m.pt2", "--pictures", "data")
    assert done.code == 0, done.err
    assert "exported/m.pt2: " in done.out and "MB; 16 pictures" in done.out and "the same results" in done.out
    report = json.loads(Path("exported/m.pt2.parity.json").read_text())
    assert report["passed"] and len(report["pictures"]) == 16 and report["pictures"][0]["size"] == [64, 64]
    assert sorted(p.name for p in Path("exported").iterdir()) == ["m.pt2", "m.pt2.parity.json", "m.pt2.parity.md"]


def test_a_file_that_finds_something_else_is_reported_with_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of a runtime, one that finds nothing."""
    nothing = {
        "boxes": np.zeros((0, 4), np.float32),
        "scores": np.zeros(0, np.float32),
        "labels": np.zeros(0, np.int64),
    }
    broken = dataclasses.replace(
        FORMATS["torch"], write=lambda model, path, metadata: path.touch(), open=lambda path: lambda picture: nothing
    )
    monkeypatch.setitem(FORMATS, "torch", broken)
    done = videre("export", "run/best.safetensors", "--format", "torch", "--out", "broken.pt2")
    assert done.code == 1 and "NOT the same results" in done.out
    assert "videre: landscape: " in done.err and "detections of the model alone" in done.err
    assert "landscape" in Path("broken.pt2.parity.md").read_text()
    assert videre("export", "run/best.safetensors", "--format", "torch", "--out", "broken.pt2", "-q").out == ""


def test_a_missing_package_is_told_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxruntime" else name)
    before = sorted(Path.cwd().rglob("*"))
    done = videre("export", "run/best.safetensors", "--format", "onnx")
    assert done.code == 2 and done.err.count("\n") == 1
    assert "onnx needs onnxruntime, not installed here: pip install 'videre[export]'" in done.err
    assert sorted(Path.cwd().rglob("*")) == before


def test_a_failed_conversion_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr("videre.export.torch_file.trace", lambda model: None)
    monkeypatch.setattr("torch.export.save", fail)
    before = sorted(Path.cwd().rglob("*"))
    done = videre("export", "run/best.safetensors", "--format", "torch", "--out", "failed.pt2", "--pictures", "data")
    assert done.code == 3 and "the disk is gone" in done.err
    assert sorted(Path.cwd().rglob("*")) == before


def test_pictures_are_given_as_the_net_takes_them() -> None:
    deep = np.full((2, 3, 3), 65535, np.uint16)
    deep[0, 0] = 0
    found = _as_input(deep, Preprocess())
    assert found.dtype == np.uint8 and found.shape == (2, 3, 3) and found[0, 0, 0] == 0 and found[1, 1, 1] == 255
    assert _as_input(deep, Preprocess(channels="grey", mean=(0,), std=(1,))).shape == (2, 3, 1)
    assert _as_input(deep[:, :, :1], Preprocess()).shape == (2, 3, 3)
    assert (
        _as_input(np.ones((2, 3, 3), np.float32), Preprocess(channels="any", mean=(0,) * 6, std=(1,) * 6)).tolist()
        == [[[255] * 6] * 3] * 2
    )
