"""The table of `videre bench`: seconds by stage, memory and the ratio to torchvision's, job by job."""

from __future__ import annotations

import dataclasses
import importlib.util
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from videre.errors import ConfigError, WeightsError
from videre.models.checkpoint import Checkpoint
from videre.studies.speed.jobs import JOBS
from videre.studies.speed.sides import Side
from videre.zoo.weights import find_weights


@dataclasses.dataclass(frozen=True)
class Row:
    """What one side needs for a job.

    Args:
        seconds, cpu: median of the rounds, wall and processor. ratio: how many times faster than the first side.
        first: seconds of the first run, which compiles and finds the plan. memory: peak in bytes above the imports.
        parts: median seconds of each part. agreement: how its answer compares with the first side's.
    """

    job: str
    side: str
    seconds: float
    cpu: float
    ratio: float
    first: float
    memory: int
    parts: dict[str, float]
    agreement: str

    def __str__(self) -> str:
        digits = 2 if self.seconds >= 0.5 else 4
        parts = ", ".join(f"{name} {seconds:.{digits}f}" for name, seconds in self.parts.items())
        return (
            f"{self.job:19} {self.side:12} {self.seconds:6.{digits}f} s  x{self.ratio:.2f}  CPU {self.cpu:.{digits}f} s  first "
            f"{self.first:.1f} s  {self.memory / 2**20:.0f} MiB  {self.agreement}\n{'':32} {parts}"
        )


def bench(jobs: Sequence[str], engines: Sequence[str], peer: str | None, rounds: int) -> Iterator[Row]:
    """Rows, as they are measured.

    Args:
        jobs: names of JOBS, or checkpoints (by our engines alone). engines: see `Predictor`. peer: a Python that has
            torchvision; None: without. rounds: of each side, after a run that warms up.

    Raises ConfigError or WeightsError before the first job is begun, where one of them cannot be run.
    """
    for job in jobs:
        if not is_checkpoint(job):
            if JOBS[job].training and "compile" in engines:
                raise ConfigError(f"--engine compile: {job} is a training; leave compile to predictions")
        elif not isinstance(find_weights(job), Checkpoint):
            raise WeightsError(f"{job}: weights of a backbone alone; there is no detector to run")
    for job in jobs:
        yield from _one(job, engines, None if is_checkpoint(job) else peer, rounds)


def _one(job: str, engines: Sequence[str], peer: str | None, rounds: int) -> Iterator[Row]:
    sides: dict[str, Side] = {}
    try:
        if peer is not None:
            sides["torchvision"] = Side(peer, "torchvision", job)
        for engine in engines:
            sides[engine] = Side(sys.executable, engine, job)
        first = {name: side.run() for name, side in sides.items()}
        for _ in range(rounds):
            for side in sides.values():
                side.runs.append(side.run())
    finally:
        for side in sides.values():
            side.close()
    median = lambda side, key: statistics.median(run[key] for run in side.runs)
    base = next(iter(sides.values()))
    for name, side in sides.items():
        last = side.runs[-1]
        yield Row(
            job,
            name,
            median(side, "seconds"),
            median(side, "cpu"),
            median(base, "seconds") / median(side, "seconds"),
            first[name]["seconds"],
            last["memory"],
            {part: statistics.median(run["parts"].get(part, 0.0) for run in side.runs) for part in last["parts"]},
            agreement(base.runs[-1]["answer"], last["answer"]),
        )


def agreement(a: dict[str, Any], b: dict[str, Any]) -> str:
    """How two answers compare, in words."""
    if "loss" in b:
        return f"loss {b['loss'][0]:.3f}"
    if "labels" in b:
        alike = sum(x == y for x, y in zip(a["labels"], b["labels"]))
        off = max(abs(x - y) for x, y in zip(a["scores"], b["scores"]))
        return f"top-1 of {alike} of {len(b['labels'])} alike, probabilities within {off:.0e}"
    if "pixels" in b:
        alike = sum(x == y for x, y in zip(a["pixels"], b["pixels"]))
        return f"{alike / len(b['pixels']):.2%} of the pixels alike"
    found = f"{len(b['scores'])} detections"
    if len(a["scores"]) != len(b["scores"]) or a is b:
        return found
    off = lambda x, y: max((abs(p - q) for p, q in zip(x, y)), default=0.0)
    corners = max((off(p, q) for p, q in zip(a["boxes"], b["boxes"])), default=0.0)
    return f"{found}, scores within {off(a['scores'], b['scores']):.0e}, boxes within {corners:.2g} px"


def is_checkpoint(job: str) -> bool:
    """Whether a job is a file or a checkpoint's name and none of the table's."""
    return job not in JOBS


def find_peer(python: str | None) -> str | None:
    """A Python that has torchvision: the one that is named, or this one; None where there is none.

    Raises ConfigError when the named one has none.
    """
    if python is None:
        return sys.executable if importlib.util.find_spec("torchvision") else None
    try:
        done = subprocess.run([python, "-c", "import torchvision"], capture_output=True, text=True)
    except OSError as error:
        raise ConfigError(f"--peer {python}: {error.strerror or error}") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise ConfigError(f"--peer {python}: it cannot import torchvision ({reason})")
    return python
