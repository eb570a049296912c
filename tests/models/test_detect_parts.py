"""The parts of the R-CNNs against plain loops and numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import TINY

from videre.layers.box_head import BOX_WEIGHTS, BoxHead, as_scenes
from videre.layers.matcher import IGNORED, assign
from videre.layers.roi_targets import BoxTarget, Samples
from videre.models.detect.faster_rcnn import FasterRCNN
from videre.models.detect.keypoint_rcnn import KeypointRCNN, decode_keypoints
from videre.models.detect.mask_rcnn import MaskRCNN
from videre.ops.boxes import box_iou, encode_boxes
from videre.ops.roi_align import roi_align
from videre.structures import Categories, ImageBatch, Instances, Masks, Scene, Schema, Skeleton
from videre.structures.limits import Limits

THREE = Schema(things=Categories.of(["a", "b", "c"]), skeleton=Skeleton(("x", "y")))
SIZES = ((100, 120), (64, 90))


def batch_of(sizes=SIZES) -> ImageBatch:
    """Pictures of noise, unscaled, padded to multiples of 32."""
    side = tuple(-(-max(s[i] for s in sizes) // 32) * 32 for i in range(2))
    image = torch.randn((len(sizes), 3, *side), generator=torch.Generator().manual_seed(0))
    matrices = np.tile(np.eye(3)[:2], (len(sizes), 1, 1))
    return ImageBatch(image, tuple(sizes), tuple(sizes), matrices, tuple(range(len(sizes))))


def boxes_in(count: int, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    corners = torch.rand(count, 2, 2, generator=generator) * torch.tensor([size[1], size[0]])
    return torch.cat([corners.min(1).values, corners.max(1).values], 1)


def decode(delta, anchor, weights=(1, 1, 1, 1)):
    """R-CNN's decoder, one box."""
    w, h = anchor[2] - anchor[0], anchor[3] - anchor[1]
    dx, dy, dw, dh = (float(d) / k for d, k in zip(delta, weights))
    x, y = anchor[0] + w / 2 + dx * w, anchor[1] + h / 2 + dy * h
    w, h = w * math.exp(min(dw, math.log(1000 / 16))), h * math.exp(min(dh, math.log(1000 / 16)))
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def thin(rows, threshold):
    """Greedy NMS of (score, group, box), within groups."""
    kept = []
    for row in sorted(rows, key=lambda r: -r[0]):
        if all(row[1] != k[1] or overlap(row[2], k[2]) <= threshold for k in kept):
            kept.append(row)
    return kept


def clip(box, size):
    return [min(max(v, 0), size[(i + 1) % 2]) for i, v in enumerate(box)]


