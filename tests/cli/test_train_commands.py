"""What `videre train` trains on and goes on with when it is not told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from videre.cli.options import parse_settings
from videre.data import read, splits
from videre.models.checkpoint import read_checkpoint
from videre.tensors import read_tensors
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
    assert f"data {train}: read as coco (" in done.err and "), 12 pictures, 12 with labels" in done.err
    assert f"data {val}: 4 pictures to evaluate on" in done.err


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


# what breaks, and how it goes on ---------------------------------------------------------------------------------------

JUNK = b"\x89PNG\r\n\x1a\n junk"


def with_broken(tmp_path: Path, *broken: int) -> tuple[Path, list[Path]]:
    """The world with some pictures of its training spoilt; all of them."""
    shutil.copytree("data", tmp_path / "data")
    pictures = sorted((tmp_path / "data/train").iterdir())
    for n in broken:
        pictures[n].write_bytes(JUNK)
    return tmp_path / "data", pictures


def test_a_broken_picture_is_left_out_counted_and_told(tmp_path: Path) -> None:
    data, pictures = with_broken(tmp_path, 3)
    run = tmp_path / "run"
    done = videre("train", "faster-rcnn", data, "--out", run, *SMALL)
    assert done.code == 1 and done.err.count("; left out of the training\n") == 1, done.err
    line = f"left out: 1 picture that could not be read ({pictures[3].name})"
    assert line in done.out.splitlines() and line in done.err.splitlines()
    record = json.loads((run / "run.json").read_text())
    assert record["left_out"]["count"] == 1 and str(pictures[3]) in record["left_out"]["pictures"][pictures[3].name]
    assert f"1 picture that could not be read ({pictures[3].name})" in (run / "report.html").read_text()
    quiet = videre("train", "faster-rcnn", data, "--out", tmp_path / "quiet", *SMALL, "--quiet")
    assert quiet.code == 1 and quiet.out == "" and quiet.err.count("\n") == 1 and str(pictures[3]) in quiet.err


@pytest.mark.parametrize("cure", ["repair", "remove"])
def test_files_are_repaired_or_removed_as_the_message_says_and_the_training_goes_on(tmp_path: Path, cure: str) -> None:
    data, pictures = with_broken(tmp_path, *range(11))
    (data / "val").rename(data / "unused")  # nothing to evaluate on: less to wait for
    (data / "annotations/instances_val.json").unlink()
    train = ["train", "faster-rcnn", data, "--out", tmp_path / "run", "--val", "none"]
    done = videre(*train, *SMALL)
    message = done.err.splitlines()[-1]
    assert done.code == 2 and "10 of its 12 pictures cannot be used: " in message and message.count(str(data)) == 5
    assert "Repair or remove these files" in message and message.endswith("then go on with --resume")
    for picture in pictures[:11]:
        if cure == "repair":
            shutil.copy(Path("data/train") / picture.name, picture)
        else:
            picture.unlink()
    if cure == "remove":
        annotations = data / "annotations/instances_train.json"
        content = json.loads(annotations.read_text())
        kept = [image for image in content["images"] if image["file_name"] == pictures[11].name]
        content |= {
            "images": kept,
            "annotations": [a for a in content["annotations"] if a["image_id"] == kept[0]["id"]],
        }
        annotations.write_text(json.dumps(content))
    done = videre(*train, "--resume")
    told = {
        "repair": "11 pictures changed, or their labels (",
        "remove": "11 pictures removed (",
    }
    assert done.code == 0 and f"since the run was begun: {told[cure]}" in done.err, done.err


def test_other_learning_rates_are_taken_on_resume_and_noted(tmp_path: Path) -> None:
    shutil.copytree("run", tmp_path / "run")
    done = videre("train", "faster-rcnn", "data", "--out", tmp_path / "run", "--resume", "-o", "lr=1e-5")
    assert done.code == 0 and "lr was " in done.err and "is 1e-05" in done.err, done.err
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["recipe"]["lr"] == 1e-5 and record["changes"][0]["step"] == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_saves_the_state_and_says_how_to_go_on(tmp_path: Path, number: int, code: int) -> None:
    words = ["train", "faster-rcnn", "data", "--out", str(tmp_path / "run"), *SMALL, "-o", "pictures=40000"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from videre.cli import main; main()", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("step 1/"):
            process.send_signal(number)
    assert process.wait() == code, lines
    assert lines[-1].endswith("of 10000, the state is saved; go on with --resume\n")
    assert json.loads(read_tensors(tmp_path / "run/state/state.safetensors")[1]["state"])["step"] >= 1


def test_broken_annotations_are_skipped_where_that_is_asked(tmp_path: Path) -> None:
    shutil.copytree("data", tmp_path / "data")
    annotations = tmp_path / "data/annotations/instances_train.json"
    content = json.loads(annotations.read_text())
    content["annotations"][0]["category_id"] = "cube"
    annotations.write_text(json.dumps(content))
    for words in (
        ("data", "check", tmp_path / "data", "--out", tmp_path / "check.html"),
        ("data", "stats", tmp_path / "data", "--split", "train"),
        ("data", "show", tmp_path / "data", "--split", "train", "--out", tmp_path / "sheet.jpg"),
        ("data", "convert", tmp_path / "data", "scenes", tmp_path / "written"),
        ("data", "split", tmp_path / "data", "--parts", "first=0.5,second=0.5"),
        ("evaluate", "run/best.safetensors", tmp_path / "data", "--split", "train"),
        ("train", "faster-rcnn", tmp_path / "data", "--out", tmp_path / "run", *SMALL, "--dry-run"),
    ):
        refused, done = videre(*words), videre(*words, "--skip-broken")
        assert refused.code == 2 and "--skip-broken" in refused.err, words
        assert done.code in (0, 1) and "--skip-broken" not in done.err, (words, done.err)
