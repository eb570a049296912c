"""What `videre train` trains on and goes on with when it is not told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from videre.cli.options import parse_settings
from videre.data import read, splits
from videre.models.checkpoint import read_checkpoint
from videre.train import train
from videre.train.build import prepare_training

from .conftest import SMALL, videre


def renamed(tmp_path: Path, train: str, val: str) -> Path:
    """The world with its two splits called otherwise."""
    data = tmp_path / "data"
    shutil.copytree("data", data)
    for old, new in (("train", train), ("val", val)):
        (data / old).rename(data / new)
        for file in (data / "annotations").glob(f"*_{old}.json"):
            file.rename(file.with_name(file.name.replace(f"_{old}.json", f"_{new}.json")))
    return data


@pytest.mark.parametrize(("train", "val"), [("train2017", "val2017"), ("train", "valid")])
def test_splits_of_the_usual_names_are_found(tmp_path: Path, train: str, val: str) -> None:
    data = renamed(tmp_path, train, val)
    done = videre("train", "faster-rcnn", data, "--out", tmp_path / "run", *SMALL, "--dry-run")
    assert done.code == 0, done.err
    assert f"data {train}: 12 pictures, classes" in done.err and f"data {val}: 4 pictures to evaluate on" in done.err


def test_splits_that_say_nothing_are_asked_about(tmp_path: Path) -> None:
    done = videre("train", "faster-rcnn", renamed(tmp_path, "first", "second"), "--out", tmp_path / "run", *SMALL)
    assert done.code == 2
    assert done.err.splitlines()[-1].endswith("say with --split which one: first, second")


def test_training_without_validation_says_so(tmp_path: Path) -> None:
    done = videre("train", "faster-rcnn", "data", "--val", "none", "--out", tmp_path / "run", *SMALL, "--dry-run")
    assert done.code == 0 and "no validation data: nothing is evaluated while training" in done.err


@pytest.mark.parametrize(("only", "cure"), [("val", " --parts train=0.8,test=0.2`, then --val test,"), ("test", "`,")])
def test_what_is_to_evaluate_on_is_not_trained_on_unsaid(tmp_path: Path, only: str, cure: str) -> None:
    data = tmp_path / "data"
    assert videre("data", "convert", "data", "voc", data, "--split", "val", "--lossy").code == 0
    (data / "ImageSets" / "Main" / "val.txt").rename(data / "ImageSets" / "Main" / f"{only}.txt")
    assert splits(data) == [only]
    words = ["train", "faster-rcnn", data, "--out", tmp_path / "run", *SMALL, "--dry-run"]
    for options in ((), ("--val", only)):
        done = videre(*words, *options)
        assert done.code == 2 and done.err.count("\n") == 1, done.err
        assert f"its only split is {only}, which is to evaluate on, not to train on; make a train with" in done.err
        assert f"`videre data split {data}{cure} or train on it, unjudged, with --split {only} --val none" in done.err
    done = videre(*words, "--split", only, "--val", "none")
    assert done.code == 0 and "no validation data" in done.err and "no splits" not in done.err, done.err
    done = videre(*words, "--split", only, "--val", only)
    assert done.code == 0 and "  4 of them are trained on, too: what is measured" in done.err, done.err
    made = videre("data", "split", data, *(("--parts", "train=0.8,test=0.2") if only == "val" else ()))
    assert made.code == 0, made.err
    done = videre(*words, *(("--val", "test") if only == "val" else ()))
    assert done.code == 0 and "trained on, too" not in done.err and ": 1 pictures to evaluate on" in done.err, done.err


def test_data_without_splits_are_trained_on_whole_and_it_says_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert videre("data", "convert", "data", "voc", data, "--split", "train", "--lossy").code == 0
    shutil.rmtree(data / "ImageSets")
    done = videre("train", "faster-rcnn", data, "--out", tmp_path / "run", *SMALL, "--dry-run")
    assert done.code == 0, done.err
    assert "no splits: trained on whole; no validation data: nothing is evaluated while training" in done.err


def test_resume_takes_every_setting_from_the_run(tmp_path: Path) -> None:
    shutil.copytree("run", tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_text()
    done = videre("train", "faster-rcnn", "data", "--out", tmp_path / "run", "--resume")
    assert done.code == 0 and "resumed at step 3 of 3" in done.err, done.err
    assert (tmp_path / "run" / "run.json").read_text() == before
    for name in ("best", "last"):
        provenance = read_checkpoint(tmp_path / "run" / f"{name}.safetensors").provenance
        assert "--resume" not in provenance["command"] and provenance["command"] in before
    other = videre("train", "mask-rcnn", "data", "--out", tmp_path / "run", "--resume")
    assert other.code == 2 and "the run there trains faster-rcnn, not mask-rcnn" in other.err


def test_a_training_in_python_ends_with_the_same_weights_and_thresholds(tmp_path: Path) -> None:
    """What ends a training belongs to the library: the same settings give the same checkpoint as the command line."""
    settings = parse_settings([word for word in SMALL[2:] if word != "-o"])
    start = prepare_training("faster-rcnn", read("data", "train"), "mobilenet_v2", None, None, settings)
    run = train(
        start.model, read("data", "train"), start.recipe, tmp_path, validation=read("data", "val"), progress="none"
    )
    assert run.finished and run.report is not None and (tmp_path / "report.html").exists()
    for name in ("best", "last"):
        ours, theirs = (read_checkpoint(folder / f"{name}.safetensors") for folder in (tmp_path, Path("run")))
        assert ours.thresholds == theirs.thresholds == start.model.thresholds
        assert {n for n, v in theirs.tensors.items() if not torch.equal(ours.tensors[n], v)} == set()
