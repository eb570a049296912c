"""videre data …: what is converted is counted, what is left out is named, and nothing is half made."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from videre import data
from videre.images.reading import write_picture

from .conftest import SMALL, videre

XML = "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{x2}</xmax><ymax>9</ymax></bndbox></object></annotation>"


def voc(root: Path, stems: str, listed: dict[str, str]) -> None:
    """A VOC folder with a picture for each letter of `stems`, and lists of letters."""
    for n, stem in enumerate(stems):
        write_picture(root / "JPEGImages" / f"{stem}.png", np.full((20, 30, 3), 20 * n, np.uint8))
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{stem}.xml").write_text(XML.format(x2=9))
    for name, letters in listed.items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(letters))


def test_pictures_that_no_list_names_are_counted(tmp_path: Path) -> None:
    voc(tmp_path / "in", "abcdefghij", {"train": "abcde", "val": "fg"})
    done = videre("data", "convert", tmp_path / "in", "coco", tmp_path / "out", "--lossy")
    assert done.code == 0, done.err
    assert "3 of 10 pictures are in none of train, val and were left out (h, i, j)" in done.err
    assert [len(data.read(tmp_path / "out", name)) for name in ("train", "val")] == [5, 2]
    part = videre("data", "convert", tmp_path / "in", "coco", tmp_path / "part", "--lossy", "--split", "val")
    assert part.code == 0 and "left out" not in part.err  # one part was asked for
    voc(tmp_path / "in", "", {"rest": "hij"})
    whole = videre("data", "convert", tmp_path / "in", "coco", tmp_path / "whole", "--lossy")
    assert whole.code == 0 and "left out" not in whole.err


def test_the_check_names_a_picture_that_the_reader_had_to_leave_out(tmp_path: Path) -> None:
    voc(tmp_path / "in", "abc", {})  # no sizes stated, so that a picture that cannot be read has none
    (tmp_path / "in" / "JPEGImages" / "b.png").write_bytes(b"no (picture, at, all, here)")
    page = tmp_path / "check.html"
    done = videre("data", "check", tmp_path / "in", "--out", page)
    assert done.code == 1 and "error        1  picture unreadable" in done.out, done.err
    assert "b.png: not a picture" in page.read_text()


def test_repairs_in_reading_are_counted_on_converting(tmp_path: Path) -> None:
    voc(tmp_path / "in", "ab", {})
    (tmp_path / "in" / "Annotations" / "a.xml").write_text(XML.format(x2=99))
    done = videre("data", "convert", tmp_path / "in", "coco", tmp_path / "out", "--lossy")
    assert done.code == 0, done.err
    assert "1 × box outside the picture, clipped" in done.err


@pytest.mark.parametrize("solids", ["20-30", "8-3", "0-2", "3-", "-3", "three", "²-3", "1-2-3"])
def test_solids_that_cannot_be_are_refused_before_anything_is_made(tmp_path: Path, solids: str) -> None:
    done = videre("data", "blocks", tmp_path / "new", f"--solids={solids}", "--count", 2)
    assert done.code == 2 and len(done.err.strip().splitlines()) == 1, done.err
    assert f"solids {solids}: " in done.err
    assert not (tmp_path / "new").exists()


def test_folds_are_lists_that_splits_finds_and_train_takes(tmp_path: Path) -> None:
    voc(tmp_path / "in", "abcdefg", {})
    done = videre("data", "split", tmp_path / "in", "--folds", 3)
    assert done.code == 0, done.err
    names = [f"fold{k}-{part}" for k in (1, 2, 3) for part in ("train", "val")]
    assert data.splits(tmp_path / "in") == names and done.out.count("pictures") == 6
    held = [data.read(tmp_path / "in", name) for name in names[1::2]]
    assert sorted(part.name(i) for part in held for i in range(len(part))) == list("abcdefg")
    assert [len(data.read(tmp_path / "in", name)) for name in names[::2]] == [7 - len(part) for part in held]
    again = videre("data", "split", tmp_path / "in", "--folds", 3)
    assert again.code == 2 and "there is a split fold1-train already" in again.err
    tried = videre(
        "train",
        "faster-rcnn",
        tmp_path / "in",
        "--split",
        "fold2-train",
        "--val",
        "fold2-val",
        "--dry-run",
        "--out",
        tmp_path / "run",
        *SMALL,
    )
    assert tried.code == 0, tried.err
    assert f"in fold2-val: {len(held[1])} pictures to evaluate on" in tried.err
    assert "say with --split which one: fold1-train" in videre("train", "faster-rcnn", tmp_path / "in").err
    checked = videre("data", "check", tmp_path / "in", "--out", tmp_path / "check.html")
    assert checked.code == 0 and "leak" not in checked.out, checked.out  # folds overlap, and are meant to


@pytest.mark.parametrize("words", [("--by", "hash"), ("--parts", "a=0.5,b=0.5")])
def test_folds_leave_no_other_choice(tmp_path: Path, words: tuple[str, ...]) -> None:
    voc(tmp_path / "in", "abc", {})
    done = videre("data", "split", tmp_path / "in", "--folds", 2, *words)
    assert done.code == 2 and "folds are shuffled parts of equal size; leave --parts and --by hash out" in done.err
    assert data.splits(tmp_path / "in") == []


def test_every_format_is_listed() -> None:
    done = videre("data", "convert", "--list")
    lines = done.out.splitlines()
    assert done.code == 0 and [line for line in lines if not line.startswith(" ")] == list(data.FORMATS)
    assert lines[lines.index("voc") + 2] == "  holds: boxes, ignore, instances.labels"


def photograph(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_CUBIC)


def saved_twice(root: Path, count: int = 10) -> None:
    """Class folders in which every picture is there again, smaller; 0 and 1 a third time, as bytes."""
    for n in range(count):
        write_picture(root / "ab"[n % 2] / f"x{n}.png", photograph(n))
        write_picture(root / "ab"[n % 2] / f"y{n}.png", cv2.resize(photograph(n), (48, 36)))
    for n in range(2):
        shutil.copy(root / "ab"[n % 2] / f"x{n}.png", root / "ab"[n % 2] / f"z{n}.png")


@pytest.mark.parametrize("words", [(), ("--by", "hash"), ("--folds", 3), ("--seed", 5, "--parts", "train=0.5,val=0.5")])
def test_twins_fall_into_one_part(tmp_path: Path, words: tuple[object, ...]) -> None:
    saved_twice(tmp_path / "in")
    done = videre("data", "split", tmp_path / "in", *words)
    assert done.code == 0, done.err
    assert "22 pictures are there twice or more (10 groups of twins), each group in one part" in done.out
    prefixes = [f"fold{k}-" for k in (1, 2, 3)] if "--folds" in words else [""]
    for prefix in prefixes:
        parts = [(tmp_path / "in" / f"{prefix}{part}.txt").read_text().split() for part in ("train", "val")]
        numbers = [{name[3:] for name in part} for part in parts]
        assert not numbers[0] & numbers[1] and sum(map(len, parts)) == 22
    found = videre("data", "check", tmp_path / "in", "--out", tmp_path / "check.html")
    assert "two splits" not in found.out


def test_pictures_of_one_patient_stay_together(tmp_path: Path) -> None:
    for n in range(40):
        write_picture(tmp_path / "in" / "ab"[n % 2] / f"patient{n // 4}_frame_{n % 4}.png", photograph(n))
    hinted = videre("data", "split", tmp_path / "in")
    line = r"names look like series (patient0_…: 4 pictures): --group-by '(patient\d+)_' keeps them together"
    assert hinted.code == 0 and hinted.err.splitlines() == [line]
    done = videre(
        "data", "split", tmp_path / "in", "--group-by", r"(patient\d+)_", "--parts", "train1=0.7,val1=0.2,test1=0.1"
    )
    assert done.code == 0 and not done.err, done.err
    assert r"10 groups by (patient\d+)_, each in one part" in done.out
    parts = [(tmp_path / "in" / f"{name}1.txt").read_text().split() for name in ("train", "val", "test")]
    assert [len(part) for part in parts] == [28, 8, 4]
    assert sum(len({name.split("_")[0].split("/")[1] for name in part}) for part in parts) == 10
    wrong = videre("data", "split", tmp_path / "in", "--group-by", r"(person\d+)", "--parts", "train2=0.5,val2=0.5")
    assert wrong.code == 2 and "says nothing of 40 of 40 pictures" in wrong.err and wrong.err.count("\n") == 1
    assert not (tmp_path / "in" / "train2.txt").exists()


def test_the_page_is_named_after_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voc(tmp_path / "in", "abc", {})
    monkeypatch.chdir(tmp_path)
    done = videre("data", "check", "in")
    assert done.code == 0 and done.out.splitlines()[-1] == "page: check-in.html", done.err
    assert "<title>Check of in (voc: " in (tmp_path / "check-in.html").read_text()
