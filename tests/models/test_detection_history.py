"""The parts of detectors before Faster R-CNN, against hand-worked cases and other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scenes import SCHEMA, batch_of, example
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from videre.backbones import VECTOR, make_backbone
from videre.backbones.base import Backbone
from videre.errors import ConfigError
from videre.layers.box_head import truncate
from videre.layers.feature_cache import FeatureCache, content_key
from videre.layers.merge_boxes import merge_boxes
from videre.layers.region_svm import BIAS, NORM, RegionSVM
from videre.layers.roi_targets import BoxTarget, sample_proposals
from videre.layers.spatial_pyramid import nearest_scale, spatial_pyramid
from videre.layers.warp_crops import warp_crops
from videre.models import find_model
from videre.models.detect.window_detector import STRIDE, WINDOW
from videre.ops.boxes import encode_boxes
from videre.structures import Instances, Preprocess, Scene


def made(name: str, **options):
    torch.manual_seed(0)
    kind = find_model(name)
    return kind(SCHEMA, Preprocess(short_side=96, long_side=160), **options).eval()


# one map -----------------------------------------------------------------------------------------------------------------


def renamed(backbone: Backbone) -> dict[str, torch.Tensor]:
    """A backbone's tensors under their names in published files."""
    published = {f"top.{own}.": f"{theirs}." for theirs, own in backbone.TOP.items()}
    own = backbone.state_dict().items()
    return {next((name.replace(a, b) for a, b in published.items() if name.startswith(a)), name): v for name, v in own}


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "whole", "options"),
    [
        # rounded, the last cell is in: RoI pool 7x7 is then the fifth pool
        ("vgg11", 208, {"norm": "none", "multiplier": 0.125}),
        # a sample at the middle of each of 14x14 cells
        ("resnet18", 224, {"multiplier": 0.25}),
        ("mobilenet_v2", 224, {"multiplier": 0.25}),
    ],
)
def test_what_follows_the_map_in_a_classifier_is_the_head(name, whole, options):
    torch.manual_seed(1)
    classifier = make_backbone(name, vector=True, **options).eval()
    for layer in classifier.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.bias)
    model = made("faster-rcnn-c4", backbone=name, **options)
    tensors = renamed(classifier) | {f"{classifier.LOGITS}.weight": torch.zeros(3, classifier.width)}
    assert model.start_from(tensors) == [f"{classifier.LOGITS}.weight"]
    picture, head = torch.randn(1, 3, 224, 224), model.box_head
    said = head.body(head.pooler(model.features(picture), torch.tensor([[0.0, 0, 0, whole, whole]])))
    torch.testing.assert_close(said, classifier(picture)[VECTOR].flatten(1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_fast_rcnn_over_a_vgg_begins_with_its_fully_connected_layers():
    classifier = make_backbone("vgg11", vector=True, norm="none", multiplier=0.125)
    options = {"backbone": "vgg11", "norm": "none", "multiplier": 0.125}
    narrow, model = made("fast-rcnn", **options), made("fast-rcnn", **options, hidden=4096)
    layers = [f"classifier.{n}.{of}" for n in (0, 3) for of in ("bias", "weight")]
    assert narrow.start_from(renamed(classifier)) == layers and model.start_from(renamed(classifier)) == []
    assert torch.equal(model.box_head.body.fc2.weight, renamed(classifier)["classifier.3.weight"])


def test_one_map_needs_a_net_that_goes_on_after_it():
    with pytest.raises(ConfigError, match="of a ResNet, mobilenet_v2 or a VGG, found 'inception_v3'"):
        made("faster-rcnn-c4", backbone="inception_v3")
    with pytest.raises(ConfigError, match="roi must be one of pool, align, or null, found 'warp'"):
        made("faster-rcnn-c4", backbone="resnet18", roi="warp")


def test_the_backbone_stays_after_the_second_of_four_steps():
    model = made("faster-rcnn", backbone="mobilenet_v2", norm="group", width=16, hidden=32, steps=4)
    trained = {
        stage.name: {name.partition(".")[0] for name, _ in model.named_parameters() if stage.trains(name)}
        for stage in model.stages()
    }
    assert trained == {
        "1-rpn": {"backbone", "neck", "rpn"},
        "2-detector": {"backbone", "neck", "box_head"},
        "3-rpn": {"rpn"},
        "4-detector": {"box_head"},
    }
    assert [stage.anew for stage in model.stages()] == [(), ("backbone.", "neck."), (), ()]


# windows ----------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_windows_one_by_one_and_shared_say_the_same():
    model = made("window-detector", width=8, hidden=16)
    for layer in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):  # as after a training
        layer.running_mean.normal_(std=0.1)
        layer.running_var.uniform_(0.5, 2)
    for size in ((WINDOW, WINDOW), (61, 83), (70, 57), (104, 60)):
        picture = torch.randn(1, 3, *size)
        alone, together = model.crops(picture), model.shared(picture)
        assert len(alone[0]) == math.prod((side - WINDOW) // STRIDE + 1 for side in size)
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_windows_lie_where_they_were_cut():
    model = made("window-detector", smallest=26.0, ratio=2.0, aspects=[1.0])
    size = (52, 60)
    assert model.levels(size) == [(104, 120), (52, 60)]
    assert model.windows(size) == 14 * 18 + 1 * 3
    boxes = model.boxes_of((104, 120), size, torch.device("cpu"))
    assert boxes[0].tolist() == [0, 0, 26, 26] and boxes[1].tolist() == [2, 0, 28, 26]
    assert boxes[18].tolist() == [0, 2, 26, 28] and boxes[-1].tolist() == [34, 26, 60, 52]


def test_merging_averages_what_agrees_and_leaves_the_rest():
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]])
    merged, scores = merge_boxes(boxes, torch.tensor([0.6, 0.3, 0.5]))
    assert merged.tolist() == [pytest.approx([2 / 3, 0, 32 / 3, 10]), [50, 50, 60, 60]]
    assert scores.tolist() == pytest.approx([0.9, 0.5])
    assert merge_boxes(torch.zeros(0, 4), torch.zeros(0))[0].shape == (0, 4)


