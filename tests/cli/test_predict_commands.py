"""What predict and evaluate do when something is not as it should be: it is told, and nothing that is done is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scenes import CONFIGS, PREPROCESS, SCHEMA

from train.tiny import FEW
from videre.images.clips import write_clip
from videre.images.reading import write_picture
from videre.models import find_model
from videre.models.checkpoint import save_checkpoint

from .conftest import videre

MODEL = "run/best.safetensors"
PLAIN = ("--engine", "plain")
"""What is told here does not hang on how the model runs, and fusing it anew for each command takes time."""


def test_evaluate_goes_on_after_a_broken_picture(tmp_path: Path) -> None:
    shutil.copytree("data", tmp_path / "data")
    broken = sorted((tmp_path / "data" / "val").rglob("*.png"))[1]
    broken.write_bytes(b"no picture")
    done = videre("evaluate", MODEL, tmp_path / "data", "--split", "val", "--out", tmp_path / "out", *PLAIN)
    assert done.code == 1 and done.err.count("\n") == 1
    assert done.err.startswith(f"videre: {broken}: not a picture") and "left out" in done.err
    assert "3 pictures; " in done.out and "1 could not be read" in done.out
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert numbers["pictures"] == 3 and len(numbers["unread"]) == 1
    assert "1 could not be read" in (tmp_path / "out" / "report.html").read_text()


def test_evaluate_lifts_the_limit_of_the_model_and_says_what_was_counted() -> None:
    done = videre("evaluate", MODEL, "data", "--split", "val", "--max-detections", 300, *PLAIN)
    assert done.code == 0 and "AP@100 " in done.out
    assert (
        "at most 300 detections a picture and class; the model gives at most 300 a picture, scores above 0" in done.out
    )
    done = videre("evaluate", MODEL, "data", "--split", "val", *PLAIN)
    assert "at most 100 detections a picture and class; the model gives at most 100 a picture" in done.out
    assert "AP@100" not in done.out


def test_predict_says_what_a_format_cannot_hold(tmp_path: Path) -> None:
    model = find_model("mask-rcnn")(SCHEMA, PREPROCESS, **CONFIGS["mask-rcnn"], **FEW)
    save_checkpoint(model, tmp_path / "m.safetensors")
    words = ["predict", "data/val", "-m", tmp_path / "m.safetensors", "--no-draw", "--out", tmp_path, *PLAIN]
    done = videre(*words, "--format", "csv")
    assert done.code == 0 and done.err == "videre: csv cannot hold masks, which are left out; json can\n"
    assert videre(*words, "--format", "json").err == ""


@pytest.mark.parametrize(("format", "suffix"), [("png", ".png"), ("voc", ".xml")])
def test_predict_replaces_no_file_of_the_user(tmp_path: Path, format: str, suffix: str) -> None:
    """An id map is named like its picture, an XML like its annotation."""
    model = find_model("mask-rcnn")(SCHEMA, PREPROCESS, **CONFIGS["mask-rcnn"], **FEW)
    save_checkpoint(model, tmp_path / "m.safetensors")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    write_picture(pictures / "a.png", np.full((40, 50, 3), 99, np.uint8))
    (pictures / "a.xml").write_text("mine")
    before = (pictures / f"a{suffix}").read_bytes()
    words = ["predict", pictures, "-m", tmp_path / "m.safetensors", *PLAIN, "--format", format, "--out"]
    done = videre(*words, pictures)
    assert done.code == 2 and "give another --out" in done.err
    assert (pictures / f"a{suffix}").read_bytes() == before
    assert videre(*words, tmp_path / "out").code == 0 and (tmp_path / "out" / f"a{suffix}").exists()


def test_predict_twice_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own drawings are no pictures to predict, wherever they lie."""
    model = Path(MODEL).resolve()
    write_picture(tmp_path / "a.png", np.full((40, 50, 3), 99, np.uint8))
    write_clip(tmp_path / "walk.avi", [np.zeros((32, 48, 3), np.uint8)] * 2, rate=10)
    monkeypatch.chdir(tmp_path)
    for words in ([], [], ["--out", "."], ["--out", "."]):
        done = videre("predict", ".", "walk.avi", "-m", model, *PLAIN, *words)
        assert done.code == 0 and done.out.splitlines()[-1].startswith("3 pictures, "), done.out + done.err
        names = sorted(p.name for p in Path(*words[1:] or ["predictions"]).glob("*.drawn.jpg"))
        assert names == ["a.drawn.jpg", "walk-000000-0.00s.drawn.jpg", "walk-000001-0.10s.drawn.jpg"]


def test_predict_keeps_what_was_finished_before_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from videre.predict import Predictor

    whole = Predictor.stream

    def pressed(*words: object):
        for number, prediction in enumerate(whole(*words)):
            if number == 2:
                raise KeyboardInterrupt
            yield prediction

    monkeypatch.setattr(Predictor, "stream", pressed)
    done = videre("predict", "data/val", "-m", MODEL, "--no-draw", "--out", tmp_path, *PLAIN)
    assert done.code == 130
    assert done.err == f"videre: not finished; the results of 2 pictures are kept in {tmp_path}\n"
    assert len((tmp_path / "predictions.unfinished.jsonl").read_text().splitlines()) == 2
