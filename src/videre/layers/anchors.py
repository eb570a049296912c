"""Anchors: the reference boxes of dense detectors, laid over every cell of every level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Anchors:
    """Boxes of given sizes and shapes, centred on the top-left corner of each cell (torchvision, detectron2).

    Args:
        sizes: per level the anchor sizes in pixels: sqrt of the area.
        ratios: height / width.

    An anchor of size s and ratio r has w = s / sqrt(r), h = s * sqrt(r), corners rounded to whole pixels.
    Order in a cell: ratio slowest, size fastest; order overall: level, y, x, anchor.
    """

    def __init__(self, sizes: Sequence[Sequence[float]], ratios: Sequence[float]) -> None:
        self.cells = [_cell(level, ratios) for level in sizes]
        self._cache: dict[tuple[object, ...], list[Tensor]] = {}

    @property
    def per_cell(self) -> list[int]:
        return [len(cell) for cell in self.cells]

    def __call__(self, image: Sequence[int], grids: Sequence[tuple[int, int]], device: torch.device) -> list[Tensor]:
        """Anchors [H_l * W_l * A, 4] (xyxy, batch pixels) of each level.

        The stride of a level is image // grid, torchvision's rule: where a side is no multiple of the level's nominal
        stride it is a little smaller (800 over 13 cells gives 61, not 64), and published weights expect that.
        """
        if torch.compiler.is_exporting():  # sizes are symbols, of which nothing can be kept
            return [_anchors_at(cell.to(device), image, grid) for cell, grid in zip(self.cells, grids)]
        key = (tuple(image), tuple(grids), device)
        if key not in self._cache:
            if len(self._cache) > 64:  # training with many sizes must not hoard
                self._cache.clear()
            self._cache[key] = [_anchors_at(cell.to(device), image, grid) for cell, grid in zip(self.cells, grids)]
        return self._cache[key]


def _cell(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    size, ratio = torch.as_tensor(sizes, dtype=torch.float32), torch.as_tensor(ratios, dtype=torch.float32)
    heights = (ratio.sqrt()[:, None] * size).flatten()
    widths = (1 / ratio.sqrt()[:, None] * size).flatten()
    return (torch.stack([-widths, -heights, widths, heights], dim=1) / 2).round()


def _anchors_at(cell: Tensor, image: Sequence[int], grid: tuple[int, int]) -> Tensor:
    ys = torch.arange(grid[0], device=cell.device, dtype=torch.float32) * (image[0] // grid[0])
    xs = torch.arange(grid[1], device=cell.device, dtype=torch.float32) * (image[1] // grid[1])
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    shift = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (shift + cell).reshape(-1, 4)  # (H * W * A, 4)
