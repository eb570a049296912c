"""Every segmenter on one set: `python benchmarks/segmenters.py train camvid RUNS --weights W.safetensors`, then `table camvid
RUNS` and `page camvid RUNS`.

`train` trains each row on the same number of pictures at 240x180 and evaluates it on the validation part; what is done
is not done again, what was stopped goes on. `table` measures milliseconds and memory of each on one picture, a process a row,
the rows in turn and over again, prints the table and draws it into RUNS/table.png; run it while nothing else runs. `page` draws what each says of one
picture of the validation part, beside the truth and its errors, into RUNS/page.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from videre.engine.device import describe_processor

METRICS = ("mIoU", "boundary F")
COMMON = [
    "short_side=180",
    "long_side=240",
    "batch=4",
    "scale_min=0.6",
    "scale_max=1.8",
    "brightness=.2",
    "contrast=.2",
]
ENCODER = ["norm=none", "lr=0.001"]
MOBILE = ["backbone=mobilenet_v2", *ENCODER]
DILATED = ["output_stride=16", "head_norm=group"]
SMALL_VGG = ["backbone=vgg16_bn", "multiplier=0.25"]
IMAGENET = "imagenet"
ROWS: dict[str, tuple[str, str, list[str]]] = {
    "sliding window, 44x44": ("sliding-window", "", ["samples=256"]),
    "multi-scale": ("multiscale", "", ["hidden=256"]),
    "recurrent, 2 instances": ("recurrent", "", ["width=16"]),
    "flat, 6 layers": ("flat-fcn", "", ["width=24", "depth=6"]),
    "flat, dilated": ("flat-fcn", "", ["width=24", "depth=6", "dilations=[1,2,4,8,16,1]"]),
    "FCN-32s": ("fcn", IMAGENET, [*MOBILE, "finest=32"]),
    "FCN-16s": ("fcn", IMAGENET, [*MOBILE, "finest=16"]),
    "FCN-8s": ("fcn", IMAGENET, [*MOBILE, "finest=8"]),
    "SegNet, max-unpooling": ("segnet", "", [*SMALL_VGG, "unpool=places"]),
    "SegNet, bed of nails": ("segnet", "", [*SMALL_VGG, "unpool=nails"]),
    "SegNet, nearest": ("segnet", "", [*SMALL_VGG, "unpool=nearest"]),
    "DeconvNet, whole pictures": ("deconvnet", "", [*SMALL_VGG, "hidden=512", "crops=none"]),
    "DeconvNet, objects": ("deconvnet", "", [*SMALL_VGG, "hidden=512", "crops=objects", "pictures=900"]),
    "DeconvNet, objects, then proposals": (
        "deconvnet",
        "DeconvNet, objects",
        [*SMALL_VGG, "hidden=512", "crops=proposals", "pictures=900"],
    ),
    "dilated FCN, stride 16": ("dilated-fcn", IMAGENET, [*MOBILE, *DILATED]),
    "DeepLabv3, stride 16": ("deeplabv3", IMAGENET, [*MOBILE, *DILATED, "width=128"]),
    "U-Net, padded": ("unet", "", ["width=16"]),
    "U-Net without skips": ("unet", "", ["width=16", "skips=false"]),
    "residual U-Net": ("residual-unet", IMAGENET, MOBILE),
    "residual U-Net without skips": ("residual-unet", IMAGENET, [*MOBILE, "skips=false"]),
    "residual U-Net without residuals": ("residual-unet", IMAGENET, [*MOBILE, "residual=false"]),
    "residual U-Net, deep supervision": ("residual-unet", IMAGENET, [*MOBILE, "deep_supervision=true"]),
    "hourglass": ("hourglass", "", ["width=64", "stacks=1"]),
}
"""Name: system, what it begins from (ImageNet's weights, another row, nothing), settings."""
SECONDS = 1.0
"""That each round of a row lasts at least."""


def folder(runs: Path, name: str) -> Path:
    return runs / "".join(c if c.isalnum() else "-" for c in name.lower())


def videre(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "videre", *words], check=True)


def train(data: Path, runs: Path, weights: Path, pictures: int, names: list[str]) -> None:
    for name in names:
        system, start, settings = ROWS[name]
        out = folder(runs, name)
        if (out / "val" / "metrics.json").is_file():
            continue
        given = [word for s in (*COMMON, f"pictures={pictures}", *settings) for word in ("-o", s)]
        source = weights if start == IMAGENET else folder(runs, start) / "last.safetensors"
        begin = ["--from", str(source), "--tune", "all"] if start else []
        resume = ["--resume"] if (out / "state").exists() else []
        if not (out / "report.html").is_file():
            parts = ["--split", "train", "--val", "none"]
            videre("train", system, str(data), *parts, *begin, *given, "--out", str(out), *resume)
        videre("evaluate", str(out / "last.safetensors"), str(data), "--split", "val", "--out", str(out / "val"))


def measure(weights: Path, data: Path) -> None:
    """Milliseconds of one picture and MiB over what importing takes, as JSON."""
    import videre.engine
    from videre.data import read

    picture, _ = read(data, "val")[0]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predictor = videre.load(weights)
    for _ in range(3):
        predictor.predict(picture)
    times: list[float] = []
    while len(times) < 3 or sum(times) < SECONDS:
        start = time.perf_counter()
        predictor.predict(picture)
        times.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"ms": 1000 * statistics.median(times), "mib": (after - before) / 1024}))


