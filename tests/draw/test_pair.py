"""Truth beside prediction, sheets, mask targets, and the matching that they mark."""

import numpy as np
import pytest
import torch

from videre.draw import contact_sheet, draw_mask_targets, draw_pair
from videre.draw.colors import FALSE, MISSED
from videre.errors import ShapeError
from videre.structures import Categories, Instances, Scene, Schema
from videre.structures.matches import match

SIZE = (600, 800)
SCHEMA = Schema(things=Categories.of(["cat", "dog"]))
GREY = np.full((*SIZE, 3), 128, np.uint8)


def scene(*things: tuple[list[float], int, float], ignore: list[bool] | None = None) -> Scene:
    boxes, labels, scores = zip(*things) if things else ((), (), ())
    return Scene(
        SIZE,
        Instances(
            boxes=torch.tensor(boxes).reshape(-1, 4),
            labels=torch.tensor(labels, dtype=torch.int64),
            scores=torch.tensor(scores),
            ignore=ignore,
        ),
    )


A, B, C = [100.0, 100, 300, 300], [400.0, 100, 600, 300], [100.0, 400, 300, 590]


def test_the_surest_prediction_takes_the_truth():
    truth = scene((A, 0, 1), (B, 1, 1))
    near = [110.0, 100, 310, 300]
    found = match(scene((A, 0, 0.6), (near, 0, 0.9), (B, 0, 0.8), (C, 1, 0.7)), truth)
    assert found.truth_of.tolist() == [-1, 0, -1, -1]
    assert found.prediction_of.tolist() == [1, -1]
    assert found.false.tolist() == [True, False, True, True]
    assert found.missed.tolist() == [False, True]
    assert found.f1 == pytest.approx(2 / (2 + 3 + 1))


def test_ignored_truths_are_neither_missed_nor_does_it_count_to_find_them():
    truth = scene((A, 0, 1), (B, 0, 1), ignore=[False, True])
    found = match(scene((A, 0, 0.9), ([420.0, 120, 500, 200], 0, 0.9)), truth)
    assert found.excused.tolist() == [False, True]
    assert not found.false.any()
    assert not found.missed.any()
    assert found.f1 == 1


@pytest.mark.parametrize("empty", [Scene(SIZE), scene()])
def test_nothing_matches_nothing(empty):
    assert match(empty, empty).f1 == 1
    assert match(scene((A, 0, 1)), empty).f1 == 0
    assert match(empty, scene((A, 0, 1))).missed.tolist() == [True]


def test_missed_and_false_things_are_marked_and_on_their_side():
    drawn = draw_pair(GREY, scene((A, 0, 1), (B, 1, 1)), scene((A, 0, 0.9), (C, 0, 0.9)), SCHEMA)
    is_color = lambda color: (drawn == np.array(color, np.uint8)).all(2)
    middle = drawn.shape[1] // 2
    assert drawn.shape[1] > 2 * SIZE[1]
    assert is_color(MISSED)[:, :middle].sum() > 200
    assert not is_color(MISSED)[:, middle:].any()
    assert is_color(FALSE)[:, middle:].sum() > 200
    assert not is_color(FALSE)[:, :middle].any()
    none = draw_pair(GREY, scene((A, 0, 1)), scene((A, 0, 0.9)), SCHEMA)
    assert not (none == np.array(MISSED, np.uint8)).all(2).any()


def test_the_threshold_is_of_the_prediction():
    truth, prediction = scene((A, 0, 0.1)), scene((A, 0, 0.4))
    drawn = draw_pair(GREY, truth, prediction, SCHEMA, threshold=0.5)
    assert (drawn == np.array(MISSED, np.uint8)).all(2).any()


def test_pairs_of_anything():
    classes = torch.zeros(SIZE, dtype=torch.uint8)
    for truth, prediction in (
        (Scene(SIZE), Scene(SIZE)),
        (Scene(SIZE), scene((A, 0, 1))),
        (Scene(SIZE, segmentation=classes), Scene(SIZE, segmentation=classes)),
        (
            Scene(SIZE, labels=torch.tensor([0])),
            Scene(SIZE, labels=torch.tensor([1]), label_scores=torch.tensor([0.3])),
        ),
    ):
        drawn = draw_pair(GREY[:, :, :1], truth, prediction, SCHEMA)
        assert drawn.shape[0] >= SIZE[0]
        assert drawn.dtype == np.uint8


def test_a_sheet_holds_every_picture_whole():
    colors = np.random.default_rng(0).integers(60, 255, (7, 3)).astype(np.uint8)
    sizes = [(100, 150), (200, 100), (90, 300), (100, 100), (120, 160), (64, 64), (300, 200)]
    pictures = [np.full((*s, 3), c, np.uint8) for s, c in zip(sizes, colors)]
    sheet = contact_sheet(pictures, columns=3)
    for picture, color in zip(pictures, colors):
        rows, columns = np.nonzero((sheet == color).all(2))
        shape = (np.ptp(rows) + 1, np.ptp(columns) + 1)
        assert shape[0] * shape[1] == len(rows)  # one whole rectangle
        assert shape[1] / shape[0] == pytest.approx(picture.shape[1] / picture.shape[0], rel=0.06)


def test_sheets_take_any_kind_of_picture_and_labels():
    pictures = [np.zeros((50, 60), np.uint8), np.zeros((50, 60, 1), np.uint16), np.zeros((40, 90, 5), np.uint8)]
    plain, labelled = contact_sheet(pictures, 2), contact_sheet(pictures, 2, ["one", "two", "three"])
    assert len(labelled) > len(plain)
    assert contact_sheet(pictures[:1]).ndim == 3
    for wrong in (lambda: contact_sheet([]), lambda: contact_sheet(pictures, labels=["one"])):
        with pytest.raises(ShapeError, match="labels"):
            wrong()


def test_mask_targets_show_their_cells():
    boxes = torch.tensor([A, B])
    on, off = (
        draw_mask_targets(GREY, boxes, torch.ones(2, 28, 28)),
        draw_mask_targets(GREY, boxes, torch.zeros(2, 28, 28)),
    )
    assert on.shape == off.shape
    changed = (on != off).any(2)
    assert not changed[: SIZE[0]].any()
    assert changed.sum() == 2 * 168 * 168
    assert draw_mask_targets(GREY, torch.zeros(0, 4), torch.zeros(0, 28, 28)).shape[1] == SIZE[1]
    with pytest.raises(ShapeError, match="targets"):
        draw_mask_targets(GREY, boxes, torch.ones(3, 28, 28))
