"""The best and the worst pictures of an evaluation, kept while it runs: no more than a page shows."""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Iterable

from videre.structures import Scene

WORST, BEST = 8, 4


@dataclasses.dataclass(frozen=True)
class Example:
    """A picture by its number in the data, how good its prediction is, that and the truth."""

    picture: int
    value: float
    prediction: Scene
    truth: Scene


class Examples:
    """The `WORST` and the `BEST` of all that are added; of equal ones those that come first in the data."""

    def __init__(self) -> None:
        self._worst: list[tuple[float, int, Example]] = []
        self._best: list[tuple[float, int, Example]] = []

    def add(self, picture: int, value: float, prediction: Scene, truth: Scene) -> None:
        """A picture, of which a larger `value` is better; NaN: it teaches nothing."""
        if not math.isnan(value):
            self._add(Example(picture, value, prediction, truth))

    def merge(self, other: Examples) -> None:
        """Those of another process."""
        for example in {e.picture: e for e in (*other.worst, *other.best)}.values():
            self._add(example)

    def _add(self, example: Example) -> None:
        for heap, sign, most in ((self._worst, -1, WORST), (self._best, 1, BEST)):
            heapq.heappush(heap, (sign * example.value, -example.picture, example))
            if len(heap) > most:
                heapq.heappop(heap)

    @property
    def worst(self) -> list[Example]:
        """The worst first."""
        return sorted(_of(self._worst), key=lambda e: (e.value, e.picture))

    @property
    def best(self) -> list[Example]:
        """The best first, without those that are among the worst."""
        shown = {e.picture for e in self.worst}
        return sorted((e for e in _of(self._best) if e.picture not in shown), key=lambda e: (-e.value, e.picture))


def _of(heap: Iterable[tuple[float, int, Example]]) -> list[Example]:
    return [example for _, _, example in heap]
