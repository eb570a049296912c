"""Every form of masks says the same, and the same as pycocotools and as dense arrays."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from videre.errors import DataError, ShapeError
from videre.structures import Affine, Masks, Polygons


@st.composite
def stacks(draw, least=0, size=None):
    """N bitmaps of one size: noise, full, empty, blobs."""
    n = draw(st.integers(least, 4))
    h, w = size or (draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bitmaps = (rng.random((n, h, w)) < rng.choice([0, 0.1, 0.6, 1], (n, 1, 1))).astype(np.uint8)
    for bitmap in bitmaps:
        if rng.random() < 0.5:
            y, x = rng.integers(0, h + 1, 2), rng.integers(0, w + 1, 2)
            inside = np.zeros_like(bitmap)
            inside[y.min() : y.max(), x.min() : x.max()] = 1
            bitmap *= inside
    return bitmaps


def forms(bitmaps):
    """The same masks kept in each form, and with windows that are not tight."""
    masks = Masks.from_bitmaps(bitmaps)
    size = tuple(bitmaps.shape[1:])
    whole = [(0, 0, size[1], size[0])] * len(bitmaps)
    return {
        "bitmaps": masks,
        "loose bitmaps": Masks.from_windows([b * 255 for b in bitmaps], whole, size),
        "rle": Masks.from_rle(masks.rle(), size),
        "polygons": Masks.from_polygons(masks.polygons(), size),
    }


@settings(max_examples=60)
@given(stacks())
def test_every_form_agrees_with_pycocotools(bitmaps):
    expected = coco.encode(np.asfortranarray(bitmaps.transpose(1, 2, 0)))
    boxes = np.array([coco.toBbox(e) for e in expected]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    for name, masks in forms(bitmaps).items():
        assert len(masks) == len(bitmaps), name
        assert [m["counts"].encode() for m in masks.rle()] == [e["counts"] for e in expected], name
        assert masks.area().tolist() == [coco.area(e) for e in expected], name
        assert masks.area().dtype == torch.int64 and masks.boxes().dtype == torch.float32
        assert np.array_equal(masks.boxes().numpy(), boxes), name
        assert np.array_equal(masks.bitmaps().numpy(), bitmaps), name
        assert np.array_equal(masks.as_bitmaps().bitmaps().numpy(), bitmaps), name
        assert np.array_equal(masks.as_rle().bitmaps().numpy(), bitmaps), name
        for bitmap, (crop, (x1, y1, x2, y2)) in zip(bitmaps, masks.crops(), strict=True):
            assert np.array_equal(crop, bitmap[y1:y2, x1:x2]) and crop.sum() == bitmap.sum(), name
        pixels, offsets, windows = masks.packed()
        assert len(offsets) == len(windows) + 1 == len(bitmaps) + 1 and int(offsets[-1]) == len(pixels)


@settings(max_examples=40)
@given(stacks(least=1), st.randoms(use_true_random=False))
def test_select_and_cat_of_any_forms(bitmaps, random):
    kinds = forms(bitmaps)
    order = [random.randrange(len(bitmaps)) for _ in range(random.randint(0, 5))]
    index = torch.tensor(order, dtype=torch.int64)
    for masks in kinds.values():
        assert np.array_equal(masks.select(index).bitmaps().numpy(), bitmaps[order].reshape(-1, *bitmaps.shape[1:]))
        assert np.array_equal(masks.select(index - len(bitmaps)).bitmaps().numpy(), masks.select(index).bitmaps())
        flags = torch.tensor([random.random() < 0.5 for _ in bitmaps])
        assert np.array_equal(masks.select(flags).bitmaps().numpy(), bitmaps[flags.numpy()])
    for pair in (random.sample(sorted(kinds), 2), ["polygons"] * 2, ["bitmaps"] * 2, ["rle"] * 2):
        joined = Masks.cat([kinds[k] for k in pair])
        assert np.array_equal(joined.bitmaps().numpy(), np.concatenate([bitmaps, bitmaps]))
        assert len(set(pair)) == 2 or joined.form == pair[0]


def sources(matrix, size):
    """Where the centre of each pixel of the new picture lies in the old one; and how far from a pixel's edge."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    inverse = np.linalg.inv(np.concatenate([matrix, [[0, 0, 1]]]))
    u, v = (row[0] * x + row[1] * y + row[2] for row in inverse[:2])
    margin = np.minimum(np.abs(u - np.round(u)), np.abs(v - np.round(v)))
    return u, v, margin


