"""The pictures of docs/history.md: what each system from one object to Faster R-CNN looks at, and what it finds.

    python benchmarks/walk.py DATA --from mobilenet_v2.safetensors --runs FOLDER --photo cat.png [--out docs/images]

Every system is trained by `videre train` twice: on 400 scenes of the blocks world, and on DATA, a set with boxes of what the
photograph shows (a run in FOLDER that is there is not trained again). Then each looks at a scene of the blocks world that it has not
seen and at the photograph: one file a step, of two pictures each, what is looked at and what is found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videre.data.blocks import blocks_dataset
from videre.draw import contact_sheet, draw_scene
from videre.draw.canvas import Canvas
from videre.draw.colors import instance_colors
from videre.draw.pooling import draw_pooling
from videre.images.prepare import prepare
from videre.images.reading import read_picture, write_picture
from videre.layers.roi_targets import to_rois
from videre.layers.warp_crops import warp_crops
from videre.ops.boxes import box_iou
from videre.predict import Predictor, load
from videre.predict.proposals import Proposer
from videre.structures import Scene

COMMON = ("backbone=mobilenet_v2",)
SHAPED = ("short_side=320", "long_side=480")
SYSTEMS: dict[str, tuple[str, ...]] = {
    "single-object": ("pictures=2000",),
    "window-detector": ("pictures=500",),
    "rcnn": ("pictures=600", "crop_size=112", "context=8", "most=[200,1500]"),
    "sppnet": ("pictures=1000", *SHAPED),
    "fast-rcnn": ("pictures=1500", "strides=[8,16,32]", *SHAPED),
    "faster-rcnn": ("pictures=1500", "strides=[8,16,32]", "anchor_sizes=[32,64,128,256]", *SHAPED),
}
SIDE = 192
"""Pixels of the scenes."""
SCENE = 3
"""Of the scenes that are not trained on."""
SHOWN = 100
CROPS = 12
SURE = 0.5
Looked = tuple[np.ndarray, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    blocks = args.runs / "blocks-data"
    if not blocks.exists():
        videre("data", "blocks", str(blocks), "--count", "400", "--size", str(SIDE), "--seed", "0")
    pictures = {
        "blocks": blocks_dataset(SCENE + 1, seed=1, size=(SIDE, SIDE)).picture(SCENE),
        "photo": read_picture(args.photo),
    }
    for system, settings in SYSTEMS.items():
        shown: list[np.ndarray] = []
        labels: list[str] = []
        for name, picture in pictures.items():
            folder = args.runs / f"{name}-{system}"
            if not (folder / "last.safetensors").exists():
                train(system, blocks if name == "blocks" else args.data, folder, args.source, settings)
            predictor = load(folder / "last.safetensors")
            looked, what = LOOKED[system](predictor, picture)
            scene = predictor.predict(picture, threshold=0.0)
            shown += [looked, found(predictor, picture, scene)]
            labels += [what, f"{system} finds"]
        file = args.out / f"history-{system}.jpg"
        write_picture(file, contact_sheet(shown, columns=2, labels=labels), quality=88)
        print(file, flush=True)


def videre(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "videre", *words], check=True)


def train(system: str, data: Path, folder: Path, source: str, settings: tuple[str, ...]) -> None:
    has_backbone = system != "window-detector"
    given = [word for one in (*(COMMON if has_backbone else ()), *settings) for word in ("-o", one)]
    begin = ("--from", source, "--tune", "all") if has_backbone else ()
    videre("train", system, str(data), "--val", "none", *begin, *given, "--out", str(folder))


def found(predictor: Predictor, picture: np.ndarray, scene: Scene) -> np.ndarray:
    """The detections above a chosen score, or the best where none is."""
    things = scene.instances
    assert things is not None and things.scores is not None
    best = float(things.scores.max()) if len(things.scores) else 0.0
    return draw_scene(picture, scene, predictor.model.schema, threshold=min(SURE, best))


# what each looks at -------------------------------------------------------------------------------------------------------


def whole(predictor: Predictor, picture: np.ndarray) -> Looked:
    return Canvas(picture).pixels, "one object: the whole picture"


def windows(predictor: Predictor, picture: np.ndarray) -> Looked:
    model: Any = predictor.model
    size = model.preprocess.resized(picture.shape[:2])
    boxes = torch.cat([model.boxes_of(level, size, torch.device("cpu")) for level in model.levels(size)])
    some = boxes[torch.linspace(0, len(boxes) - 1, SHOWN).long()] * (picture.shape[0] / size[0])
    return thin(picture, some), f"windows: {SHOWN} of {len(boxes):,}"


def crops(predictor: Predictor, picture: np.ndarray) -> Looked:
    """The crops of the proposals that are nearest what is found, and of some others."""
    model: Any = predictor.model
    boxes, things = selective_search(picture), predictor.predict(picture, threshold=0.0).instances
    assert things is not None and things.boxes is not None
    nearest = box_iou(things.boxes[: CROPS // 2], boxes).argmax(1)
    chosen = torch.cat([nearest, torch.linspace(0, len(boxes) - 1, CROPS - len(nearest)).long()])
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    cut = warp_crops(image, to_rois(boxes[chosen], 0), model.crop_size, model.context)
    cells = (cut.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).numpy()
    return contact_sheet(list(cells), columns=4), f"R-CNN: {CROPS} of {len(boxes):,} proposals, warped"


def proposals(predictor: Predictor, picture: np.ndarray) -> Looked:
    boxes = selective_search(picture)
    return thin(picture, boxes[:SHOWN]), f"SPPnet: one map; {SHOWN} of {len(boxes):,} proposals"


def pooled(predictor: Predictor, picture: np.ndarray) -> Looked:
    boxes, scene = selective_search(picture), predictor.predict(picture, threshold=0.0)
    things = scene.instances
    box = things.boxes[0] if things is not None and things.boxes is not None and len(things.boxes) else boxes[0]
    return draw_pooling(picture, box.tolist(), stride=16), "Fast R-CNN: a region of the map, pooled"


def own_proposals(predictor: Predictor, picture: np.ndarray) -> Looked:
    model: Any = predictor.model
    (scene,) = model.propose(prepare(picture, model.preprocess))
    return thin(
        picture, scene.proposals[:SHOWN]
    ), f"Faster R-CNN: {SHOWN} of {len(scene.proposals):,} of its own proposals"


LOOKED: dict[str, Callable[[Predictor, np.ndarray], Looked]] = {
    "single-object": whole,
    "window-detector": windows,
    "rcnn": crops,
    "sppnet": proposals,
    "fast-rcnn": pooled,
    "faster-rcnn": own_proposals,
}


def selective_search(picture: np.ndarray) -> torch.Tensor:
    boxes = Proposer("selective-search")(picture).proposals
    assert boxes is not None
    return boxes


def thin(picture: np.ndarray, boxes: torch.Tensor) -> np.ndarray:
    """Many boxes, each in a colour of its own."""
    canvas = Canvas(picture)
    for box, color in zip(boxes.tolist(), instance_colors(None, [0] * len(boxes), apart=True), strict=True):
        canvas.box(box, color, 1)
    return canvas.pixels


if __name__ == "__main__":
    main()
