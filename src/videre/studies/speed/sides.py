"""One side of the comparison, in a process of its own: `python -m videre.studies.speed.sides SIDE JOB`.

Every line on stdin asks for one run; its numbers go out as a line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import videre
from videre.errors import VidereError

LEAST = 0.5
"""Seconds of a round: a shorter job runs again until they are over, and the mean counts. The first run is one alone."""


class Side:
    """A process that runs a job when it is asked to.

    Args:
        python: that runs it; torchvision's side needs one that has torchvision. side: "torchvision", or an engine of ours. job: of JOBS, or for our
            sides a checkpoint.

    Raises VidereError when it ends before its time, with the last line that it said.
    """

    def __init__(self, python: str, side: str, job: str) -> None:
        package = str(Path(videre.__file__).parents[1])
        paths = os.pathsep.join(path for path in (package, os.environ.get("PYTHONPATH")) if path)
        self.name = f"{side} of {job}"
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `close` does
        self.process = subprocess.Popen(
            [python, "-m", "videre.studies.speed.sides", side, job],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self.runs: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        """The numbers of one round: seconds, cpu, parts, memory (bytes above the imports), answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.said.seek(0)
            said = self.said.read().strip().splitlines() or ["nothing"]
            raise VidereError(f"{self.name} stopped; it said: {said[-1]}")
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.said.close()


def main(side: str, job: str) -> None:
    if side == "torchvision":  # counted among the imports
        import torchvision.models.detection  # noqa: F401
    from videre.studies.speed.job import Timer
    from videre.studies.speed.jobs import JOBS, ours, predictions, torchvisions

    imported, timer = memory("VmRSS"), Timer()
    if side == "torchvision":
        run = torchvisions(JOBS[job], timer)
    elif job in JOBS:
        run = ours(JOBS[job], side, timer)
    else:
        from videre.engine.allocator import keep_memory
        from videre.predict import load

        keep_memory()
        model = load(job, engine="plain").model
        run = predictions(JOBS["faster-rcnn"], model, side, timer)
    forget_peak()
    for asked, _ in enumerate(sys.stdin):
        timer.seconds.clear()
        began, cpu = time.perf_counter(), time.process_time()
        answer, times = run(), 1
        while asked and time.perf_counter() - began < LEAST:
            answer, times = run(), times + 1
        numbers = {
            "seconds": (time.perf_counter() - began) / times,
            "cpu": (time.process_time() - cpu) / times,
            "parts": {name: seconds / times for name, seconds in timer.seconds.items()},
            "memory": memory("VmHWM") - imported,
            "answer": answer,
        }
        print(json.dumps(numbers), flush=True)


def memory(field: str) -> int:
    """Bytes that the process has (VmRSS) or has had at most (VmHWM); 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def forget_peak() -> None:
    """The peak counts from now on: what building took is no part of a run."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
