"""An evaluation in parts is the evaluation of the whole; and metrics that a picture gives one number."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from videre.evaluate.mean import MeanMetric
from videre.evaluate.proposals import ProposalRecall
from videre.evaluate.report import Evaluation
from videre.evaluate.section import Options
from videre.structures import Categories, Instances, Scene, Schema

from .scenes import SCHEMA as THINGS
from .scenes import SIZE, pair

SCHEMA = Schema(
    things=THINGS.things,
    skeleton=THINGS.skeleton,
    pixels=Categories.of(["ground", "sky", "sea"]),
    pictures=Categories.of(["day", "night"]),
)


def everything(seed: int) -> tuple[Scene, Scene]:
    """Things with masks and points, classes of pixels, classes of the picture and proposals, on both sides."""
    rng = np.random.default_rng(seed)
    prediction, truth = pair(rng)
    share = float(rng.random())
    maps = torch.from_numpy(rng.integers(0, 3, (2, *SIZE)).astype(np.uint8))
    prediction = prediction.replace(
        segmentation=maps[0],
        labels=[0, 1],
        label_scores=[share, 1 - share],
        proposals=prediction.instances.boxes,
    )
    return prediction, truth.replace(segmentation=maps[1], labels=[int(rng.integers(2))])


@pytest.mark.parametrize("order", ([0, 1, 2], [2, 0, 1]))
def test_parts_of_an_evaluation_become_the_whole(order: list[int]) -> None:
    pairs = [everything(seed) for seed in range(12)]
    fields = [frozenset().union(*(scene.present() for scene in side)) for side in zip(*pairs, strict=True)]
    empty = lambda: Evaluation(SCHEMA, *fields, Options())
    whole, parts = empty(), [empty() for _ in range(3)]
    for i, (prediction, truth) in enumerate(pairs):
        whole.add(i, prediction, truth)
        parts[i % 3].add(i, prediction, truth)
    merged = parts[order[0]]
    for other in order[1:]:
        merged.merge(parts[other])
    one, two = whole.report(bootstrap=20), merged.report(bootstrap=20)
    assert set(one.sections) == {"things", "joints", "pixels", "labels", "proposals"} & set(one.sections)
    assert len(one.sections) >= 4 and two.pictures == one.pictures == 12
    assert json.dumps(two.to_json(), sort_keys=True) == json.dumps(one.to_json(), sort_keys=True)


class Count(MeanMetric):
    name, predicted, true = "count", frozenset({"boxes"}), frozenset({"boxes"})

    def measure(self, prediction: Scene, truth: Scene) -> float:
        """Found for each that there is."""
        return len(prediction) / len(truth) if len(truth) else math.nan


def scene(count: int) -> Scene:
    return Scene((50, 50), Instances(boxes=torch.tensor([[0.0, 0, 10, 10]]).repeat(count, 1)))


def test_a_mean_leaves_out_pictures_that_have_no_number() -> None:
    tally = Count(SCHEMA, Options())
    for i, (found, true) in enumerate(((1, 2), (2, 0), (3, 2))):
        tally.add(i, scene(found), scene(true))
    section = tally.section(200)
    assert section.metrics == {"count": 1.0}
    assert section.to_json() == {"protocol": "Found for each that there is.", "pictures": [0.5, None, 1.5]}
    assert section.intervals["count"].low == 0.5 and section.intervals["count"].high == 1.5


def test_recall_of_proposals_by_hand() -> None:
    """Two true boxes and one that is ignored: the first is covered at IoU .8 by the 11th best proposal, the other not at all."""
    true = Instances(
        boxes=[[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]], labels=[0, 1, 1], ignore=[False, False, True]
    )
    proposals = torch.tensor([[0.0, 0, 10, 8], *[[0.0, 40, 5, 45]] * 10, [40, 40, 50, 50]])
    scores = torch.tensor([0.5, *[0.9] * 10, 0.1])
    tally = ProposalRecall(SCHEMA, Options())
    tally.add(0, Scene((50, 50), proposals=proposals, proposal_scores=scores), Scene((50, 50), true))
    section = tally.section(0)
    assert list(section.abo)[:2] == list(SCHEMA.things)[:2] and list(section.abo.values())[:2] == pytest.approx(
        [0.8, 0]
    )
    metrics = section.metrics
    assert metrics["proposals MABO"] == pytest.approx(0.4)
    assert metrics["proposals recall@10"] == 0 and metrics["proposals AR@10"] == 0
    assert metrics["proposals recall@100"] == 0.5
    assert metrics["proposals AR@100"] == pytest.approx(0.5 * 7 / 10)  # .50 to .80
