"""MoveNet's released weights on COCO's persons: `python benchmarks/movenet.py W.safetensors coco_mini [OUT.safetensors]`.

The weights are Google's SinglePose Lightning (Apache-2.0) in eight bits, one scale an output channel, under the names of its
layers. Persons with at least 8 labelled joints and more than 64 x 64 pixels, each in a square of 1.25 times the long side of its
box, black outside of the picture. OUT keeps the model as a checkpoint for `videre predict`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from videre.data import read, splits
from videre.models.checkpoint import save_checkpoint
from videre.models.pose.movenet import NEAR, MoveNet
from videre.predict import Predictor
from videre.structures import COCO_PERSON, Categories, Instances, Schema

JOINTS, AREA, AROUND, CLOSE = 8, 64**2, 1.25, 0.1
PYRAMID = {"lateral1280": "top", "lateral64": "lateral.0", "lateral32": "lateral.1", "lateral24": "lateral.2"} | {
    f"up{n}.{layer}": f"smooth.{n - 1}.{ours}" for n in (1, 2, 3) for layer, ours in (("dw", "0"), ("pw", "1.0"))
}
HEAD = {"dw": "0", "pw": "1.0", "out": "2"}
SURE = 0.2
"""Least score of a person that is shown: Google's tutorial follows joints from there on (MIN_CROP_KEYPOINT_SCORE)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="the released tensors, safetensors")
    parser.add_argument("data", type=Path, help="persons with COCO's joints")
    parser.add_argument("out", type=Path, nargs="?", help="keep the model as a checkpoint")
    args = parser.parse_args()
    model = build(load_file(args.weights))
    if args.out is not None:
        save_checkpoint(model, args.out)
    predictor = Predictor(model, engine="fp32")
    similarities, near = [], []
    for split in splits(args.data) or [None]:
        data = read(args.data, split)
        for i in range(len(data)):
            people = data.scene(i).instances
            for n in judged(people):
                crop, corner = square_around(data.picture(i), people.boxes[n].numpy())
                found = predictor.predict(crop, threshold=0).instances.keypoints[0] + torch.from_numpy(corner)
                similarities.append(similarity(found, people, n))
                side = (people.boxes[n, 2:] - people.boxes[n, :2]).max()
                apart = (found - people.keypoints[n]).norm(dim=1)[people.visibility[n] > 0]
                near.append(apart <= CLOSE * side)
    oks, joints = torch.tensor(similarities), torch.cat(near).float()
    print(
        f"{len(oks)} persons: mean OKS {oks.mean():.3f}, {100 * (oks > 0.5).float().mean():.1f} % above .5; "
        f"{100 * joints.mean():.1f} % of joints within {CLOSE} of the box's long side"
    )


def build(tensors: dict[str, Tensor]) -> MoveNet:
    """The model with the release's tensors, every one used."""
    schema = Schema(things=Categories.of(["person"]), skeleton=COCO_PERSON)
    model = MoveNet(schema, norm="none", padding="same").eval()
    center = tensors.pop("center_weight")  # in eight bits, of which 255 are its largest value
    apart = torch.arange(48) - 24
    expected = 1 / ((apart[:, None] ** 2 + apart**2).sqrt() + NEAR)
    assert (expected - center).abs().max() <= center.max() / 255 * 0.501
    renamed = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight":
            scale = tensors[f"{name}_scale"]
            renamed[f"{own_name(layer)}.weight"] = value.float() * scale[:, None, None, None]
        elif kind == "bias":
            renamed[f"{own_name(layer)}.bias"] = value
    model.load_state_dict(renamed)
    model.thresholds = {"person": SURE}
    return model


def own_name(layer: str) -> str:
    part, _, rest = layer.partition(".")
    if part == "features":
        return f"backbone.{layer}"
    return f"pyramid.{PYRAMID[rest]}" if part == "fpn" else f"{part}.{HEAD[rest]}"


def judged(people: Instances | None) -> list[int]:
    """Which persons are looked at."""
    if people is None:
        return []
    seen = (people.visibility > 0).sum(1) >= JOINTS
    return (seen & (people.areas > AREA) & ~people.ignore).nonzero()[:, 0].tolist()


def square_around(picture: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The square about a box, and its top left corner (x, y)."""
    side = round(AROUND * float((box[2:] - box[:2]).max()))
    corner = np.round((box[:2] + box[2:] - side) / 2).astype(int)
    crop = np.zeros((side, side, 3), picture.dtype)
    low, high = np.maximum(corner, 0), np.minimum(corner + side, picture.shape[1::-1])
    (x1, y1), (x2, y2) = low - corner, high - corner
    crop[y1:y2, x1:x2] = picture[low[1] : high[1], low[0] : high[0]]
    return crop, corner


def similarity(points: Tensor, people: Instances, n: int) -> float:
    """Object keypoint similarity (cocoeval.py, computeOks): mean over labelled joints of exp(-d^2 / (2 area (2 sigma)^2))."""
    squared = (points - people.keypoints[n]).square().sum(1)
    fall = torch.exp(-squared / (2 * people.areas[n] * (2 * torch.tensor(COCO_PERSON.sigmas)) ** 2))
    return float(fall[people.visibility[n] > 0].mean())


if __name__ == "__main__":
    main()
