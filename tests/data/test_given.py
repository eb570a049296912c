"""What is given of pictures beside their truth: matched by name, held against sizes, found by methods and kept by content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from videre.data.blocks import blocks_dataset
from videre.data.given import with_given, with_proposals
from videre.errors import ConfigError, DataError
from videre.predict.proposals import Proposer
from videre.structures import Scene


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path / "cache"))


def scene(size: tuple[int, int], *boxes: list[float]) -> Scene:
    return Scene(size, proposals=torch.tensor(boxes).reshape(-1, 4))


def test_what_is_given_is_found_by_name_or_the_end_of_the_path() -> None:
    blocks = blocks_dataset(2, size=(48, 64))
    names = [blocks.name(i) for i in range(2)]
    given = {names[1]: scene((48, 64), [1, 2, 3, 4]), f"elsewhere/{names[0]}": scene((48, 64))}
    found = with_given(blocks, given, "p.jsonl")
    assert found.fields == blocks.fields | {"proposals"}
    assert found.scene(0).proposals.tolist() == [] and found.scene(1).proposals.tolist() == [[1, 2, 3, 4]]
    assert torch.equal(found.scene(1).instances.boxes, blocks.scene(1).instances.boxes)
    assert found.subset([1]).scene(0).proposals.tolist() == [[1, 2, 3, 4]]


def test_what_is_of_other_pictures_is_refused_in_a_line() -> None:
    blocks = blocks_dataset(3, size=(48, 64))
    name = blocks.name(0)
    with pytest.raises(DataError, match=r"^p\.jsonl says nothing of 2 of the 3 pictures of .*write it anew") as error:
        with_given(blocks, {name: scene((48, 64))}, "p.jsonl")
    assert "\n" not in str(error.value)
    everything = {blocks.name(i): scene((24, 32)) for i in range(3)}
    with pytest.raises(DataError, match=rf"pictures of another size than 3 .*{name} \(64x48, there 32x24\)"):
        with_given(blocks, everything, "p.jsonl")


def test_proposals_are_found_once_for_a_picture_whatever_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    find = Proposer.find
    monkeypatch.setattr(Proposer, "find", lambda self, picture: calls.append(1) or find(self, picture))
    blocks = blocks_dataset(2, size=(48, 64))
    first, again = (with_proposals(blocks, "selective-search") for _ in range(2))
    assert len(calls) == 2
    for i in range(2):
        one, other = first.scene(i), again.scene(i)
        assert len(one.proposals) and torch.equal(one.proposals, other.proposals)
        assert torch.equal(one.proposal_scores, other.proposal_scores)
    changed = blocks.picture(0).copy()
    changed[0, 0] ^= 1
    Proposer("selective-search")(changed)
    assert len(calls) == 3
    Proposer("edge-boxes")(blocks.picture(0))
    assert len(calls) == 4


def test_methods_that_are_none_are_named() -> None:
    for method, message in (
        (
            "selective_search",
            "there is no method 'selective_search' for proposals, no file or checkpoint of this name; did you mean selective-search. There",
        ),
        ("unet", "unet gives no proposals of its own"),
        ("bing", "bing finds nothing before it is trained: `videre train bing DATA`"),
        ("selective-search,mod=fast", "selective-search has no setting 'mod'; there are mode, seed"),
        ("selective-search,mode=best", "mode must be one of single, fast, quality, found 'best'"),
        ("edge-boxes,max_boxes=many", "max_boxes must be a whole number, found 'many'"),
    ):
        with pytest.raises(ConfigError, match=message):
            Proposer(method)


def test_a_method_has_its_settings() -> None:
    for method, settings in (
        ("selective-search,mode=single,seed=3", {"mode": "single", "seed": 3}),
        ("edge-boxes,eta=1", {"eta": 1.0}),
    ):
        config = Proposer(method).model.config
        assert {name: config[name] for name in settings} == settings
    picture = blocks_dataset(1, size=(48, 64)).picture(0)
    assert len({Proposer(method).file(picture) for method in ("selective-search", "selective-search,mode=single")}) == 2


def test_a_grey_picture_has_proposals_too() -> None:
    rng = np.random.default_rng(0)
    grey = np.repeat(np.repeat(rng.integers(0, 255, (6, 8, 1), dtype=np.uint8), 16, 0), 16, 1)
    found = Proposer("selective-search", keep=False)(grey)
    assert found.size == (96, 128) and len(found.proposals)
