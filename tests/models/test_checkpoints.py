"""Checkpoints: heads are carried over by name; what does not fit says so."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file
from scenes import TINY

from videre.errors import ConfigError, WeightsError
from videre.models.base import Model, Rows
from videre.models.checkpoint import KEY, read_checkpoint, save_checkpoint, transfer
from videre.models.detect.faster_rcnn import FasterRCNN
from videre.models.detect.keypoint_rcnn import KeypointRCNN
from videre.models.detect.mask_rcnn import MaskRCNN
from videre.structures import Categories, Schema, Skeleton
from videre.tensors import read_tensors


def schema(*names: str, joints: tuple[str, ...] = ("a", "b")) -> Schema:
    return Schema(things=Categories.of(list(names)), skeleton=Skeleton(joints))


def build(kind: type[Model], of: Schema, seed: int, **settings) -> Model:
    torch.manual_seed(seed)
    return kind(of, **{**TINY, **settings})  # type: ignore[call-arg]


def stored(model: Model, folder):
    save_checkpoint(model, folder / "m.safetensors")
    return read_checkpoint(folder / "m.safetensors")


@pytest.mark.parametrize(
    "names", [("c", "a", "b"), ("a", "b", "c", "d"), ("b",), ("d", "c")], ids=["reordered", "added", "removed", "both"]
)
def test_heads_are_carried_over_by_class_name(tmp_path, names):
    old_names = ("a", "b", "c")
    old = build(MaskRCNN, schema(*old_names), 1, mask_layers=1)
    new = build(MaskRCNN, schema(*names), 2, mask_layers=1)
    before = {n: t.clone() for n, t in new.state_dict().items()}
    report = transfer(new, stored(old, tmp_path))
    shared = [n for n in names if n in old_names]
    heads = {"detector.box_head.scores": 1, "detector.box_head.deltas": 4, "mask_head.logits": 1}
    for head, each in heads.items():
        for kind in ("weight", "bias"):
            name = f"{head}.{kind}"
            ours, theirs = new.state_dict()[name], old.state_dict()[name]
            rows = lambda t, place, each=each: t[place * each : (place + 1) * each]
            for i, class_name in enumerate(names):
                if class_name in old_names:
                    assert torch.equal(rows(ours, i), rows(theirs, old_names.index(class_name))), name
                else:
                    assert torch.equal(rows(ours, i), rows(before[name], i)), name
            assert report.by_name[name] == shared
    for kind in ("weight", "bias"):  # background is the row after the classes
        name = f"detector.box_head.scores.{kind}"
        assert torch.equal(new.state_dict()[name][-1], old.state_dict()[name][-1])
    rest = set(new.state_dict()) - set(report.by_name)
    assert set(report.loaded) == rest and not report.reset and not report.unused
    assert all(torch.equal(new.state_dict()[n], old.state_dict()[n]) for n in rest)
    assert f"rows copied for {', '.join(shared)}" in str(report)


def test_the_same_classes_load_whole(tmp_path):
    old, new = (build(FasterRCNN, schema("a", "b"), seed) for seed in (1, 2))
    report = transfer(new, stored(old, tmp_path))
    assert not report.by_name and not report.reset and str(report) == f"loaded {len(report.loaded)} tensors"
    assert all(torch.equal(a, b) for a, b in zip(new.state_dict().values(), old.state_dict().values(), strict=True))


def test_keypoints_are_carried_over_by_name(tmp_path):
    old = build(KeypointRCNN, schema("person", joints=("nose", "left", "right")), 1, keypoint_layers=1)
    new = build(KeypointRCNN, schema("person", joints=("right", "tail", "nose")), 2, keypoint_layers=1)
    tail = new.keypoint_head.upsample.weight[:, 1].clone()
    report = transfer(new, stored(old, tmp_path))
    ours, theirs = new.keypoint_head.upsample, old.keypoint_head.upsample
    assert torch.equal(ours.weight[:, [0, 2]], theirs.weight[:, [2, 0]]) and torch.equal(ours.weight[:, 1], tail)
    assert torch.equal(ours.bias[[0, 2]], theirs.bias[[2, 0]])
    assert report.by_name["keypoint_head.upsample.weight"] == ["right", "nose"]
    assert torch.equal(new.detector.box_head.scores.weight, old.detector.box_head.scores.weight)


def test_what_does_not_fit_is_reset_and_what_is_left_over_is_named(tmp_path):
    old = build(MaskRCNN, schema("a", "b"), 1, mask_layers=1, hidden=24)
    new = build(MaskRCNN, schema("b", "x"), 2, mask_layers=1)
    before = {n: t.clone() for n, t in new.state_dict().items()}
    report = transfer(new, stored(old, tmp_path))
    assert "detector.box_head.body.fc1.weight" in report.reset
    assert report.by_name["detector.box_head.scores.weight"] == []  # of another width: no row fits
    for name in [*report.reset, "detector.box_head.scores.weight"]:
        assert torch.equal(new.state_dict()[name], before[name])
    assert "reset to random" in str(report) and "rows copied for no class" in str(report)
    boxes = build(FasterRCNN, schema("a", "b"), 3)
    left = transfer(boxes, stored(old, tmp_path))
    assert "mask_head.logits.weight" in left.unused and "in the file but not used" in str(left)


def test_rows_that_are_of_no_class_are_carried_over_only_when_they_are_alike():
    source, target = schema("a", "b"), schema("b", "c")
    old, new = torch.arange(3.0)[:, None], torch.full((3, 1), -1.0)
    filled, shared = Rows("things").copy(old, new, source, target)
    assert filled.flatten().tolist() == [1, -1, 2] and shared == ["b"]
    filled, _ = Rows("things").copy(old, torch.full((2, 1), -1.0), source, target)  # no background row here
    assert filled.flatten().tolist() == [1, -1]


# strictness ---------------------------------------------------------------------------------------------------------------


def test_half_precision_is_half_the_size_and_loads_as_float(tmp_path):
    model = build(FasterRCNN, schema("a"), 1)
    save_checkpoint(model, tmp_path / "full.safetensors")
    save_checkpoint(model, tmp_path / "half.safetensors", half=True)
    full, half = ((tmp_path / f"{n}.safetensors").stat().st_size for n in ("full", "half"))
    assert half < 0.6 * full
    again = read_checkpoint(tmp_path / "half.safetensors").build()
    assert {t.dtype for t in again.state_dict().values()} == {t.dtype for t in model.state_dict().values()}


def test_a_checkpoint_must_fill_its_model_exactly(tmp_path):
    checkpoint = stored(build(FasterRCNN, schema("a"), 1), tmp_path)
    name = "rpn.conv.bias"
    missing = {k: v for k, v in checkpoint.tensors.items() if k != name}
    for tensors, says in (
        (missing, rf"differ in 1 tensors, first {name}"),
        ({**checkpoint.tensors, "odd": torch.zeros(1)}, "differ in 1 tensors, first odd"),
        ({**checkpoint.tensors, name: torch.zeros(3)}, rf"{name} is \(3,\) in the checkpoint, \(16,\) in faster-rcnn"),
    ):
        with pytest.raises(WeightsError, match=says):
            dataclasses.replace(checkpoint, tensors=tensors).build()


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(WeightsError, match="there is no such file"):
        read_checkpoint(tmp_path / "absent.safetensors")
    (tmp_path / "x.pth").write_bytes(b"\x80\x02.")
    with pytest.raises(WeightsError, match="pickles can run code"):
        read_tensors(tmp_path / "x.pth")
    (tmp_path / "bad.safetensors").write_bytes(b"not one")
    with pytest.raises(WeightsError, match="damaged or no safetensors file"):
        read_checkpoint(tmp_path / "bad.safetensors")
    save_file({"w": torch.zeros(2)}, tmp_path / "plain.safetensors")
    with pytest.raises(WeightsError, match="holds tensors but no model"):
        read_checkpoint(tmp_path / "plain.safetensors")
    for header in ("not json", json.dumps({"model": "faster-rcnn"})):
        save_file({"w": torch.zeros(2)}, tmp_path / "header.safetensors", {KEY: header})
        with pytest.raises(WeightsError, match="its header cannot be read"):
            read_checkpoint(tmp_path / "header.safetensors")


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    model = build(FasterRCNN, schema("a"), 1)
    save_checkpoint(model, tmp_path / "m.safetensors")
    before = (tmp_path / "m.safetensors").read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="disk is full"):
        save_checkpoint(model, tmp_path / "m.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    assert (tmp_path / "m.safetensors").read_bytes() == before


def test_a_model_that_needs_names_says_so():
    with pytest.raises(ConfigError, match=r"schema\.things"):
        FasterRCNN(Schema())
    with pytest.raises(ConfigError, match=r"schema\.skeleton"):
        KeypointRCNN(Schema(things=Categories.of(["a"])))
    with pytest.raises(ConfigError, match="need 5 anchor sizes"):
        FasterRCNN(schema("a"), anchor_sizes=(32, 64))
    with pytest.raises(ConfigError, match="class_weights names cow; there are: a, b, background"):
        FasterRCNN(schema("a", "b"), class_weights={"cow": 2.0}, **TINY)
