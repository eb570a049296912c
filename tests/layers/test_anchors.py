"""Anchors are torchvision's: the numbers obtained by running it."""

import pytest
import torch

from videre.layers.anchors import Anchors

SIZES = (32, 64, 128, 256, 512)


@pytest.mark.parametrize(
    ("size", "wide", "square"),
    [
        (32, (-23, -11, 23, 11), (-16, -16, 16, 16)),
        (64, (-45, -23, 45, 23), (-32, -32, 32, 32)),
        (128, (-91, -45, 91, 45), (-64, -64, 64, 64)),
        (256, (-181, -91, 181, 91), (-128, -128, 128, 128)),
        (512, (-362, -181, 362, 181), (-256, -256, 256, 256)),
    ],
)
def test_the_cell_has_a_wide_a_square_and_a_tall_one(size, wide, square):
    (cell,) = Anchors([[size]], (0.5, 1, 2)).cells
    tall = (wide[1], wide[0], wide[3], wide[2])
    assert [tuple(row) for row in cell.tolist()] == [wide, square, tall]


def test_order_is_ratio_then_size_in_a_cell_and_row_by_row_over_cells():
    anchors = Anchors([[32, 64]], (0.5, 2))
    assert anchors.per_cell == [4]
    cells = anchors.cells[0]
    assert (cells[:, 2] - cells[:, 0]).tolist() == [46, 90, 22, 46]
    (laid,) = anchors((20, 30), [(2, 3)], torch.device("cpu"))
    centres = (laid[:, :2] + laid[:, 2:]) / 2
    assert len(laid) == 2 * 3 * 4
    assert centres[::4].tolist() == [[0, 0], [10, 0], [20, 0], [0, 10], [10, 10], [20, 10]]
    assert torch.equal(laid[4:8] - torch.tensor([10.0, 0, 10, 0]), cells)


def test_the_stride_is_the_padded_side_over_the_grid():
    """800 x 1088: the extra level has 13 x 17 cells, 61 and 64 apart."""
    grids = [(200, 272), (100, 136), (50, 68), (25, 34), (13, 17)]
    levels = Anchors([[s] for s in SIZES], (0.5, 1, 2))((800, 1088), grids, torch.device("cpu"))
    assert [len(level) for level in levels] == [3 * h * w for h, w in grids]
    centre = lambda level, row: ((level[row, :2] + level[row, 2:]) / 2).tolist()
    assert centre(levels[4], 3) == [64, 0] and centre(levels[4], 3 * 17) == [0, 61]
    assert [centre(level, 3) for level in levels[:4]] == [[4, 0], [8, 0], [16, 0], [32, 0]]


def test_they_are_kept_and_do_not_hoard():
    anchors = Anchors([[32]], (1,))
    cpu = torch.device("cpu")
    assert anchors((64, 64), [(4, 4)], cpu)[0] is anchors((64, 64), [(4, 4)], cpu)[0]
    for n in range(1, 200):
        anchors((n, n), [(1, 1)], cpu)
    assert len(anchors._cache) <= 65
