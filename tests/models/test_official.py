"""Official checkpoints: torchvision's names and rows to ours, and nothing that does not fit passes."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from videre.errors import WeightsError
from videre.models import find_model
from videre.models.official import (
    COCO_THINGS,
    OFFICIAL,
    convert_official,
    fetch_official,
    from_torchvision,
    to_torchvision,
)
from videre.structures import COCO_PERSON

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = (("backbone", "resnet18"), ("width", 16), ("hidden", 8), ("norm", "frozen"))
OLD = (
    (r"(backbone\.fpn\.\w+\.\d)\.0(\.\w+)", r"\1\2"),
    (r"(rpn\.head\.conv)\.0\.0(\.\w+)", r"\1\2"),
)
"""The published files' older names."""


def small(kind: str):
    """The table's entry, of a backbone small enough for a test."""
    extra = {"mask-rcnn": (("mask_layers", 4),), "keypoint-rcnn": (("keypoint_width", 8),)}.get(kind, ())
    return dataclasses.replace(next(o for o in OFFICIAL if o.model == kind), config=SMALL + extra)


def torchvision_file(official, old: bool) -> dict[str, torch.Tensor]:
    """Random tensors under torchvision's names and in its order of rows, of the model of `official`."""
    torch.manual_seed(0)
    model = find_model(official.model)(official.schema, official.preprocess, **dict(official.config))
    rows = max(official.rows) + 1
    tensors = {}
    for theirs, value in to_torchvision(model).items():
        if old:
            theirs = next((re.sub(p, r, theirs) for p, r in OLD if re.fullmatch(p, theirs)), theirs)
            theirs = re.sub(r"mask_head\.(\d)\.0", lambda m: f"mask_head.mask_fcn{int(m[1]) + 1}", theirs)
        shape = list(value.shape)
        if "cls_score" in theirs or "mask_fcn_logits" in theirs:
            shape[0] = rows
        elif "box_predictor.bbox_pred" in theirs:
            shape[0] = 4 * rows
        tensors[theirs] = torch.randn(shape)
    tensors["backbone.body.bn1.num_batches_tracked"] = torch.tensor(7)
    return tensors


@pytest.mark.parametrize("kind", ["faster-rcnn", "mask-rcnn", "keypoint-rcnn"])
def test_the_names_are_those_that_torchvision_itself_has(kind):
    """Its own state dict's, kept with the golden numbers; shapes too, but for the number of classes there."""
    official = next(o for o in OFFICIAL if o.model == kind)
    model = find_model(kind)(official.schema, official.preprocess, **dict(official.config))
    with np.load(GOLDEN / f"torchvision_{kind.replace('-', '')}.npz") as file:
        shapes = {
            n: [s for s in shape if s]
            for n, shape in zip(file["tensor_names"], file["tensor_shapes"].tolist(), strict=True)
        }
    ours = {name: list(value.shape) for name, value in to_torchvision(model).items()}
    assert set(ours) == {name for name in shapes if not name.endswith("num_batches_tracked")}
    heads = ("cls_score", "box_predictor.bbox_pred", "mask_fcn_logits")
    assert all(shape[1:] == shapes[name][1:] for name, shape in ours.items())
    assert all(shape == shapes[name] for name, shape in ours.items() if not any(head in name for head in heads))


def packed(official, tensors):
    """The bytes of a file, and the entry that names their hash."""
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    data = buffer.getvalue()
    return dataclasses.replace(official, sha256=hashlib.sha256(data).hexdigest()[:8]), data


