"""What detectors of one stage are made of: default boxes, focal loss, hard negatives, SimOTA, held against published numbers, hand-worked
cases and exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.data.transforms import IoUCrop, MixUp
from videre.errors import DataError
from videre.layers.default_boxes import DefaultBoxes
from videre.layers.detections import best_pairs
from videre.layers.hard_negatives import hard_negatives, hardest
from videre.layers.losses import focal_loss
from videre.layers.matcher import NEGATIVE, claim_best
from videre.layers.sim_ota import sim_ota
from videre.models.detect.ssd import RATIOS, SCALES
from videre.ops.boxes import box_giou, box_iou, paired_giou, paired_iou
from videre.structures import Categories, Instances, Scene, Schema

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("plan", "grids", "reduced", "count"),
    [
        ("vgg300", (38, 19, 10, 5, 3, 1), False, 8732),  # SSD table 6
        ("vgg512", (64, 32, 16, 8, 4, 2, 1), False, 24564),
        ("others", (20, 10, 5, 3, 2, 1), False, 3234),  # SSDlite at 320
        ("others", (19, 10, 5, 3, 2, 1), True, 1917),  # TensorFlow's at 300
    ],
)
def test_as_many_default_boxes_as_published(plan, grids, reduced, count):
    boxes = DefaultBoxes(SCALES[plan], RATIOS[plan], reduced=reduced)
    assert len(boxes((300, 300), [(n, n) for n in grids], CPU)) == count


def test_the_first_default_boxes_of_torchvisions_ssd300():
    boxes = DefaultBoxes(SCALES["vgg300"], RATIOS["vgg300"], (8, 16, 32, 64, 100, 300), 300)
    first = boxes((300, 300), [(n, n) for n in (38, 19, 10, 5, 3, 1)], CPU)[:3]
    want = torch.tensor([[-6.5, -6.5, 14.5, 14.5], [-11.37, -11.37, 19.37, 19.37], [-10.85, -3.42, 18.85, 11.42]])
    torch.testing.assert_close(first, want, atol=0.01, rtol=0)


def test_tensorflows_default_boxes_may_be_wider_than_the_picture():
    boxes = DefaultBoxes(SCALES["others"], RATIOS["others"], reduced=True)
    last = boxes((1, 1), [(n, n) for n in (19, 10, 5, 3, 2, 1)], CPU)[-6:]
    # of the released file (cy, cx, h, w), in eight bits
    want = [[0.9486, 0.9486], [0.6711, 1.3422], [1.3422, 0.6711], [0.5485, 1.6455], [1.6455, 0.5485], [0.9744, 0.9744]]
    torch.testing.assert_close((last[:, 2:] - last[:, :2]).flip(1), torch.tensor(want), atol=0.005, rtol=0)


def test_focal_loss_by_its_formula():
    logits, truth = torch.randn(50, 3), (torch.rand(50, 3) < 0.3).float()
    p = logits.sigmoid()
    p_t, alpha_t = torch.where(truth == 1, p, 1 - p), torch.where(truth == 1, 0.25, 0.75)
    torch.testing.assert_close(focal_loss(logits, truth), (-alpha_t * (1 - p_t) ** 2 * p_t.log()).sum())
    torch.testing.assert_close(
        focal_loss(logits, truth, -1, 0), F.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
    )


def test_paired_overlaps_are_the_diagonal():
    a, b = (torch.rand(20, 4).cumsum(1) for _ in range(2))
    torch.testing.assert_close(paired_iou(a, b), box_iou(a, b).diagonal())
    torch.testing.assert_close(paired_giou(a, b), box_giou(a, b).diagonal())
    with pytest.raises(ValueError, match="expected the same"):
        paired_iou(a, b[:3])


def test_hard_negatives_are_the_three_worst_for_each_positive():
    loss = torch.tensor([[9.0, 1, 5, 2, 4, 3], [9, 8, 7, 6, 5, 4]])
    positive = torch.tensor([[True, False, False, False, False, False], [False] * 6])
    candidates = ~positive
    candidates[0, 2] = False  # takes no part
    assert hard_negatives(loss, positive, candidates).nonzero().tolist() == [[0, 3], [0, 4], [0, 5]]


def test_the_hardest_of_each_group():
    assert hardest(torch.tensor([1.0, 3, 2, 9, 8]), [3, 2], 2).tolist() == [1, 2, 3, 4]
    assert hardest(torch.zeros(0), [], 2).tolist() == []


def test_each_truth_claims_its_best_and_the_later_one_wins():
    iou = torch.tensor([[0.1, 0.4, 0.2], [0.0, 0.6, 0.1], [0.0, 0.0, 0.0]])
    matched = torch.tensor([NEGATIVE, NEGATIVE, NEGATIVE])
    assert claim_best(matched, iou).tolist() == [NEGATIVE, 1, NEGATIVE]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_sim_ota_gives_every_thing_its_cheapest_places(seed, things):
    generator = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(*shape, generator=generator)
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    places, strides = torch.stack([x, y], -1).reshape(-1, 2) * 8.0 + 4, torch.full((64,), 8.0)
    low = rand(things, 2) * 40
    truth = torch.cat([low, low + 6 + rand(things, 2) * 20], 1)
    labels = torch.randint(3, (things,), generator=generator)
    half = 2 + rand(64, 2) * 12
    boxes, scores = torch.cat([places - half, places + half], 1), rand(64, 3)
    matched, overlap = sim_ota(scores, boxes, places, strides, truth, labels)
    iou = box_iou(truth, boxes)
    found = matched >= 0
    torch.testing.assert_close(overlap[found], iou[matched[found], found.nonzero().flatten()])
    assert (overlap[~found] == 0).all()
    inside = ((places > truth[:, None, :2]) & (places < truth[:, None, 2:])).all(2)
    middles = (truth[:, :2] + truth[:, 2:]) / 2
    near = ((places - middles[:, None]).abs() < 20).all(2)
    entropy = F.binary_cross_entropy(
        scores.sqrt().clamp(1e-6, 1 - 1e-6).expand(things, 64, 3),
        F.one_hot(labels, 3).float()[:, None].expand(things, 64, 3),
        reduction="none",
    ).sum(2)
    cost = entropy - 3 * (iou + 1e-8).log() + 1e5 * ~(inside & near)
    able = (inside | near).any(0)
    cost[:, ~able] = torch.inf
    wanted = [max(1, int(iou[t, able].sort(descending=True).values[:10].sum())) for t in range(things)]
    taken = torch.zeros(things, 64, dtype=torch.bool)
    for t, count in enumerate(wanted):
        taken[t, cost[t].argsort()[: min(count, int(able.sum()))]] = True
    want = torch.where(taken.any(0), torch.where(taken.sum(0) > 1, cost.argmin(0), taken.int().argmax(0)), NEGATIVE)
    assert matched.tolist() == want.tolist()


def scene_of(size, boxes, labels):
    return Scene(
        size,
        Instances(boxes=torch.tensor(boxes).float().reshape(-1, 4), labels=torch.tensor(labels, dtype=torch.int64)),
    )


SCHEMA = Schema(things=Categories.of(["a", "b"]))


def test_an_iou_crop_keeps_what_has_its_middle_inside():
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    scene = scene_of((60, 80), [[5, 5, 25, 25], [50, 30, 78, 58]], [0, 1])
    cropped = 0
    for seed in range(60):
        cut, found = IoUCrop()(picture, scene, np.random.default_rng(seed), SCHEMA)
        assert cut.shape[:2] == found.size and len(found) >= 1
        boxes = found.instances.boxes
        assert (boxes >= 0).all() and (boxes[:, 2] <= cut.shape[1]).all() and (boxes[:, 3] <= cut.shape[0]).all()
        assert min(cut.shape[0] / 60, cut.shape[1] / 80) >= 0.28
        cropped += cut.shape != picture.shape
    assert 30 < cropped < 60
    empty = scene_of((60, 80), [], [])
    assert IoUCrop()(picture, empty, np.random.default_rng(0), SCHEMA)[0] is picture


def test_a_mix_up_is_the_mean_and_has_the_things_of_both():
    dark, light = np.zeros((20, 30, 3), np.uint8), np.full((40, 60, 3), 200, np.uint8)
    pairs = [(dark, scene_of((20, 30), [[1, 1, 9, 9]], [0])), (light, scene_of((40, 60), [[20, 20, 40, 40]], [1]))]
    mixed, found = MixUp().mix(pairs, np.random.default_rng(0), SCHEMA)
    assert mixed.shape == (20, 30, 3) and (mixed == 100).all()
    assert found.instances.boxes.tolist() == [[1, 1, 9, 9], [10, 10, 20, 20]]
    assert found.instances.labels.tolist() == [0, 1]
    odd = pairs[1][1].replace(captions=["one"])
    with pytest.raises(DataError, match="captions cannot be joined in a mix-up"):
        MixUp().mix([pairs[0], (light, odd)], np.random.default_rng(0), SCHEMA)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.sampled_from([0.0, 0.3, 0.99]))
def test_best_pairs_of_each_class_are_those_of_its_sorted_scores(seed: int, each: int, threshold: float) -> None:
    scores = torch.rand(9, 4, generator=torch.Generator().manual_seed(seed))
    index, label, score = best_pairs(scores, threshold, each=each)
    expected = [
        (box, k, scores[box, k].item())
        for k in range(4)
        for box in sorted(range(9), key=lambda n: -scores[n, k].item())[:each]
        if scores[box, k] > threshold
    ]
    assert list(zip(index.tolist(), label.tolist(), score.tolist())) == expected
