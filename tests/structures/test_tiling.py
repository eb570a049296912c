"""Tilings cover every pixel, and what they say together is one answer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videre.errors import ConfigError
from videre.structures import Tiling


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.data())
def test_every_pixel_is_said_something_of(height: int, width: int, tile: int, data: st.DataObject) -> None:
    tiling = Tiling(tile, data.draw(st.integers(0, tile - 1)))
    total = torch.zeros(height, width)
    for x1, y1, x2, y2 in tiling.windows((height, width)):
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        assert x2 - x1 == min(tile, width) and y2 - y1 == min(tile, height)
        weight = tiling.weights((x1, y1, x2, y2), (height, width))
        assert weight.shape == (y2 - y1, x2 - x1) and weight.min() >= 0 and weight.max() <= 1
        total[y1:y2, x1:x2] += weight
    assert total.min() > 0


def test_a_strip_by_hand() -> None:
    tiling = Tiling(16, 8)
    assert tiling.windows((16, 24)) == [(0, 0, 16, 16), (8, 0, 24, 16)]
    left = tiling.weights((0, 0, 16, 16), (16, 24))[0]
    right = tiling.weights((8, 0, 24, 16), (16, 24))[0]
    assert left[:8].tolist() == [1] * 8 and right[8:].tolist() == [1] * 8
    assert left[8:].tolist() == [1, 1, 0.875, 0.625, 0.375, 0.125, 0, 0]
    torch.testing.assert_close(left[8:] + right[:8], torch.ones(8))


def test_sides_follow_the_stride_and_bad_ones_are_refused() -> None:
    assert Tiling(100).aligned(32) == Tiling(128, 32) and Tiling(10, 9).aligned(32) == Tiling(64, 32)
    for tile, overlap in ((0, None), (8, 8), (8, -1)):
        with pytest.raises(ConfigError, match=f"tiles of {tile} pixels"):
            Tiling(tile, overlap)
