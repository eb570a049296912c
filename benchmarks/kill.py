"""Kill trainings at random moments, resume them, and compare: `python benchmarks/kill.py [--kills 30] [--seed 0]`.

A tiny detector is trained on the blocks world to its end without harm, and then again and again with SIGKILL at random moments,
resumed each time until it is done, up to so many kills in all. Weights, averages and states must be equal to the bit. The moments
are drawn over all the time that a training takes, so that starts, saves and evaluations are hit as well as steps.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from videre.tensors import read_tensors

FILES = ("last.safetensors", "best.safetensors", "state/state.safetensors")


def run(out: Path, resume: bool) -> None:
    """One training, in this process, until it is done or killed."""
    from videre.data.blocks import blocks_dataset
    from videre.train import train
    from videre.train.build import prepare_training

    data = blocks_dataset(24, size=(64, 64))
    small = {
        "width": 16,
        "hidden": 32,
        "rpn_pre_nms": [100, 50],
        "rpn_post_nms": [50, 20],
        "roi_batch": 16,
        "short_side": 64,
    }
    recipe = {"epochs": 20, "batch": 4, "precision": "fp32", "save_minutes": 0.005, "workers": 1}
    start = prepare_training("faster-rcnn", data.subset(range(16)), "mobilenet_v2", settings={**small, **recipe})
    resume = resume and (out / "run.json").exists()  # killed before there was anything to go on from
    training, validation = data.subset(range(16)), data.subset(range(16, 24))
    train(
        start.model,
        training,
        start.recipe,
        out,
        validation=validation,
        resume=resume,
        device="cpu",
        progress="none",
        page=False,
    )


def begin(out: Path, resume: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--run", str(out), *(["--resume"] if resume else [])])


def killed_after(process: subprocess.Popen[bytes], seconds: float, deadly: bool) -> int:
    """Wait so long, then kill; the exit code, 0 where it was done before."""
    try:
        return process.wait(seconds if deadly else None)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        return process.wait()


def differences(one: Path, other: Path) -> list[str]:
    """What is not equal to the bit, by file and name."""
    found = []
    for file in FILES:
        a, b = read_tensors(one / file)[0], read_tensors(other / file)[0]
        found += [f"{file}: {name}" for name in sorted(a.keys() ^ b.keys())]
        found += [f"{file}: {name}" for name in sorted(a.keys() & b.keys()) if not torch.equal(a[name], b[name])]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="in all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run is not None:
        run(given.run, given.resume)
        return 0
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole")
        began = time.monotonic()
        if begin(whole, resume=False).wait():
            return 1
        took = time.monotonic() - began
        print(f"trained to the end in {took:.1f} s", flush=True)
        kills, trainings, odd = 0, 0, list[str]()
        while kills < given.kills:
            cut, resume = Path(folder, f"cut{trainings}"), False
            while (code := killed_after(begin(cut, resume), moments.uniform(0, took), kills < given.kills)) != 0:
                if code != -signal.SIGKILL:
                    print(f"failed after {kills} kills, exit code {code}")
                    return 1
                kills, resume = kills + 1, True
            trainings += 1
            odd += differences(whole, cut)
            print(f"{kills} kills, {trainings} trainings done", flush=True)
    result = f"{len(odd)} tensors differ: {', '.join(odd[:5])}" if odd else "all equal to the bit"
    print(f"{kills} kills in {trainings} trainings: {result}")
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
