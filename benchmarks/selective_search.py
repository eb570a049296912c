"""Selective Search beside OpenCV's: `python benchmarks/selective_search.py DATA --peer .venv-contrib/bin/python`.

For each mode, of both: boxes and seconds a picture, and over all true boxes recall at IoU .5 / at .7 / mean best
overlap among the first 100, 500 and 1,000 proposals, among as many as both have of a picture, and among all. Both see
the same pictures in turn; seconds are of each picture the median of the rounds, and then their mean. OpenCV's modes
have other scales and more groupings than the paper's, and it keeps small boxes; `--opencv-strategy` gives ours its
groupings.

The peer is a Python with opencv-contrib-python-headless, which shares a module with OpenCV's plain package and so
cannot stand beside it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import videre.data
from videre.models.propose.selective_search import MODES, Strategy, selective_search
from videre.ops.boxes import box_iou

COUNTS = (100, 500, 1000)
PEER = """
import json, sys, time
import cv2, numpy as np
pictures = np.load(sys.argv[1])
cv2.setNumThreads(int(sys.argv[2]))
for line in sys.stdin:
    mode, i = line.split()
    picture = np.ascontiguousarray(pictures[i][..., ::-1])
    began = time.perf_counter()
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(picture)
    {"single": search.switchToSingleStrategy, "fast": search.switchToSelectiveSearchFast,
     "quality": search.switchToSelectiveSearchQuality}[mode]()
    found = search.process()
    seconds = time.perf_counter() - began
    print(json.dumps([seconds, np.asarray(found).reshape(-1, 4).tolist()]), flush=True)
"""
OPENCV = {
    "single": Strategy(("hsv",), MODES["single"].similarities, (200,), 100),
    "fast": Strategy(("hsv", "lab"), MODES["fast"].similarities, (150, 300, 450), 100),
    "quality": Strategy(MODES["quality"].spaces, MODES["quality"].similarities, (150, 300, 450, 600, 750), 100),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--peer", type=Path, help="Python with cv2.ximgproc; without it ours is measured alone")
    parser.add_argument("--pictures", type=int, default=150)
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=["single", "fast"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--min-side", type=float, default=20)
    parser.add_argument("--long-side", type=int, default=500, help="of the pictures, for ours; 0: as the pictures are")
    parser.add_argument("--opencv-strategy", action="store_true", help="OpenCV's scales for ours, too")
    args = parser.parse_args()
    data = videre.data.read(args.data, args.split)
    chosen = sorted(range(len(data)), key=data.name)[: args.pictures]
    pictures, truths = [], []
    for i in chosen:
        picture, scene = data[i]
        pictures.append(picture)
        truths.append(scene.instances.boxes.double())
    strategies = OPENCV if args.opencv_strategy else MODES
    selective_search(pictures[0], strategies[args.modes[0]])  # compiles the kernels
    print(
        f"{_processor()}, {torch.get_num_threads()} threads; {len(pictures)} pictures, "
        f"{sum(map(len, truths))} boxes; recall at IoU .5 / .7 / mean best overlap"
    )
    columns = [*(f"first {count}" for count in COUNTS), "equal number", "all"]
    print(f"{'':16}{'boxes':>7}{'seconds':>9}", *(f"{name:>18}" for name in columns))
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/pictures.npz", **{str(i): picture for i, picture in enumerate(pictures)})
        peer = args.peer and subprocess.Popen(
            [args.peer, "-c", PEER, f"{folder}/pictures.npz", str(torch.get_num_threads())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mode in args.modes:
            found: dict[str, list[np.ndarray]] = {"videre": []}
            seconds: dict[str, list[list[float]]] = {"videre": []}
            if peer:
                found["opencv"], seconds["opencv"] = [], []
            for i, picture in enumerate(pictures):
                for taken in seconds.values():
                    taken.append([])
                for _ in range(args.rounds):
                    began = time.perf_counter()
                    boxes, _ = selective_search(
                        picture, strategies[mode], args.seed, args.min_side, args.long_side or None
                    )
                    seconds["videre"][i].append(time.perf_counter() - began)
                    if peer:
                        print(mode, i, file=peer.stdin, flush=True)
                        taken, rectangles = json.loads(peer.stdout.readline())
                        seconds["opencv"][i].append(taken)
                found["videre"].append(boxes)
                if peer:
                    corner, size = np.split(np.array(rectangles, np.float32).reshape(-1, 4), 2, 1)
                    found["opencv"].append(np.concatenate([corner, corner + size], 1))
            equal = [min(map(len, one)) for one in zip(*found.values())]
            for name, proposals in found.items():
                print(
                    f"{mode:8}{name:8}{statistics.mean(map(len, proposals)):7.0f}"
                    f"{statistics.mean(map(statistics.median, seconds[name])):9.4f}",
                    *(f"{_recall(truths, proposals, [count] * len(truths)):>18}" for count in COUNTS),
                    f"{_recall(truths, proposals, equal):>18}",
                    f"{_recall(truths, proposals, list(map(len, proposals))):>18}",
                    flush=True,
                )
        if peer:
            peer.stdin.close()
            peer.wait()


def _recall(truths: list[torch.Tensor], proposals: list[np.ndarray], counts: list[int]) -> str:
    best = torch.cat(
        [
            box_iou(true, torch.from_numpy(boxes[:count]).double()).max(1).values
            if min(len(true), count)
            else true[:, 0] * 0
            for true, boxes, count in zip(truths, proposals, counts)
        ]
    )
    return f"{(best >= 0.5).double().mean():.3f} {(best >= 0.7).double().mean():.3f} {best.mean():.3f}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
