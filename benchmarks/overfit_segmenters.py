"""Whether the segmenters of VGG16's full size can learn at all: `python benchmarks/overfit_segmenters.py DATA RUNS`.

Each learns the first eight pictures of the training part by heart, at 240x180, from nothing, and is then asked about the
same eight, whole as it saw them (DeconvNet, too, which else looks at windows). That says nothing of how good it is, only
that forward, loss and gradients belong together at the published size. What is done is not done again, what was stopped
goes on.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from videre.data import Dataset, read
from videre.engine.allocator import keep_memory
from videre.evaluate import evaluate
from videre.images.prepare import prepare
from videre.models.base import Model
from videre.predict import load
from videre.structures import Scene
from videre.train import train
from videre.train.build import prepare_training

PICTURES = 8
COMMON = {
    "backbone": "vgg16_bn",
    "norm": "batch",
    "batch": 4,
    "short_side": 180,
    "long_side": 240,
    "flip": 0,
    "optimizer": "adamw",
    "weight_decay": 0,
    "ema": 0.9,
}
ROWS: dict[str, tuple[str, dict[str, object]]] = {
    "FCN-8s": ("fcn", {"dropout": 0.0, "lr": 3e-4, "pictures": 480}),
    "SegNet": ("segnet", {"lr": 1e-3, "pictures": 480}),
    "DeconvNet": ("deconvnet", {"crops": "none", "lr": 1e-3, "pictures": 480}),
}
"""Name: system, settings."""


def learn(name: str, data: Dataset, runs: Path) -> str:
    """Train one, and its row of the table."""
    system, settings = ROWS[name]
    out = runs / system
    start = prepare_training(system, data, settings={**COMMON, **settings})
    if not (out / "done").exists():
        run = train(start.model, data, start.recipe, out, resume=(out / "state").exists(), progress="plain")
        if not run.finished:
            raise SystemExit(130)
        (out / "done").touch()
    model = load(out / "last.safetensors", engine="plain").model
    pairs = [data[i] for i in range(len(data))]
    report = evaluate([answer(model, p) for p, _ in pairs], [t for _, t in pairs], data.schema, bootstrap=0)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines() if '"seconds"' in line]
    size = sum(p.numel() for p in start.model.parameters()) / 1e6
    numbers = [report.metrics[metric] for metric in ("pixel accuracy", "mIoU")]
    return (
        f"| {name} | {size:.1f} | {log[-1]['step']} | {log[0]['loss']:.2f} | {log[-1]['loss']:.3f} | "
        + " | ".join(f"{value:.3f}" for value in numbers)
        + f" | {log[-1]['seconds'] / 60:.1f} |"
    )


@torch.inference_mode()
def answer(model: Model, picture: np.ndarray) -> Scene:
    """What a model says of a whole picture."""
    height, width = picture.shape[:2]
    whole = Scene((height, width), proposals=torch.tensor([[0.0, 0.0, width, height]]))
    takes = type(model).accepts
    return model.predict(prepare(picture, model.preprocess, given=whole.only(takes) if takes else None))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="NAME")
    args = parser.parse_args()
    keep_memory()
    data = read(args.data, "train").subset(range(PICTURES))
    rows = [learn(name, data, args.runs) for name in args.only]
    print("| system | M parameters | steps | loss at first | at last | pixel accuracy | mIoU | minutes |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
