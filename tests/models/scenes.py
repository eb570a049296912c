"""Small true scenes for tests of models: what each field of a contract needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from videre.images.prepare import prepare, prepare_truth
from videre.models.base import Model
from videre.structures import (
    COCO_PERSON,
    Camera,
    Categories,
    Clip,
    Event,
    ImageBatch,
    Instances,
    Masks,
    Mesh,
    Preprocess,
    Relations,
    Scene,
    Schema,
    WordTokenizer,
)
from videre.structures.scene import VOID

SCHEMA = Schema(
    things=Categories.of(["square", "disc"]),
    pictures=Categories.of(["squares", "discs"]),
    skeleton=COCO_PERSON,
    pixels=Categories.of(["ground", "square", "disc"]),
    predicates=Categories.of(["left of", "right of"]),
    events=Categories.of(["flash"]),
    tokenizer=WordTokenizer.build(["a square", "a disc", "nothing"], least=1),
)
TINY = {"width": 16, "hidden": 32, "backbone": "mobilenet_v2", "norm": "group", "fpn_norm": "group"}
"""Settings that make a detector small enough for a test."""
PREPROCESS = Preprocess(short_side=64, long_side=96)


def small(kind: type[Model]) -> Preprocess:
    """How a system's pictures are prepared in a test: small, stretched to one size where it wants that."""
    return PREPROCESS if kind.usual.size is None else kind.usual.replace(size=(64, 128))


CONFIGS = {
    "sliding-window": {"width": 8, "hidden": 32, "samples": 128},
    "multiscale": {"width": 8, "hidden": 32},
    "recurrent": {"width": 8},
    "flat-fcn": {"width": 16, "depth": 3, "norm": "group"},
    "fcn": {"backbone": "resnet18", "norm": "group", "multiplier": 0.25},
    "deconvnet": {"backbone": "vgg11_bn", "norm": "group", "multiplier": 0.125, "hidden": 64, "unpool": "nearest"},
    "segnet": {"backbone": "vgg11_bn", "norm": "group", "multiplier": 0.125},
    "dilated-fcn": {"backbone": "resnet18", "norm": "group", "multiplier": 0.25, "head_norm": "group"},
    "deeplabv3": {"backbone": "resnet18", "norm": "group", "multiplier": 0.25, "head_norm": "group", "width": 32},
    "unet": {"width": 8, "norm": "group"},
    "residual-unet": {"backbone": "resnet18", "norm": "group", "multiplier": 0.25, "deep_supervision": True},
    "hourglass": {"width": 32, "norm": "group"},
    "hourglass-pose": {"width": 32, "norm": "group"},
    "movenet": {"norm": "group", "fpn_norm": "group"},
    "classifier": {"backbone": "mobilenet_v2", "norm": "group"},
    "selective-search": {},
    "objectness": {},
    "edge-boxes": {},
    "edge-hed": {},
    "bing": {},
    "single-object": {"backbone": "mobilenet_v2", "norm": "group", "objects": 2, "hidden": 16, "cells": 2},
    "window-detector": {"width": 8, "hidden": 16, "ratio": 2.0},
    "rcnn": {"backbone": "mobilenet_v2", "norm": "group", "crop_size": 48, "context": 4},
    "sppnet": {"backbone": "mobilenet_v2", "norm": "group", "hidden": 32, "scales": [0.5, 1]},
    "fast-rcnn": {"backbone": "mobilenet_v2", "norm": "group", "hidden": 32},
    "faster-rcnn": TINY,
    "faster-rcnn-c4": {
        "backbone": "resnet18",
        "norm": "group",
        "resolution": 4,
        "roi_batch": 64,
        "rpn_post_nms": [200, 100],
    },
    "yolo": {"backbone": "darknet_tiny", "norm": "group", "head_norm": "group", "multiplier": 0.5, "width": 64},
    "r-fcn": {"backbone": "resnet18", "norm": "group", "multiplier": 0.25, "width": 32, "bins": 3},
    "ssd": {"backbone": "mobilenet_v2", "norm": "group", "multiplier": 0.5, "light": True, "match": 0.02},
    "yolox": {"variant": "nano", "norm": "group"},
    "retinanet": {
        "backbone": "mobilenet_v2",
        "norm": "group",
        "width": 16,
        "layers": 1,
        "head_norm": "group",
        "fpn_norm": "group",
    },
    "mask-rcnn": {**TINY, "mask_layers": 1},
    "keypoint-rcnn": {**TINY, "keypoint_layers": 1},
}


