"""Equal to torchvision's Faster, Mask and Keypoint R-CNN on the same weights, pictures and truths.

The golden numbers were made by make_torchvision.py in the peers' environment; these tests need only the numbers.
Tolerances: features 1e-4 relative, proposals and boxes 0.01 px, scores 1e-4, 99.9% of mask pixels, losses 1e-4.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rule
import torch

from videre.images.prepare import prepare, prepare_truth
from videre.models import Model, find_model
from videre.models.official import from_torchvision
from videre.structures import COCO_PERSON, Categories, ImageBatch, Instances, Masks, Preprocess, Scene, Schema

KINDS = {"fasterrcnn": "faster-rcnn", "maskrcnn": "mask-rcnn", "keypointrcnn": "keypoint-rcnn"}
EVERYTHING = {"rpn_batch": 10**6, "roi_batch": 10**6}
PREPROCESS = Preprocess(short_side=rule.SHORT, long_side=rule.LONG, antialias=False)


@pytest.fixture(scope="module", params=list(KINDS))
def case(request: pytest.FixtureRequest) -> tuple[str, Model, dict[str, np.ndarray], ImageBatch]:
    name = request.param
    person = name == "keypointrcnn"
    things = Categories.of(["person"] if person else [f"class {i}" for i in range(rule.CLASSES)])
    model = find_model(KINDS[name])(
        Schema(things=things, skeleton=COCO_PERSON), PREPROCESS, backbone="resnet50", **EVERYTHING
    )
    with np.load(Path(__file__).with_name(f"torchvision_{name}.npz")) as file:
        golden = dict(file)
    shapes = dict(zip(golden["tensor_names"].tolist(), golden["tensor_shapes"].tolist()))
    tensors = {n: torch.from_numpy(rule.fill(n, tuple(s for s in shape if s > 0), name)) for n, shape in shapes.items()}
    model.load_state_dict(from_torchvision(tensors, range(1, len(things) + 1), model))
    return name, model, golden, prepare(rule.picture(), model.preprocess)


@torch.inference_mode()
def test_features(case) -> None:
    _, model, golden, batch = case
    detector = getattr(model, "detector", model).eval()
    for level, value in zip(("0", "1", "2", "3", "pool"), detector.features(batch.image)):
        want = golden[f"features_{level}"]
        assert np.abs(value[0, ::37, ::5, ::5].numpy() - want).max() <= 1e-4 * np.abs(want).max()


@torch.inference_mode()
def test_proposals(case) -> None:
    _, model, golden, batch = case
    detector = getattr(model, "detector", model).eval()
    found = detector.rpn.propose(detector.features(batch.image), batch)[0].numpy()
    assert found.shape == golden["proposals"].shape
    # equal as sets: the order of equal scores is free
    order = lambda boxes: boxes[np.lexsort(np.round(boxes, 1).T)]
    assert np.abs(order(found) - order(golden["proposals"])).max() <= 0.01


@torch.inference_mode()
def test_detections(case) -> None:
    name, model, golden, batch = case
    found = model.eval().postprocess(model(batch), batch)[0].instances
    count = len(golden["scores"])
    assert 40 <= count <= 90 and len(found) == count
    # ours come best first, as torchvision's
    assert np.abs(found.scores.numpy() - golden["scores"]).max() <= 1e-4
    assert (found.labels.numpy() == golden["labels"] - 1).all()
    assert np.abs(found.boxes.numpy() - golden["boxes"]).max() <= 0.01
    if name == "maskrcnn":
        want = np.unpackbits(golden["masks"])[: count * rule.SIZE[0] * rule.SIZE[1]].reshape(count, *rule.SIZE)
        masks = found.masks.bitmaps().numpy() > 0
        assert (masks != (want > 0)).sum() <= 0.001 * (masks | (want > 0)).sum()  # the background proves nothing
    if name == "keypointrcnn":
        assert np.abs(found.keypoints.numpy() - golden["keypoints"]).max() <= 0.01


@torch.no_grad()
def test_losses(case) -> None:
    """With budgets so large that nothing is sampled."""
    name, model, golden, _ = case
    true = rule.truth()
    person = name == "keypointrcnn"
    instances = Instances(
        boxes=torch.from_numpy(true["boxes"]),
        labels=torch.zeros(6, dtype=torch.int64) if person else torch.from_numpy(true["labels"]),
        masks=Masks.from_bitmaps(true["bitmaps"]),
        keypoints=torch.from_numpy(true["keypoints"][:, :, :2]),
        visibility=torch.from_numpy(true["keypoints"][:, :, 2]),
    )
    # at the picture's own size: torchvision resizes masks corner to corner, which moves them by a part of a pixel
    batch = prepare(rule.picture(), PREPROCESS.replace(short_side=rule.SIZE[0], long_side=rule.SIZE[1]))
    losses = model.train().losses(batch, [model.target(prepare_truth(Scene(rule.SIZE, instances), batch))])
    names = {
        "class": "loss_classifier",
        "box": "loss_box_reg",
        "rpn_objectness": "loss_objectness",
        "rpn_box": "loss_rpn_box_reg",
        "mask": "loss_mask",
        "keypoint": "loss_keypoint",
    }
    for ours, theirs in names.items():
        if theirs in golden:
            assert losses[ours].item() == pytest.approx(float(golden[theirs]), rel=1e-4), ours
