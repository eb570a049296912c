"""VOC average precision: by hand, and against a plain second telling of the development kit's rules."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videre.errors import DataError
from videre.evaluate import voc_evaluate, voc_mean
from videre.structures import Categories, Scene, Schema

from .scenes import SCHEMA, THINGS, boxed, pairs

ONE = Schema(things=Categories.of(["thing"]))


def kit(predictions, truths, label):
    """voc_eval.py of the development kit, on inclusive pixels counted from 1."""
    truth = {}
    found = []
    count = 0
    for i, (p, t) in enumerate(zip(predictions, truths)):
        rows = [
            {"box": [x1 + 1, y1 + 1, x2, y2], "difficult": bool(d), "taken": False}
            for (x1, y1, x2, y2), k, d in zip(
                t.instances.boxes.tolist(), t.instances.labels.tolist(), t.instances.ignore
            )
            if k == label
        ]
        truth[i] = rows
        count += sum(not r["difficult"] for r in rows)
        for (x1, y1, x2, y2), k, s in zip(
            p.instances.boxes.tolist(), p.instances.labels.tolist(), p.instances.scores.tolist()
        ):
            if k == label:
                found.append((-s, len(found), i, [x1 + 1, y1 + 1, x2, y2]))
    right, wrong = [], []
    for _, _, i, a in sorted(found):
        best, most = None, -math.inf
        for row in truth[i]:
            b = row["box"]
            iw = min(a[2], b[2]) - max(a[0], b[0]) + 1
            ih = min(a[3], b[3]) - max(a[1], b[1]) + 1
            shared = iw * ih if iw > 0 and ih > 0 else 0
            area = lambda c: (c[2] - c[0] + 1) * (c[3] - c[1] + 1)
            overlap = shared / (area(a) + area(b) - shared)
            if overlap > most:
                best, most = row, overlap
        excused = most > 0.5 and best["difficult"]
        good = most > 0.5 and not excused and not best["taken"]
        if good:
            best["taken"] = True
        right.append(good)
        wrong.append(not good and not excused)
    if count == 0:
        return math.nan, math.nan
    tp, fp = np.cumsum(right), np.cumsum(wrong)
    recall, precision = tp / count, tp / np.maximum(tp + fp, np.finfo(float).eps)
    eleven = 0.0
    for t in np.arange(0.0, 1.1, 0.1):
        eleven += max([p for r, p in zip(recall, precision) if r >= t], default=0.0) / 11
    mrec, mpre = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in range(len(mpre) - 1, 0, -1):
        mpre[i - 1] = max(mpre[i - 1], mpre[i])
    return eleven, sum((mrec[i + 1] - mrec[i]) * mpre[i + 1] for i in range(len(mrec) - 1))


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_equals_the_development_kit(seed, pictures):
    predictions, truths = pairs(seed, pictures)
    ours = voc_evaluate(predictions, truths, SCHEMA)
    for label, name in enumerate(THINGS):
        eleven, area = kit(predictions, truths, label)
        assert ours[name]["11 points"] == pytest.approx(eleven, abs=1e-9, nan_ok=True)
        assert ours[name]["area"] == pytest.approx(area, abs=1e-9, nan_ok=True)


A, B, C = [0, 0, 10, 10], [50, 50, 60, 60], [100, 100, 110, 110]


def one(prediction, truth):
    return voc_evaluate([prediction], [truth], ONE)["thing"]


def test_by_hand():
    """Right, wrong, right of three truths: recall 1/3, 1/3, 2/3 at precision 1, 1/2, 2/3."""
    found = one(boxed([A, [30, 0, 40, 10], B], scores=[0.9, 0.8, 0.7]), boxed([A, B, C]))
    assert found["area"] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert found["11 points"] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)  # recalls 0..0.3 and 0.4..0.6


def test_a_second_detection_of_a_truth_is_wrong_even_if_another_truth_fits():
    truth = boxed([[0, 0, 10, 10], [0, 0, 10, 14]])
    found = one(boxed([[0, 0, 10, 10], [0, 0, 10, 11]], scores=[0.9, 0.8]), truth)
    assert found["area"] == pytest.approx(0.5)


def test_overlap_must_be_more_than_one_half():
    assert one(boxed([[0, 0, 10, 5]], scores=[1]), boxed([A]))["area"] == 0
    assert one(boxed([[0, 0, 10, 5.1]], scores=[1]), boxed([A]))["area"] == 1


def test_difficult_ones_are_neither_right_nor_wrong():
    truth = boxed([A, B], ignore=[True, False])
    assert one(boxed([A, A, B], scores=[0.9, 0.8, 0.7]), truth)["area"] == 1


def test_no_truth_is_no_number(recwarn):
    table = voc_evaluate([boxed([A], scores=[1])], [Scene((200, 200))], ONE)
    assert math.isnan(table["thing"]["area"]) and math.isnan(voc_mean(table)["11 points"]) and not recwarn.list
    assert one(Scene((200, 200)), boxed([A])) == {"11 points": 0, "area": 0}
    with pytest.raises(DataError, match=r"schema\.things"):
        voc_evaluate([], [], Schema())


def test_the_mean_is_over_classes_with_truth():
    predictions, truths = pairs(5, 6)
    table = voc_evaluate(predictions, truths, SCHEMA)
    known = [row["area"] for row in table.values() if not math.isnan(row["area"])]
    assert math.isnan(table["never there"]["area"]) and voc_mean(table)["area"] == pytest.approx(np.mean(known))


def test_a_class_may_be_called_mean():
    schema = Schema(things=Categories.of(["mean"]))
    table = voc_evaluate([boxed([A], scores=[1])], [boxed([A])], schema)
    assert table == {"mean": {"11 points": 1, "area": 1}} and voc_mean(table) == {"11 points": 1, "area": 1}
