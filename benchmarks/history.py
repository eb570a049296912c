"""R-CNN, SPPnet, Fast and Faster R-CNN on the same data, backbone and pictures: how long they train, how long they look, how well.

    python benchmarks/history.py DATA --from mobilenet_v2.safetensors --out FOLDER [--only rcnn …] [--chart history.png]

Each system is trained once by `videre train` into FOLDER/SYSTEM, with the settings below and the pictures that --pictures says, and
evaluated on the split --judge; a run that is there is not trained again, one that was stopped goes on. A picture is then looked at by
all of them in turn. Proposals are Selective Search's, found anew for their time, and otherwise from the cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from videre import data
from videre.draw.curves import interval_bars, to_png
from videre.evaluate import evaluate_model
from videre.files import write_atomic
from videre.images.prepare import prepare
from videre.predict import Predictor, load
from videre.predict.proposals import Proposer

COMMON = ("backbone=mobilenet_v2", "turn=true")
SETTINGS = {
    "rcnn": ("crop_size=112", "context=8", "most=[800,1500]"),
    "sppnet": ("short_side=480", "long_side=640"),
    "fast-rcnn": ("short_side=480", "long_side=640"),
    "faster-rcnn": ("short_side=480", "long_side=640"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--pictures", type=int, default=1800, help="seen in the training by descent")
    parser.add_argument("--split", default="train")
    parser.add_argument("--judge", default="val")
    parser.add_argument("--timed", type=int, default=8, help="pictures that are looked at in turn")
    parser.add_argument("--chart", type=Path)
    args = parser.parse_args()
    judged = data.read(args.data, args.judge)
    predictors, rows = {}, {}
    for system in args.only:
        weights, minutes = trained(system, args)
        predictors[system] = load(weights)
        report = evaluate_model(predictors[system], judged)
        rows[system] = {"minutes": minutes, **report.headline}
        print(f"{system}: {minutes:.1f} minutes, {report.headline}", flush=True)
    seconds, proposals = looked(predictors, judged, args.timed)
    print(f"\n{'':12} {'train, min':>11} {'look, s':>8} {'with proposals, s':>18} {'AP':>6} {'AP50':>6} {'AP75':>6}")
    for system, row in rows.items():
        whole = seconds[system] + (proposals if "proposals" in predictors[system].model.takes else 0.0)
        numbers = [row.get(f"box {name}", float("nan")) for name in ("AP", "AP50", "AP75")]
        print(
            f"{system:12} {row['minutes']:>11.1f} {seconds[system]:>8.2f} {whole:>18.2f} "
            + " ".join(f"{number:>6.3f}" for number in numbers)
        )
        row |= {"seconds": seconds[system], "with_proposals": whole}
    if args.chart:
        figure = interval_bars(list(rows), [row["with_proposals"] for row in rows.values()], label="seconds a picture")
        write_atomic(args.chart, to_png(figure))
    write_atomic(args.out / "history.json", json.dumps(rows, indent=1).encode())


def trained(system: str, args: argparse.Namespace) -> tuple[Path, float]:
    """The weights of a system's run, trained where they are not there, and the minutes that its command took (of one that was
    stopped, the last part)."""
    folder = args.out / system
    weights = folder / "last.safetensors"
    record = folder / "minutes.json"
    if not record.exists():
        settings = [
            word for one in (*COMMON[1:], *SETTINGS[system], f"pictures={args.pictures}") for word in ("-o", one)
        ]
        command = [
            sys.executable,
            "-m",
            "videre",
            "train",
            system,
            str(args.data),
            "--split",
            args.split,
            "--val",
            "none",
        ]
        command += ["--from", args.source, "--tune", "all", "--out", str(folder), *settings]
        began = time.perf_counter()
        subprocess.run(command + (["--resume"] if (folder / "run.json").exists() else []), check=True)
        write_atomic(record, json.dumps({"minutes": (time.perf_counter() - began) / 60}).encode())
    return weights, json.loads(record.read_text())["minutes"]


def looked(predictors: dict[str, Predictor], judged: data.Dataset, count: int) -> tuple[dict[str, float], float]:
    """Median seconds a picture of each system without proposals, by turns; and of the proposals."""
    proposer, found = Proposer("selective-search", keep=False), []
    seconds: dict[str, list[float]] = {system: [] for system in predictors}
    for i in range(min(count, len(judged))):
        picture = judged.picture(i)
        began = time.perf_counter()
        given = proposer(picture)
        found.append(time.perf_counter() - began)
        for turn in range(2):  # in the first the algorithms for these sizes are chosen
            for system, predictor in predictors.items():
                takes = "proposals" in predictor.model.takes
                batch = prepare(picture, predictor.model.preprocess, given=given if takes else None)
                began = time.perf_counter()
                predictor.run(batch)
                if turn:
                    seconds[system].append(time.perf_counter() - began)
    return {system: statistics.median(times) for system, times in seconds.items()}, statistics.median(found)


if __name__ == "__main__":
    main()
