"""YOLO's loss by hand, R-FCN's vote by hand, what YOLOX and SSD refuse, and released names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scenes import SCHEMA

from videre.data.blocks import blocks_dataset
from videre.errors import ConfigError, WeightsError
from videre.images.prepare import prepare
from videre.layers.roi_targets import BoxTarget, Samples
from videre.models import find_model
from videre.models.detect.yolox import read_released
from videre.structures import Instances, Preprocess, Scene
from videre.train.recipe import Recipe
from videre.train.samples import stage_recipe, stage_steps

YOLO = {"backbone": "darknet_tiny", "norm": "group", "head_norm": "group", "multiplier": 0.25, "width": 16}


def target_of(boxes, labels):
    boxes, labels = torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(labels, dtype=torch.int64)
    return BoxTarget(boxes, labels, torch.arange(len(boxes)), torch.zeros(0, 4))


def test_the_five_parts_of_yolos_loss(monkeypatch):
    model = find_model("yolo")(SCHEMA, Preprocess(None, None, (64, 128), divisor=64), **YOLO)
    assert model.grid == (1, 2)
    batch = prepare(np.zeros((64, 128, 3), np.uint8), model.preprocess)
    # the middle of the thing (32, 32) lies in the first cell: half of the cell, a quarter of the picture's width, half of its height
    target = target_of([[16, 16, 48, 48]], [1])
    classes = torch.tensor([[[0.2, 0.6], [0.5, 0.5]]])
    confidence = torch.tensor([[[0.3, 0.7], [0.1, 0.0]]])
    small, exact = [0.5, 0.5, 0.1, 0.1], [0.5, 0.5, 0.25**0.5, 0.4]
    places = torch.tensor([[[small, exact], [small, small]]])
    monkeypatch.setattr(model, "look", lambda image: (classes, confidence, places))
    losses = {name: value.item() for name, value in model.losses(batch, [target]).items()}
    overlap = 0.4**2 / 0.5  # as wide as the thing, .16 high for .5, inside it
    assert losses["middle"] == pytest.approx(0)
    assert losses["sides"] == pytest.approx(5 * (0.4 - 0.5**0.5) ** 2)
    assert losses["confidence"] == pytest.approx((0.7 - overlap) ** 2)
    assert losses["nothing"] == pytest.approx(0.5 * (0.3**2 + 0.1**2))
    assert losses["class"] == pytest.approx(0.2**2 + 0.4**2)


def test_of_things_in_one_cell_one_is_trained_on_and_the_rest_are_said():
    model = find_model("yolo")(SCHEMA, Preprocess(None, None, (64, 128), divisor=64), **YOLO)
    target = target_of([[10, 10, 20, 20], [30, 30, 50, 50], [70, 5, 120, 60]], [0, 1, 0])
    drawn = {tuple(model.cells_of(target, (64, 128), torch.Generator().manual_seed(n)).tolist()) for n in range(20)}
    assert drawn == {(0, 2), (1, 2)}
    scene = Scene((64, 128), Instances(boxes=target.boxes, labels=target.labels))
    assert model.notes([scene]) == ["1 of 3 things share a cell of the 1x2 grid with another, which is trained on"]


def test_a_proposal_is_what_its_parts_vote():
    head = find_model("r-fcn")(
        SCHEMA, backbone="resnet18", norm="group", multiplier=0.125, width=8, bins=2, roi="pool"
    ).box_head
    maps = torch.zeros(1, 12, 4, 4)
    maps[0, :4] = torch.arange(4.0)[:, None, None]  # class 0: of parts (0, 0), (0, 1), (1, 0), (1, 1)
    maps[0, 4, :2, :2], maps[0, 7] = 8.0, 4.0  # class 1: of the first part where that lies, of the last everywhere
    deltas = torch.arange(16.0)[None, :, None, None].expand(1, 16, 4, 4)
    logits, moves = head([maps, deltas], torch.tensor([[0.0, 0, 0, 64, 64]]))
    assert logits.tolist() == [[1.5, 3.0, 0.0]]
    assert moves.tolist() == [[[1.5, 5.5, 9.5, 13.5]] * 2]


def test_the_hardest_proposals_alone_train(monkeypatch):
    head = find_model("r-fcn")(
        SCHEMA, backbone="resnet18", norm="group", multiplier=0.125, width=8, bins=2, hard=1
    ).box_head
    logits = torch.tensor([[0.0, 0.0, 9.0], [0.0, 5.0, 0.0], [0.0, 0.0, 3.0]], requires_grad=True)
    deltas = torch.zeros(3, 2, 4, requires_grad=True)
    monkeypatch.setattr(type(head), "forward", lambda self, features, rois: (logits, deltas))
    rois = torch.tensor([[0.0, 0, 0, 8, 8], [0, 4, 4, 9, 9], [1, 0, 0, 5, 5]])
    samples = Samples(rois, torch.tensor([2, 2, 2]), torch.tensor([-1, -1, -1]), [2, 1])
    losses = head.losses([], samples, [target_of([], [])] * 2)
    want = torch.nn.functional.cross_entropy(logits[1:], torch.tensor([2, 2]))
    torch.testing.assert_close(losses["class"], want)
    losses["class"].backward()
    assert not logits.grad[0].any() and logits.grad[1:].any(1).all()


@pytest.mark.parametrize(
    ("name", "preprocess", "options", "message"),
    [
        ("yolo", Preprocess(None, None, (100, 128)), YOLO, "multiples of 64"),
        ("yolox", None, {"variant": "huge"}, "variant must be one of nano, tiny, s, m, l, x, found 'huge'"),
        ("ssd", Preprocess(None, None, (200, 200)), {}, "needs at least 257 pixels a side, found 200"),
        ("ssd", Preprocess(), {}, "stretched to one size"),
        ("ssd", None, {"backbone": "mobilenet_v2", "scales": [0.1, 0.2]}, "6 maps need 7 scales"),
        ("retinanet", None, {"last_levels": "p4"}, "last_levels must be one of p5, c5, found 'p4'"),
        ("retinanet", None, {"low": 0.6}, "low must be at most high"),
        ("r-fcn", None, {"roi": "warp"}, "roi must be one of pool, align, found 'warp'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name, preprocess, options, message):
    with pytest.raises(ConfigError, match=message):
        find_model(name)(SCHEMA, preprocess, **options)


def test_an_ssd_says_how_many_things_fit_no_default_box():
    model = find_model("ssd")(SCHEMA, backbone="mobilenet_v2", norm="group", multiplier=0.25)
    size = (300, 300)
    fits, specks = [100, 100, 160, 160], [10, 10, 14, 14]  # a square of the first scale, .2; one of a seventieth
    truth = Scene(size, Instances(boxes=[fits, specks, specks], labels=[0, 0, 1]))
    (note,) = model.notes([truth])
    assert note.startswith("2 of 3 things have a size that no default box has")
    assert model.notes([Scene(size, Instances(boxes=[fits], labels=[0]))]) == []


def test_the_last_tenth_of_a_yolox_training_sees_plain_pictures():
    model, recipe = find_model("yolox")(SCHEMA, variant="nano"), Recipe(pictures=400, batch=4)
    assert stage_steps(model, blocks_dataset(4), recipe) == [90, 10]
    mixed, plain = (stage_recipe(stage, recipe) for stage in model.stages())
    assert mixed.augment[0] == "Mosaic" and (mixed.scale_min, mixed.scale_max) == (0.5, 1.5)
    assert plain.augment == () and (plain.scale_min, plain.scale_max, plain.lr) == (1.0, 1.0, 5e-5)
    assert len(find_model("yolox")(SCHEMA, variant="nano", mosaic=False).stages()) == 1


def test_released_names_of_yolox():
    model = find_model("yolox")(SCHEMA, variant="nano", norm="none")
    back = {"neck.": "backbone.", "backbone.": "backbone.backbone."}
    released = {}
    for name, value in model.state_dict().items():
        start = next((a for a in back if name.startswith(a)), "")
        theirs = back.get(start, "") + name.removeprefix(start)
        layer, _, kind = theirs.rpartition(".")
        released[
            (layer.removesuffix(".0") + ".conv" if layer.endswith(".0") and "preds" not in layer else layer)
            + f".{kind}"
        ] = value
    assert "backbone.backbone.stem.conv.conv.weight" in released and "backbone.C3_p4.conv1.conv.bias" in released
    found = read_released(released, model)
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())
    released.pop("head.stems.0.conv.weight")
    with pytest.raises(WeightsError, match=r"1 tensors are missing, first head.stems.0.0.weight"):
        read_released(released, model)
