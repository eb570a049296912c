"""Plans: chosen by time among what agrees, kept, and read again."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from videre.engine.plan import Plan, fastest
from videre.errors import ConfigError


def slow(value: float, seconds: float):
    def run() -> torch.Tensor:
        time.sleep(seconds)
        return torch.full((3,), value)

    return run


def test_the_fastest_that_agrees_is_chosen() -> None:
    def broken() -> torch.Tensor:
        raise RuntimeError("not on this processor")

    candidates = {
        "direct": slow(1, 0.02),
        "wrong": slow(1.1, 0),
        "broken": broken,
        "fast": slow(1, 0.001),
        "slower": slow(1, 0.01),
    }
    assert fastest(candidates) == "fast"
    assert fastest({"direct": slow(1, 0.001), "other": slow(1, 0.01)}) == "direct"


def test_a_choice_is_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path))
    plan = Plan.here()
    candidates = {"direct": slow(1, 0.01), "fast": slow(1, 0)}
    assert plan.choose("a layer", candidates) == "fast"
    plan.save()
    again = Plan.here()
    assert again.choices == {"a layer": "fast"}
    # the clock is not asked again, and an algorithm that this machine lacks is replaced
    assert again.choose("a layer", {"direct": slow(1, 0), "fast": slow(1, 0.01)}) == "fast"
    assert again.choose("a layer", {"direct": slow(1, 0)}) == "direct"


def test_a_cache_that_cannot_be_written_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path / "file"))
    plan = Plan.here()
    plan.choices["conv"] = "direct"
    with pytest.warns(UserWarning, match="is not kept .* VIDERE_CACHE names another folder"):
        plan.save()
    plan.choices["another"] = "direct"
    plan.save()


def test_half_a_file_in_the_cache_costs_a_new_search_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path))
    plan = Plan.here()
    plan.choices["x"] = "direct"
    plan.save()
    (file,) = (tmp_path / "plans").iterdir()
    file.write_text(file.read_text()[:20])
    assert Plan.here().choices == {}


@pytest.mark.parametrize("text", ["", "[]", '{"choices": 3, "machine": "x"}', '{"choices": {}}'])
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(ConfigError, match=r"p\.json"):
        Plan.read(tmp_path / "p.json")
    with pytest.raises(ConfigError, match=r"nothing\.json"):
        Plan.read(tmp_path / "nothing.json")


def test_a_plan_goes_to_a_file_and_back(tmp_path: Path) -> None:
    plan = Plan({"b": "fast", "a": "direct"}, "some machine")
    (tmp_path / "p.json").write_text(json.dumps(plan.to_json()))
    again = Plan.read(tmp_path / "p.json")
    assert (again.choices, again.machine) == (plan.choices, plan.machine)
