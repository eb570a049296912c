import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from videre.ops.rasterise import rasterise_polygons, signed_area, trace_polygons
from videre.ops.rle import rle_decode, rle_to_string


def bitmap_of(counts, size):
    return rle_decode(counts, torch.tensor([0, len(counts)]), size)[0].numpy()


@st.composite
def outlines(draw):
    """Parts with vertices anywhere, at pixel corners, or at halves; in and out of the picture; points repeated."""
    size = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid = draw(st.sampled_from([0, 1, 2, 10]))
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        part = (rng.random((rng.integers(3, 9), 2)) * 1.8 - 0.4) * size[::-1]
        part = np.round(part * grid) / grid if grid else part
        parts.append(np.repeat(part, rng.integers(1, 3), 0) if draw(st.booleans()) else part)
    return parts, size


@settings(max_examples=300)
@given(outlines())
def test_fills_exactly_as_coco(case):
    parts, size = case
    expected = coco.merge(coco.frPyObjects([p.flatten().tolist() for p in parts], *size))
    assert rle_to_string(rasterise_polygons(parts, size)) == expected["counts"]


@pytest.mark.parametrize(
    ("polygon", "text", "area"),
    [
        ([2, 2, 7, 2, 7, 7, 2, 7], b"f0550000000l0", 25),
        ([0, 0, 10, 0, 10, 10, 0, 10], b"0T3", 100),
        ([1, 1, 8, 4, 2, 8], b";383LO1O2O0Ol0", 23),
    ],
)
def test_vectors_of_coco(polygon, text, area):
    counts = rasterise_polygons([torch.tensor(polygon).reshape(-1, 2)], (10, 10))
    assert rle_to_string(counts) == text and counts[1::2].sum() == area


@settings(max_examples=200)
@given(st.integers(0, 14), st.integers(0, 14), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_tracing_then_filling_gives_the_same_bitmap(h, w, density, seed):
    bitmap = (np.random.default_rng(seed).random((h, w)) < density).astype(np.uint8)
    parts, holes = trace_polygons(bitmap)
    assert (bitmap_of(rasterise_polygons(parts, (h, w), holes), (h, w)) == bitmap).all()


def test_an_island_in_a_hole_survives():
    bitmap = np.zeros((9, 9), np.uint8)
    bitmap[1:8, 1:8] = 1
    bitmap[2:7, 2:7] = 0
    bitmap[3:6, 3:6] = 1
    parts, holes = trace_polygons(bitmap)
    assert [p.tolist() for p in parts] == [[[8, 1], [8, 8], [1, 8], [1, 1]], [[6, 3], [6, 6], [3, 6], [3, 3]]]
    assert len(holes) == 1
    assert (bitmap_of(rasterise_polygons(parts, (9, 9), holes), (9, 9)) == bitmap).all()


def test_outlines_are_simple_and_short():
    assert [p.tolist() for p in trace_polygons(np.ones((3, 4)))[0]] == [[[4, 0], [4, 3], [0, 3], [0, 0]]]
    assert len(trace_polygons(np.eye(3))[0]) == 3  # pixels that meet at a corner are apart
    assert trace_polygons(np.zeros((3, 4))) == ([], [])


def test_nothing_to_fill():
    assert rasterise_polygons([], (3, 4)).tolist() == [12]
    assert rasterise_polygons([np.zeros((2, 2))], (3, 4)).tolist() == [12]
    assert rasterise_polygons([np.array([[50.0, 50], [60, 50], [55, 60]])], (3, 4)).tolist() == [12]


def test_errors_name_the_culprit():
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        rasterise_polygons([np.zeros((3, 3))], (4, 4))
    with pytest.raises(ValueError, match="finite"):
        rasterise_polygons([np.full((3, 2), np.nan)], (4, 4))
    with pytest.raises(ValueError, match=r"\(2,\)"):
        trace_polygons(np.zeros(2))


def test_a_signed_area_tells_which_way_an_outline_runs():
    square = np.array([[0.0, 0], [4, 0], [4, 3], [0, 3]])  # clockwise, as seen with y downwards
    assert (signed_area(square), signed_area(square[::-1])) == (12, -12)
    assert signed_area(np.array([[1.0, 1], [5, 1], [1, 4]])) == 6
