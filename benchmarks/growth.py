"""How time and memory grow with the work: `python benchmarks/growth.py [--out growth.png]`.

Faster R-CNN with MobileNetV2, weights drawn by rule, fused in fp32: 1 to 1,000 pictures of 320 pixels, 100 to 2,000
proposals of one picture, pictures of 256 to 2,048 pixels. Each point is a process of its own; seconds are those of the
second run, memory is the peak above what the imports took. The chart has both axes logarithmic: work that grows with the
square of the side climbs by two decades a decade.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

SERIES = {
    "pictures": (1, 10, 100, 1000),
    "proposals": (100, 250, 500, 1000, 2000),
    "pixels a side": (256, 512, 1024, 2048),
}


def point(what: str, amount: int) -> dict[str, float]:
    """Seconds and MiB of one amount of work, in this process."""
    from videre.engine.allocator import keep_memory
    from videre.models import find_model
    from videre.predict import Predictor
    from videre.structures import Categories, Preprocess, Schema
    from videre.studies.speed.rule import draw_weights, picture
    from videre.studies.speed.sides import forget_peak, memory

    imported = memory("VmRSS")
    keep_memory()
    side = {"pictures": 320, "proposals": 640, "pixels a side": amount}[what]
    proposals = amount if what == "proposals" else 1000
    model = find_model("faster-rcnn")(
        Schema(things=Categories.of([f"class {i}" for i in range(20)])),
        Preprocess(short_side=side, long_side=side),
        backbone="mobilenet_v2",
        rpn_pre_nms=(2000, max(proposals, 1000)),
        rpn_post_nms=(2000, proposals),
    )
    draw_weights(model, background=6.0)
    predictor = Predictor(model, device="cpu", engine="fp32")
    image = picture((side, side))
    count = amount if what == "pictures" else 1
    for _ in predictor.stream([("warm", image)]):
        forget_peak()
    began = time.perf_counter()
    for _ in predictor.stream((str(n), image) for n in range(count)):
        pass
    return {"seconds": time.perf_counter() - began, "MiB": (memory("VmHWM") - imported) / 2**20}


def chart(found: dict[str, dict[int, dict[str, float]]], processor: str) -> bytes:
    """Three panels: seconds (left axis) and memory (right axis) over the amount of work."""
    from matplotlib.figure import Figure

    from videre.draw.curves import INK, SERIES, to_png

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for axes, (what, points) in zip(figure.subplots(1, len(found)), found.items()):
        other = axes.twinx()
        for scale, name, color in ((axes, "seconds", SERIES[0]), (other, "MiB", SERIES[1])):
            scale.plot(list(points), [p[name] for p in points.values()], "o-", color=color, label=name)
            scale.set_yscale("log")
            scale.tick_params(colors=color, which="both")
            scale.set_ylabel(name, color=color)
            scale.spines[:].set_visible(False)
        axes.set_ylim(0.05, 200)
        other.set_ylim(10, 10_000)
        axes.set_xscale("log")
        axes.set_xticks(list(points), [f"{n:,}" for n in points])
        axes.minorticks_off()
        axes.tick_params(axis="x", colors=INK)
        axes.set_xlabel(what, color=INK)
    figure.suptitle(f"Faster R-CNN, MobileNetV2, fp32: {processor}", color=INK, fontsize=9)
    return to_png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("growth.png"))
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(point(args.point[0], int(args.point[1]))))
        return

    from videre.engine.device import describe_processor
    from videre.files import write_atomic

    print(describe_processor())
    found: dict[str, dict[int, dict[str, float]]] = {}
    for what, amounts in SERIES.items():
        for amount in amounts:
            command = [sys.executable, __file__, "--point", what, str(amount)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            numbers = found.setdefault(what, {})[amount] = json.loads(done.stdout.splitlines()[-1])
            print(f"{amount:6,} {what:14} {numbers['seconds']:8.3f} s  {numbers['MiB']:7.0f} MiB", flush=True)
    write_atomic(args.out, chart(found, describe_processor()))


if __name__ == "__main__":
    main()
