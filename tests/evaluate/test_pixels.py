"""Metrics of pixels against their formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from videre.errors import DataError
from videre.evaluate import evaluate
from videre.evaluate.pixels import BAND, NEAR, PixelSection, band, count_picture
from videre.structures import Categories, Scene, Schema
from videre.structures.scene import VOID

SCHEMA = Schema(pixels=Categories.of(["road", "car", "sky"]))
MAPS = arrays.arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 2, VOID]))
SAID = arrays.arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 2]))


def evaluate_pixels(said: list[Scene], true: list[Scene], schema: Schema, bootstrap: int = 0) -> PixelSection:
    """The section of pixels."""
    return evaluate(said, true, schema, bootstrap=bootstrap).sections["pixels"]


def scene(classes: np.ndarray) -> Scene:
    return Scene(classes.shape, segmentation=torch.from_numpy(classes.copy()))


def report(pairs: list[tuple[np.ndarray, np.ndarray]], bootstrap: int = 0) -> PixelSection:
    """Of (said, true) pairs."""
    said, true = zip(*pairs)
    return evaluate_pixels([scene(s) for s in said], [scene(t) for t in true], SCHEMA, bootstrap=bootstrap)


def test_a_case_by_hand() -> None:
    true = np.array([[0, 0, 1, 1], [0, 0, 1, VOID]], np.uint8)
    said = np.array([[0, 1, 1, 1], [0, 0, 0, 2]], np.uint8)
    found = report([(said, true)])
    # road: 3 of 4 right, 4 said (the one under void counts nowhere); car: 2 of 3 right, 3 said; sky is nowhere
    assert found.metrics["pixel accuracy"] == pytest.approx(5 / 7)
    assert found.metrics["mean accuracy"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert found.metrics["mIoU"] == pytest.approx((3 / 5 + 2 / 4) / 2)
    assert found.metrics["fwIoU"] == pytest.approx(4 / 7 * 3 / 5 + 3 / 7 * 2 / 4)
    assert math.isnan(found.per_class["sky"]["IoU"]) and found.confusion().tolist() == [[3, 1, 0], [1, 2, 0], [0, 0, 0]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(SAID, MAPS), min_size=1, max_size=3))
def test_the_four_of_fcn(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """shelhamer/fcn.berkeleyvision.org, score.py: one histogram n[true, said] over the set."""
    n = np.zeros((3, 3))
    for said, true in pairs:
        for a, b in zip(true[true != VOID], said[true != VOID]):
            n[a, b] += 1
    t, there = n.sum(1), (n.sum(1) + n.sum(0)) > 0
    found = report(pairs).metrics
    if not n.any():
        assert all(math.isnan(v) for v in found.values())
        return
    iou = n.diagonal()[there] / (n.sum(1) + n.sum(0) - n.diagonal())[there]
    assert found["pixel accuracy"] == pytest.approx(n.diagonal().sum() / n.sum())
    assert found["mean accuracy"] == pytest.approx(np.mean(n.diagonal()[t > 0] / t[t > 0]))
    assert found["mIoU"] == pytest.approx(np.mean(iou))
    assert found["fwIoU"] == pytest.approx((t[there] * iou).sum() / n.sum())


@settings(max_examples=30, deadline=None)
@given(SAID, MAPS)
def test_bands_and_contours_pixel_by_pixel(said: np.ndarray, true: np.ndarray) -> None:
    valid = true != VOID
    diagonal = math.hypot(*true.shape)
    width, near = max(1, round(BAND * diagonal)), NEAR * diagonal
    shared, either, found, predicted, matched, actual = count_picture(said, true, 3)[4:]

    def along(mask: np.ndarray, reach: int) -> np.ndarray:
        """Pixels of the mask with something outside it within `reach` in both directions."""
        padded = np.pad(mask, reach)
        lowest = np.array(
            [
                [padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1].all() for x in range(mask.shape[1])]
                for y in range(mask.shape[0])
            ]
        )
        return mask & ~lowest

    for k in range(3):
        a, b = (said == k) & valid, true == k
        p, q = along(a, width) & valid, along(b, width) & valid
        assert (shared[k], either[k]) == ((p & q).sum(), (p | q).sum())
        lines = np.argwhere(along(a, 1) & valid), np.argwhere(along(b, 1) & valid)
        assert (predicted[k], actual[k]) == (len(lines[0]), len(lines[1]))
        for count, one, other in ((found[k], *lines), (matched[k], *lines[::-1])):
            apart = np.linalg.norm(one[:, None] - other[None], axis=2) if len(other) else np.full((len(one), 1), np.inf)
            assert count == (apart.min(1) <= near + 1e-6).sum() if len(one) else count == 0


def test_a_band_is_as_wide_as_it_says() -> None:
    mask = np.ones((7, 7), bool)
    assert band(mask, 1).sum() == 24 and band(mask, 2).sum() == 40 and not band(~mask, 2).any()


@settings(max_examples=30, deadline=None)
@given(MAPS, SAID, st.integers(0, 2))
def test_what_lies_under_void_never_matters(true: np.ndarray, said: np.ndarray, other: int) -> None:
    changed = np.where(true == VOID, other, said).astype(np.uint8)
    before, after = (report([(s, true)]).metrics for s in (said, changed))
    np.testing.assert_equal(before, after)


@settings(max_examples=20, deadline=None)
@given(MAPS.filter(lambda true: (true != VOID).any()))
def test_the_truth_itself_is_perfect(true: np.ndarray) -> None:
    found = report([(true, true)]).metrics
    assert all(value == pytest.approx(1) for value in found.values())


def test_saying_void_is_wrong() -> None:
    true = np.zeros((4, 4), np.uint8)
    said = np.where(np.arange(16).reshape(4, 4) < 4, VOID, 0).astype(np.uint8)
    assert report([(said, true)]).metrics["mIoU"] == pytest.approx(12 / 16)


def test_intervals_are_of_pictures_and_do_not_depend_on_their_order() -> None:
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(0, 3, (8, 8)).astype(np.uint8), rng.integers(0, 3, (8, 8)).astype(np.uint8)) for _ in range(9)
    ]
    a, b = report(pairs, 100), report(pairs[::-1], 100)
    assert a.metrics == pytest.approx(b.metrics)
    interval = a.intervals["mIoU"]
    assert interval.low < interval.value < interval.high
    one = report(pairs[:1] * 9, 50).intervals["mIoU"]
    assert one.low == pytest.approx(one.value) == one.high  # all pictures alike: nothing to draw


def test_fields_choose_the_report_and_sizes_must_agree() -> None:
    true = np.zeros((4, 6), np.uint8)
    assert set(evaluate([scene(true)], [scene(true)], SCHEMA, bootstrap=0).sections) == {"pixels"}
    with pytest.raises(DataError, match=r"the prediction is 4x4 \(width x height\), the truth 6x4"):
        evaluate([scene(true[:, :4])], [scene(true)], SCHEMA)


def planes(classes: np.ndarray) -> np.ndarray:
    """The same said of every class by itself."""
    return np.where(classes == VOID, VOID, classes == np.arange(3)[:, None, None]).astype(np.uint8)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(SAID, MAPS), min_size=1, max_size=3))
def test_classes_that_overlap_are_measured_as_those_that_do_not(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Where they happen to exclude each other all numbers of a class are the same."""
    found = report(pairs)
    said, true = ([Scene((9, 11), segmentation=torch.from_numpy(planes(p[side]))) for p in pairs] for side in (0, 1))
    of_planes = evaluate_pixels(said, true, SCHEMA.replace(overlap=True), bootstrap=0)
    np.testing.assert_equal(of_planes.per_class, found.per_class)
    for name in ("mIoU", "mean Dice", "mean accuracy", "boundary IoU", "boundary F"):
        np.testing.assert_equal(of_planes.metrics[name], found.metrics[name])
    np.testing.assert_equal(of_planes.picture_iou(), found.picture_iou())


def test_overlap_by_hand() -> None:
    true = np.array([[[1, 1, 0, 0]], [[0, 1, 1, VOID]]], np.uint8)
    said = np.array([[[1, 0, 0, 0]], [[0, 1, 1, 1]]], np.uint8)
    schema = Schema(pixels=Categories.of(["liver", "tumour"]), overlap=True)
    scenes = [Scene((1, 4), segmentation=torch.from_numpy(x)) for x in (said, true)]
    found = evaluate_pixels(scenes[:1], scenes[1:], schema, bootstrap=0)
    assert found.metrics["mIoU"] == pytest.approx((1 / 2 + 1) / 2)
    assert found.metrics["mean Dice"] == pytest.approx((2 / 3 + 1) / 2)
    assert found.metrics["pixel accuracy"] == pytest.approx(6 / 7)  # of seven answers one is wrong
    assert found.per_class["tumour"]["share"] == pytest.approx(2 / 3)
    assert found.confusion() is None and "confusion" not in found.to_json()
    assert "each class by itself" in found.protocol
    with pytest.raises(DataError, match=r"the truth is \[1, 4\]; classes that overlap have a plane each, 2"):
        evaluate_pixels(scenes[:1], [scene(true[0])], schema, bootstrap=0)
