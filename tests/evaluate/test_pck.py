"""PCK and PCKh on poses worked out by hand, and against the sum over single joints."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.evaluate.pck import PCK, PCK_BOX, PCKH, evaluate_pose
from videre.evaluate.report import evaluate
from videre.structures import COCO_PERSON, Categories, Instances, Scene, Schema, Skeleton

BODY = Skeleton(("left_shoulder", "right_hip", "neck", "head_top", "thorax"))
POSE = torch.tensor([[10.0, 10], [10, 60], [30, 20], [30, 0], [30, 30]])  # torso 50: near is 10; head 20: near is 10


def person(
    points: torch.Tensor, seen: list[int] | None = None, score: float | None = None, ignore: bool = False
) -> Instances:
    count = points.shape[0]
    return Instances(
        boxes=torch.cat([points.amin(0), points.amax(0) + 1])[None],
        labels=torch.tensor([0]),
        keypoints=points[None],
        visibility=None if seen is None else torch.tensor([seen], dtype=torch.uint8),
        keypoint_scores=None if score is None else torch.ones(1, count),
        scores=None if score is None else torch.tensor([score]),
        ignore=torch.tensor([ignore]) if score is None else None,
    )


def pose_of(said: Instances | None, true: Instances, measure=PCK, **options):
    return evaluate_pose([Scene((100, 100), said)], [Scene((100, 100), true)], BODY, measure, bootstrap=20, **options)


def test_joints_are_found_within_a_fifth_of_the_torso() -> None:
    off = torch.tensor([[0.0, 0], [10, 0], [8, 7], [0, -9.9], [6, 8]])  # 0, 10, 10.6, 9.9, 10 away
    result = pose_of(person(POSE + off, score=0.9), person(POSE, [2, 2, 2, 1, 0]))
    assert result.found.tolist() == [[True, True, False, True, False]]
    found = result.metrics
    assert found["mean"] == pytest.approx(3 / 4) and math.isnan(found["thorax"]) and found["neck"] == 0
    assert "PCK@0.2 of the torso, 1 persons, 4 joints" in result.lines()[0]
    assert result.to_json()["pck"]["thorax"] is None


def test_the_head_measures_pckh_and_the_thorax_is_apart() -> None:
    off = torch.tensor([[0.0, 0], [10, 0], [0, 10.1], [0, -9.9], [90, 8]])
    result = pose_of(person(POSE + off, score=0.9), person(POSE), PCKH)
    assert result.found.tolist() == [[True, True, False, True, False]]
    assert result.metrics["mean"] == pytest.approx(3 / 4) and result.metrics["thorax"] == 0


def test_who_cannot_be_measured_is_left_out() -> None:
    assert pose_of(person(POSE, score=1), person(POSE, [0, 2, 2, 2, 2])) is None  # no shoulder, no torso
    assert pose_of(person(POSE, score=1), person(POSE, ignore=True)) is None
    assert evaluate_pose([], [], COCO_PERSON, PCKH) is None  # it has no crown
    nobody = pose_of(None, person(POSE))
    assert nobody.metrics["mean"] == 0


ANIMAL = Skeleton(("nose", "withers", "tailbase"))


def test_a_body_without_shoulders_is_measured_by_its_box() -> None:
    points = torch.tensor([[0.0, 20], [30, 0], [99, 10]])  # the box is 100 by 21: near is 10
    true = person(points, [2, 2, 0])
    said = person(points + torch.tensor([[6.0, 8], [0, 10.1], [0, 0]]), score=0.9)
    result = evaluate_pose([Scene((100, 100), said)], [Scene((100, 100), true)], ANIMAL, PCK_BOX, bootstrap=0)
    assert result.found.tolist() == [[True, False, False]] and result.metrics["mean"] == 1 / 2
    assert evaluate_pose([Scene((100, 100), said)], [Scene((100, 100), true)], ANIMAL) is None
    schema = Schema(things=Categories.of(["cat"]), skeleton=ANIMAL)
    report = evaluate([Scene((100, 100), said)], [Scene((100, 100), true)], schema)
    assert report.metrics["PCK"] == 1 / 2
    unlabelled = person(points, [0, 0, 0])
    assert evaluate_pose([Scene((100, 100), said)], [Scene((100, 100), unlabelled)], ANIMAL, PCK_BOX) is None


def test_the_nearest_prediction_counts() -> None:
    far, near = person(POSE + 40, score=0.9), person(POSE + 3, score=0.1)
    assert pose_of(Instances.cat([far, near]), person(POSE)).metrics["mean"] == 1


def test_the_mean_pose_is_no_better_than_it_is() -> None:
    # two persons of one shape, one of them twice as large: the mean pose in the box is everyone's
    truths = [Scene((200, 200), person(POSE)), Scene((200, 200), person(POSE * 2))]
    nothing = [Scene((200, 200)) for _ in truths]
    assert evaluate_pose(nothing, truths, BODY, bootstrap=0).baseline == 1
    turned = [Scene((200, 200), person(POSE)), Scene((200, 200), person(POSE[:, [1, 0]]))]
    assert evaluate_pose(nothing, turned, BODY, bootstrap=0).baseline < 0.5


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**31))
def test_the_share_is_that_of_every_joint_counted(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths, said, right, known = [], [], np.zeros(5), np.zeros(5)
    for _ in range(count):
        points = POSE + torch.from_numpy(rng.normal(0, 5, (5, 2))).float()
        seen = [2, 2, *rng.choice([0, 2], 3).tolist()]
        found = points + torch.from_numpy(rng.normal(0, 9, (5, 2))).float()
        truths.append(Scene((100, 100), person(points, seen)))
        said.append(Scene((100, 100), person(found, score=0.5)))
        limit = 0.2 * float((points[0] - points[1]).norm())
        near = ((found - points).norm(dim=1) <= limit).numpy() & (np.array(seen) > 0)
        right, known = right + near, known + (np.array(seen) > 0)
    result = evaluate_pose(said, truths, BODY, bootstrap=50)
    shares = [r / k for r, k in zip(right, known) if k]
    assert result.metrics["mean"] == pytest.approx(np.mean(shares))
    interval = result.intervals["mean"]
    assert interval.low <= result.metrics["mean"] <= interval.high


def test_a_report_has_both_measures() -> None:
    schema = Schema(things=Categories.of(["person"]), skeleton=Skeleton(BODY.names, sigmas=(0.1,) * 5))
    report = evaluate(
        [Scene((100, 100), person(POSE, score=0.9))], [Scene((100, 100), person(POSE, [2] * 5))], schema, bootstrap=5
    )
    assert [pose.measure for pose in report.sections["joints"].poses] == [PCK, PCKH]
    assert report.headline["PCK"] == 1 and report.headline["PCKh"] == 1
    assert [row["measure"] for row in report.to_json()["joints"].values()] == [
        "PCK@0.2 of the torso",
        "PCKh@0.5 of the head",
    ]
