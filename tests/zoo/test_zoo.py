"""The checkpoints in the wheel: small, ours to give, and they find what their cards say."""

from __future__ import annotations

import pytest

from videre.data.blocks import blocks_dataset
from videre.engine import load
from videre.evaluate import evaluate_model
from videre.models import find_model
from videre.models.checkpoint import read_checkpoint
from videre.zoo import zoo_cards, zoo_path


@pytest.mark.parametrize("name", zoo_cards())
def test_cards_and_files_belong_together(name: str) -> None:
    card, checkpoint = zoo_cards()[name], read_checkpoint(zoo_path(name))
    assert {"model", "for", "metric", "measured", "licence", "data", "data_licence", "command", "processor"} == set(
        card
    )
    assert card["licence"] == "Apache-2.0" and card["model"] == checkpoint.model
    assert zoo_path(name).stat().st_size <= 12 * 2**20
    assert checkpoint.provenance["from"] is None, "not from scratch"
    assert card["command"].startswith("videre train ") and "/" not in card["command"]
    numbers = card["measured"]["numbers"]
    assert all(number["interval"][0] <= number["value"] <= number["interval"][1] for number in numbers.values())
    kind = find_model(card["model"])
    assert ("mask AP" in numbers) == ("masks" in kind.gives)


def test_blocks_finds_solids_in_scenes_it_has_never_seen() -> None:
    """The card says .92 on two hundred; twenty scatter."""
    report, _, _ = evaluate_model(load("blocks"), blocks_dataset(20, seed=4711, solids=(4, 8)), bootstrap=0)
    assert report.metrics["mask AP50"] > 0.8
