"""Segmenters and poses from the command line: maps and masks in, training, numbers, PNGs, tiles; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scenes import SCHEMA, picture_and_truth

from videre import data
from videre.images.reading import read_ids, write_picture

from .conftest import videre

SETTINGS = [
    w
    for s in (
        "width=8",
        "depth=3",
        "norm=group",
        "pictures=300",
        "batch=4",
        "evaluate_every=25",
        "precision=fp32",
        "lr=0.02",
        "optimizer=adamw",
    )
    for w in ("-o", s)
]
"""On the grey of the pictures squares are light and discs dark, so that three layers are enough."""


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares and discs on grey ground, in two splits, palette PNGs beside the pictures."""
    root = tmp_path_factory.mktemp("maps")
    classes = [{"id": k, "name": name, "color": [90 * k, 40, 200]} for k, name in enumerate(SCHEMA.pixels)]
    (root / "classes.json").write_text(json.dumps({"classes": classes, "void": 255}))
    for split, count in (("train", 12), ("val", 4)):
        for i in range(count):
            picture, truth = picture_and_truth((40, 56), seed=i + 100 * (split == "val"))
            for kind in ("images", "annotations"):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
            write_picture(root / "images" / split / f"{i}.png", picture)
            Image.fromarray(truth.segmentation.numpy().astype(np.uint8)).save(root / "annotations" / split / f"{i}.png")
    return root


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def weights(maps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    done = videre("train", "flat-fcn", maps, "--out", out, *SETTINGS)
    assert done.code == 0, done.err
    assert "classes ground, square, disc" in done.err and "mIoU" in done.out
    assert (out / "report.html").stat().st_size > 10_000
    return out / "best.safetensors"


def test_evaluate_and_predict(maps: Path, weights: Path) -> None:
    done = videre("evaluate", weights, maps, "--split", "val", "--out", "ev")
    assert done.code == 0, done.err
    metrics = json.loads(Path("ev/metrics.json").read_text())["metrics"]
    assert metrics["mIoU"] > 0.6 and f"mIoU {metrics['mIoU']:.3f}" in done.out
    assert "data:image" in Path("ev/report.html").read_text()
    done = videre("predict", maps / "images" / "val", "-m", weights, "--format", "png", "--out", "said")
    assert done.code == 0, done.err
    for i in range(4):
        said, true = read_ids(f"said/{i}.png"), read_ids(maps / "annotations" / "val" / f"{i}.png")
        assert said.shape == true.shape and (said == true).mean() > 0.8
    assert sum(1 for line in done.out.splitlines() if "ground" in line and "%" in line) == 4


def test_views_are_blended_and_refused_where_they_cannot_be(maps: Path, weights: Path) -> None:
    plain = videre("evaluate", weights, maps, "--split", "val")
    tiled = videre("evaluate", weights, maps, "--split", "val", "--tile", 24, "--flip", "--scales", "1,1.5")
    assert tiled.code == 0 and "mIoU" in tiled.out and tiled.out != plain.out
    done = videre("predict", maps / "images" / "val", "-m", weights, "--scales", "1,big")
    assert done.code == 2 and "--scales 1,big: expected numbers with commas between" in done.err
    done = videre("predict", maps / "images" / "val", "-m", weights, "--scales", "0")
    assert done.code == 2 and "scales are positive numbers" in done.err
    done = videre("evaluate", "blocks", maps, "--split", "val", "--tile", 64)
    assert done.code == 2 and "flip, scales and tiles blend maps of classes; a MaskRCNN gives" in done.err


def test_masks_of_things_become_maps(tmp_path: Path) -> None:
    assert videre("data", "blocks", "blocks", "--count", 3, "--val", 2, "--size", 64).code == 0
    done = videre("train", "unet", "blocks", "--out", "run")
    assert done.code == 2 and "has no segmentation" in done.err and "--to-pixels" in done.err
    done = videre("data", "convert", "blocks", "maps", "maps", "--to-pixels")
    assert done.code == 0, done.err
    after = data.read(tmp_path / "maps", "val")
    assert len(after) == 2 and after.schema.pixels.names[0] == "background" and "cube" in after.schema.pixels.names
    done = videre("train", "unet", "maps", "--dry-run", "-o", "width=8")
    assert done.code == 0 and "classes background, cube" in done.err


def test_maps_that_say_what_is_no_class_are_refused(maps: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "bad" / "images").mkdir(parents=True)
    (tmp_path / "bad" / "annotations").mkdir()
    (tmp_path / "bad" / "classes.txt").write_text("ground\nsquare\ndisc\n")
    write_picture(tmp_path / "bad" / "images" / "a.png", np.full((20, 20, 3), 100, np.uint8))
    wrong = np.zeros((20, 20), np.uint8)
    wrong[3, 3:7] = 9
    Image.fromarray(wrong).save(tmp_path / "bad" / "annotations" / "a.png")
    done = videre("train", "flat-fcn", "bad", "--out", "run", "--val", "none", *SETTINGS)
    assert done.code == 2 and "a.png: id 9 on 4 pixels; the class list has none of these" in done.err


def test_classes_that_overlap_from_masks_to_masks(tmp_path: Path) -> None:
    """A folder of masks for each class in, the same out, and numbers of each class by itself between."""
    assert videre("data", "blocks", "blocks", "--count", 6, "--val", 2, "--size", 48).code == 0
    done = videre("data", "convert", "blocks", "planes", "planes", "--overlap")
    assert done.code == 2 and "give --to-pixels, too" in done.err
    done = videre("data", "convert", "blocks", "planes", "planes", "--to-pixels", "--overlap")
    assert done.code == 0, done.err
    done = videre("data", "stats", "planes", "--split", "train")
    assert done.code == 0 and "of the pixels, in" in done.out
    done = videre("train", "flat-fcn", "planes", "--out", "run", *SETTINGS[:-8], "-o", "pictures=8", "-o", "batch=4")
    assert done.code == 0, done.err
    assert "each class by itself" in done.out and "mean Dice" in done.out
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    done = videre(
        "predict", "planes/images/val", "-m", "run/best.safetensors", "--format", "png", "--out", "said", "--draw"
    )
    assert done.code == 0, done.err
    said = data.read(tmp_path / "planes", "val")
    for name in said.schema.pixels:
        found = read_ids(tmp_path / "said" / name / f"{Path(said.name(0)).stem}.png")
        assert found.shape == (48, 48) and set(np.unique(found)) <= {0, 255}
    done = videre(
        "predict", "planes/images/val", "-m", "run/best.safetensors", "--format", "json", "--out", "lines", "--flip"
    )
    assert done.code == 0 and "segmentation" in json.loads(
        (tmp_path / "lines/predictions.jsonl").read_text().splitlines()[0]
    )
    assert videre("data", "convert", "blocks", "maps", "maps", "--to-pixels").code == 0
    done = videre("evaluate", "run/best.safetensors", "maps", "--split", "val")
    assert done.code == 2 and "exclude each other, those of the model overlap" in done.err
