"""Classification metrics against scikit-learn, and calibration against what was put in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)

from videre.evaluate import evaluate
from videre.evaluate.labels import LabelSection, at_temperature, average_precision
from videre.structures import Categories, Scene, Schema

SCHEMA = Schema(pictures=Categories.of([f"class {i}" for i in range(7)]))


def judged(probabilities: np.ndarray, truths: np.ndarray, bootstrap: int = 0) -> LabelSection:
    """The section of labels."""
    return evaluate(*scenes(probabilities, truths), SCHEMA, bootstrap=bootstrap).sections["labels"]


def scenes(probabilities: np.ndarray, truths: np.ndarray) -> tuple[list[Scene], list[Scene]]:
    order = [np.argsort(-p, kind="stable") for p in probabilities]
    predictions = [
        Scene((4, 4), labels=torch.from_numpy(o), label_scores=torch.from_numpy(p[o]).float())
        for o, p in zip(order, probabilities)
    ]
    return predictions, [Scene((4, 4), labels=torch.from_numpy(np.flatnonzero(t))) for t in truths]


def drawn(seed: int, count: int = 60, several: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, 7)).astype(np.float32)
    if several:
        return 1 / (1 + np.exp(-logits)), rng.random((count, 7)) < 0.3
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truths = np.zeros((count, 7), bool)
    truths[np.arange(count), [rng.choice(7, p=row / row.sum()) for row in p.astype(float)]] = True
    return p, truths


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_single_labels_are_measured_as_scikit_learn_does(seed: int) -> None:
    p, truths = drawn(seed)
    label = truths.argmax(1)
    report = judged(p, truths)
    assert report.single and next(iter(report.metrics)) == "top-1"
    expected = {
        "top-1": accuracy_score(label, p.argmax(1)),
        "top-5": top_k_accuracy_score(label, p, k=5, labels=range(7)),
        "mean recall": balanced_accuracy_score(label, p.argmax(1)),
        "log loss": log_loss(label, p.astype(float) / p.sum(1, keepdims=True).astype(float), labels=range(7)),
    }
    for name, value in expected.items():
        assert report.metrics[name] == pytest.approx(value, abs=1e-5), name
    assert report.confusion().sum() == 60 and np.trace(report.confusion()) == round(60 * expected["top-1"])


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_several_labels_are_measured_as_scikit_learn_does(seed: int) -> None:
    p, truths = drawn(seed, several=True)
    p = np.round(p, 1)  # equal scores are one step of the curve
    there = truths.any(0)
    report = judged(p, truths)
    assert not report.single
    expected = average_precision_score(truths[:, there], p[:, there])
    assert report.metrics["mAP"] == pytest.approx(expected, abs=1e-6)
    assert report.metrics["F1"] == pytest.approx(f1_score(truths.ravel(), (p >= 0.5).ravel()), abs=1e-6)


def test_a_class_that_does_not_occur_has_no_average_precision() -> None:
    assert np.isnan(average_precision(np.array([0.5, 0.2]), np.array([False, False])))


def test_calibration_error_of_a_hand_worked_case() -> None:
    """Four claims of .9 of which two are right: an error of .4; two of .6 that are right: .4."""
    p = np.full((6, 7), 0.0)
    p[:4, 0], p[:4, 1], p[4:, 0], p[4:, 1] = 0.9, 0.1, 0.6, 0.4
    truths = np.zeros((6, 7), bool)
    truths[[0, 1, 4, 5], 0] = truths[[2, 3], 1] = True
    report = judged(p, truths)
    assert report.metrics["calibration error"] == pytest.approx(0.4, abs=1e-6)


@pytest.mark.parametrize("several", [False, True])
def test_the_temperature_that_was_put_in_is_found(several: bool) -> None:
    p, truths = drawn(3, count=4000, several=several)
    if several:
        truths = np.random.default_rng(0).random(p.shape) < p
    hot = at_temperature(p.astype(float), 1 / 2.5, not several)
    report = judged(hot, truths)
    temperature = report.best_temperature(exclusive=not several)
    assert temperature == pytest.approx(2.5, rel=0.1)
    after = report.at_temperature(temperature, exclusive=not several)
    assert after.metrics["calibration error"] < 0.03 < report.metrics["calibration error"]
    assert np.array_equal(after.probabilities.argsort(1), report.probabilities.argsort(1))


def test_intervals_hold_the_value_and_shrink_with_the_pictures() -> None:
    few, many = (judged(*drawn(1, count), bootstrap=500) for count in (40, 1000))
    for report in (few, many):
        for name, value in report.metrics.items():
            if name != "calibration error":  # a resampled set has more of it: copies lie in the same bin
                assert report.intervals[name].low <= value <= report.intervals[name].high
    width = lambda report: report.intervals["top-1"].high - report.intervals["top-1"].low
    assert width(many) < 0.5 * width(few)


def test_pictures_without_things_are_compared_by_their_classes() -> None:
    predictions, truths = scenes(*drawn(2))
    report = evaluate(predictions, truths, SCHEMA, bootstrap=0)
    assert set(report.sections) == {"labels"}
    told = "\n".join(report.lines())
    assert "60 pictures" in told and "class 6" in told
    assert report.to_json()["metrics"]["top-1"] == report.metrics["top-1"]