@pytest.mark.parametrize("kind", ["faster-rcnn", "mask-rcnn", "keypoint-rcnn"])
@pytest.mark.parametrize("old", [False, True], ids=["names of today", "names of the published files"])
def test_every_tensor_finds_its_place(kind, old):
    official = small(kind)
    tensors = torchvision_file(official, old)
    model = convert_official(*packed(official, tensors))
    assert not model.training and type(model) is find_model(kind)
    detector = getattr(model, "detector", model)
    scores = tensors["roi_heads.box_predictor.cls_score.weight"]
    deltas = tensors["roi_heads.box_predictor.bbox_pred.bias"]
    for label, row in enumerate(official.schema.things.source_ids):
        assert torch.equal(detector.box_head.scores.weight[label], scores[row])
        assert torch.equal(detector.box_head.deltas.bias[4 * label : 4 * label + 4], deltas[4 * row : 4 * row + 4])
    assert torch.equal(detector.box_head.scores.weight[-1], scores[0])  # background last
    conv = tensors["rpn.head.conv.weight" if old else "rpn.head.conv.0.0.weight"]
    assert torch.equal(detector.rpn.conv.weight, conv)
    if kind == "mask-rcnn":
        logits = tensors["roi_heads.mask_predictor.mask_fcn_logits.bias"]
        assert torch.equal(model.mask_head.logits.bias, logits[list(COCO_THINGS.source_ids)])
        third = tensors[f"roi_heads.mask_head.{'mask_fcn3' if old else '2.0'}.weight"]
        assert torch.equal(model.mask_head.convs[2].weight, third)


def test_a_wrong_hash_is_refused_before_anything_is_read():
    official = small("faster-rcnn")
    with pytest.raises(WeightsError, match=f"sha256 is .*, it should begin with {official.sha256}"):
        convert_official(official, b"\x80\x02 a pickle that must not be opened")


def test_unknown_missing_and_misshapen_tensors_are_errors():
    official = small("faster-rcnn")
    tensors = torchvision_file(official, old=False)
    model = find_model(official.model)(official.schema, official.preprocess, **dict(official.config))
    name = "rpn.head.cls_logits.bias"
    cases = [
        (
            {**tensors, "roi_heads.extra.weight": torch.zeros(2)},
            r"roi_heads\.extra\.weight \(2,\) has no place in Faster",
        ),
        ({k: v for k, v in tensors.items() if k != name}, r"missing \['rpn\.objectness\.bias'\]"),
        ({**tensors, "backbone.body.layer9.weight": torch.zeros(1)}, r"without a place \['backbone\.layer9\.weight'\]"),
        ({**tensors, name: torch.zeros(5)}, r"rpn\.objectness\.bias is \(5,\) in the file, \(3,\) in the model"),
        ({**tensors, "roi_heads.box_predictor.cls_score.bias": torch.zeros(80)}, "has 80 rows .* need row 90"),
    ]
    for changed, says in cases:
        with pytest.raises(WeightsError, match=says):
            from_torchvision(changed, official.rows, model)


def test_a_download_is_kept_and_never_repeated(tmp_path, monkeypatch):
    official, data = packed(small("faster-rcnn"), torchvision_file(small("faster-rcnn"), old=True))
    monkeypatch.setattr("videre.models.official.OFFICIAL", (official,))
    calls = []

    def answer(url, timeout):
        calls.append(url)
        return io.BytesIO(data)

    monkeypatch.setattr("urllib.request.urlopen", answer)
    first, second = (fetch_official(official.name, tmp_path) for _ in range(2))
    assert calls == [official.url] and [p.suffix for p in tmp_path.iterdir()] == [".safetensors"]
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert second.schema == official.schema and second.preprocess == official.preprocess

    def refuse(url, timeout):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(WeightsError, match=r"could not be downloaded \(no network\)"):
        fetch_official(official.name, tmp_path / "elsewhere")


def test_the_table():
    assert len(COCO_THINGS) == 80 and COCO_THINGS.source_ids[0] == 1 and COCO_THINGS.source_ids[-1] == 90
    absent = set(range(1, 91)) - set(COCO_THINGS.source_ids)
    assert absent == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    for official in (one for one in OFFICIAL if not one.reader):
        assert official.sha256 in official.url and (official.schema.skeleton == COCO_PERSON) == official.person
        # torchvision sets the epsilon of these four files to 0 (`overwrite_eps`)
        exported = official.sha256 in ("258fb6c6", "bf2d0c1e", "fc266e95", "eeacb38b")
        assert (dict(official.config).get("norm_eps") == 0.0) == exported
