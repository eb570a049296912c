"""The checkpoints in the wheel: small, ours to give, and they find what their cards say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.color import rgb2hed
from skimage.data import data_dir

from videre.data.blocks import blocks_dataset
from videre.engine import load
from videre.evaluate import evaluate_model
from videre.images.reading import read_picture
from videre.models import find_model
from videre.models.checkpoint import read_checkpoint
from videre.zoo import zoo_cards, zoo_path

TISSUE = Path(data_dir) / "ihc.png"
"""Colon tissue, nuclei stained blue with haematoxylin (scikit-image's own picture, no copyright restrictions)."""


def test_the_zoo_holds_what_it_promises() -> None:
    assert set(zoo_cards()) == {"blocks", "blood-cells", "nuclei"}


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


def test_blocks_finds_solids_it_has_never_seen() -> None:
    report, _, _ = evaluate_model(load("blocks"), blocks_dataset(20, seed=4711), bootstrap=0)
    assert report.metrics["mask AP50"] > 0.75


def test_nuclei_of_a_stained_tissue_are_found() -> None:
    """Independent of our training: where nuclei are found, the picture holds more of the stain of nuclei."""
    picture = read_picture(TISSUE)
    scene = load("nuclei").predict(picture)
    assert scene.instances is not None and scene.instances.masks is not None
    assert len(scene) > 50
    found = scene.instances.masks.dense().numpy().any(axis=0)
    stain = rgb2hed(picture)[..., 0]
    assert 0.02 < found.mean() < 0.6
    inside, outside = stain[found], stain[~found]
    assert np.mean(inside[:, None] > np.random.default_rng(0).choice(outside, 200)) > 0.75