def picture_and_truth(size: tuple[int, int], seed: int, things: int = 2) -> tuple[np.ndarray, Scene]:
    """Noise with bright squares and dark discs, and all that is true of them."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(90, 130, (*size, 3), dtype=np.uint8)
    bitmaps, labels, boxes = np.zeros((things, *size), bool), [], []
    classes = np.zeros(size, np.uint8)
    y, x = np.mgrid[: size[0], : size[1]]
    for n in range(things):
        side = int(rng.integers(size[0] // 4, size[0] // 2))
        top, left = (int(rng.integers(0, s - side)) for s in size)
        label = int(rng.integers(2))
        inside = (y >= top) & (y < top + side) & (x >= left) & (x < left + side)
        if label == 1:
            inside &= (y + 0.5 - top - side / 2) ** 2 + (x + 0.5 - left - side / 2) ** 2 <= side**2 / 4
        picture[inside] = 250 if label == 0 else 5
        bitmaps[n] = inside
        classes[inside] = 1 + label
        labels.append(label)
        boxes.append([left, top, left + side, top + side])
    box = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    grid = torch.linspace(0.1, 0.9, 17)[:, None].expand(17, 2)
    points = box[:, None, :2] + grid * (box[:, None, 2:] - box[:, None, :2])
    instances = Instances(
        boxes=box,
        labels=torch.tensor(labels, dtype=torch.int64),
        masks=Masks.from_bitmaps(bitmaps),
        keypoints=points,
        visibility=torch.full((things, 17), 2, dtype=torch.uint8),
    )
    classes[:2] = VOID
    middles = (box[:, 0] + box[:, 2]) / 2
    pairs = [(s, o) for s in range(things) for o in range(things) if s != o]
    relations = Relations(
        [s for s, _ in pairs], [int(middles[s] > middles[o]) for s, o in pairs], [o for _, o in pairs]
    )
    corners = torch.from_numpy(rng.random((6, 2, 2)).astype(np.float32)).sort(1).values * torch.tensor(size[::-1])
    focal = float(rng.uniform(40, 60))
    tetrahedron = [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    meshes = [Mesh(torch.tensor(tetrahedron) + 0.1 * n + focal / 20, [[0, 1, 2], [0, 2, 3]]) for n in range(things)]
    # of the picture as a whole: what lies in front
    return picture, Scene(
        size,
        instances.replace(meshes=meshes),
        labels=torch.tensor(labels[-1:] or [0]),
        segmentation=torch.from_numpy(classes),
        relations=relations,
        captions=[f"a {SCHEMA.things[labels[-1]]}" if labels else "nothing"],
        proposals=torch.cat([box + 1, corners.reshape(6, 4)]),
        camera=Camera([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1]]),
    )


def clip_and_truth(size: tuple[int, int], seed: int, things: int = 1) -> tuple[Clip, Scene]:
    """Two seconds of noise that is bright for half of one, where there is something."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(90, 130, (16, *size, 3), dtype=np.uint8)
    start = float(rng.uniform(0.2, 1.2))
    seconds = np.arange(16) / 8
    inside = (seconds >= start) & (seconds <= start + 0.5) & (things > 0)
    frames[inside] = 250
    events = [Event(start, start + 0.5, label=0)] if things else []
    return Clip(frames, seconds, 2.0), Scene(size, events=events, duration=2.0)


def example(model: Model, size: tuple[int, int], seed: int, things: int = 2) -> tuple[Any, Scene]:
    """A picture, or a clip for a model that takes one, with its truth."""
    make = picture_and_truth if model.preprocess.frames is None else clip_and_truth
    return make(size, seed, things)


def batch_of(model: Model, cases: list[tuple[np.ndarray, Scene]]) -> tuple[ImageBatch, list[Any]]:
    """Prepared pictures, with what the model takes, and its targets."""
    takes = type(model).takes | type(model).accepts
    given = [scene.only(takes) if takes else None for _, scene in cases]
    parts = [prepare(picture, model.preprocess, i, given[i]) for i, (picture, _) in enumerate(cases)]
    truths = [prepare_truth(scene, part) for (_, scene), part in zip(cases, parts, strict=True)]
    return ImageBatch.cat(parts), [model.target(truth) for truth in truths]