# regions --------------------------------------------------------------------------------------------------------------


def test_warped_crops_show_the_region_with_its_context():
    ramp = torch.arange(40.0).expand(1, 1, 30, 40)  # the value is the column's number
    rois = torch.tensor([[0.0, 10, 5, 26, 21]])
    crop = warp_crops(ramp, rois, 16, 0)[0, 0]
    torch.testing.assert_close(crop[8], torch.arange(10.0, 26))  # one pixel each: columns 10 to 25
    wide = warp_crops(ramp, rois, 16, 4)[
        0, 0
    ]  # 8 pixels for the region's 16, and 4 around on either side: from 2 to 34
    torch.testing.assert_close(wide[8], torch.arange(16) * 2.0 + 2.5)
    outside = warp_crops(torch.ones(1, 1, 30, 40), torch.tensor([[0.0, -20, 0, 20, 30]]), 8, 0)[0, 0]
    assert (outside[:, :3] == 0).all() and (outside[:, 5:] == 1).all()


def test_each_picture_gives_its_own_crops():
    pictures = torch.stack([torch.full((3, 20, 20), float(i)) for i in range(3)])
    rois = torch.tensor([[2.0, 2, 2, 9, 9], [0, 3, 3, 9, 9], [2, 5, 5, 9, 9], [1, 1, 1, 8, 8]])
    crops = warp_crops(pictures, rois, 4, 0)
    assert [crop.unique().item() for crop in crops] == [2, 0, 2, 1]


def test_the_pyramid_takes_the_largest_of_each_cell():
    features = torch.arange(64.0).view(1, 1, 8, 8)
    rois = torch.tensor([[0.0, 0, 0, 128, 128], [0, 17, 17, 47, 47]])  # at stride 16
    pooled = spatial_pyramid(features, rois, 16, bins=(2, 1))
    # floor(0/16)+1 = 1 to ceil(128/16)-1 = 7 of both axes: halves 1..4 and 4..7 overlap, as bins of 7 cells do
    assert pooled[0].tolist() == [36, 39, 60, 63, 63]
    assert pooled[1].tolist() == [18, 18, 18, 18, 18]  # floor(17/16)+1 = 2 to ceil(47/16)-1 = 2
    assert spatial_pyramid(features, rois, 16).shape == (2, 50)
    areas = torch.tensor([[0.0, 0, 0, 224, 224], [0, 0, 0, 112, 112], [0, 0, 0, 448, 448]])
    assert nearest_scale(areas, (0.5, 1.0, 2.0)).tolist() == [1, 2, 0]


