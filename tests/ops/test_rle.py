import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from videre.ops.rle import (
    rle_area,
    rle_boxes,
    rle_crop,
    rle_decode,
    rle_encode,
    rle_from_crops,
    rle_from_string,
    rle_iou,
    rle_merge,
    rle_to_string,
)


@st.composite
def stacks(draw, least=0):
    """N bitmaps of one size: noise, full, empty, and blobs away from the border."""
    n, h, w = draw(st.integers(least, 4)), draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bitmaps = (rng.random((n, h, w)) < rng.choice([0, 0.1, 0.5, 0.9, 1], (n, 1, 1))).astype(np.uint8)
    for bitmap in bitmaps:
        if rng.random() < 0.5:
            y, x = rng.integers(0, h + 1, 2), rng.integers(0, w + 1, 2)
            inside = np.zeros_like(bitmap)
            inside[y.min() : y.max(), x.min() : x.max()] = 1
            bitmap *= inside
    return torch.from_numpy(bitmaps)


def judge(bitmaps):
    return coco.encode(np.asfortranarray(bitmaps.permute(1, 2, 0).numpy()))


def split(counts, offsets):
    return [counts[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist())]


@settings(max_examples=200)
@given(stacks())
def test_everything_agrees_with_pycocotools(bitmaps):
    size = tuple(bitmaps.shape[1:])
    runs = rle_encode(bitmaps)
    expected = judge(bitmaps)
    assert [rle_to_string(c) for c in split(*runs)] == [e["counts"] for e in expected]
    for counts, e in zip(split(*runs), expected):
        assert torch.equal(rle_from_string(e["counts"]), counts)
    assert torch.equal(rle_decode(*runs, size), bitmaps)
    if expected:
        assert rle_area(*runs).tolist() == coco.area(expected).tolist()
        x, y, w, h = torch.from_numpy(coco.toBbox(expected)).float().unbind(1)
        assert torch.equal(rle_boxes(*runs, size), torch.stack([x, y, x + w, y + h], 1))
        for intersect in (False, True):
            merged = coco.merge(expected, intersect)["counts"]
            assert rle_to_string(rle_merge(*runs, intersect)) == merged


@settings(max_examples=100)
@given(stacks(1), st.integers(0, 2**32 - 1))
def test_iou_agrees_with_pycocotools(bitmaps, seed):
    rng = np.random.default_rng(seed)
    crowd = torch.from_numpy(rng.random(len(bitmaps)) < 0.5)
    other = bitmaps.flip(1) if seed % 2 else bitmaps
    expected = coco.iou(judge(other), judge(bitmaps), crowd.tolist())
    got = rle_iou(rle_encode(other), rle_encode(bitmaps), crowd)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-15)


@settings(max_examples=200)
@given(stacks(), st.integers(0, 2**32 - 1))
def test_crop_is_the_window_of_the_bitmap(bitmaps, seed):
    n, h, w = bitmaps.shape
    rng = np.random.default_rng(seed)
    corner = rng.integers(-3, 10, (n, 2))
    windows = torch.from_numpy(np.concatenate([corner, corner + rng.integers(-1, 9, (n, 2))], 1))
    pixels, offsets = rle_crop(*rle_encode(bitmaps), (h, w), windows)
    padded = np.pad(bitmaps.numpy(), ((0, 0), (20, 20), (20, 20)))
    for i, (x1, y1, x2, y2) in enumerate(windows.tolist()):
        x2, y2 = max(x1, x2), max(y1, y2)
        expected = padded[i, y1 + 20 : y2 + 20, x1 + 20 : x2 + 20].reshape(-1)
        assert pixels[offsets[i] : offsets[i + 1]].tolist() == expected.tolist()


@settings(max_examples=200)
@given(stacks())
def test_crops_encode_as_the_whole_bitmap_does(bitmaps):
    size = tuple(bitmaps.shape[1:])
    runs = rle_encode(bitmaps)
    windows = rle_boxes(*runs, size).long()
    pixels, offsets = rle_crop(*runs, size, windows)
    again = rle_from_crops(pixels * 255, offsets, windows, size)
    assert torch.equal(again[0], runs[0]) and torch.equal(again[1], runs[1])


def test_vectors_of_coco():
    bitmap = torch.zeros(1, 4, 5, dtype=torch.uint8)
    bitmap[0, 1:3, 2:4] = 1
    counts, offsets = rle_encode(bitmap)
    assert counts.tolist() == [9, 2, 2, 2, 5] and offsets.tolist() == [0, 5]
    assert rle_to_string(counts) == b"92203"
    assert rle_encode(torch.ones(1, 4, 5, dtype=torch.bool))[0].tolist() == [0, 20]
    assert rle_to_string(torch.tensor([0, 20])) == b"0d0" and rle_to_string(torch.tensor([20])) == b"d0"


def test_empty_pictures_and_no_masks():
    none = rle_encode(torch.zeros(0, 3, 4, dtype=torch.uint8))
    assert none[0].numel() == 0 and none[1].tolist() == [0]
    assert rle_decode(*none, (3, 4)).shape == (0, 3, 4) and rle_boxes(*none, (3, 4)).shape == (0, 4)
    assert rle_iou(none, none).shape == (0, 0) and rle_crop(*none, (3, 4), torch.zeros(0, 4).long())[0].numel() == 0
    assert rle_encode(torch.zeros(1, 0, 4, dtype=torch.uint8))[0].tolist() == [0]


def test_errors_name_the_culprit():
    counts, offsets = torch.tensor([3, 4]), torch.tensor([0, 2])
    with pytest.raises(ValueError, match="mask 0"):
        rle_decode(counts, offsets, (2, 4))
    with pytest.raises(ValueError, match="offsets"):
        rle_area(counts, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="windows"):
        rle_crop(counts, offsets, (1, 7), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="not compressed"):
        rle_from_string(b"d")
    with pytest.raises(ValueError, match="same number"):
        rle_iou((counts, offsets), (torch.tensor([8]), torch.tensor([0, 1])))
    with pytest.raises(ValueError, match="no mask"):
        rle_merge(torch.zeros(0).long(), torch.tensor([0]))
    with pytest.raises(ValueError, match="float32"):
        rle_encode(torch.zeros(1, 2, 2))
