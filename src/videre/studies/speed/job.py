"""The nouns of the speed study: a job, a run and its answer, and the timer that a run is timed by."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

CLASSES = 90
Answer = dict[str, list[Any]]
"""Boxes and scores of a prediction, the loss of a step: what both sides must agree on."""
Side = Callable[[], Answer]


@dataclasses.dataclass(frozen=True)
class Job:
    """One row of the table.

    Args:
        system: its name. training: steps, not predictions. backbone: with a feature pyramid of 256 channels.
        size: (height, width) of the pictures. short_side, long_side: what they are brought to. batch: pictures at once.
    """

    system: str
    training: bool = False
    backbone: str = "resnet50"
    size: tuple[int, int] = (480, 640)
    short_side: int = 800
    long_side: int = 1333
    batch: int = 1

    @property
    def classes(self) -> int:
        return 1 if self.system == "keypoint-rcnn" else CLASSES


class Timer:
    """Seconds spent in parts of a run, by name; a part inside another one counts for the inner one alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[list[float]] = []  # a part's children's seconds

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Time a method of an object from now on."""
        inner = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return inner(*args, **kwargs)

        object.__setattr__(owner, method, timed)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        self._open.append([])
        try:
            yield
        finally:
            taken, inside = time.perf_counter() - began, sum(self._open.pop())
            if self._open:
                self._open[-1].append(taken)
            self.seconds[name] = self.seconds.get(name, 0.0) + taken - inside
