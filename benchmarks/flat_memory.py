"""What it costs to keep a net at the picture's own resolution: `python benchmarks/flat_memory.py [--out flat_memory.png]`.

MiB above the imports and seconds of one prediction and of one training step, in fp32, by the size of the picture: eight layers
of 64 channels without downsampling, beside FCN-8s and U-Net. Each point is a process of its own.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

SYSTEMS = {
    "flat": ("flat-fcn", {"width": 64, "depth": 8}),
    "FCN-8s": ("fcn", {"backbone": "resnet18"}),
    "U-Net": ("unet", {"width": 64}),
}
SIZES = ((180, 240), (360, 480), (720, 960))
TICKS = (250, 500, 1000, 2000, 4000, 8000)
"""MiB, on the chart."""


def point(name: str, height: int, width: int) -> dict[str, float]:
    """MiB and seconds of a prediction and of a step, in this process."""
    import torch

    from videre.engine.allocator import keep_memory
    from videre.images.prepare import prepare
    from videre.models import find_model
    from videre.predict import Predictor
    from videre.structures import Categories, Scene, Schema
    from videre.studies.speed.rule import picture
    from videre.studies.speed.sides import forget_peak, memory

    imported = memory("VmRSS")
    keep_memory()
    system, settings = SYSTEMS[name]
    model = find_model(system)(Schema(pixels=Categories.of([f"class {k}" for k in range(11)])), **settings)
    image = picture((height, width))
    found: dict[str, float] = {}
    predictor = Predictor(model, device="cpu", engine="fp32")
    for _ in range(2):
        forget_peak()
        began = time.perf_counter()
        predictor.predict(image)
    found["predict s"], found["predict MiB"] = time.perf_counter() - began, (memory("VmHWM") - imported) / 2**20
    model.train()
    batch = prepare(image, model.preprocess, 0)
    truth = Scene((height, width), segmentation=torch.randint(11, (height, width), dtype=torch.uint8))
    for _ in range(2):
        forget_peak()
        began = time.perf_counter()
        sum(model.losses(batch, [truth]).values()).backward()  # type: ignore[union-attr]
        model.zero_grad()
    found["train s"], found["train MiB"] = time.perf_counter() - began, (memory("VmHWM") - imported) / 2**20
    return found


def chart(found: dict[str, dict[tuple[int, int], dict[str, float]]]) -> bytes:
    """Memory over the number of pixels, both logarithmic, prediction and training side by side."""
    from matplotlib.figure import Figure

    from videre.draw.curves import INK, SERIES, to_png

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, what in zip(figure.subplots(1, 2, sharey=True), ("predict", "train")):
        for color, (name, points) in zip(SERIES, found.items()):
            sides = [height * width for height, width in points]
            values = [row[f"{what} MiB"] for row in points.values()]
            axes.plot(sides, values, "o-", color=color, label=name)
            axes.annotate(f" {name}", (sides[-1], values[-1]), color=color, va="center", fontsize=9)
        axes.set(xscale="log", yscale="log", title="one prediction" if what == "predict" else "one training step")
        axes.set_xticks([h * w for h, w in SIZES], [f"{w}x{h}" for h, w in SIZES])
        axes.set_xticks([], minor=True)
        axes.set_yticks(TICKS, map(str, TICKS))
        axes.set_yticks([], minor=True)
        axes.margins(x=0.25)
        axes.tick_params(colors=INK)
        axes.title.set_color(INK)
        axes.grid(alpha=0.25, which="major")
        for spine in axes.spines.values():
            spine.set_visible(False)
    figure.axes[0].set_ylabel("MiB above the imports", color=INK)
    return to_png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("flat_memory.png"))
    parser.add_argument("--point", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(point(args.point[0], int(args.point[1]), int(args.point[2]))))
        return
    found: dict[str, dict[tuple[int, int], dict[str, float]]] = {name: {} for name in SYSTEMS}
    print("| net | picture | one prediction | one training step | its eight maps |")
    print("| --- | --- | --- | --- | --- |")
    for name in SYSTEMS:
        for height, width in SIZES:
            words = [sys.executable, __file__, "--point", name, str(height), str(width)]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            row = found[name][height, width] = json.loads(done.stdout.splitlines()[-1])
            maps = f"{8 * 64 * 4 * height * width / 2**20:.0f} MiB" if name == "flat" else ""
            cells = (f"{row[f'{what} MiB']:.0f} MiB, {row[f'{what} s']:.2f} s" for what in ("predict", "train"))
            print(f"| {name} | {width}x{height} | {' | '.join(cells)} | {maps} |", flush=True)
    args.out.write_bytes(chart(found))
    print(args.out)


if __name__ == "__main__":
    main()
