"""COCO evaluation equals pycocotools to the last digit, and the numbers obtained by hand."""

import contextlib
import io
import json
from pathlib import Path

import hotcoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from videre.errors import DataError
from videre.evaluate.coco import IOU_TYPE, coco_evaluate, to_coco, to_results
from videre.structures import Categories, Instances, Masks, Scene, Schema

from .scenes import SCHEMA, THINGS, boxed, pairs

PARITY = Path(__file__).parents[2].parent / "shared" / "data" / "coco_eval_parity"
NAMES = {
    "boxes": ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"],
    "keypoints": ["AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"],
}
NAMES["masks"] = NAMES["boxes"]


def judge(predictions, truths, kind, limit=None):
    """pycocotools on our JSON: its evaluator, summarised where the limit is the usual one."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(to_coco(truths, THINGS, kind, SCHEMA.skeleton)))
        truth.createIndex()
        results = json.loads(json.dumps(to_results(predictions, kind)))
        evaluator = COCOeval(truth, truth.loadRes(results), IOU_TYPE[kind])
        if kind == "keypoints":
            evaluator.params.kpt_oks_sigmas = np.array(SCHEMA.skeleton.sigmas)
        if limit is not None:
            evaluator.params.maxDets = [1, 10, 100, limit]
        evaluator.evaluate()
        evaluator.accumulate()
        if limit is None:
            evaluator.summarize()
    return evaluator


def mean(values):
    there = values[values > -1]
    return there.mean() if there.size else -1.0


def equal(ours, theirs):
    """Bit for bit, with -1 there for NaN here."""
    return (np.isnan(ours) and theirs == -1) or ours == theirs


@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints"])
@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_every_number_is_that_of_pycocotools(kind, seed, pictures):
    predictions, truths = pairs(seed, pictures)
    if not to_results(predictions, kind):  # pycocotools does not take an empty list
        return
    ours, theirs = coco_evaluate(predictions, truths, SCHEMA, kind), judge(predictions, truths, kind)
    for name, value in zip(NAMES[kind], theirs.stats, strict=True):
        assert equal(ours.metrics[name], value), (name, ours.metrics[name], value)
    assert np.array_equal(ours.precision, theirs.eval["precision"][:, :, :, 0, -1])
    for k, name in enumerate(THINGS):
        assert equal(ours.per_class[name], mean(theirs.eval["precision"][:, :, k, 0, -1]))


@pytest.mark.parametrize(("kind", "limit"), [("boxes", None), ("boxes", 300), ("masks", 300), ("keypoints", None)])
def test_more_detections_than_are_counted(kind, limit):
    predictions, truths = pairs(3, 2, most=30, false=900)
    assert max(np.bincount(p.instances.labels).max() for p in predictions) > 110
    ours, theirs = (
        coco_evaluate(predictions, truths, SCHEMA, kind, limit or 100),
        judge(predictions, truths, kind, limit),
    )
    curves = theirs.eval
    assert np.array_equal(ours.precision, curves["precision"][:, :, :, 0, -1])
    assert ours.metrics["AP"] == mean(curves["precision"][:, :, :, 0, -1])
    assert ("AP@100" in ours.metrics) == (limit is not None)
    if limit is not None:
        usual = judge(predictions, truths, kind).eval["precision"]  # COCO's own limits, nothing of ours
        assert ours.metrics["AP@100"] == mean(usual[:, :, :, 0, -1]) != ours.metrics["AP"]
    for i, most in enumerate(theirs.params.maxDets):
        name = "AR" if kind == "keypoints" else f"AR{most}"
        assert ours.metrics[name] == mean(curves["recall"][:, :, 0, i])
    few = {"boxes": limit or 100, "masks": limit, "keypoints": 20}[kind]
    assert (f"at most {few} detections a picture and class" in ours.protocol) and ("have more" in ours.protocol) == (
        few < 300
    )


@pytest.mark.skipif(not PARITY.exists(), reason=f"the reference evaluations are not in {PARITY}")
def test_hotcoco_gives_the_recorded_numbers():
    """Recorded from pycocotools 2.0.11 on published results."""
    for name, case in json.loads((PARITY / "expected.json").read_text())["cases"].items():
        with contextlib.redirect_stdout(io.StringIO()):
            truth = hotcoco.COCO(str(PARITY / case["ground_truth"]))
            evaluator = hotcoco.COCOeval(truth, truth.load_res(str(PARITY / case["results"])), case["iou_type"])
            evaluator.run()
        np.testing.assert_allclose(evaluator.stats, case["stats"], rtol=0, atol=1e-12, err_msg=name)


# by hand ----------------------------------------------------------------------------------------------------------------

ONE = Schema(things=Categories.of(["thing"]))
A, B = [0, 0, 10, 10], [50, 50, 60, 60]


def by_hand(prediction, truth):
    return coco_evaluate([prediction], [truth], ONE).metrics


def test_one_of_two_found_gives_51_of_101():
    assert by_hand(boxed([A], scores=[0.9]), boxed([A, B]))["AP"] == pytest.approx(51 / 101, abs=1e-12)


def test_a_false_one_above_the_only_right_one_halves_it():
    assert by_hand(boxed([B, A], scores=[0.9, 0.8]), boxed([A]))["AP"] == pytest.approx(0.5, abs=1e-12)


def test_of_equal_scores_the_first_listed_counts_first():
    assert by_hand(boxed([B, A], scores=[0.5, 0.5]), boxed([A]))["AP"] == pytest.approx(0.5, abs=1e-12)
    assert by_hand(boxed([A, B], scores=[0.5, 0.5]), boxed([A]))["AP"] == pytest.approx(1, abs=1e-12)


def test_an_overlap_of_exactly_one_half_is_found_at_one_half():
    found = by_hand(boxed([[0, 0, 10, 5]], scores=[0.5]), boxed([A]))
    assert found["AP50"] == pytest.approx(1, abs=1e-12) and found["AP"] == pytest.approx(0.1, abs=1e-12)


def test_an_area_of_exactly_1024_is_small_and_medium():
    square = [[0, 0, 32, 32]]
    found = by_hand(boxed(square, scores=[0.5]), boxed(square))
    assert found["APs"] == found["APm"] == pytest.approx(1, abs=1e-12) and np.isnan(found["APl"])


def test_a_file_area_decides_the_size_bin():
    square = [[0, 0, 50, 50]]
    found = by_hand(boxed(square, scores=[0.5]), boxed(square, areas=[100.0]))
    assert found["APs"] == pytest.approx(1, abs=1e-12)


def test_a_crowd_absorbs_and_is_not_asked_for():
    truth = boxed([[0, 0, 100, 100], B], ignore=[True, False])
    assert by_hand(boxed([A, [20, 20, 30, 30], B], scores=[0.9, 0.9, 0.5]), truth)["AP"] == pytest.approx(1)


def test_nothing_predicted_and_nothing_true():
    nothing = Scene((200, 200))
    assert by_hand(nothing, boxed([A]))["AP"] == 0
    assert np.isnan(by_hand(boxed([A], scores=[0.5]), boxed([]))["AP"])
    assert np.isnan(by_hand(nothing, nothing)["AP"])


def test_the_first_truth_has_an_id_that_counts():
    """cocoeval takes a match with annotation 0 for none."""
    assert by_hand(boxed([A], scores=[0.5]), boxed([A]))["AP"] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("predictions", "truths", "schema", "kind", "says"),
    [
        ([], [boxed([A])], ONE, "boxes", "0 predictions for 1 truths"),
        ([], [], Schema(), "boxes", "schema.things"),
        (
            [Scene((200, 200), Instances(boxes=[A]), meta={"id": 5})],
            [boxed([A])],
            ONE,
            "boxes",
            "5: a prediction needs",
        ),
        ([boxed([A], scores=[1])], [boxed([A])], ONE, "masks", "scene: the truth has no masks"),
        ([boxed([A], scores=[1])], [boxed([A])], ONE, "keypoints", "scene: .* the truth has none"),
        (
            [boxed([A], scores=[1])],
            [boxed([A], masks=Masks.from_bitmaps(np.ones((1, 200, 200))))],
            ONE,
            "masks",
            "scene: masks are asked for, the prediction has none",
        ),
    ],
)
def test_what_cannot_be_compared(predictions, truths, schema, kind, says):
    with pytest.raises(DataError, match=says):
        coco_evaluate(predictions, truths, schema, kind)
