"""R-CNN, SPPnet, Fast and Faster R-CNN on the same data, backbone and pictures: how long they train, how long they look, how well.

    python benchmarks/history.py DATA --from mobilenet_v2.safetensors --out FOLDER [--only r-cnn …] [--charts docs/images/bccd]

Each is trained once by `videre train` into FOLDER/NAME, with the settings below and as many pictures seen as --pictures says, and
evaluated on the split --judge; a run that is there is not trained again, one that was stopped goes on. Proposals are found before the
first training. In the end all look at some pictures by turns, at the first 2,000 proposals; proposals are found anew for their time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from videre import data
from videre.data.given import with_proposals
from videre.draw.curves import stacked_bars, to_png
from videre.engine.device import describe_processor
from videre.evaluate import evaluate_model
from videre.files import write_atomic
from videre.images.prepare import prepare
from videre.predict import Predictor, load
from videre.predict.proposals import Proposer

PYRAMID = ("strides=[8,16,32]",)
FASTER = (
    *PYRAMID,
    "anchor_sizes=[32,64,128,256]",
    "roi_batch=128",
    "rpn_pre_nms=[1000,500]",
    "rpn_post_nms=[1000,300]",
)
SYSTEMS: dict[str, tuple[str, float, tuple[str, ...]]] = {
    "R-CNN": ("rcnn", 0, ("crop_size=112", "context=8", "most=[1000,2000]")),
    "SPPnet": ("sppnet", 1.2, ("most=[2000,6000]",)),
    "Fast R-CNN": ("fast-rcnn", 1, (*PYRAMID, "roi_batch=128", "nms=0.5", "most=[2000,6000]")),
    "Fast R-CNN, RoI align": (
        "fast-rcnn",
        1,
        (*PYRAMID, "roi_batch=128", "nms=0.5", "most=[2000,6000]", "roi=align"),
    ),
    "Faster R-CNN": ("faster-rcnn", 1, FASTER),
    "Faster R-CNN, four steps": ("faster-rcnn", 1, (*FASTER, "steps=4")),
}
"""What a table calls them: the system, its pictures' sides as multiples of --shape (0: their own size), and its settings."""
LOOKED = 2000
SLUGS = {name.lower().replace(",", "").replace(" ", "-"): name for name in SYSTEMS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(SLUGS), choices=list(SLUGS))
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--proposals", default="selective-search")
    parser.add_argument("--pictures", type=int, default=1800, help="seen in the training by descent")
    parser.add_argument("--shape", type=int, nargs=2, default=(600, 1000), help="short and long side")
    parser.add_argument("--turn", action="store_true", help="quarter turns, for pictures without an up")
    parser.add_argument(
        "-o",
        dest="chosen",
        action="append",
        default=[],
        metavar="[SLUG:]KEY=VALUE",
        help="a setting of all, or of one (r-cnn:most=[500,1000])",
    )
    parser.add_argument("--split", default="train")
    parser.add_argument("--judge", default="val")
    parser.add_argument("--timed", type=int, default=8, help="pictures that are looked at by turns")
    parser.add_argument("--charts", type=Path, help="FOLDER/NAME: writes NAME-training.png and NAME-looking.png there")
    args = parser.parse_args()
    judged = data.read(args.data, args.judge)
    training = data.read(args.data, args.split)
    if any(SYSTEMS[SLUGS[slug]][0] != "faster-rcnn" for slug in args.only):
        with_proposals(training, args.proposals)  # before the first training, whose time they would be in
    predictors: dict[str, Predictor] = {}
    rows: dict[str, dict[str, float]] = {}
    for name in (SLUGS[slug] for slug in args.only):
        weights = trained(name, args)
        predictors[name] = load(weights)
        record = weights.with_name("record.json")
        row = json.loads(record.read_text())
        if "box AP" not in row:
            report = evaluate_model(predictors[name], judged)
            row |= {key: float(value) for key, value in report.headline.items()}
            write_atomic(record, json.dumps(row).encode())
            print(*report.lines(), sep="\n")
        rows[name] = row
        print(f"{name}: {row['minutes']:.1f} minutes, AP {row['box AP']:.3f}, AP50 {row['box AP50']:.3f}", flush=True)
    seconds, proposing = looked(predictors, judged, args)
    finding = proposing * len(training) / 60
    print(
        f"\n{describe_processor()}; proposals: {proposing:.2f} s a picture, {finding:.1f} minutes of all that are trained on"
    )
    print(f"{'':26} {'train, min':>11} {'look, s':>8} {'with proposals, s':>18} {'AP':>6} {'AP50':>6} {'AP75':>6}")
    for name, row in rows.items():
        takes = "proposals" in predictors[name].model.takes
        row |= {
            "seconds": seconds[name],
            "proposing": proposing if takes else 0.0,
            "finding": finding if takes else 0.0,
        }
        numbers = " ".join(f"{row.get(f'box {key}', float('nan')):>6.3f}" for key in ("AP", "AP50", "AP75"))
        whole = row["seconds"] + row["proposing"]
        print(f"{name:26} {row['minutes']:>11.1f} {row['seconds']:>8.3f} {whole:>18.3f} {numbers}")
    write_atomic(args.out / "history.json", json.dumps(rows, indent=1).encode())
    if args.charts:
        column = lambda key: [row[key] for row in rows.values()]
        times = {"training": column("minutes"), "proposals": column("finding")}
        looking = {"net": column("seconds"), "proposals": column("proposing")}
        for what, parts, label in (("training", times, "minutes"), ("looking", looking, "seconds a picture")):
            file = args.charts.parent / f"{args.charts.name}-{what}.png"
            write_atomic(file, to_png(stacked_bars(list(rows), parts, label)))


