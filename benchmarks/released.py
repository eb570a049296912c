"""Released single-stage detectors run through ours: their AP on COCO's pictures.

    python benchmarks/released.py yolox-nano W.safetensors coco_mini [--split val2017] [--side 416] [--out OUT.safetensors]
    python benchmarks/released.py ssd-mobilenet W.safetensors coco_mini [--split val2017]

`yolox-nano`: YOLOX-nano with batch norm folded in (Apache-2.0). `ssd-mobilenet`: TensorFlow's SSD MobileNetV1 of depth .75 in eight bits
(Apache-2.0). OUT keeps the model as a checkpoint for `videre predict`, `evaluate`, `export`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from videre.data import read
from videre.evaluate import evaluate_model
from videre.models.base import Model
from videre.models.checkpoint import save_checkpoint
from videre.models.detect.ssd import SSD
from videre.models.detect.yolox import YOLOX, read_released
from videre.models.official import COCO_THINGS
from videre.predict import Predictor
from videre.structures import Preprocess, Schema

SCHEMA = Schema(things=COCO_THINGS)
SIGNED = (128 / 255,) * 3
"""Mean and standard deviation of pixels that come as (pixel - 128) / 128."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", choices=list(NETS))
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val2017")
    parser.add_argument("--side", type=int, default=416, help="long side, of YOLOX")
    parser.add_argument("--engine", default="fp32")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = NETS[args.net](load_file(args.weights), args.side)
    if args.out is not None:
        save_checkpoint(model, args.out, {"licence": "Apache-2.0", "data": "COCO"})
    report = evaluate_model(Predictor(model, engine=args.engine), read(args.data, args.split))
    print(*(f"{name} {value:.3f}" for name, value in report.headline.items()), sep="\n")


def yolox_nano(tensors: dict[str, Tensor], side: int) -> Model:
    """The released YOLOX-nano."""
    model = YOLOX(SCHEMA, YOLOX.usual.replace(long_side=side), variant="nano", norm="none", score_threshold=0.001)
    model.load_state_dict(read_released(tensors, model))
    return model.eval()


def ssd_mobilenet(tensors: dict[str, Tensor], side: int) -> Model:
    """TensorFlow's SSD MobileNetV1."""
    model = SSD(
        SCHEMA,
        Preprocess(
            short_side=None, long_side=None, size=(300, 300), divisor=1, mean=SIGNED, std=SIGNED, antialias=False
        ),
        backbone="mobilenet_v1",
        norm="none",
        padding="same",
        multiplier=0.75,
        extra_norm="none",
        head_kernel=1,
        reduced=True,
        scoring="sigmoid",
        nms=0.6,
        max_detections=100,
    )
    whole = {}
    for name, value in tensors.items():
        if name.endswith(".weight"):
            value = (value.float() - tensors[f"{name}_zero_point"]) * tensors[f"{name}_scale"]
        if name.endswith((".weight", ".bias")):
            whole[name] = value
    names = {"Conv2d_0": "backbone.features.0.0"}
    for k in range(1, 14):
        names |= {f"Conv2d_{k}_{part}": f"backbone.features.{k}.{part}.0" for part in ("depthwise", "pointwise")}
    extras = [name.rpartition(".")[0] for name in whole if "_1_Conv2d_" in name or "_2_Conv2d_" in name]
    for name in extras:
        names[name] = f"extras.{int(name.split('_Conv2d_')[1][0]) - 2}.{int(name.split('pointwise_')[1][0]) - 1}.0"
    classes = torch.tensor([*COCO_THINGS.source_ids, 0])  # row 0 is the background
    found = {}
    for name, value in whole.items():
        layer, _, kind = name.rpartition(".")
        if layer in names:
            found[f"{names[layer]}.{kind}"] = value
            continue
        level = layer.split("_")[1].split(".")[0]
        if "ClassPredictor" in layer:
            found[f"logits.{level}.{kind}"] = value.unflatten(0, (-1, 91))[:, classes].flatten(0, 1)
        else:  # TensorFlow has y before x
            found[f"deltas.{level}.{kind}"] = value.unflatten(0, (-1, 4))[:, [1, 0, 3, 2]].flatten(0, 1)
    model.load_state_dict(found)
    return model.eval()


NETS = {"yolox-nano": yolox_nano, "ssd-mobilenet": ssd_mobilenet}

if __name__ == "__main__":
    main()
