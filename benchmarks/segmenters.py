"""Every segmenter on one set: `python benchmarks/segmenters.py train camvid RUNS --weights W.safetensors`, then `table camvid
RUNS` and `page camvid RUNS`.

`train` trains each row on the same number of pictures at 240x180 and evaluates it on the validation part; what is done
is not done again, what was stopped goes on. `table` measures milliseconds and memory of each on one picture, a process a row,
the rows in turn and over again, and prints the table; run it while nothing else runs. `page` draws what each says of one
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
    "DeconvNet, objects, then proposals": ("deconvnet", "DeconvNet, objects", [*SMALL_VGG, "hidden=512", "crops=proposals", "pictures=900"]),
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
            videre(
                "train",
                system,
                str(data),
                "--split",
                "train",
                "--val",
                "none",
                *begin,
                *given,
                "--out",
                str(out),
                *resume,
            )
        videre("evaluate", str(out / "last.safetensors"), str(data), "--split", "val", "--out", str(out / "val"))


def measure(weights: Path, data: Path) -> None:
    """Milliseconds of one picture and MiB over what importing takes, as JSON."""
    import videre.engine
    from videre.data import read

    picture, _ = read(data, "val")[0]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predictor = videre.engine.load(weights)
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
    print(f"{os.cpu_count()} cores; median of {rounds} rounds\n")
    print("| system | mIoU [95%] | boundary F [95%] | minutes | ms | MiB | M parameters |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in there:
        out = folder(runs, name)
        said = json.loads((out / "val" / "metrics.json").read_text())
        cells = [
            f"{said['metrics'][m]:.3f} [{said['intervals'][m][0]:.3f}, {said['intervals'][m][1]:.3f}]".replace(
                "0.", "."
            )
            for m in ("mIoU", "boundary F")
        ]
        seconds = [
            json.loads(line)["seconds"] for line in (out / "log.jsonl").read_text().splitlines() if '"seconds"' in line
        ]
        ms, mib = (statistics.median(row[key] for row in found[name]) for key in ("ms", "mib"))
        size = count(out / "last.safetensors") / 1e6
        print(f"| {name} | {cells[0]} | {cells[1]} | {max(seconds) / 60:.1f} | {ms:.0f} | {mib:.0f} | {size:.2f} |")


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
            predictor = videre.engine.load(out / "last.safetensors")
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