def test_negatives_may_have_to_touch_a_thing():
    target = BoxTarget(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([1]), torch.tensor([0]), torch.zeros(0, 4))
    near, far, hit = [5.0, 0, 15, 10], [50.0, 50, 60, 60], [0.0, 0, 10, 9]
    draw = lambda boxes, low: sample_proposals([torch.tensor(boxes)], [target], [torch.Generator()], 3, 8, 0.5, low)
    found = draw([near, far, hit], 0.1)
    assert sorted(found.rois[:, 1:].tolist()) == sorted([near, hit, [0, 0, 10, 10]])
    assert sorted(found.labels.tolist()) == [1, 1, 3]
    assert [50, 50, 60, 60] in draw([near, far, hit], 0.0).rois[:, 1:].tolist()
    assert [50, 50, 60, 60] in draw([far, hit], 0.1).rois[:, 1:].tolist()  # nothing harder is there


def test_svms_are_those_of_liblinear_and_unseen_classes_are_never_found():
    rng = np.random.default_rng(0)
    yes, no = rng.normal(1, 1, (30, 5)).astype(np.float32), rng.normal(-1, 1, (50, 5)).astype(np.float32)
    svm = RegionSVM(5, 3, 2, c=0.1)
    state = svm.add_norms({}, torch.from_numpy(np.concatenate([yes, no])))
    svm.solve_scale(state)
    lengths = np.linalg.norm(np.concatenate([yes, no]), axis=1)
    assert svm.scale.item() == pytest.approx(NORM / lengths.mean(), rel=1e-5)
    state = svm.add_positives({}, torch.from_numpy(yes), torch.zeros(30, dtype=torch.int64))
    overlaps = torch.zeros(52, 2)
    overlaps[50:, 0] = torch.tensor([0.4, 0.9])  # neither positives nor negatives of class 0
    state = svm.add_negatives(
        state, torch.from_numpy(np.concatenate([no, 100 * np.ones((2, 5), np.float32)])), overlaps
    )
    assert svm.solve_svms(state, 0.3) == [1]
    halves = np.concatenate([yes, no]).astype(np.float16).astype(np.float32) * svm.scale.item()
    judge = LinearSVC(loss="hinge", C=0.1, intercept_scaling=BIAS, class_weight={1: 2.0}, tol=0.1, random_state=0).fit(
        halves, np.repeat([1, 0], [30, 50])
    )
    margins = svm(torch.from_numpy(np.concatenate([yes, no])))
    np.testing.assert_allclose(
        margins[:, 0], judge.decision_function(np.concatenate([yes, no]) * svm.scale.item()), atol=1e-2
    )
    assert (margins[:, 1] == -1).all()
    hard = svm.hard(torch.from_numpy(np.concatenate([no, yes])), torch.zeros(80, 2), 0.3, 5)
    assert (hard >= 50).all() and len(hard) == 5  # what looks most like the class, and is said to be none


def test_features_are_kept_within_their_room_and_read_back_as_they_were_given():
    cache, calls = FeatureCache(gigabytes=1e-6), []  # 1,000 bytes: 500 numbers in half precision

    def compute(count: int):
        calls.append(count)
        return {"vectors": torch.arange(count) / 3}

    keys = [content_key(torch.tensor([float(n)])) for n in range(2)]
    assert keys[0] != keys[1] and keys[0] == content_key(torch.tensor([0.0]))
    first, again = (cache.get(keys[0], lambda: compute(400)) for _ in range(2))
    assert calls == [400] and torch.equal(first["vectors"], again["vectors"])
    torch.testing.assert_close(first["vectors"], torch.arange(400) / 3, rtol=1e-3, atol=0)
    for _ in range(2):  # there is no room for it
        cache.get(keys[1], lambda: compute(200))
    assert calls == [400, 200, 200]
    folder = cache.folder
    assert folder is not None and len(list(folder.iterdir())) == 1
    del cache
    assert not folder.exists()


def test_the_regression_is_ridge_on_whitened_targets():
    rng = np.random.default_rng(1)
    boxes = torch.from_numpy(rng.uniform(0, 50, (60, 2)).astype(np.float32))
    boxes = torch.cat([boxes, boxes + 20], 1)
    truths = boxes + torch.from_numpy(rng.normal(0, 2, (60, 4)).astype(np.float32))
    x = torch.from_numpy(rng.normal(0, 1, (60, 6)).astype(np.float32)).half().float()
    svm = RegionSVM(1, 6, 2, ridge=3.0)
    labels = torch.zeros(60, dtype=torch.int64)
    svm.solve_boxes(svm.add_pairs({}, x, boxes, truths, labels))
    goals = encode_boxes(truths, boxes).double().numpy()
    centred = goals - goals.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / 60 + 1e-3 * np.eye(4))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    with_one = np.concatenate([x.numpy(), np.ones((60, 1))], 1)
    judge = Ridge(alpha=3.0, fit_intercept=False).fit(with_one, centred @ root)
    expected = judge.predict(with_one) @ np.linalg.inv(root) + goals.mean(0)
    found = encode_boxes(svm.move(boxes, labels, x), boxes)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert torch.equal(svm.move(boxes, labels + 1, x).round(), boxes.round())  # of a class without pairs nothing moves


