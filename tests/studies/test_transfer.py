"""The transfer study on pictures whose classes a net of random weights can tell apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from videre.data import read
from videre.data.dataset import Dataset
from videre.errors import DataError
from videre.images.reading import write_picture
from videre.models.checkpoint import read_checkpoint, save_checkpoint
from videre.models.classify.classifier import Classifier
from videre.structures import Categories, Preprocess, Schema
from videre.studies.features import TOP, FeatureNet, extract
from videre.studies.transfer.probes import fit_linear, nearest, nearest_labels
from videre.studies.transfer.row import Row
from videre.studies.transfer.study import LINEAR, NEAREST, Study, enough, subset, transfer
from videre.studies.transfer.words import behind

SMALL = Preprocess(short_side=32, long_side=None, centre_crop=(32, 32), divisor=1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Red and blue noise, 24 to train on and 16 to judge on."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 8)):
        for name, channel in (("blue", 2), ("red", 0)):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i in range(count):
                picture = rng.integers(60, 120, (36, 40, 3), dtype=np.uint8)
                picture[:, :, channel] += 60
                write_picture(tmp_path / "data" / split / name / f"{i}.png", picture)
    return tmp_path / "data"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    schema = Schema(pictures=Categories.of(["a", "b", "c"]))
    model = Classifier(schema, SMALL, backbone="resnet18", norm="group", multiplier=0.25)
    save_checkpoint(model.eval(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_the_study_tells_colours_apart_and_leaves_a_model(pictures: Path, weights: Path, tmp_path: Path) -> None:
    data, held_out = read(pictures, "train"), read(pictures, "val")
    out = tmp_path / "study"
    study = transfer(
        data, held_out, weights, out, shares=(0.01, 0.5, 1.0), seeds=2, methods=(NEAREST, LINEAR, "few"), pictures=32
    )
    assert {row.share for row in study.rows} == {0.5, 1.0}  # a hundredth of 24 pictures is none
    whole = study.at(1.0)
    assert list(whole)[-2:] == ["linear, top layer", "fine-tune the last stage"]
    assert whole["linear, top layer"].accuracy == 1 and whole["linear, top layer"].right.shape == (1, 16)
    assert study.at(0.5)["linear, top layer"].right.shape == (2, 16)
    assert whole["fine-tune the last stage"].accuracy >= 0.9 and whole["fine-tune the last stage"].right.shape == (
        2,
        16,
    )
    method, why = study.recommended
    assert method == "linear, top layer" and any("Fine-tuning adds nothing" in line for line in why)
    saved = json.loads((out / "study.json").read_text())
    assert saved["recommended"] == method and len(saved["rows"]) == len(study.rows)
    # the linear classifier is a model like any other, and says what the study said
    model = read_checkpoint(out / "linear.safetensors").build()
    assert list(model.schema.pictures) == ["blue", "red"]


def test_features_are_kept_by_content(pictures: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, net = read(pictures, "val"), FeatureNet.of(weights)
    first = extract(net, data)
    assert first[TOP].shape == (16, net.backbone.width) and list(first)[-1] == TOP
    monkeypatch.setattr("videre.studies.features._extract", lambda *a: pytest.fail("computed again"))
    again = extract(net, data)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_features_do_not_depend_on_the_others(pictures: Path, weights: Path) -> None:
    data, net = read(pictures, "val"), FeatureNet.of(weights)
    together = extract(net, data, engine="fp32", keep=False)
    alone = extract(net, data.subset([11]), engine="fp32", keep=False)
    for name, value in alone.items():
        np.testing.assert_allclose(value[0], together[name][11], rtol=1e-4, atol=1e-5)


def test_a_linear_classifier_finds_a_plane() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (300, 5)).astype(np.float32)
    labels = (x[:, :3] - x[:, 2:]).argmax(1)
    fit = fit_linear(x[:200], labels[:200], classes=4)
    assert (fit.predict(x[200:]) == labels[200:]).mean() > 0.85
    assert 3 not in fit.predict(rng.normal(3, 50, (500, 5)))  # a class of which there was no picture


def test_neighbours_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    x, queries = rng.normal(size=(80, 6)).astype(np.float32), rng.normal(size=(20, 6)).astype(np.float32)
    index, distance = nearest(x, queries, 5)
    theirs = KNeighborsClassifier(5).fit(x, np.zeros(80)).kneighbors(queries)
    assert np.array_equal(index, theirs[1])
    np.testing.assert_allclose(distance, theirs[0], rtol=1e-4)
    labels = (x[:, 0] > 0).astype(int)
    said, how = nearest_labels(x, labels, queries)
    assert (said == (queries[:, 0] > 0)).mean() > 0.7 and "neighbour" in how


def test_a_single_picture_of_a_class_is_enough_for_the_probes() -> None:
    x, labels = np.eye(4, dtype=np.float32) * 5, np.array([0, 1, 1, 1])
    assert fit_linear(x, labels, 2).predict(x).tolist() == [0, 1, 1, 1]
    assert nearest_labels(x, labels, x)[0].tolist() == [0, 1, 1, 1]


def test_shares_hold_the_same_part_of_each_class() -> None:
    labels = np.array([0] * 100 + [1] * 40 + [2] * 20)
    chosen = subset(labels, 0.1, seed=3)
    assert np.bincount(labels[chosen]).tolist() == [10, 4, 2]
    assert not np.array_equal(chosen, subset(labels, 0.1, seed=4))
    assert enough(labels, 0.1) and not enough(labels, 0.01)


def row(method: str, cost: int, accuracies: list[float], count: int = 400, share: float = 1.0) -> Row:
    rng = np.random.default_rng(cost)
    right = np.stack([rng.permutation(count) < a * count for a in accuracies])
    return Row(method, cost, share, 100, right, 1.0)


def test_the_cheapest_within_one_standard_error_is_recommended() -> None:
    linear, tuned = row("linear, top layer", 0, [0.90]), row("fine-tune all, layer-wise rates", 4, [0.902, 0.901])
    study = Study([linear, tuned], ["stride 8", TOP], ["a", "b"], "weights", "val", 1.0)
    assert not behind(linear, tuned) and study.recommended[0] == linear.method
    better = row("fine-tune all, layer-wise rates", 4, [0.97, 0.972])
    study = Study([linear, better], ["stride 8", TOP], ["a", "b"], "weights", "val", 1.0)
    assert behind(linear, better) and study.recommended[0] == better.method
    assert any("better than a linear classifier" in line for line in study.recommended[1])


def test_an_earlier_stage_that_is_better_is_told() -> None:
    rows = [row("linear, stride 8", 2, [0.95]), row("linear, top layer", 0, [0.80])]
    study = Study(rows, ["stride 8", TOP], ["a", "b"], "weights", "val", 1.0)
    assert study.recommended[0] == "linear, stride 8"
    assert any("features of stride 8 are better" in line for line in study.recommended[1])


def test_an_earlier_stage_that_is_only_as_good_is_not_called_better() -> None:
    rows = [row("linear, stride 8", 0, [0.81]), row("linear, top layer", 1, [0.805])]
    study = Study(rows, ["stride 8", TOP], ["a", "b"], "weights", "val", 1.0)
    assert study.recommended[0] == "linear, stride 8"
    why = " ".join(study.recommended[1])
    assert "Features of stride 8 do as well" in why and "no earlier stage" not in why and "Unlike" not in why


def test_data_that_cannot_be_studied(pictures: Path, weights: Path, tmp_path: Path) -> None:
    data = read(pictures, "train")
    one = data.subset([i for i in range(len(data)) if data.scene(i).labels.tolist() == [0]])
    with pytest.raises(DataError, match="all pictures are blue; there is nothing to tell apart"):
        transfer(one, one, weights, tmp_path / "x")
    other = Dataset(data.source, Schema(pictures=Categories.of(["blue", "green"])), title="other")
    with pytest.raises(DataError, match="other has classes that data train has not: green"):
        transfer(data, other, weights, tmp_path / "x")
    plain = Dataset(data.source, Schema(), title="plain")
    with pytest.raises(DataError, match="plain: the study needs two or more classes of whole pictures"):
        transfer(plain, None, weights, tmp_path / "x")
