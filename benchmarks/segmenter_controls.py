"""Segmenters that stay behind, built and trained in plain torch beside ours: is it the code, or how short the training is?

    .venv-peers/bin/python benchmarks/segmenter_controls.py camvid --weights mobilenet_v2_imagenet_fp16.safetensors [--pictures 1800]
        [--only "dilated FCN" …] [--stride 16]

The heads are torchvision's (`FCNHead`, `DeepLabHead`, with their batch norm), SegNet's decoder is `nn.MaxUnpool2d`; the loop is plain too:
`torch.optim.AdamW`, float32, torch's own convolutions, no averaged weights, no clipping. What both have in common: the pictures with their
jitter and order, the backbone's layers and weights, the rate and its schedule, the metric. `benchmarks/segmenters.py` trains ours.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre import data
from videre.backbones import make_backbone
from videre.evaluate import evaluate
from videre.images.prepare import prepare
from videre.structures import VOID, ImageBatch, Scene
from videre.tensors import read_tensors
from videre.train.build import prepare_training
from videre.train.samples import TrainingSamples

COMMON = {
    "short_side": 180,
    "long_side": 240,
    "batch": 4,
    "scale_min": 0.6,
    "scale_max": 1.8,
    "brightness": 0.2,
    "contrast": 0.2,
}
"""As in benchmarks/segmenters.py."""
LR = 1e-3


class Headed(nn.Module):
    """Our dilated MobileNetV2 under one of torchvision's heads."""

    def __init__(self, weights: Path, head: Callable[[int, int], nn.Module], classes: int, stride: int) -> None:
        super().__init__()
        options = {"norm": "none", "padding": "same", "wide": False, "divisor": 1}
        self.backbone = make_backbone("mobilenet_v2", output_stride=stride, **options)
        self.backbone.load_weights(dict(read_tensors(weights)[0]))
        self.head = head(self.backbone.channels[32], classes)

    def forward(self, image: Tensor) -> Tensor:
        return F.interpolate(self.head(self.backbone(image)[32]), image.shape[2:], mode="bilinear", align_corners=False)


class SegNet(nn.Module):
    """VGG16's convolutions with batch norm, at a quarter of their widths, and their mirror image."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        blocks = [[3, 16, 16], [16, 32, 32], [32, 64, 64, 64], [64, 128, 128, 128], [128, 128, 128, 128]]
        self.down = nn.ModuleList(_convs(widths) for widths in blocks)
        self.up = nn.ModuleList(_convs([*widths[:0:-1], max(widths[0], 16)]) for widths in reversed(blocks))
        self.pool, self.unpool = nn.MaxPool2d(2, 2, return_indices=True), nn.MaxUnpool2d(2, 2)
        self.logits = nn.Conv2d(16, classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for block in self.down:
            x = block(x)
            size = x.shape[2:]
            x, places = self.pool(x)
            kept.append((places, size))
        for block, (places, size) in zip(self.up, reversed(kept), strict=True):
            x = block(self.unpool(x, places, output_size=size))
        return self.logits(x)


def _convs(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=1800)
    parser.add_argument("--only", nargs="*", default=["dilated FCN", "DeepLabv3", "SegNet"])
    parser.add_argument("--stride", type=int, default=16)
    args = parser.parse_args()
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead
    from torchvision.models.segmentation.fcn import FCNHead

    training, judged = data.read(args.data, "train"), data.read(args.data, "val")
    classes = len(training.schema.pixels or ())
    rates = tuple(rate * 8 // args.stride for rate in (12, 24, 36))
    nets: dict[str, Callable[[], nn.Module]] = {
        "dilated FCN": lambda: Headed(args.weights, FCNHead, classes, args.stride),
        "DeepLabv3": lambda: Headed(args.weights, lambda c, k: DeepLabHead(c, k, rates), classes, args.stride),
        "SegNet": lambda: SegNet(classes),
    }
    for name in args.only:
        torch.manual_seed(0)
        net, began = nets[name](), time.perf_counter()
        source = None if name == "SegNet" else str(args.weights)
        system = {"dilated FCN": "dilated-fcn", "DeepLabv3": "deeplabv3", "SegNet": "segnet"}[name]
        settings = {
            **COMMON,
            "pictures": args.pictures,
            "lr": LR,
            "optimizer": "adamw",
            "norm": "batch" if source is None else "none",
        }
        start = prepare_training(system, training, None, source, "all", settings)  # for its pictures and its schedule
        recipe = start.recipe
        samples, steps = TrainingSamples(training, start.model, recipe), recipe.steps(len(training))
        optimizer = torch.optim.AdamW(net.parameters(), LR, weight_decay=0.01)
        net.train()
        for step, group in enumerate(samples.batches(0, steps)):
            for part in optimizer.param_groups:
                part["lr"] = LR * recipe.rate(step, steps)
            batch = ImageBatch.cat([b for _, b, _ in group])
            truth = torch.full((len(group), *batch.image.shape[2:]), VOID)
            for i, (_, _, target) in enumerate(group):
                truth[i, : target.shape[0], : target.shape[1]] = target
            loss = F.cross_entropy(net(batch.image), truth.long(), ignore_index=VOID)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 50 == 0:
                print(f"{name}: step {step}/{steps} loss {loss.item():.3f}", flush=True)
        minutes = (time.perf_counter() - began) / 60
        net.eval()
        found, truths = [], []
        for i in range(len(judged)):
            picture, truth_of = judged[i]
            batch = prepare(picture, start.model.preprocess)
            height, width = batch.sizes[0]
            with torch.no_grad():
                logits = net(batch.image)[:, :, :height, :width]
            logits = F.interpolate(logits, truth_of.size, mode="bilinear", align_corners=False)
            found.append(Scene(truth_of.size, segmentation=logits[0].argmax(0).to(torch.uint8)))
            truths.append(truth_of)
        report = evaluate(found, truths, judged.schema)
        said = " ".join(f"{metric} {report.intervals.get(metric, value)}" for metric, value in report.headline.items())
        print(f"{name}, plain torch, {args.pictures} pictures in {minutes:.1f} minutes: {said}", flush=True)


if __name__ == "__main__":
    main()
