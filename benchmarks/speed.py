"""Seconds a picture of the ResNet-50 pyramid detectors, beside torchvision's as its users run them.

    ./run peers
    python benchmarks/speed.py [--peer .venv-peers/bin/python] [--models fasterrcnn maskrcnn keypointrcnn] [--rounds 5]

Weights and picture are those of tests/golden/rule.py, so both sides find the same things: a picture of 640x480, brought
to 800x1066 and padded to 800x1088. Each side is a process of its own; they take turns, so that a busy moment meets them
all. Medians; memory is the peak above what the imports took.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
KINDS = {"fasterrcnn": "faster-rcnn", "maskrcnn": "mask-rcnn", "keypointrcnn": "keypoint-rcnn"}
SIZE, SHORT, LONG = (480, 640), 800, 1333
BACKGROUND = -0.5
"""Added to the rule's background logit: at this size 61 to 63 detections remain instead of 27."""


def torchvision_side(name: str) -> Callable[[], tuple[list, list]]:
    import torch
    from make_torchvision import build, rule

    rule.SIZE, rule.SHORT, rule.LONG = SIZE, SHORT, LONG
    rule.BACKGROUND = {kind: bias + BACKGROUND for kind, bias in rule.BACKGROUND.items()}
    model = build(name).eval()
    image = torch.from_numpy(rule.picture()).permute(2, 0, 1)

    def run() -> tuple[list, list]:
        with torch.inference_mode():
            found = model([image])[0]
        return found["boxes"].tolist(), found["scores"].tolist()

    return run


def videre_side(name: str, engine: str) -> Callable[[], tuple[list, list]]:
    import numpy as np
    import rule
    import torch

    from videre.engine import Predictor
    from videre.engine.allocator import keep_memory
    from videre.images.prepare import prepare
    from videre.models import find_model
    from videre.models.official import from_torchvision
    from videre.structures import COCO_PERSON, Categories, Preprocess, Schema

    keep_memory()
    rule.SIZE = SIZE
    rule.BACKGROUND = {kind: bias + BACKGROUND for kind, bias in rule.BACKGROUND.items()}
    person = name == "keypointrcnn"
    things = Categories.of(["person"] if person else [f"class {i}" for i in range(rule.CLASSES)])
    preprocess = Preprocess(short_side=SHORT, long_side=LONG, antialias=False)
    model = find_model(KINDS[name])(Schema(things=things, skeleton=COCO_PERSON), preprocess, backbone="resnet50")  # type: ignore[call-arg]
    with np.load(GOLDEN / f"torchvision_{name}.npz") as file:
        shapes = dict(zip(file["tensor_names"].tolist(), file["tensor_shapes"].tolist()))
    tensors = {n: torch.from_numpy(rule.fill(n, tuple(s for s in shape if s > 0), name)) for n, shape in shapes.items()}
    model.load_state_dict(from_torchvision(tensors, range(1, len(things) + 1), model))
    predictor = Predictor(model, engine=engine)
    picture = rule.picture()

    def run() -> tuple[list, list]:
        found = predictor.run(prepare(picture, model.preprocess))[0].instances
        assert found is not None and found.boxes is not None and found.scores is not None
        return found.boxes.tolist(), found.scores.tolist()

    return run


def serve(side: str, name: str) -> None:
    """One side: answers every line on stdin with a run's numbers."""
    sys.path.insert(0, str(GOLDEN))
    import torch

    memory = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if side == "torchvision":
        import torchvision  # noqa: F401 - counted among the imports
    else:
        import videre.engine.predictor
        import videre.ops.roi_align  # noqa: F401
    before = memory()
    run = torchvision_side(name) if side == "torchvision" else videre_side(name, side)
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for _ in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        boxes, scores = run()
        taken = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "memory": memory() - before}
        print(json.dumps({**taken, "boxes": boxes, "scores": scores}), flush=True)


class Side:
    """A process that runs a picture when it is asked to."""

    def __init__(self, python: str, side: str, name: str) -> None:
        command = [python, __file__, "--serve", side, "--models", name]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "GOMP_SPINCOUNT": "2000"},
        )
        self.hello = self._read()
        self.runs: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def median(self, what: str) -> float:
        return statistics.median(run[what] for run in self.runs)

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self.process.args))} stopped")  # type: ignore[arg-type]
        return json.loads(line)


def agreement(a: dict[str, Any], b: dict[str, Any]) -> str:
    if len(a["scores"]) != len(b["scores"]):
        return f"{len(b['scores'])} detections"
    off = lambda x, y: max((abs(p - q) for p, q in zip(x, y)), default=0.0)
    corners = max((off(p, q) for p, q in zip(a["boxes"], b["boxes"])), default=0.0)
    return f"{len(b['scores'])} detections, scores within {off(a['scores'], b['scores']):.0e}, boxes within {corners:.2g} px"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=".venv-peers/bin/python", help="a python that has torchvision")
    parser.add_argument("--models", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--engines", nargs="+", default=["plain", "fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.models[0])

    from videre.engine.device import describe_processor

    print(describe_processor())
    for name in args.models:
        sides = {"torchvision": Side(args.peer, "torchvision", name)} if Path(args.peer).exists() else {}
        sides |= {f"videre {engine}": Side(sys.executable, engine, name) for engine in args.engines}
        first = {label: side.run() for label, side in sides.items()}  # compiles, and finds the plan
        for _ in range(args.rounds):
            for side in sides.values():
                side.runs.append(side.run())
        base = next(iter(sides.values()))
        for label, side in sides.items():
            print(
                f"{name:14} {label:13} {side.median('seconds'):6.2f} s  x{base.median('seconds') / side.median('seconds'):.2f}  "
                f"CPU {side.median('cpu'):6.2f} s  first {first[label]['seconds']:5.1f} s  "
                f"+{side.runs[-1]['memory']:.0f} MiB  {agreement(base.runs[-1], side.runs[-1])}",
                flush=True,
            )
            side.process.kill()
            side.process.wait()


if __name__ == "__main__":
    main()
