"""What the user sees of a training: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from types import TracebackType

WARM_STEPS, WARM_SECONDS = 5, 120.0
"""The pace is known when of so many steps in a row none took much longer than the others, or after so long."""
STEADY = 2.0
"""Times the shortest of them that the longest may take."""


RECENT = 20
"""Steps whose mean loss is shown: that of one batch jumps."""


class Pace:
    """How long a step takes, once it is known: in the first steps kernels are compiled and plans made."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._last = self._begun
        self._recent: deque[float] = deque(maxlen=WARM_STEPS)
        self._base: tuple[int, float] | None = None

    def left(self, done: int, steps: int) -> float | None:
        """Seconds left after step number `done`; None while warming up."""
        now = time.monotonic()
        self._recent.append(now - self._last)
        self._last = now
        if self._base is None:
            steady = len(self._recent) == WARM_STEPS and max(self._recent) <= STEADY * min(self._recent)
            if steady or now - self._begun > WARM_SECONDS:
                self._base = done - len(self._recent), now - sum(self._recent)
        if self._base is None:
            return None
        first, began = self._base
        return (now - began) / (done - first) * (steps - done)


class Progress:
    """Shows loss, rate and time left.

    Args:
        steps: of the whole training. first: the step it starts at. mode: "auto", "plain", "none".
    """

    def __init__(self, steps: int, first: int = 0, mode: str = "auto") -> None:
        self.steps, self.first, self.mode = steps, first, mode
        self._bar = None
        self._started = self._spoken = time.monotonic()
        self._pace = Pace()
        self._losses: deque[float] = deque(maxlen=RECENT)
        if mode == "auto" and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
            )
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("train", total=steps, completed=first, left="warming up")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, done: int, loss: float, rate: float) -> None:
        """After step number `done`, whose loss may not be known yet (NaN)."""
        seconds = self._pace.left(done, self.steps)
        left = "warming up" if seconds is None else f"{_clock(seconds)} left"
        if not math.isnan(loss):
            self._losses.append(loss)
        mean = sum(self._losses) / max(1, len(self._losses))
        numbers = f"loss {mean:.3f}  lr {rate:.1e}" if self._losses else ""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=numbers, left=left)
        elif self.mode != "none" and (done == self.steps or now - self._spoken > 20 or done == self.first + 1):
            self.say(f"step {done}/{self.steps}  {numbers}  {_clock(now - self._started)}, {left}")
            self._spoken = now

    def warn(self, line: str) -> None:
        """A line that stays, also where nothing else is shown."""
        if self.mode == "none":
            print(line, file=sys.stderr, flush=True)
        else:
            self.say(line)

    def say(self, line: str) -> None:
        """A line that stays."""
        if self.mode == "none":
            return
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
