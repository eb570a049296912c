"""Default boxes: the anchors of SSD, laid over every cell of every map relative to the picture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor


class DefaultBoxes:
    """Boxes of given sizes and shapes, centred on the middle of each cell; sizes are shares of the picture's sides.

    Liu et al., SSD: Single Shot MultiBox Detector, 2016, section 2.2, in the order of the released code: for each map the square of its
    scale, the square of the geometric mean with the next scale, then for each ratio the wide box and the high one.

    Args:
        scales: one a map, and one more. ratios: width / height of each map's boxes beside 1; every one also upside down.
        steps: pixels between the middles, of a picture whose side is `side`; None: the side over the map's cells.
        reduced: TensorFlow's: the first map has three boxes, with a square of a tenth of the picture; sides may be larger than the
            picture, which are cut to it elsewhere.
    """

    def __init__(
        self,
        scales: Sequence[float],
        ratios: Sequence[Sequence[float]],
        steps: Sequence[float] | None = None,
        side: float = 1.0,
        reduced: bool = False,
    ) -> None:
        self.shapes: list[Tensor] = []
        for i, (scale, following) in enumerate(itertools.pairwise(scales)):
            middle = math.sqrt(scale * following)
            if reduced and i == 0:
                shapes = [(0.1, 0.1), *_by_ratio(scale, (2.0,))]
            elif reduced:  # in TensorFlow's order the square between the scales comes last
                shapes = [(scale, scale), *_by_ratio(scale, ratios[i]), (middle, middle)]
            else:
                shapes = [(scale, scale), (middle, middle), *_by_ratio(scale, ratios[i])]
            whole = torch.tensor(shapes)
            self.shapes.append(
                whole if reduced else whole.clamp(max=1)
            )  # torchvision cuts the sides, TensorFlow does not
        self.steps, self.side = steps, side

    @property
    def per_cell(self) -> list[int]:
        """Boxes a cell of each map."""
        return [len(shapes) for shapes in self.shapes]

    def __call__(self, size: tuple[int, int], grids: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
        """All default boxes [H_l * W_l * A_l summed, 4] (xyxy, pixels), for a picture of `size` (height, width) and maps of these sizes.

        Boxes at the border reach outside.
        """
        whole = []
        for i, ((rows, columns), shapes) in enumerate(zip(grids, self.shapes, strict=True)):
            down, across = (rows, columns) if self.steps is None else (self.side / self.steps[i],) * 2
            y = (torch.arange(rows, dtype=torch.float32) + 0.5) / down
            x = (torch.arange(columns, dtype=torch.float32) + 0.5) / across
            middle = torch.stack([x.repeat(rows), y.repeat_interleave(columns)], 1)[:, None]  # (cells, 1, 2)
            whole.append(torch.cat([middle - shapes / 2, middle + shapes / 2], 2).flatten(0, 1))
        return (torch.cat(whole) * torch.tensor([size[1], size[0]] * 2)).to(device)


def _by_ratio(scale: float, ratios: Sequence[float]) -> list[tuple[float, float]]:
    """(width, height) of each ratio, the wide box and the high one."""
    found = []
    for ratio in ratios:
        root = math.sqrt(ratio)
        found += [(scale * root, scale / root), (scale / root, scale * root)]
    return found
