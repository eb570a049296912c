"""videre data …: what is converted is counted, what is left out is named, and nothing is half made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videre import data
from videre.images.reading import write_picture

from .conftest import videre

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
