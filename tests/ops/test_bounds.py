"""Kernels that take numbers out of files never touch memory that is not theirs, whatever the numbers are."""

import os
import subprocess
import sys

SCRIPT = """
import numpy as np, torch
from hypothesis import given, settings, strategies as st
from videre.errors import VidereError
from videre.ops import rasterise, rle
from videre.structures import Masks, Polygons

SIZE = (6, 9)
EXTREME = [0, 1, 2, 53, 54, 55, 2**31, 2**53, 2**62, 2**63 - 1, -1, -(2**63)]
numbers = st.one_of(st.sampled_from(EXTREME), st.integers(0, 60))
coordinates = st.one_of(st.floats(-20, 20), st.floats(), st.sampled_from([2.0**24, -(2.0**24), 2.0**31, 1e300]))
WRONG = (ValueError, VidereError)


@settings(max_examples=150, deadline=None, database=None)
@given(st.lists(st.lists(numbers, max_size=5), max_size=3), st.lists(numbers, min_size=8, max_size=8))
def runs(rows, corners):
    counts = torch.tensor([n for row in rows for n in row], dtype=torch.int64)
    offsets = torch.tensor(np.cumsum([0, *map(len, rows)]))
    windows = torch.tensor(corners[:4]).repeat(len(rows), 1) % 2**20
    for call in (
        lambda: rle.rle_decode(counts, offsets, SIZE),
        lambda: rle.rle_boxes(counts, offsets, SIZE),
        lambda: rle.rle_crop(counts, offsets, SIZE, windows % 64 - 20),
        lambda: rle.rle_iou((counts, offsets), (counts, offsets)),
        lambda: rle.rle_merge(counts, offsets),
        lambda: rle.rle_to_string(counts),
    ):
        try:
            call()
        except WRONG:
            pass
    for row in rows:
        try:
            masks = Masks.from_rle([{"size": SIZE, "counts": row}], SIZE)
        except WRONG:
            continue
        assert sum(row) == 54 and min(row) >= 0 and masks.bitmaps().sum() == sum(row[1::2])


@settings(max_examples=150, deadline=None, database=None)
@given(st.binary(max_size=40))
def text(data):
    try:
        Masks.from_rle([{"size": SIZE, "counts": data}], SIZE).bitmaps()
    except WRONG:
        pass


@settings(max_examples=150, deadline=None, database=None)
@given(st.lists(st.tuples(coordinates, coordinates), max_size=6))
def outlines(points):
    ring = np.array(points, np.float64).reshape(-1, 2)
    try:
        Masks.from_polygons([Polygons((ring,))], SIZE).bitmaps()
    except WRONG:
        pass
    if np.isfinite(ring).all() and np.abs(ring).max(initial=0) < 100:
        assert rasterise.rasterise_polygons([ring], SIZE).sum() == 54


@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(st.booleans(), min_size=54, max_size=54))
def traces(pixels):
    rasterise.trace_polygons(np.array(pixels).reshape(SIZE))


for test in (runs, text, outlines, traces):
    test()
    print(test.__name__)
"""


def test_under_bounds_checks(tmp_path):
    own = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONHASHSEED": "0"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=os.environ | own, capture_output=True, text=True)
    assert done.stdout.split() == ["runs", "text", "outlines", "traces"], done.stderr[-3000:]
