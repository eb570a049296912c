"""Every command, end to end, as a new user meets it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from videre.images.clips import write_clip
from videre.images.reading import write_picture
from videre.models.checkpoint import read_checkpoint

from .conftest import SMALL, videre

COMMANDS = (
    "",
    "predict",
    "train",
    "evaluate",
    "models",
    "doctor",
    "data",
    "data check",
    "data convert",
    "data show",
    "data stats",
    "data split",
    "data blocks",
    "bench",
    "export",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    for flag in ("--help", "-h"):
        done = videre(*command.split(), flag)
        assert (done.code, done.err) == (0, "") and "Usage: videre" in done.out


def test_train_says_what_it_does_and_leaves_a_run() -> None:
    said, found = Path("printed.txt").read_text().split("\n---\n")
    assert said.startswith("data train: read as coco (") and "), 12 pictures, 12 with labels\n  things: c" in said
    assert "\nclasses cube" in said and "data val: 4 pictures to evaluate on" in said
    assert "all weights start at random" in said
    assert "3 steps into run; muon, learning rate 0.002 at a batch of 4" in said
    assert " parameters train" in said and "step 3/3  loss" in said and "trained 3 steps, 12 pictures" in said
    assert "95% intervals by bootstrap" in found and "weights: run/best.safetensors" in found
    assert sorted(p.name for p in Path("run").iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "log.jsonl",
        "report.html",
        "run.json",
        "state",
    ]
    assert "videre train faster-rcnn data --out run" in json.loads(Path("run/run.json").read_text())["command"]
    log = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 3] and "box AP" in log[-1]["metrics"]
    best, last = (read_checkpoint(f"run/{name}.safetensors") for name in ("best", "last"))
    assert best.thresholds == last.thresholds and best.provenance["step"] == 3


def test_resume_of_a_finished_run_changes_nothing() -> None:
    before = Path("run/log.jsonl").read_text()
    weights = read_checkpoint("run/last.safetensors").tensors
    done = videre("train", "faster-rcnn", "data", "--out", "run", *SMALL, "--resume", "-o", "workers=0")
    assert done.code == 0 and "resumed at step 3 of 3" in done.err
    assert Path("run/log.jsonl").read_text() == before
    again = read_checkpoint("run/last.safetensors").tensors
    assert all(np.array_equal(again[n], v) for n, v in weights.items())


def test_ctrl_c_exits_with_130_and_names_resume(tmp_path: Path, monkeypatch) -> None:
    from videre.models.detect.faster_rcnn import FasterRCNN

    losses, presses = FasterRCNN.losses, [signal.SIGINT]

    def interrupted(model, batch, truths):
        if presses:
            signal.raise_signal(presses.pop())
        return losses(model, batch, truths)

    monkeypatch.setattr(FasterRCNN, "losses", interrupted)
    command = ["train", "faster-rcnn", "data", "--out", tmp_path / "run", *SMALL]
    done = videre(*command)
    assert done.code == 130
    assert done.err.endswith("stopped at step 1 of 3, the state is saved; go on with --resume\n")
    done = videre(*command, "--resume")
    assert done.code == 0 and "resumed at step 1 of 3" in done.err
    left = lambda p: [{**json.loads(line), "seconds": 0} for line in (p / "log.jsonl").read_text().splitlines()]
    assert left(tmp_path / "run") == left(Path("run"))


def test_dry_run_estimates_and_writes_nothing(tmp_path: Path) -> None:
    done = videre(
        "train", "faster-rcnn", "data", "--out", tmp_path / "dry", *SMALL, "--dry-run", "-o", "class_weights=auto"
    )
    assert done.code == 0 and done.out == ""
    for words in ("s a step", "pictures/s", "peak memory", "minutes in all (3 steps)", "class weights cube"):
        assert words in done.err, words
    assert not (tmp_path / "dry").exists()


def test_train_from_a_checkpoint_carries_the_heads_over(tmp_path: Path) -> None:
    done = videre(
        "train",
        "faster-rcnn",
        "data",
        "--from",
        "run/best.safetensors",
        "--tune",
        "top",
        "--out",
        tmp_path / "run",
        "-o",
        "pictures=4",
        "--val",
        "none",
    )
    assert done.code == 0 and "from run/best.safetensors (faster-rcnn):" in done.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["hidden"] == 32
    assert not (tmp_path / "run" / "best.safetensors").exists() and (tmp_path / "run" / "report.html").exists()


def test_evaluate_prints_and_writes(tmp_path: Path) -> None:
    done = videre("evaluate", "run/best.safetensors", "data", "--split", "val", "--out", tmp_path)
    assert done.code == 0 and done.out.startswith("data val\n4 pictures; 95% intervals")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "metrics.json",
        "pictures.json",
        "predictions.json",
        "report.html",
    ]
    assert json.loads((tmp_path / "metrics.json").read_text())["pictures"] == 4


@pytest.mark.parametrize("format", ["json", "csv", "coco", "voc"])
def test_predict_writes_each_format(tmp_path: Path, format: str) -> None:
    done = videre(
        "predict",
        "data",
        "-m",
        "run/best.safetensors",
        "--out",
        tmp_path,
        "--format",
        format,
        "--no-draw",
        "--threshold",
        0,
    )
    assert done.code == 0 and "16 pictures, " in done.out
    wanted = {"json": ["predictions.jsonl"], "csv": ["predictions.csv"], "coco": ["pictures.json", "predictions.json"]}
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == wanted[format] if format in wanted else len(names) == 16


def test_predict_goes_on_after_a_broken_picture(tmp_path: Path) -> None:
    for n in range(3):
        write_picture(tmp_path / "in" / f"{n}.png", np.full((40, 50, 3), 99, np.uint8))
    (tmp_path / "in" / "1.png").write_bytes(b"no picture")
    write_clip(tmp_path / "walk.avi", [np.zeros((32, 48, 3), np.uint8)] * 2, rate=10)
    done = videre(
        "predict", tmp_path / "in", tmp_path / "walk.avi", "-m", "run/best.safetensors", "--out", tmp_path / "out"
    )
    assert done.code == 1
    assert done.err.startswith(f"videre: {tmp_path}/in/1.png: not a picture") and done.err.count("\n") == 1
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [Path(line["picture"]).name[:11] for line in lines] == ["0.png", "2.png", "walk-000000", "walk-000001"]
    assert "4 pictures, " in done.out and "1 could not be read" in done.out
    assert sorted(p.name[:6] for p in (tmp_path / "out").glob("*.jpg")) == ["0.draw", "2.draw", "walk-0", "walk-0"]


def test_data_commands(tmp_path: Path) -> None:
    done = videre("data", "check", "data", "--out", tmp_path / "check.html")
    assert done.code in (0, 1) and (tmp_path / "check.html").exists() and "page: " in done.out
    assert "data: 16 pictures" in videre("data", "stats", "data", "--short-side", 32).out.replace(
        "data train + data val", "data"
    )
    done = videre("data", "show", "data", "--split", "val", "--count", 3, "--out", tmp_path / "sheet.jpg")
    assert (done.code, done.out) == (0, f"{tmp_path}/sheet.jpg\n") and (tmp_path / "sheet.jpg").stat().st_size > 1000
    assert videre("data", "convert", "data", "voc", tmp_path / "voc", "--lossy").code == 0
    for by in ("ratio", "hash"):
        done = videre("data", "split", tmp_path / "voc", "--parts", f"a{by}=0.5,b{by}=0.5", "--by", by)
        assert done.code == 0 and f"a{by}.txt" in done.out
        counts = [videre("data", "stats", tmp_path / "voc", "--split", part + by).out for part in "ab"]
        assert sum(int(text.partition("), ")[2].split()[0]) for text in counts) == 16


def test_models_and_doctor() -> None:
    done = videre("models")
    assert done.code == 0 and "faster-rcnn" in done.out and "mask-rcnn" in done.out
    assert "Apache-2.0" in videre("models", "--licences").out
    done = videre("doctor")
    assert done.code == 0, done.out
    for words in ("kernel nms", "kernel blocks world", "kernel threads", "kernel cache", "torch uses", "processor"):
        assert words in done.out, words


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    data, model = ["data", "--split", "val"], "run/best.safetensors"
    for words in (
        ["train", "faster-rcnn", "data", "--out", tmp_path / "run", *SMALL, "-o", "pictures=4", "--val", "none"],
        ["predict", "data", "-m", model, "--out", tmp_path / "p", "--no-draw"],
        ["evaluate", model, *data, "--out", tmp_path / "e"],
        ["data", "check", *data, "--out", tmp_path / "c.html"],
        ["data", "convert", "data", "voc", tmp_path / "voc", "--split", "val", "--lossy"],
        ["data", "show", *data, "--out", tmp_path / "s.jpg"],
        ["data", "blocks", tmp_path / "b", "--count", 1, "--val", 0, "--size", 32],
        ["data", "split", tmp_path / "b", "--parts", "a=1.0"],
    ):
        done = videre(*words, "--quiet")
        assert (done.out, done.err) == ("", ""), words
        assert done.code == 0 or words[1] == "check"


def test_settings_are_listed_without_data() -> None:
    done = videre("train", "mask-rcnn", "--settings")
    lines = {line.split("=")[0].strip(): line for line in done.out.splitlines() if line.startswith("  ")}
    assert (done.code, done.err) == (0, "")
    assert "passes over the data [a number]" in lines["epochs"] and "epochs=12" in lines["epochs"]
    assert "channels of the mask head; None: the pyramid's [a whole number, or null]" in lines["mask_width"]
    assert "mean=[0.485, 0.456, 0.406]" in lines["mean"] and "backbone=resnet50" in lines["backbone"]
    assert [line.partition(":")[0] for line in done.out.splitlines() if line[:1].isupper()][:4] == [
        "Recipe",
        "Model",
        "Preprocessing",
        "Backbone",
    ]
    assert "optimizer=muon, lr=0.002, norm=group" in done.out
