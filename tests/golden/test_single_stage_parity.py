"""Equal to torchvision's RetinaNet (both versions), SSD300 and SSDlite on the same weights, pictures and truths.

The golden numbers were made by make_single_stage.py in the peers' environment. Tolerances: logits 1e-4 of the largest, boxes 0.01 px, scores
1e-4, losses 1e-4.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rule
import rule_single_stage as single
import torch

from videre.errors import WeightsError
from videre.images.prepare import prepare, prepare_truth
from videre.layers.detections import SMALLEST
from videre.models import find_model
from videre.models.official import NEVER, OFFICIAL, one_stage_from_torchvision, one_stage_to_torchvision
from videre.structures import Categories, Instances, Preprocess, Scene, Schema

NAMES = {
    "retinanet": "retinanet_resnet50_fpn",
    "retinanet_v2": "retinanet_resnet50_fpn_v2",
    "ssd300": "ssd300_vgg16",
    "ssdlite320": "ssdlite320_mobilenet_v3_large",
}


@pytest.fixture(scope="module", params=single.KINDS)
def case(request: pytest.FixtureRequest):
    kind = request.param
    official = next(o for o in OFFICIAL if o.name == f"torchvision/{NAMES[kind]}")
    preprocess = official.preprocess
    if "retinanet" in kind:
        preprocess = Preprocess(short_side=rule.SHORT, long_side=rule.LONG, antialias=False)
    config = dict(official.config) | (
        {"norm_eps": 1e-5} if kind == "retinanet" else {}
    )  # the file's was exported with 0
    things = Categories.of([f"class {i}" for i in range(single.CLASSES)])
    model = find_model(official.model)(Schema(things=things), preprocess, **config).eval()
    with np.load(Path(__file__).with_name("single_stage.npz")) as file:
        golden = {name.partition("/")[2]: file[name] for name in file.files if name.startswith(f"{kind}/")}
    shapes = dict(zip(golden["names"].tolist(), golden["shapes"].tolist()))
    tensors = {n: torch.from_numpy(single.fill(n, tuple(s for s in shape if s), kind)) for n, shape in shapes.items()}
    model.load_state_dict(one_stage_from_torchvision(tensors, range(1, len(things) + 1), model))
    return kind, model, golden, prepare(rule.picture(), model.preprocess)


@torch.inference_mode()
def test_logits_and_deltas(case) -> None:
    kind, model, golden, batch = case
    if "retinanet" in kind:
        logits, deltas = (torch.cat(levels, 1)[0] for levels in model.head(model.features(batch.image)))
        theirs = golden["logits"][:, 1:]  # of the background, which is none there either
    else:
        logits, deltas = (x[0] for x in model.look(batch.image)[:2])
        theirs = np.concatenate([golden["logits"][:, 1:], golden["logits"][:, :1]], 1)
    for ours, want in ((logits[::97], theirs), (deltas[::97], golden["deltas"])):
        assert np.abs(ours.numpy() - want).max() <= 1e-4 * max(1, np.abs(want).max())


@torch.inference_mode()
def test_detections(case) -> None:
    _, model, golden, batch = case
    found = model.postprocess(model(batch), batch)[0].instances
    count = len(golden["scores"])
    assert count >= 40 and len(found) == golden["count"]
    boxes, scores = torch.from_numpy(golden["boxes"]), torch.from_numpy(golden["scores"])
    near = (found.boxes[None] - boxes[:, None]).abs().amax(2) <= 0.01
    same = (found.scores[None] - scores[:, None]).abs() <= 1e-4
    alike = found.labels[None] == torch.from_numpy(golden["labels"] - 1)[:, None]
    # the order of equal scores is free; torchvision keeps boxes that lie outside of the picture, clipped to nothing
    real = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(1)
    assert real.float().mean() >= 0.95 and (near & same & alike).any(1)[real].all()


@torch.no_grad()
def test_losses(case) -> None:
    _, model, golden, batch = case
    true = rule.truth()
    scene = Scene(rule.SIZE, Instances(boxes=torch.from_numpy(true["boxes"]), labels=torch.from_numpy(true["labels"])))
    losses = model.losses(batch, [model.target(prepare_truth(scene, batch))])
    for ours, theirs in (("class", "classification"), ("box", "bbox_regression")):
        assert losses[ours].item() == pytest.approx(float(golden[theirs]), rel=1e-4), ours


def test_weights_go_back_to_torchvision(case) -> None:
    kind, model, golden, _ = case
    if kind != "retinanet":
        pytest.skip("videre bench compares torchvision's first RetinaNet alone")
    names = [name for name in golden["names"].tolist() if not name.endswith("num_batches_tracked")]
    theirs = one_stage_to_torchvision(model, names)
    for name, own in theirs.items():
        filled = torch.from_numpy(single.fill(name, tuple(own.shape), kind))
        if "cls_logits" in name:  # one row more a class than ours, the background's
            rows = own.unflatten(0, (-1, single.CLASSES + 1))
            assert torch.equal(rows[:, 1:], filled.unflatten(0, (-1, single.CLASSES + 1))[:, 1:])
            assert (rows[:, 0] == (NEVER if name.endswith("bias") else 0)).all()
        else:
            assert torch.equal(own, filled), name
    with pytest.raises(WeightsError, match="roi_heads"):
        one_stage_to_torchvision(model, ["roi_heads.box_head.fc6.weight"])