@settings(max_examples=80)
@given(
    stacks(least=1, size=(9, 13)),
    st.sampled_from(["scale", "mirror", "flip", "turn", "turn back"]),
    st.floats(0.3, 3),
    st.floats(0.3, 3),
    st.floats(-6, 6),
    st.floats(-6, 6),
)
def test_affine_takes_the_pixel_under_each_centre(bitmaps, kind, sx, sy, dx, dy):
    linear = {
        "scale": [[sx, 0], [0, sy]],
        "mirror": [[-sx, 0], [0, sy]],
        "flip": [[sx, 0], [0, -sy]],
        "turn": [[0, -sx], [sy, 0]],
        "turn back": [[0, sx], [-sy, 0]],
    }[kind]
    centre = np.array([6.5, 4.5])
    shift = centre - np.array(linear) @ centre + [dx, dy]
    matrix, size = np.concatenate([linear, shift[:, None]], 1), (11, 10)
    u, v, margin = sources(matrix, size)
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    inside = (column >= 0) & (column < 13) & (row >= 0) & (row < 9)
    expected = np.where(inside, bitmaps[:, row.clip(0, 8), column.clip(0, 12)], 0)
    sure = margin > 0.005  # nearer to an edge either pixel is right: the warp counts in 1024ths of a pixel
    masks = Masks.from_bitmaps(bitmaps)
    for form in (masks, masks.as_rle()):
        moved = form.moved(Affine(matrix, form.size, size))
        assert moved.size == size
        assert np.array_equal(moved.bitmaps().numpy()[:, sure], expected[:, sure])
        assert np.array_equal(moved.boxes().numpy(), moved.as_rle().boxes().numpy())


@pytest.mark.parametrize("kind", ["mirror", "flip", "turn", "double", "shift"])
def test_affine_is_exact_on_whole_pixels(kind):
    bitmaps = np.random.default_rng(0).random((3, 8, 10)) < 0.5
    matrix, size, expected = {
        "mirror": ([[-1, 0, 10], [0, 1, 0]], (8, 10), bitmaps[:, :, ::-1]),
        "flip": ([[1, 0, 0], [0, -1, 8]], (8, 10), bitmaps[:, ::-1]),
        "turn": ([[0, 1, 0], [-1, 0, 10]], (10, 8), np.rot90(bitmaps, axes=(1, 2))),
        "double": ([[2, 0, 0], [0, 2, 0]], (16, 20), bitmaps.repeat(2, 1).repeat(2, 2)),
        "shift": ([[1, 0, -3], [0, 1, -2]], (6, 7), bitmaps[:, 2:, 3:]),
    }[kind]
    masks = Masks.from_bitmaps(bitmaps).moved(Affine(np.array(matrix, float), bitmaps.shape[1:], size))
    assert np.array_equal(masks.bitmaps().numpy(), expected)


def test_affine_of_polygons_moves_their_points():
    square = np.array([[1.0, 1], [4, 1], [4, 5], [1, 5]])
    moved = Masks.from_polygons([[square]], (8, 8)).moved(Affine(np.array([[2.0, 0, 1], [0, 3, -1]]), (8, 8), (20, 20)))
    assert moved.form == "polygons" and np.array_equal(moved.polygons()[0].parts[0], square * [2, 3] + [1, -1])
    assert moved.boxes().tolist() == [[3, 2, 9, 14]]


def test_a_hole_is_cut_out_and_parts_are_united():
    ring = lambda a, b: np.array([[a, a], [b, a], [b, b], [a, b]], float)
    masks = Masks.from_polygons(
        [Polygons((ring(1, 9), ring(12, 14)), (ring(3, 6),)), [ring(0, 2), ring(1, 4)]], (16, 16)
    )
    dense = np.zeros((2, 16, 16), np.uint8)
    dense[0, 1:9, 1:9], dense[0, 12:14, 12:14], dense[0, 3:6, 3:6] = 1, 1, 0
    dense[1, 0:2, 0:2] = dense[1, 1:4, 1:4] = 1
    assert np.array_equal(masks.bitmaps().numpy(), dense)
    assert masks.area().tolist() == [64 + 4 - 9, 4 + 9 - 1]
    traced = Masks.from_bitmaps(dense).polygons()
    assert (len(traced[0].parts), len(traced[0].holes)) == (2, 1)


def test_no_masks_and_empty_masks():
    for masks in forms(np.zeros((0, 4, 5), np.uint8)).values():
        assert (len(masks), masks.bitmaps().shape, masks.boxes().shape, masks.rle()) == (0, (0, 4, 5), (0, 4), [])
        assert len(Masks.cat([masks, masks])) == 0 and len(masks.moved(Affine(np.eye(3)[:2], masks.size, (7, 7)))) == 0
    for masks in forms(np.zeros((2, 4, 5), np.uint8)).values():
        assert masks.area().tolist() == [0, 0] and not masks.boxes().any()
        assert masks.moved(Affine(np.eye(3)[:2] * 2, masks.size, (8, 10))).area().tolist() == [0, 0]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.uint16, np.int32, np.int64]))