def test_truncated_layers_are_the_nearest_of_their_rank():
    layer = torch.nn.Linear(12, 8)
    found = truncate(layer, 3)
    product = found["1.weight"] @ found["0.weight"]
    values = torch.linalg.svdvals(layer.weight)
    assert torch.linalg.matrix_norm(layer.weight - product, 2).item() == pytest.approx(values[3].item(), rel=1e-4)
    assert torch.equal(found["1.bias"], layer.bias)


@torch.no_grad()
def test_a_compressed_fast_rcnn_finds_nearly_the_same():
    model = made("fast-rcnn", backbone="mobilenet_v2", norm="group", hidden=64)
    batch, _ = batch_of(model, [example(model, (96, 120), 3)])
    before = model(batch)
    small = model.compressed([63, 0])
    assert small.config["ranks"] == [63, 0]
    after = small(batch)
    assert abs(len(before["scores"]) - len(after["scores"])) <= 2
    with pytest.raises(Exception, match="rank 64; found 64"):
        model.compressed([64, 0])
    with pytest.raises(Exception, match="fc1 has been compressed already"):
        small.compressed([10, 0])


@torch.no_grad()
@pytest.mark.parametrize("name", ["fast-rcnn", "rcnn", "sppnet"])
def test_no_proposals_nothing_found(name):
    options = {"crop_size": 48, "context": 4} if name == "rcnn" else {"hidden": 16}
    model = made(name, backbone="mobilenet_v2", norm="group", **options)
    picture, truth = example(model, (64, 80), 1)
    truth = truth.replace(proposals=torch.zeros(0, 4))
    batch, targets = batch_of(model, [(picture, truth)])
    assert len(model.predict(batch)[0]) == 0
    losses = model.train().losses(batch, targets)  # the true boxes alone
    assert all(torch.isfinite(v) for v in losses.values())


@torch.no_grad()
@pytest.mark.parametrize("name", ["rcnn", "sppnet"])
def test_what_is_solved_in_mixed_precision_is_nearly_the_same(name):
    options = {"crop_size": 48, "context": 4} if name == "rcnn" else {"hidden": 16}
    solved = []
    for dtype in (torch.float32, torch.bfloat16):
        model = made(name, backbone="mobilenet_v2", norm="group", **options)
        for stage in model.stages()[1:]:
            state = {}
            for _ in range(2 if stage.passes > 1 else 1):
                for seed in range(3):
                    batch, targets = batch_of(model, [example(model, (64, 80), seed)])
                    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                        state = stage.add(state, batch, targets)
                stage.solve(state)
        solved.append(torch.cat([model.svm.svm.flatten(), model.svm.scale[None]]))
    assert torch.cosine_similarity(*solved, dim=0) > 0.99 and torch.isfinite(solved[1]).all()


# one object -------------------------------------------------------------------------------------------------------------


def test_which_objects_are_trained_on_is_a_rule():
    boxes = torch.tensor([[10.0, 0, 20, 10], [40, 30, 80, 60], [0, 50, 10, 64]])

    truth = Scene((64, 80), Instances(boxes=boxes, labels=[0, 1, 0]))
    for order, first in (("largest", 1), ("left", 2), ("top", 0)):
        model = made("single-object", backbone="mobilenet_v2", norm="group", order=order)
        label, box = model.target(truth)
        x1, y1, x2, y2 = boxes[first].tolist()
        assert label.tolist() == [int(first == 1)]
        assert box[0].tolist() == pytest.approx([(x1 + x2) / 160, (y1 + y2) / 128, (x2 - x1) / 80, (y2 - y1) / 64])
        assert model.notes([truth, truth.select([0])]) == [
            f"1 of 2 pictures have more things: the first by order={order} are trained on"
        ]
    model = made("single-object", backbone="mobilenet_v2", norm="group", objects=4, order="left")
    label, _ = model.target(truth)
    assert label.tolist() == [0, 0, 1, 2]  # the last says nothing