# proposals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_proposals_are_the_best_of_each_level_after_nms(training):
    model = FasterRCNN(THREE, **TINY, rpn_pre_nms=(40, 25), rpn_post_nms=(50, 30)).train(training)
    batch, generator = batch_of(), torch.Generator().manual_seed(1)
    grids = [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    anchors = model.rpn.anchors((128, 128), grids, torch.device("cpu"))
    logits = [torch.randn(2, len(a), generator=generator) for a in anchors]
    deltas = [torch.randn(2, len(a), 4, generator=generator) * 0.7 for a in anchors]
    before, after = (40, 50) if training else (25, 30)
    found = [boxes for boxes, _ in model.rpn.select(logits, deltas, anchors, batch)]
    for i, size in enumerate(SIZES):
        rows = []
        for level, anchor in enumerate(anchors):
            best = logits[level][i].argsort(descending=True)[:before]
            for n in best.tolist():
                box = clip(decode(deltas[level][i, n], anchor[n].tolist()), size)
                if box[2] - box[0] >= 1e-3 and box[3] - box[1] >= 1e-3:
                    rows.append((logits[level][i, n].item(), level, box))
        expected = [row[2] for row in thin(rows, 0.7)][:after]
        torch.testing.assert_close(found[i], torch.tensor(expected), atol=1e-3, rtol=1e-4)


def test_rpn_losses_by_their_definition():
    """With room for all anchors in the sample: mean cross-entropy of all but the ignored, smooth L1 over their number."""
    torch.manual_seed(0)
    model = FasterRCNN(THREE, **TINY, rpn_batch=10**6, rpn_positive=1.0).train()
    batch, generator = batch_of(), torch.Generator().manual_seed(3)
    targets = [
        BoxTarget(boxes_in(4, s, generator), torch.zeros(4).long(), torch.arange(4), torch.zeros(0, 4)) for s in SIZES
    ]
    features = model.features(batch.image)
    logits, deltas = model.rpn(features)
    anchors = torch.cat(model.rpn.anchors_of(features, batch))
    objectness = box = count = 0
    for i, target in enumerate(targets):
        matched = assign(box_iou(target.boxes, anchors), 0.3, 0.7, keep_best=True)
        used, positive = matched != IGNORED, matched >= 0
        assert positive.any()
        mine = torch.cat(logits, 1)[i]
        objectness += F.binary_cross_entropy_with_logits(mine[used], positive[used].float(), reduction="sum")
        difference = torch.cat(deltas, 1)[i, positive] - encode_boxes(
            target.boxes[matched[positive]], anchors[positive]
        )
        size = difference.abs()
        box += torch.where(size < 1 / 9, 4.5 * size**2, size - 1 / 18).sum()
        count += int(used.sum())
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    losses, _ = model.rpn.losses(features, batch, targets, generators)
    torch.testing.assert_close(losses["rpn_objectness"], objectness / count)
    torch.testing.assert_close(losses["rpn_box"], box / count)


def test_training_after_a_prediction_of_the_same_size():
    """Anchors laid in inference mode are kept, and must serve a training step."""
    torch.manual_seed(0)
    model, batch = FasterRCNN(THREE, **TINY), batch_of()
    scenes = [Scene(s, Instances(boxes=[[5, 5, 60, 60]], labels=[0])) for s in SIZES]
    with torch.inference_mode():
        model.eval()(batch)
    sum(model.train().losses(batch, [model.target(s) for s in scenes]).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


# the box head -----------------------------------------------------------------------------------------------------------


def head_of(**settings) -> BoxHead:
    return FasterRCNN(THREE, **TINY, **settings).box_head


def answering(head: BoxHead, logits: torch.Tensor, deltas: torch.Tensor) -> BoxHead:
    """The head, saying the same whatever it sees."""
    head.forward = lambda features, rois: (logits, deltas)  # type: ignore[method-assign]
    return head


@pytest.mark.parametrize("most", [100, 7])
def test_detections_are_filtered_as_the_rule_says(most):
    generator = torch.Generator().manual_seed(4)
    proposals = [boxes_in(n, s, generator) for n, s in zip((60, 45), SIZES)]
    logits = torch.randn(105, 4, generator=generator) * 2
    deltas = torch.randn(105, 3, 4, generator=generator) * 0.5
    deltas[3, :, 2] = -80  # so thin that nothing is left of the box
    found = answering(head_of(), logits, deltas).detect([], proposals, batch_of(), Limits(0.05, most))
    scores = logits.softmax(1)
    start = 0
    for i, (proposal, size) in enumerate(zip(proposals, SIZES)):
        rows = []
        for n in range(len(proposal)):
            for label in range(3):
                score = scores[start + n, label].item()
                box = clip(decode(deltas[start + n, label], proposal[n].tolist(), (10, 10, 5, 5)), size)
                if score > 0.05 and box[2] - box[0] >= 1e-2 and box[3] - box[1] >= 1e-2:
                    rows.append((score, label, box))
        expected = thin(rows, 0.5)[:most]
        mine = found["picture"] == i
        assert found["labels"][mine].tolist() == [r[1] for r in expected]
        torch.testing.assert_close(found["scores"][mine], torch.tensor([r[0] for r in expected]))
        torch.testing.assert_close(found["boxes"][mine], torch.tensor([r[2] for r in expected]), atol=1e-3, rtol=1e-4)
        start += len(proposal)


def test_a_score_at_the_threshold_is_not_kept():
    logits = torch.tensor([[2.0, 0, 0, 1]])
    score = logits.softmax(1)[0, 0].item()
    proposals, batch = [torch.tensor([[5.0, 5, 50, 50]])], batch_of(SIZES[:1])
    at = answering(head_of(), logits, torch.zeros(1, 3, 4)).detect([], proposals, batch, Limits(score, 100))
    below = answering(head_of(), logits, torch.zeros(1, 3, 4)).detect([], proposals, batch, Limits(score - 1e-6, 100))
    assert len(at["boxes"]) == 0 and below["labels"].tolist() == [0]
    torch.testing.assert_close(below["boxes"], proposals[0])


def test_no_proposals_give_no_detections():
    head = answering(head_of(), torch.zeros(0, 4), torch.zeros(0, 3, 4))
    found = head.detect([], [torch.zeros(0, 4)] * 2, batch_of(), Limits(0.05, 100))
    assert {k: tuple(v.shape) for k, v in found.items()} == {
        "boxes": (0, 4),
        "scores": (0,),
        "labels": (0,),
        "picture": (0,),
    }


def targets_for(proposals, generator, ignored=None):
    return [
        BoxTarget(
            p[:3] + 1, torch.tensor([2, 0, 1]), torch.arange(3), torch.zeros(0, 4) if ignored is None else ignored
        )
        for p in proposals
    ]


def test_sampled_proposals_have_the_label_of_their_truth():
    generator = torch.Generator().manual_seed(5)
    proposals = [boxes_in(80, s, generator) + torch.tensor([0.0, 0, 20, 20]) for s in SIZES]
    targets = targets_for(proposals, generator)
    seeds = lambda: [torch.Generator().manual_seed(10 + i) for i in range(2)]
    samples = head_of(roi_batch=32, roi_positive=0.25).sample(proposals, targets, seeds())
    start = 0
    for i, size in enumerate(samples.sizes):
        rows = slice(start, start + size)
        rois, labels, matches = samples.rois[rows], samples.labels[rows], samples.matches[rows]
        assert (rois[:, 0] == i).all() and size == 32 and (matches >= 0).sum() <= 8
        iou = box_iou(rois[:, 1:], targets[i].boxes)
        assert ((iou.max(1).values >= 0.5) == (matches >= 0)).all()
        for n in range(size):
            assert labels[n] == (targets[i].labels[matches[n]] if matches[n] >= 0 else 3)
            assert matches[n] < 0 or matches[n] == iou[n].argmax()
        start += size
    gathered = samples.gather([t.boxes for t in targets])
    assert len(gathered) == len(samples.positive)
    # a picture's sample does not depend on the other pictures
    alone = head_of(roi_batch=32, roi_positive=0.25).sample(proposals[1:], targets[1:], seeds()[1:])
    assert torch.equal(alone.rois[:, 1:], samples.rois[32:, 1:]) and torch.equal(alone.labels, samples.labels[32:])


def test_true_boxes_are_among_the_candidates_and_pictures_without_any_give_background():
    target = BoxTarget(torch.tensor([[10.0, 10, 40, 40]]), torch.tensor([1]), torch.arange(1), torch.zeros(0, 4))
    nothing = BoxTarget(torch.zeros(0, 4), torch.zeros(0).long(), torch.arange(0), torch.zeros(0, 4))
    proposals = [torch.zeros(0, 4), torch.tensor([[0.0, 0, 5, 5]])]
    samples = head_of().sample(proposals, [target, nothing], [torch.Generator(), torch.Generator()])
    assert samples.rois.tolist() == [[0, 10, 10, 40, 40], [1, 0, 0, 5, 5]] and samples.labels.tolist() == [1, 3]
    assert samples.matches.tolist() == [0, -1] and samples.sizes == [1, 1]


def test_ignored_regions_take_no_part():
    scene = Scene(
        SIZES[0],
        Instances(
            boxes=[[0, 0, 10, 10], [20, 20, 80, 80], [50, 50, 60, 60], [5, 5, 5, 9]],
            labels=[0, 1, 2, 0],
            ignore=[0, 1, 0, 0],
        ),
    )
    target = BoxTarget.of(scene)
    assert target.boxes.tolist() == [[0, 0, 10, 10], [50, 50, 60, 60]] and target.labels.tolist() == [0, 2]
    assert target.index.tolist() == [0, 2] and target.ignored.tolist() == [[20, 20, 80, 80]]  # the flat box is left out
    inside, outside = torch.tensor([[25.0, 25, 45, 45]]), torch.tensor([[85.0, 5, 110, 30]])
    samples = head_of().sample([torch.cat([inside, outside])], [target], [torch.Generator()])
    assert not (samples.rois[:, 1:] == inside).all(1).any() and (samples.rois[:, 1:] == outside).all(1).any()
    assert (samples.rois[:, 1:] == target.boxes[1]).all(1).any()  # a truth inside the region is still learned


@pytest.mark.parametrize("weights", [None, {"b": 3.0, "background": 0.5}])
def test_box_head_losses_by_their_definition(weights):
    generator = torch.Generator().manual_seed(6)
    head = head_of(class_weights=weights)
    logits, deltas = torch.randn(5, 4, generator=generator), torch.randn(5, 3, 4, generator=generator)
    rois = torch.tensor(
        [[0.0, 0, 0, 10, 10], [0, 20, 20, 40, 50], [0, 5, 5, 9, 9], [1, 0, 0, 30, 30], [1, 9, 9, 50, 60]]
    )
    labels, matches = torch.tensor([1, 0, 3, 3, 2]), torch.tensor([1, 0, -1, -1, 0])
    truth = [torch.tensor([[21.0, 22, 41, 48], [1, 1, 9, 11]]), torch.tensor([[8.0, 8, 52, 60]])]
    targets = [BoxTarget(b, torch.zeros(len(b)).long(), torch.arange(len(b)), torch.zeros(0, 4)) for b in truth]
    losses = answering(head, logits, deltas).losses([], Samples(rois, labels, matches, [3, 2]), targets)
    each = torch.tensor([(weights or {}).get(n, 1.0) for n in ("a", "b", "c", "background")])[labels]
    picked = -logits.log_softmax(1)[torch.arange(5), labels]
    torch.testing.assert_close(losses["class"], (picked * each).sum() / each.sum())
    box = 0.0
    for row, true in ((0, truth[0][1]), (1, truth[0][0]), (4, truth[1][0])):
        goal = encode_boxes(true[None], rois[row : row + 1, 1:], BOX_WEIGHTS)[0]
        size = (deltas[row, labels[row]] - goal).abs()
        box += torch.where(size < 1 / 9, 4.5 * size**2, size - 1 / 18).sum()
    torch.testing.assert_close(losses["box"], box / 5)


def test_boxes_go_back_to_the_original_and_stay_inside():
    matrix = np.array([[[2.0, 0, 0], [0, 0.5, 0]]])
    batch = ImageBatch(torch.zeros(1, 3, 32, 128), ((20, 100),), ((40, 50),), matrix)
    boxes = torch.tensor([[0.0, 0, 100, 20], [10, 5, 20, 10], [-4, -4, 104, 24]])
    outputs = {"boxes": boxes, "labels": torch.zeros(3).long(), "scores": torch.ones(3), "picture": torch.zeros(3)}
    assert as_scenes(outputs, batch)[0].instances.boxes.tolist() == [[0, 0, 50, 40], [5, 10, 10, 20], [0, 0, 50, 40]]


# masks ------------------------------------------------------------------------------------------------------------------


def test_mask_targets_are_the_bitmap_read_by_roi_align():
    """The truth left out by `ignore` shifts the indices; the second picture has another number of masks."""
    generator = torch.Generator().manual_seed(7)
    bitmaps = [(torch.rand(n, *s, generator=generator) < 0.5).to(torch.uint8) for n, s in zip((3, 2), SIZES)]
    scenes = [
        Scene(
            s,
            Instances(boxes=boxes_in(len(b), s, generator), labels=[0] * len(b), masks=Masks.from_bitmaps(b), ignore=i),
        )
        for s, b, i in zip(SIZES, bitmaps, ([True, False, False], None))
    ]
    model = MaskRCNN(THREE, **TINY, mask_layers=1)
    rois = torch.cat([F.pad(boxes_in(4, s, generator), (1, 0), value=i) for i, s in enumerate(SIZES)])
    matches = torch.tensor([1, -1, 0, 1, -1, 1, 0, -1])
    samples = Samples(rois, torch.where(matches >= 0, 0, 3), matches, [4, 4])
    found = model.mask_targets(samples, [model.target(scene)[1] for scene in scenes])
    expected = []
    for roi, m in zip(rois, matches.tolist()):
        if m >= 0:
            picture = int(roi[0])
            dense = bitmaps[picture][m + (picture == 0)].float()[None, None]  # the first of picture 0 is ignored
            region = torch.cat([torch.zeros(1), roi[1:]])[None]
            expected.append(roi_align(dense, region, 28, 1.0, 0, False)[0, 0])
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-5)
    assert ((found > 0) & (found < 1)).any()  # soft at the borders


# keypoints --------------------------------------------------------------------------------------------------------------


def keypoint_samples(points, visibility, boxes):
    """Targets of one truth seen from several proposals; maps of 56 x 56."""
    model = KeypointRCNN(THREE, **TINY, keypoint_layers=1)
    truth = Instances(boxes=[[0, 0, 100, 100]], labels=[0], keypoints=[points], visibility=[visibility])
    rois = F.pad(torch.tensor(boxes, dtype=torch.float32), (1, 0))
    samples = Samples(rois, torch.zeros(len(rois)).long(), torch.zeros(len(rois)).long(), [len(rois)])
    return model.keypoint_targets(samples, [model.target(Scene((100, 120), truth))])


def test_keypoint_cells_by_hand():
    """x = floor((kx - x1) * 56 / w); a point on the far edge is in the last cell, one outside or unlabelled is not."""
    box = [[10, 20, 38, 76]]  # cells of half a pixel by one
    for point, cell in (
        ((10, 20), (0, 0)),
        ((10.49, 20.99), (0, 0)),
        ((10.5, 21), (1, 1)),
        ((24, 48), (28, 28)),
        ((37.99, 75.99), (55, 55)),
        ((38, 30), (55, 10)),
        ((20, 76), (20, 55)),
        ((38, 76), (55, 55)),
    ):
        cells, valid = keypoint_samples([point, (15, 30)], [2, 1], box)
        assert cells[0, 0] == cell[1] * 56 + cell[0] and valid.tolist() == [[True, True]]
        assert cells[0, 1] == 10 * 56 + 10
    for point in ((9.99, 30), (38.01, 30), (20, 19.9), (20, 76.1)):
        cells, valid = keypoint_samples([point, (15, 30)], [2, 0], box)
        assert valid.tolist() == [[False, False]] and cells.min() >= 0 and cells.max() < 56 * 56


def test_keypoints_of_a_truth_from_two_proposals():
    cells, valid = keypoint_samples([(50, 50), (90, 90)], [2, 2], [[0, 0, 112, 112], [40, 40, 68, 68]])
    assert valid.tolist() == [[True, True], [True, False]]
    assert cells[:, 0].tolist() == [25 * 56 + 25, 20 * 56 + 20]


def bicubic(values, height, width):
    """Bicubic interpolation with a = -.75, pixel centres at .5, the border repeated."""

    def kernel(t):
        t = abs(t)
        if t <= 1:
            return 1.25 * t**3 - 2.25 * t**2 + 1
        return -0.75 * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0

    def weights(old, new):
        table = np.zeros((new, old))
        for i in range(new):
            at = (i + 0.5) * old / new - 0.5
            for k in range(math.floor(at) - 1, math.floor(at) + 3):
                table[i, min(max(k, 0), old - 1)] += kernel(at - k)
        return table

    return weights(values.shape[0], height) @ values @ weights(values.shape[1], width).T


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 40), st.floats(0.1, 40))
def test_keypoints_lie_at_the_peak_of_the_map_resized_to_the_box(seed, width, height):
    rng = np.random.default_rng(seed)
    maps = torch.tensor(rng.normal(size=(1, 2, 8, 8)) * 3, dtype=torch.float32)
    box = torch.tensor([[3.0, 5.0, 3 + width, 5 + height]])
    points, scores = decode_keypoints(maps, box)
    w, h = max(float(box[0, 2] - box[0, 0]), 1), max(float(box[0, 3] - box[0, 1]), 1)
    for j in range(2):
        fine = bicubic(maps[0, j].double().numpy(), math.ceil(h), math.ceil(w))
        y, x = np.unravel_index(fine.argmax(), fine.shape)
        there = np.array([3 + (x + 0.5) * w / math.ceil(w), 5 + (y + 0.5) * h / math.ceil(h)])
        np.testing.assert_allclose(points[0, j].numpy(), there, atol=1e-3)
        share = math.exp(fine.max()) / np.exp(maps[0, j].double().numpy()).sum()
        assert scores[0, j].item() == pytest.approx(min(share, 1), rel=1e-3)


def test_no_detections_have_no_keypoints():
    points, scores = decode_keypoints(torch.zeros(0, 2, 8, 8), torch.zeros(0, 4))
    assert points.shape == (0, 2, 2) and scores.shape == (0, 2)