def trained(name: str, args: argparse.Namespace) -> Path:
    """The weights of a system's run, trained where they are not there; beside them record.json has the minutes that its command
    took (of one that was stopped, the last part)."""
    system, scale, settings = SYSTEMS[name]
    folder = args.out / next(slug for slug, of in SLUGS.items() if of == name)
    record = folder / "record.json"
    if not record.exists():
        sides = zip(("short_side", "long_side"), args.shape, strict=True)
        shape = [f"{side}={round(scale * pixels)}" for side, pixels in sides] if scale else []
        common = (f"pictures={args.pictures}", f"turn={str(args.turn).lower()}", f"backbone={args.backbone}")
        own = [
            text.removeprefix(f"{folder.name}:")
            for text in args.chosen
            if text.partition(":")[0] not in {*SLUGS} - {folder.name}
        ]
        chosen = [word for one in (*common, *shape, *settings, *own) for word in ("-o", one)]
        given = [] if system == "faster-rcnn" else ["--proposals", args.proposals]
        command: list[Any] = [sys.executable, "-m", "videre", "train", system, args.data, "--split", args.split]
        command += ["--val", "none", "--from", args.source, "--tune", "all", "--out", folder, *given, *chosen]
        began = time.perf_counter()
        subprocess.run(command + (["--resume"] if (folder / "run.json").exists() else []), check=True)
        write_atomic(record, json.dumps({"minutes": (time.perf_counter() - began) / 60}).encode())
    return folder / "last.safetensors"


def looked(
    predictors: dict[str, Predictor], judged: data.Dataset, args: argparse.Namespace
) -> tuple[dict[str, float], float]:
    """Median seconds a picture of each system without proposals, by turns; and of the proposals."""
    proposer, found = Proposer(args.proposals, keep=False), []
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    for i in range(min(args.timed, len(judged))):
        picture = judged.picture(i)
        began = time.perf_counter()
        given = proposer(picture)
        found.append(time.perf_counter() - began)
        given = given.take_rows("proposals", torch.arange(min(LOOKED, len(given.proposals))))
        for turn in range(2):  # in the first the algorithms for these sizes are chosen
            for name, predictor in predictors.items():
                takes = "proposals" in predictor.model.takes
                batch = prepare(picture, predictor.model.preprocess, given=given if takes else None)
                began = time.perf_counter()
                predictor.run(batch)
                if turn:
                    seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}, statistics.median(found)


if __name__ == "__main__":
    main()
