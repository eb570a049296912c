"""What the user sees of a training: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from types import TracebackType


class Progress:
    """Shows loss, rate and time left.

    Args:
        steps: of the whole training. first: the step it starts at. mode: "auto", "plain", "none".
    """

    def __init__(self, steps: int, first: int = 0, mode: str = "auto") -> None:
        self.steps, self.first, self.mode = steps, first, mode
        self._bar = None
        self._started = self._spoken = time.monotonic()
        if mode == "auto" and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("train", total=steps, completed=first)

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
        """After step number `done`."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=f"loss {loss:.3f}  lr {rate:.1e}")
        elif self.mode != "none" and (
            done == self.steps or time.monotonic() - self._spoken > 20 or done == self.first + 1
        ):
            now = time.monotonic()
            left = (now - self._started) / max(1, done - self.first) * (self.steps - done)
            self.say(
                f"step {done}/{self.steps}  loss {loss:.3f}  lr {rate:.1e}  {_clock(now - self._started)}, {_clock(left)} left"
            )
            self._spoken = now

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
