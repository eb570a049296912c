"""What predict and evaluate do when something is not as it should be: it is told, and nothing that is done is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from .conftest import videre

MODEL = "run/best.safetensors"


def test_evaluate_goes_on_after_a_broken_picture(tmp_path: Path) -> None:
    shutil.copytree("data", tmp_path / "data")
    broken = sorted((tmp_path / "data" / "val").rglob("*.png"))[1]
    broken.write_bytes(b"no picture")
    done = videre("evaluate", MODEL, tmp_path / "data", "--split", "val", "--out", tmp_path / "out")
    assert done.code == 1 and done.err.count("\n") == 1
    assert done.err.startswith(f"videre: {broken}: not a picture") and "left out" in done.err
    assert "3 pictures; " in done.out and "1 could not be read" in done.out
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert numbers["pictures"] == 3 and len(numbers["unread"]) == 1
    assert "1 could not be read" in (tmp_path / "out" / "report.html").read_text()


def test_evaluate_lifts_the_limit_of_the_model_and_says_what_was_counted() -> None:
    done = videre("evaluate", MODEL, "data", "--split", "val", "--max-detections", 300)
    assert done.code == 0 and "AP@100 " in done.out
    assert "at most 300 detections a picture and class; the model gives at most 300 a picture, scores above 0" in done.out  # fmt: skip
    done = videre("evaluate", MODEL, "data", "--split", "val")
    assert "at most 100 detections a picture and class; the model gives at most 100 a picture" in done.out
    assert "AP@100" not in done.out