def table(data: Path, runs: Path, names: list[str], rounds: int) -> None:
    there = [name for name in names if (folder(runs, name) / "val" / "metrics.json").is_file()]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in there}
    for _ in range(rounds):
        for name in there:
            words = ["measure", str(data), str(folder(runs, name) / "last.safetensors")]
            done = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{describe_processor()}, {os.cpu_count()} cores; median of {rounds} rounds\n")
    print("| system | mIoU [95%] | boundary F [95%] | minutes | ms | MiB | M parameters |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows: dict[str, dict[str, Any]] = {}
    for name in there:
        out = folder(runs, name)
        said = json.loads((out / "val" / "metrics.json").read_text())
        spans = {m: (said["metrics"][m], *said["intervals"][m]) for m in METRICS}
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines() if '"seconds"' in line]
        ms, mib = (statistics.median(row[key] for row in found[name]) for key in ("ms", "mib"))
        rows[name] = {**spans, "ms": ms}
        cells = [f"{value:.3f} [{low:.3f}, {high:.3f}]".replace("0.", ".") for value, low, high in spans.values()]
        size = count(out / "last.safetensors") / 1e6
        minutes = max(row["seconds"] for row in log) / 60
        print(f"| {name} | {' | '.join(cells)} | {minutes:.1f} | {ms:.0f} | {mib:.0f} | {size:.2f} |")
    (runs / "table.png").write_bytes(chart(rows))
    print(f"\n{runs / 'table.png'}")


def chart(rows: dict[str, dict[str, Any]]) -> bytes:
    """Both metrics with their intervals, and the time of a picture, a line a system, the best first."""
    from matplotlib.figure import Figure

    from videre.draw.curves import INK, SERIES, to_png

    names = sorted(rows, key=lambda name: -rows[name]["mIoU"][0])
    figure = Figure(figsize=(9, 0.6 + 0.3 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    for n, (metric, color) in enumerate(zip(METRICS, SERIES)):
        values, lows, highs = zip(*(rows[name][metric] for name in names))
        places = [place + 0.16 * (2 * n - 1) for place in range(len(names))]
        errors = ([v - low for v, low in zip(values, lows)], [high - v for v, high in zip(values, highs)])
        left.errorbar(values, places, xerr=errors, fmt="o", color=color, markersize=5, capsize=2, label=metric)
    right.barh(range(len(names)), [rows[name]["ms"] for name in names], height=0.55, color=SERIES[2], alpha=0.85)
    for place, name in enumerate(names):
        right.text(rows[name]["ms"] * 1.06, place, f"{rows[name]['ms']:.0f}", va="center", color=INK, fontsize=8)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlabel("on the validation pictures, 95% intervals", color=INK)
    right.set(xscale="log", xlim=(8, 2000))
    right.set_xlabel("milliseconds a picture", color=INK)
    for axes in (left, right):
        axes.tick_params(colors=INK, labelsize=9)
        axes.grid(alpha=0.25, axis="x")
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
    for text in left.legend(frameon=False, loc="lower right").get_texts():
        text.set_color(INK)
    return to_png(figure)


def page(data: Path, runs: Path, names: list[str], chosen: int) -> None:
    import videre.engine
    from videre.data import read
    from videre.draw.pixel_errors import draw_pixel_errors
    from videre.files import write_atomic
    from videre.images.reading import write_picture

    dataset = read(data, "val")
    picture, truth = dataset[chosen]
    lines = [f"# {dataset.title}, {dataset.name(chosen)}", ""]
    for name in names:
        out = folder(runs, name)
        if (out / "val" / "metrics.json").is_file():
            predictor = videre.load(out / "last.safetensors")
            drawn = draw_pixel_errors(picture, truth, predictor.predict(picture), predictor.model.schema, scale=1.5)
            write_picture(runs / "page" / f"{out.name}.jpg", drawn)
            miou = json.loads((out / "val" / "metrics.json").read_text())["metrics"]["mIoU"]
            lines += [f"## {name}", "", f"mIoU {miou:.3f} on the whole part", "", f"![{name}]({out.name}.jpg)", ""]
    write_atomic(runs / "page" / "page.md", "\n".join(lines).encode())
    print(runs / "page" / "page.md")


def count(weights: Path) -> int:
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        return sum(int(file.get_tensor(name).numel()) for name in file.keys())  # noqa: SIM118 - it is no dict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "table", "page", "measure"))
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, help="folder of the runs; a file of weights for `measure`")
    parser.add_argument("--weights", type=Path, help="of MobileNetV2, for the rows that begin from them")
    parser.add_argument("--pictures", type=int, default=1800)
    parser.add_argument("--picture", type=int, default=0, help="number in the validation part, of the page")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="NAME")
    args = parser.parse_args()
    if args.what == "measure":
        measure(args.runs, args.data)
    elif args.what == "table":
        table(args.data, args.runs, args.only, args.rounds)
    elif args.what == "page":
        page(args.data, args.runs, args.only, args.picture)
    else:
        if args.weights is None and any(ROWS[name][1] == IMAGENET for name in args.only):
            parser.error("--weights is needed")
        train(args.data, args.runs, args.weights, args.pictures, args.only)


if __name__ == "__main__":
    main()
