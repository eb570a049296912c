"""Maps of pictures of different sizes as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def stack_padded(maps: Sequence[Tensor], size: Sequence[int], fill: float) -> Tensor:
    """Maps [..., h, w] as one tensor [B, ..., H, W] of `size` (H, W), `fill` to the right and below."""
    stacked = maps[0].new_full((len(maps), *maps[0].shape[:-2], *size), fill)
    for row, one in enumerate(maps):
        stacked[row, ..., : one.shape[-2], : one.shape[-1]] = one
    return stacked
