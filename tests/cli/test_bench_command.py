"""`videre bench` on a small checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import videre


def test_a_checkpoint_is_measured_by_stage(tmp_path: Path) -> None:
    done = videre("bench", "blocks", "--engine", "plain", "--rounds", 1, "--out", tmp_path / "rows.json")
    assert done.code == 0 and "blocks" in done.out and "detections" in done.out
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["job"] == "blocks" and row["side"] == "plain" and row["ratio"] == 1.0 and row["processor"]
    assert set(row["parts"]) == {"preparing", "backbone", "pyramid", "proposals", "heads", "results"}
    assert 0 < sum(row["parts"].values()) <= row["seconds"] and row["memory"] > 2**20


def test_mistakes_are_found_before_anything_is_measured() -> None:
    for words in (("bench", "no-such-model"), ("bench", "--engine", "fast"), ("bench", "--peer", "/no/such/python")):
        done = videre(*words)
        assert done.code == 2 and done.err.count("\n") == 1, done.err
