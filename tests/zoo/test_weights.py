"""Weights are found by file or by name, and never read before their hash is known."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path

import pytest
import torch

from videre.backbones import make_backbone
from videre.backbones.weights import BACKBONE_WEIGHTS, BackboneWeights
from videre.errors import WeightsError
from videre.zoo import weights
from videre.zoo.weights import find_weights


@pytest.fixture
def published(monkeypatch) -> tuple[BackboneWeights, bytes]:
    """A ResNet-18 as its publisher would put it online, in place of torchvision's."""
    buffer = io.BytesIO()
    torch.save(make_backbone("resnet18", norm="batch").state_dict(), buffer)
    data = buffer.getvalue()
    real = next(card for card in BACKBONE_WEIGHTS if card.backbone == "resnet18")
    card = dataclasses.replace(real, sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(weights, "BACKBONE_WEIGHTS", (card,))
    return card, data


def test_published_backbones_load_by_name_and_are_fetched_once(monkeypatch, tmp_path: Path, published) -> None:
    card, data = published
    fetched: list[str] = []
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path))
    monkeypatch.setattr("videre.backbones.weights.download", lambda url: fetched.append(url) or data)
    (found, first), (_, second) = find_weights(card.name), find_weights(card.name)
    assert found == card and fetched == [card.url]
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_fetched_file_with_another_hash_is_not_read(monkeypatch, tmp_path: Path, published) -> None:
    card, data = published
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path))
    monkeypatch.setattr("videre.backbones.weights.download", lambda url: data + b"!")
    with pytest.raises(WeightsError, match="it should begin with"):
        find_weights(card.name)
    assert list(tmp_path.iterdir()) == []


def test_a_pickle_is_read_only_where_its_hash_is_known(tmp_path: Path, published) -> None:
    card, data = published
    (tmp_path / "by-hand.pth").write_bytes(data)
    found, tensors = find_weights(tmp_path / "by-hand.pth")
    assert found == card and "layer1.0.conv1.weight" in tensors
    (tmp_path / "other.pth").write_bytes(b"cos\nsystem\n(S'exit'\ntR.")
    with pytest.raises(WeightsError, match=r"other\.pth: pickles can run code"):
        find_weights(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("name", "near"), [("torchvision/resnet50_v1", "torchvision/resnet50-v1"), ("nonsense", "There are: ")]
)
def test_an_unknown_name_is_told_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(WeightsError, match=near):
        find_weights(name)
