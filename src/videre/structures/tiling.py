"""Tiling: a large picture in windows that overlap, and how much each window has to say about each of its pixels."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from videre.errors import ConfigError

Window = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Square windows of `tile` pixels, each sharing at least `overlap` pixels with the next.

    Where two windows share a strip, the outer quarter of each has no weight, since there a net sees less than around it;
    in between the weight rises linearly. So a net that sees no further than a quarter of the overlap says the same in
    windows as on the whole picture; others nearly so.

    Args:
        tile: side. overlap: None: a quarter of it.

    Raises ConfigError for an overlap that is not smaller than the tile.
    """

    tile: int
    overlap: int | None = None

    def __post_init__(self) -> None:
        if self.tile < 1 or not 0 <= self.shared < self.tile:
            raise ConfigError(
                f"tiling: tiles of {self.tile} pixels that share {self.shared} cannot cover a picture; give a "
                "tile of at least 1 and an overlap below it"
            )

    @property
    def shared(self) -> int:
        """Pixels that neighbours share, at least."""
        return self.tile // 4 if self.overlap is None else self.overlap

    def aligned(self, divisor: int) -> Tiling:
        """The next larger tiling whose windows begin and end at multiples of `divisor`."""
        up = lambda n: -(-n // divisor) * divisor
        shared = up(self.shared)
        return Tiling(max(up(self.tile), shared + divisor), shared)

    def windows(self, size: tuple[int, int]) -> list[Window]:
        """x1, y1, x2, y2 that cover a picture of (height, width); the last of a row and column end at the border."""
        across, down = self._starts(size[1]), self._starts(size[0])
        return [(x, y, min(x + self.tile, size[1]), min(y + self.tile, size[0])) for y in down for x in across]

    def weights(self, window: Window, size: tuple[int, int]) -> Tensor:
        """float32 [h, w]: what the window has to say about its pixels, 0 to 1."""
        x1, y1, x2, y2 = window
        return self._ramp(y1, y2, size[0])[:, None] * self._ramp(x1, x2, size[1])[None, :]

    def _starts(self, side: int) -> list[int]:
        if side <= self.tile:
            return [0]
        step = self.tile - self.shared
        count = math.ceil((side - self.tile) / step)
        return [n * step for n in range(count)] + [side - self.tile]

    def _ramp(self, first: int, last: int, side: int) -> Tensor:
        place = torch.arange(first, last) + 0.5
        weight = torch.ones(last - first)
        if self.shared:
            rise = lambda depth: ((depth - self.shared / 4) / (self.shared / 2)).clamp(0, 1)
            if first > 0:
                weight = weight * rise(place - first)
            if last < side:
                weight = weight * rise(last - place)
        return weight
