"""The checkpoints in the wheel: small, ours to give, and they find what their cards say."""

from __future__ import annotations

import numpy as np
import pytest
import skimage

from videre.data.blocks import blocks_dataset
from videre.evaluate import evaluate_model
from videre.models import find_model
from videre.models.checkpoint import read_checkpoint
from videre.predict import load
from videre.zoo import zoo_cards, zoo_path


@pytest.mark.parametrize("name", zoo_cards())
def test_cards_and_files_belong_together(name: str) -> None:
    card, checkpoint = zoo_cards()[name], read_checkpoint(zoo_path(name))
    assert {"model", "for", "metric", "measured", "licence", "data", "data_licence", "command", "processor"} == set(
        card
    )
    assert card["licence"] == "Apache-2.0" and card["model"] == checkpoint.model
    assert zoo_path(name).stat().st_size <= 12 * 2**20
    first = checkpoint.provenance
    while first["from"] is not None:
        first = first["from"]["provenance"]
    assert first["recipe"]["tune"] == "scratch"
    assert card["command"].startswith("videre train ") and "/" not in card["command"]
    numbers = card["measured"]["numbers"]
    assert all(number["interval"][0] <= number["value"] <= number["interval"][1] for number in numbers.values())
    kind = find_model(card["model"])
    assert ("mask AP" in numbers) == ("masks" in kind.gives)


def test_blocks_finds_solids_in_scenes_it_has_never_seen() -> None:
    """The card says .92 on two hundred; twenty scatter."""
    report = evaluate_model(load("blocks"), blocks_dataset(20, seed=4711, solids=(4, 8)), bootstrap=0)
    assert report.metrics["mask AP50"] > 0.8


def test_nuclei_marks_what_took_up_the_nuclear_dye_in_a_stain_it_has_never_seen() -> None:
    """Haematoxylin is unmixed from the brown chromogen by scikit-image; a nucleus has a few hundred pixels."""
    picture = skimage.data.immunohistochemistry()
    found = load("nuclei").predict(picture, threshold=0.3).instances
    masks = found.masks.bitmaps().numpy() > 0
    dye = skimage.color.rgb2hed(picture)[..., 0]
    light = picture.mean(axis=2) > 200
    assert len(found) > 40
    right = [dye[m].mean() > dye[~light].mean() for m in masks]
    assert np.mean(right) > 0.9
    areas = masks.sum((1, 2))
    assert np.median(areas) < 400 and np.mean(areas > 1500) < 0.05