def test_label_maps_in_order_of_value_or_as_asked(seed, dtype):
    rng = np.random.default_rng(seed)
    ids = rng.choice([0, 3, 7, 200], (6, 9)).astype(dtype)
    present = [v for v in np.unique(ids).tolist() if v]
    masks = Masks.from_label_map(ids)
    assert np.array_equal(masks.bitmaps().numpy(), np.array([ids == v for v in present]).reshape(-1, 6, 9))
    wanted = [7, 100, 3]
    masks = Masks.from_label_map(ids, wanted)
    assert np.array_equal(masks.bitmaps().numpy(), np.array([ids == v for v in wanted]))
    assert len(Masks.from_label_map(ids, [])) == 0


def test_label_maps_of_flags_and_of_nothing():
    assert Masks.from_label_map(np.eye(3, dtype=bool)).area().tolist() == [3]
    assert len(Masks.from_label_map(np.zeros((3, 4), np.uint8))) == 0
    for bad in (np.full((2, 2), -1), np.zeros((2, 2)), np.zeros((2, 2, 3), int)):
        with pytest.raises(DataError, match="id map is"):
            Masks.from_label_map(bad)


# what a caller does with the arrays -----------------------------------------------------------------------------------


def test_masks_do_not_change_with_the_callers_arrays():
    ring = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    masks = Masks.from_polygons([[ring]], (8, 8))
    before = masks.rle()
    ring += 2
    assert masks.rle() == before and Masks.cat([masks]).rle() == before
    with pytest.raises(ValueError, match="read-only"):
        masks.polygons()[0].parts[0][:] = 0
    masks.polygons().clear()
    assert len(masks) == 1


@pytest.mark.parametrize("form", ["polygons", "bitmaps"])
def test_run_lengths_are_computed_once(form):
    masks = forms(np.ones((3, 5, 5), np.uint8))[form]
    assert masks.runs()[0] is masks.runs()[0]
    assert masks.select(torch.tensor([1])).area().tolist() == [25]


# errors ---------------------------------------------------------------------------------------------------------------

TRIANGLE = np.array([[0.0, 0], [3, 0], [0, 3]])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Masks.from_rle([{"size": [2, 2], "counts": [4]}] * 2, (2, 3)), r"mask 0: .* size \(2, 2\).* \(2, 3\)"),
        (lambda: Masks.from_rle([{"size": [2, 2], "counts": [4]}, {"counts": [4]}], (2, 2)), "mask 1: .*'size' and"),
        (lambda: Masks.from_rle([{"size": [2, 2], "counts": [3]}], (2, 2)), "sum to 3, the picture has 4 pixels"),
        (lambda: Masks.from_rle([{"size": [2, 2], "counts": [5, -1]}], (2, 2)), "picture's 4 pixels, found 5"),
        (lambda: Masks.from_rle([{"size": [2, 2], "counts": "~~"}], (2, 2)), "mask 0: .*not compressed run lengths"),
        (lambda: Masks.from_polygons([[TRIANGLE], [TRIANGLE[:2]]], (4, 4)), r"mask 1, part 0: .*found shape \(2, 2\)"),
        (
            lambda: Masks.from_polygons([Polygons((TRIANGLE,), (TRIANGLE * np.nan,))], (4, 4)),
            "mask 0, hole 0: .*finite",
        ),
        (
            lambda: Masks.from_polygons([[[0, 0, 3, 0, 0, 3]]], (4, 4)),
            r"mask 0, part 0: .*\[P, 2\], found shape \(6,\)",
        ),
        (lambda: Masks.from_polygons([[[[1, 2], [3]]]], (4, 4)), "mask 0: a part must be an array"),
    ],
)
def test_bad_masks_are_named(make, says):
    with pytest.raises(DataError, match=says):
        make()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Masks.from_bitmaps(np.zeros((3, 3))), r"\[N, H, W\], found shape \(3, 3\)"),
        (lambda: Masks.from_windows([np.ones((2, 2))], [(0, 0, 2, 3)], (4, 4)), r"mask 0: a crop of \(2, 2\)"),
        (lambda: Masks.from_windows([np.ones((2, 2))], [(3, 0, 5, 2)], (4, 4)), "does not fit the window"),
        (lambda: Masks.from_windows([np.ones((2, 2))], [], (4, 4)), "1 crops for 0 windows"),
        (lambda: Masks.cat([Masks.from_rle([], (2, 2)), Masks.from_rle([], (2, 3))]), r"\[\(2, 2\), \(2, 3\)\]"),
        (lambda: Masks.from_bitmaps(np.ones((2, 3, 3))).select(torch.tensor([2])), "names instance 2, there are 2"),
        (lambda: Masks.from_bitmaps(np.ones((2, 3, 3))).select(torch.tensor([True])), r"shape \(1,\) for 2 instances"),
    ],
)
def test_misfits_are_named(make, says):
    with pytest.raises(ShapeError, match=says):
        make()
