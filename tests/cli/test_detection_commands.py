"""Commands around proposals and the detectors that take them: found, kept, given, judged, compressed, drawn."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from PIL import Image

from videre import data
from videre.cli import run
from videre.cli.app import app
from videre.data.blocks import blocks_dataset
from videre.models.checkpoint import read_checkpoint


def call(*words: str) -> int:
    return run(lambda: app(list(map(str, words)), prog_name="videre", standalone_mode=False))


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("blocks") / "set"
    scenes = blocks_dataset(6, size=(96, 128))
    data.write(scenes.subset([0, 1, 2, 3]), root, "coco", split="train", lossy=True)
    data.write(scenes.subset([4, 5]), root, "coco", split="val", lossy=True)
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path / "cache"))


SMALL = ["-o", "short_side=96", "-o", "long_side=128", "-o", "pictures=4", "-o", "batch=2", "-o", "norm=group"]


def test_proposals_are_written_once_and_given_to_a_training(blocks: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / "p.jsonl"
    assert call("proposals", "selective-search", blocks, "--split", "train", "--out", file) == 0
    told = capsys.readouterr().out
    assert "proposals a picture in" in told and "MABO" in told and "ABO:" in told
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 4 and all(line["proposals"] for line in lines)
    common = ["--backbone", "mobilenet_v2", "-o", "hidden=16", *SMALL, "-q"]
    assert (
        call("train", "fast-rcnn", blocks, "--val", "none", "--proposals", file, "--out", tmp_path / "a", *common) == 0
    )
    config = json.loads((tmp_path / "a" / "run.json").read_text())["config"]
    assert config["proposals"] == ""  # nobody knows how they were found
    assert call("evaluate", tmp_path / "a" / "last.safetensors", blocks, "--split", "val", "-q") == 2
    assert "proposals" in capsys.readouterr().err
    assert (
        call("evaluate", tmp_path / "a" / "last.safetensors", blocks, "--split", "val", "--proposals", file, "-q") == 2
    )
    error = capsys.readouterr().err
    assert "says nothing of 2 of the 2 pictures" in error and error.count("\n") == 1
    assert (
        call("evaluate", tmp_path / "a" / "last.safetensors", blocks, "--split", "train", "--proposals", file, "-q")
        == 0
    )


def test_the_methods_name_is_kept_with_the_weights(blocks: Path, tmp_path: Path, capsys) -> None:
    common = ["--backbone", "mobilenet_v2", "-o", "hidden=16", *SMALL, "-q"]
    assert call("train", "fast-rcnn", blocks, "--out", tmp_path / "b", *common) == 0
    weights = tmp_path / "b" / "best.safetensors"
    picture = next(blocks.rglob("*.png"))
    assert call("predict", picture, "-m", weights, "--out", tmp_path / "found", "-q") == 0
    assert call("evaluate", weights, blocks, "--split", "val", "-q") == 0
    assert call("compress", weights, blocks, "--split", "val", "--ranks", "8,4") == 0
    told = capsys.readouterr().out
    assert "parameters" in told and "s a picture" in told
    assert (
        call("predict", picture, "-m", tmp_path / "b" / "best-compressed.safetensors", "--out", tmp_path / "f2", "-q")
        == 0
    )
    assert call("compress", weights, blocks, "--split", "val", "--ranks", "8") == 2


@pytest.mark.parametrize("system", ["rcnn", "sppnet"])
def test_four_stages_train_evaluate_and_predict(blocks: Path, tmp_path: Path, system: str) -> None:
    own = ["-o", "crop_size=48", "-o", "context=4"] if system == "rcnn" else ["-o", "hidden=16"]
    common = ["--backbone", "mobilenet_v2", "-o", "most=[60,60]", *own, *SMALL, "-q"]
    assert call("train", system, blocks, "--out", tmp_path / "c", *common) == 0
    record = [json.loads(line) for line in (tmp_path / "c" / "log.jsonl").read_text().splitlines()]
    assert any("metrics" in entry for entry in record)
    model = read_checkpoint(tmp_path / "c" / "last.safetensors").build()
    assert model.svm.svm.abs().sum() > 0 and model.svm.scale != 1
    picture = next(blocks.rglob("*.png"))
    assert call("predict", picture, "-m", tmp_path / "c" / "last.safetensors", "--out", tmp_path / "found", "-q") == 0


def test_faster_rcnn_in_four_steps(blocks: Path, tmp_path: Path) -> None:
    common = ["--backbone", "mobilenet_v2", "-o", "hidden=16", "-o", "width=16", "-o", "fpn_norm=group", *SMALL, "-q"]
    assert call("train", "faster-rcnn", blocks, "-o", "steps=4", "--out", tmp_path / "d", *common) == 0
    log = [json.loads(line) for line in (tmp_path / "d" / "log.jsonl").read_text().splitlines()]
    losses = [entry.keys() & {"rpn_objectness", "rpn_box", "class", "box"} for entry in log if "loss" in entry]
    assert losses[0] == {"rpn_objectness", "rpn_box"} and losses[-1] == {"class", "box"}
    assert [later for earlier, later in itertools.pairwise([{}, *losses]) if later != earlier] == [
        losses[0],
        losses[-1],
    ] * 2
    assert (
        call("proposals", tmp_path / "d" / "last.safetensors", blocks, "--split", "val", "--out", tmp_path / "r.jsonl")
        == 0
    )


def test_drawings(blocks: Path, tmp_path: Path, capsys) -> None:
    assert call("draw", "targets", "faster-rcnn", blocks, "--split", "train", "--out", tmp_path / "t") == 0
    files = capsys.readouterr().out.split()
    assert [Path(f).name.rpartition("-")[2] for f in files] == ["anchors.png", "proposals.png"]
    assert Image.open(files[0]).size[1] > 96
    assert call("draw", "targets", "window-detector", blocks, "--split", "train", "--out", tmp_path / "t") == 0
    assert call("draw", "targets", "unet", blocks, "--split", "train", "--out", tmp_path / "t") == 2
    picture = next(blocks.rglob("*.png"))
    assert call("draw", "pooling", picture, "--box", "10,10,60,50", "--out", tmp_path / "p.png") == 0
    assert Image.open(tmp_path / "p.png").size[0] > 1000
    for box in ("10,10", "a,b,c,d", "60,10,10,50"):
        assert call("draw", "pooling", picture, "--box", box) == 2


def test_one_object_and_windows(blocks: Path, tmp_path: Path, capsys) -> None:
    common = [*SMALL[:-2]]
    told = ["--backbone", "mobilenet_v2", "-o", "norm=group", "-o", "hidden=16"]
    sides = ["-o", "pictures=4", "-o", "batch=2", "-o", "size=[96,96]"]
    assert call("train", "single-object", blocks, "--out", tmp_path / "e", *told, *sides) == 0
    output = capsys.readouterr()
    assert "pictures have more things: the first by order=largest are trained on" in output.err
    assert "localisation error" in output.out
    assert (
        call("train", "window-detector", blocks, "--out", tmp_path / "f", "-o", "width=8", "-o", "hidden=8", *common)
        == 0
    )
    assert "windows in a picture of" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["bing", "objectness"])
def test_methods_that_learn_are_trained_and_propose(blocks: Path, tmp_path: Path, capsys, method: str) -> None:
    assert call("proposals", method, blocks, "--split", "val", "--out", tmp_path / "p.jsonl") == 2
    assert f"finds nothing before it is trained: `videre train {method} DATA`" in capsys.readouterr().err
    assert call("train", method, blocks, "-o", "batch=2", "--out", tmp_path / method, "-q") == 0
    weights = tmp_path / method / "last.safetensors"
    assert call("proposals", weights, blocks, "--split", "val", "--out", tmp_path / "p.jsonl") == 0
    assert "proposals a picture" in capsys.readouterr().out


def test_methods_without_training(blocks: Path, tmp_path: Path, capsys) -> None:
    assert call("proposals", "edge-boxes", blocks, "--split", "val", "--out", tmp_path / "e.jsonl", "-q") == 0
    for method, how in (("edge-boxes", "it needs no weights"), ("edge-hed", "its weights are published ones")):
        assert call("train", method, blocks, "--out", tmp_path / "x") == 2
        assert f"is not trained here; {how}" in capsys.readouterr().err
    assert call("proposals", "unet", blocks, "--split", "val") == 2
