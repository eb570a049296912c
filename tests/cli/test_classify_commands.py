"""Classifiers from the command line: folders and CSV, one label a picture or several, the study, features, drawings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from videre.images.reading import read_picture, write_picture
from videre.models.checkpoint import read_checkpoint, save_checkpoint
from videre.models.classify.classifier import Classifier
from videre.structures import Categories, Preprocess, Schema

from .conftest import videre

SETTINGS = [
    word
    for setting in ("short_side=32", "centre_crop=[32,32]", "multiplier=0.25", "batch=8", "precision=fp32")
    for word in ("-o", setting)
]
RED, BLUE = 0, 2


def noise(rng: np.random.Generator, *channels: int) -> np.ndarray:
    picture = rng.integers(40, 100, (36, 40, 3), dtype=np.uint8)
    for channel in channels:
        picture[:, :, channel] += 100
    return picture


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue pictures, in splits and class folders."""
    root, rng = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for name, channel in (("blue", BLUE), ("red", RED)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                write_picture(root / split / name / f"{i}.png", noise(rng, channel))
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    preprocess = Preprocess(short_side=32, long_side=None, centre_crop=(32, 32), divisor=1)
    schema = Schema(pictures=Categories.of(["a", "b"]))
    model = Classifier(schema, preprocess, backbone="resnet18", norm="group", multiplier=0.25)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_checkpoint(model.eval(), path)
    return path


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_train_evaluate_predict(folders: Path) -> None:
    done = videre(
        "train", "classifier", folders, "--backbone", "resnet18", "--out", "run", "-o", "pictures=96", *SETTINGS
    )
    assert done.code == 0, done.err
    assert (
        "top-1 1.000" in done.out and "temperature" in done.out and (Path("run") / "report.html").stat().st_size > 1000
    )
    best = read_checkpoint("run/best.safetensors")
    assert best.tensors["temperature"].item() != 1
    done = videre("evaluate", "run/best.safetensors", folders, "--split", "val", "--out", "ev")
    assert done.code == 0 and "12 pictures" in done.out
    metrics = json.loads(Path("ev/metrics.json").read_text())
    assert metrics["metrics"]["top-1"] == 1 and metrics["labels"]["confusion"] == [[6, 0], [0, 6]]
    rows = Path("ev/predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + 12 * 2  # a row a picture and class
    done = videre("predict", folders / "val" / "red", "-m", "run/best.safetensors", "--format", "csv")
    assert done.code == 0 and "red" in done.out
    shown = [row.split(",")[1] for row in Path("predictions/predictions.csv").read_text().splitlines()[1:]]
    assert shown == ["red"] * 6


def test_several_labels_from_a_csv_file() -> None:
    rng, lines = np.random.default_rng(1), ["picture,labels,split"]
    for i in range(48):
        channels = [c for c in (RED, BLUE) if rng.random() < 0.5]
        write_picture(Path(f"{i}.png"), noise(rng, *channels))
        words = ";".join("red" if c == RED else "blue" for c in channels)
        lines.append(f"{i}.png,{words},{'train' if i < 36 else 'val'}")
    Path("labels.csv").write_text("\n".join(lines) + "\n")
    done = videre(
        "train",
        "classifier",
        "labels.csv",
        "--backbone",
        "resnet18",
        "--out",
        "run",
        "-o",
        "pictures=160",
        "-o",
        "lr=0.004",
        *SETTINGS,
    )
    assert done.code == 0, done.err
    assert "mAP" in done.out
    best = read_checkpoint("run/best.safetensors")
    assert best.config["multilabel"] and set(best.thresholds) == {"red", "blue"}
    assert json.loads(Path("run/run.json").read_text())["config"]["multilabel"]


def test_classes_go_over_to_another_training_by_name(folders: Path, weights: Path) -> None:
    done = videre("train", "classifier", folders, "--from", weights, "--tune", "top", "--dry-run")
    assert done.code == 0, done.err
    assert "rows copied for no class" in done.err


def test_the_study_and_its_model(folders: Path, weights: Path) -> None:
    words = ["transfer", folders, "--from", weights, "--out", "study", "--method", "nearest", "--method", "linear"]
    done = videre(*words)
    assert done.code == 0, done.err
    assert "recommended: linear, top layer" in done.out and " val;" in done.out
    assert Path("study/transfer.png").read_bytes()[:4] == b"\x89PNG"
    again = videre(*words)
    assert again.code == 2 and "holds another study" in again.err  # nothing is written over
    done = videre("evaluate", "study/linear.safetensors", folders, "--split", "val")
    assert done.code == 0 and "top-1 1.000" in done.out


def test_features_of_a_folder(folders: Path, weights: Path) -> None:
    done = videre("features", folders, "--split", "val", "--from", weights, "--stage", "top", "--stage", "stride 8")
    assert done.code == 0, done.err
    with np.load("features.npz") as file:
        assert file["top"].shape == (12, 128) and len(file["stride 8"]) == 12
        assert file["classes"].tolist() == ["blue"] * 6 + ["red"] * 6 and file["names"][0] == "val/blue/0.png"
    for words, said in (
        (["--stage", "stride 5"], "--stage must be one of"),
        (["--out", "f.txt"], "ends in .npz or .parquet"),
    ):
        wrong = videre("features", folders, "--split", "val", "--from", weights, *words)
        assert wrong.code == 2 and said in wrong.err


def test_neighbours_are_drawn(folders: Path, weights: Path) -> None:
    done = videre(
        "neighbours", folders / "val" / "red" / "0.png", folders, "--split", "val", "--from", weights, "--count", 3
    )
    assert done.code == 0, done.err
    assert done.out.count("val/red/") >= 3 and "red/0.png: val/red/0.png" not in done.out  # not its own neighbour
    assert read_picture("neighbours.png").shape[1] > 4 * 200


def test_filters_are_drawn(weights: Path) -> None:
    done = videre("filters", weights)
    assert done.code == 0 and "16 x 3 x 7 x 7" in done.out
    picture = read_picture("filters.png")
    assert picture.shape == (4 * 60 + 4, 4 * 60 + 4, 3) and (picture[:4] == 255).all()


def test_mistakes_are_told_in_a_line(folders: Path, weights: Path) -> None:
    Path("bad.safetensors").write_bytes(b"nothing")
    for words, said in (
        (
            ["transfer", folders / "val" / "red", "--from", weights],
            "the study needs two or more classes of whole pictures",
        ),
        (["transfer", folders, "--from", "bad.safetensors"], "damaged or no safetensors file"),
        (["transfer", folders, "--from", weights, "--method", "magic"], "--method must be one of"),
        (["train", "classifier", folders / "val" / "red"], "trains on labels"),
        (["filters", "nothing-of-this-name"], "neither a file nor"),
    ):
        done = videre(*words)
        assert done.code == 2 and said in done.err, (words, done.err)
        assert len(done.err.strip().splitlines()) == 1


def colours(root: Path, **counts: int) -> Path:
    """Class folders under train and val, so many pictures each."""
    rng = np.random.default_rng(1)
    for name, count in counts.items():
        for split in ("train", "val"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                write_picture(root / split / name / f"{i}.png", noise(rng, {"blue": BLUE, "red": RED}.get(name, 1)))
    return root


def test_one_class_only_is_refused(weights: Path) -> None:
    folders = colours(Path("one"), red=4)
    table = Path("one.csv")
    table.write_text("".join(["file,label\n", *(f"one/train/red/{i}.png,red\n" for i in range(4))]))
    for data, said in ((folders, ("two or more classes", "trains on labels")), (table, ("nothing to tell apart",) * 2)):
        for words, message in zip((["transfer", data, "--from", weights], ["train", "classifier", data]), said):
            done = videre(*words)
            assert done.code == 2 and message in done.err, done.err
            assert len(done.err.strip().splitlines()) == 1


def test_a_class_with_one_picture_is_studied_and_trained(weights: Path) -> None:
    data = colours(Path("rare"), red=6, blue=6, green=1)
    words = ["--from", weights, "--method", "nearest", "--method", "linear", "--method", "few", "--pictures", 16]
    done = videre("transfer", data, *words, "-o", "short_side=32", "-o", "centre_crop=[32,32]")
    assert done.code == 0, done.err
    assert "100% of the training pictures (13)" in done.out
    done = videre("train", "classifier", data, "--from", weights, *SETTINGS, "-o", "pictures=16", "--out", "run")
    assert done.code == 0, done.err


def blue_or_red() -> Path:
    """A checkpoint that tells these two, at random."""
    schema = Schema(pictures=Categories.of(["blue", "red"]))
    model = Classifier(schema, backbone="resnet18", norm="group", multiplier=0.25).eval()
    save_checkpoint(model, Path("two.safetensors"))
    return Path("two.safetensors")


def test_classes_that_a_checkpoint_does_not_know_are_named() -> None:
    done = videre("evaluate", blue_or_red(), colours(Path("more"), blue=2, red=2, green=2), "--split", "val")
    assert done.code == 2 and "green" in done.err and len(done.err.strip().splitlines()) == 1, done.err


def test_a_picture_that_cannot_be_read_is_named_and_nothing_is_lost(weights: Path) -> None:
    data = colours(Path("broken"), blue=4, red=4)
    (data / "train" / "red" / "2.png").write_bytes(b"no picture")
    done = videre("transfer", data, "--from", weights)
    assert done.code == 2 and "red/2.png" in done.err and len(done.err.strip().splitlines()) == 1, done.err
    done = videre("train", "classifier", data, "--from", weights, *SETTINGS, "-o", "pictures=16", "--out", "run")
    assert done.code == 1 and "red/2.png" in done.err, done.err
    assert json.loads(Path("run/run.json").read_text())["left_out"]["count"] == 1 and Path("run/report.html").exists()
    (data / "val" / "red" / "1.png").write_bytes(b"no picture")
    done = videre("evaluate", blue_or_red(), data, "--split", "val")
    assert done.code == 1 and "red/1.png" in done.err and "7 pictures" in done.out, done.err


def test_a_classifier_is_exported_with_its_crop_and_temperature(weights: Path, folders: Path) -> None:
    done = videre("export", weights, "--format", "torch", "--out", "w.pt2", "--pictures", folders / "val" / "red")
    assert done.code == 0, done.err
    report = json.loads(Path("w.pt2.parity.json").read_text())
    assert report["passed"] and len(report["pictures"]) == 6
    assert all(row["scores"] < 1e-4 and row["matched"] == 2 for row in report["pictures"])
