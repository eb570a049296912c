"""Report, thresholds, intervals: what is shown is what was measured."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.errors import DataError
from videre.evaluate import Decision, Interval, Report, choose_thresholds, coco_evaluate, evaluate
from videre.evaluate.detection import DetectionSection
from videre.evaluate.intervals import average_precision, bootstrap_ap
from videre.evaluate.thresholds import decide
from videre.structures import Categories, Instances, Scene, Schema

from .scenes import SCHEMA, THINGS, boxed, pairs

ONE = Schema(things=Categories.of(["thing"]))
A, B, C = [0, 0, 10, 10], [50, 50, 60, 60], [100, 100, 110, 110]


def things_of(report: Report) -> DetectionSection:
    """The section of things found."""
    return report.sections["things"]


# intervals --------------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["boxes", "masks", "keypoints"]))
def test_every_picture_once_is_cocos_number(seed, kind):
    result = coco_evaluate(*pairs(seed, 4), SCHEMA, kind)
    ours = average_precision(result.rankings, np.ones(4))
    expected = [result.metrics["AP"], result.metrics["AP50"]]
    np.testing.assert_allclose(ours, expected, atol=1e-12, equal_nan=True)


def test_a_picture_twice_is_the_set_with_its_copy():
    predictions, truths = pairs(11, 4)
    ranked = coco_evaluate(predictions, truths, SCHEMA).rankings
    doubled = coco_evaluate([*predictions, predictions[2]], [*truths, truths[2]], SCHEMA).metrics
    np.testing.assert_allclose(
        average_precision(ranked, np.array([1, 1, 2, 1])), [doubled["AP"], doubled["AP50"]], atol=0.02
    )


def test_intervals_hold_the_value_and_repeat():
    inside = 0
    for seed in range(10):
        result = coco_evaluate(*pairs(seed, 12), SCHEMA)
        interval = bootstrap_ap(result.rankings, samples=30)["AP"]
        assert interval.value == pytest.approx(result.metrics["AP"], abs=1e-12) and interval.low <= interval.high
        inside += interval.low <= interval.value <= interval.high
    assert inside >= 9
    assert bootstrap_ap(result.rankings, 9) == bootstrap_ap(result.rankings, 9)


def test_one_picture_is_as_sure_as_it_can_be():
    result = coco_evaluate([boxed([A], scores=[0.9])], [boxed([A, B])], ONE)
    interval = bootstrap_ap(result.rankings, 20)["AP"]
    assert interval.low == interval.high == interval.value == pytest.approx(51 / 101)


def test_without_truth_there_is_no_interval(recwarn):
    result = coco_evaluate([boxed([A], scores=[0.9])], [boxed([])], ONE)
    interval = bootstrap_ap(result.rankings, 20)["AP50"]
    assert math.isnan(interval.low) and str(interval) == "—" and not recwarn.list
    assert str(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"


# thresholds -------------------------------------------------------------------------------------------------------------


def test_the_threshold_is_where_f1_is_largest():
    """Right .9, wrong .8, right .7, wrong .6 and .3 of two truths: F1 2/3, 1/2, 4/5, 2/3, 4/7."""
    false = [[150, 0, 160, 10], [150, 20, 160, 30], [150, 40, 160, 50]]
    prediction = boxed([A, false[0], B, false[1], false[2]], scores=[0.9, 0.8, 0.7, 0.6, 0.3])
    report = evaluate([prediction], [boxed([A, B])], ONE, bootstrap=0)
    chosen = choose_thresholds([prediction], [boxed([A, B])], ONE)
    assert chosen["thing"] == pytest.approx(0.7, abs=2e-4) and chosen["thing"] <= float(prediction.instances.scores[2])
    decision = things_of(report).decisions["thing"]
    assert (decision.right, decision.wrong, decision.missed) == (2, 1, 0)
    assert (decision.precision, decision.recall, decision.f1) == (pytest.approx(2 / 3), 1, pytest.approx(0.8))
    given = evaluate([prediction], [boxed([A, B])], ONE, bootstrap=0, thresholds={"thing": 0.85})
    given = things_of(given).decisions["thing"]
    assert given == Decision(0.85, 1, 0, 1)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_no_other_threshold_has_a_larger_f1(seed):
    predictions, truths = pairs(seed, 3)
    report = evaluate(predictions, truths, SCHEMA, bootstrap=0)
    scores = np.unique(np.concatenate([p.instances.scores.double().numpy() for p in predictions]))
    things = things_of(report)
    for name, decision in decide(things.main, {n: d.threshold for n, d in things.decisions.items()}).items():
        for score in scores[(scores >= 0.05) & (scores <= 0.95)]:
            other = decide(things.main, {name: score})[name]
            near = np.abs(scores - score) <= 2e-4  # thresholds have four digits: what lies closer is shown together
            assert decision.f1 >= other.f1 or near.sum() > 1


def test_what_is_shown_once_counts_once():
    two = Schema(things=Categories.of(["cube", "cylinder"]))
    prediction = boxed([A, A], [0, 1], [0.6, 0.54])
    report = evaluate([prediction], [boxed([A], [0])], two, bootstrap=0, thresholds={"cube": 0.5, "cylinder": 0.5})
    decisions = things_of(report).decisions
    assert decisions == {"cube": Decision(0.5, 1, 0, 0), "cylinder": Decision(0.5, 0, 0, 0)}
    assert report.metrics["box AP"] == pytest.approx(1)  # of everything, as COCO has it


def test_equal_scores_are_shown_together():
    prediction = boxed([A, [150, 0, 160, 10]], scores=[0.5, 0.5])
    assert choose_thresholds([prediction], [boxed([A])], ONE) == {"thing": 0.5}
    report = evaluate([prediction], [boxed([A])], ONE, bootstrap=0)
    assert things_of(report).decisions["thing"] == Decision(0.5, 1, 1, 0)


def test_a_class_never_found_has_no_threshold_and_extremes_are_kept_off():
    assert choose_thresholds([boxed([B], scores=[0.9])], [boxed([A])], ONE) == {}
    assert choose_thresholds([boxed([A], scores=[0.99])], [boxed([A])], ONE) == {"thing": 0.95}
    assert choose_thresholds([boxed([A], scores=[0.01])], [boxed([A])], ONE) == {}


def test_shares_of_nothing_are_no_number():
    assert all(math.isnan(getattr(Decision(0.5, 0, 0, 0), name)) for name in ("precision", "recall", "f1"))
    assert Decision(0.5, 0, 0, 3).recall == 0 and Decision(0.5, 0, 0, 3).f1 == 0


# the report -------------------------------------------------------------------------------------------------------------


def test_a_class_without_truth_is_null_in_json_and_a_dash_in_text():
    report = evaluate(*pairs(2, 5), SCHEMA, bootstrap=10)
    assert set(things_of(report).results) == {"boxes", "masks", "keypoints"}
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (
        data["things"]["per_class"]["boxes"]["never there"] is None
        and data["things"]["voc"]["never there"]["area"] is None
    )
    assert data["metrics"]["mask AP"] == things_of(report).results["masks"].metrics["AP"] and data["pictures"] == 5
    low, high = data["intervals"]["box AP50"]
    assert low <= data["metrics"]["box AP50"] <= high
    rows = things_of(report).class_rows()
    assert [r[0] for r in rows] == list(THINGS) and rows[3][1:] == ["—"] * 5 and "—" not in rows[0]
    lines = report.lines()
    assert lines[0].startswith("5 pictures") and any(line.strip().startswith("never there") for line in lines)
    assert next(iter(report.metrics)) == "keypoint AP"  # the finest kind leads
    assert [row[0] for row in things_of(report).rows()] == ["box", "mask", "keypoint"]


def test_a_report_on_no_truth_at_all(recwarn):
    report = evaluate([boxed([A], scores=[0.5])], [boxed([])], ONE, bootstrap=5)
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["metrics"]["box AP"] is None
    assert "box: COCO boxes" in "\n".join(report.lines()) and "nan" not in "\n".join(
        [*report.lines(), *things_of(report).rows()[0]]
    )


def test_confusion_by_hand():
    """One cat found, one cat called dog, one dog missed, one false dog; a detection below the limit does not count."""
    schema = Schema(things=Categories.of(["cat", "dog"]))
    truth = boxed([A, B, C], labels=[0, 0, 1])
    prediction = boxed([A, B, [150, 0, 160, 10], C], labels=[0, 1, 1, 1], scores=[0.9, 0.8, 0.7, 0.3])
    report = evaluate([prediction], [truth], schema, bootstrap=0)
    assert things_of(report).confusion(0.5).tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert things_of(report).confusion(0.2)[1, 1] == 1
    errors = things_of(report).error_types()
    assert errors["Cls"] > 0 and errors["Bkg"] >= 0 and errors["Loc"] == 0
    assert things_of(report).main is things_of(report).results["boxes"]


def test_calibration_by_hand():
    """Four detections of score .75, three of them right: no error. The same of score .95: an error of .2."""
    truth = boxed([A, B, C])
    rows = [A, B, C, [150, 0, 160, 10]]
    for score, error in ((0.75, 0.0), (0.95, 0.2)):
        report = evaluate([boxed(rows, scores=[score] * 4)], [truth], ONE, bootstrap=0)
        assert things_of(report).calibration()["ece"] == pytest.approx(error, abs=1e-6)


def test_nothing_in_common_is_an_error():
    with pytest.raises(DataError, match="no field in common"):
        evaluate([Scene((5, 5))], [boxed([A])], ONE)
    with pytest.raises(DataError, match="no field in common"):
        evaluate([Scene((5, 5), Instances(ids=[1]))], [Scene((5, 5), Instances(ids=[1]))], ONE)


def test_classes_that_the_truth_has_nothing_of_are_named():
    from videre.evaluate.section import unseen

    assert unseen({"a": 3, "b": 0, "c": 1}) == ["  means are over 2 of 3 classes; the truth has nothing of b"]
    assert unseen({"a": 3}) == [] and unseen({"a": 0, "b": 0}) == []
    many = unseen({str(k): float(k == 0) for k in range(20)})
    assert many[0].endswith("nothing of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 7 more")


def test_a_class_without_truth_is_said_in_the_report():
    schema = Schema(pixels=Categories.of(["road", "sky", "sea"]))
    truth = Scene((2, 2), segmentation=torch.tensor([[0, 1], [0, 1]], dtype=torch.uint8))
    lines = evaluate([truth], [truth], schema, bootstrap=0).lines()
    assert lines[-1] == "  means are over 2 of 3 classes; the truth has nothing of sea"
