import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.ops.crop_masks import _crop_masks, crop_masks
from videre.ops.rle import rle_boxes, rle_crop, rle_encode
from videre.ops.roi_align import roi_align


def packed(bitmaps):
    runs = rle_encode(bitmaps)
    windows = rle_boxes(*runs, tuple(bitmaps.shape[1:])).long()
    return (*rle_crop(*runs, tuple(bitmaps.shape[1:]), windows), windows)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(1, 25), st.integers(0, 3), st.booleans())
def test_equals_roi_align_of_whole_bitmaps(seed, height, width, samples, aligned):
    rng = np.random.default_rng(seed)
    n, r, side = rng.integers(1, 4), rng.integers(0, 5), rng.integers(1, 8)
    bitmaps = np.zeros((n, height, width), np.uint8)
    for bitmap in bitmaps:
        y, x = np.sort(rng.integers(0, height + 1, 2)), np.sort(rng.integers(0, width + 1, 2))
        bitmap[y[0] : y[1], x[0] : x[1]] = rng.random((y[1] - y[0], x[1] - x[0])) < 0.7
    corner = (rng.random((r, 2)) * 1.6 - 0.3) * [width, height]
    rois = torch.from_numpy(np.concatenate([corner, corner + rng.random((r, 2)) * [width, height]], 1)).float()
    index = torch.from_numpy(rng.integers(0, n, r))
    dense = torch.from_numpy(bitmaps)
    got = crop_masks(*packed(dense), (height, width), rois, index, int(side), samples, aligned)
    regions = torch.cat([index[:, None].float(), rois], 1)
    expected = roi_align(dense[:, None].float(), regions, int(side), 1.0, samples, aligned)[:, 0]
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=1e-5)
    reference = _crop_masks._init_fn(*packed(dense), height, width, rois, index, int(side), samples, aligned)
    torch.testing.assert_close(reference, expected, atol=1e-6, rtol=1e-5)


def test_a_box_inside_a_full_mask_is_all_ones():
    masks = packed(torch.ones(1, 40, 40, dtype=torch.uint8))
    target = crop_masks(*masks, (40, 40), torch.tensor([[3.0, 4, 30, 35]]), torch.tensor([0]), 28)
    torch.testing.assert_close(target, torch.ones(1, 28, 28))


@pytest.mark.parametrize("regions", [0, 2])
def test_opcheck(regions):
    masks = packed(torch.ones(2, 5, 6, dtype=torch.uint8))
    rois, index = torch.tensor([[0.0, 1, 4, 4], [-2, -2, 8, 3]])[:regions], torch.tensor([1, 0])[:regions]
    torch.library.opcheck(torch.ops.videre.crop_masks.default, (*masks, 5, 6, rois, index, 3, 0, False))


def test_errors_name_the_culprit():
    pixels, offsets, windows = packed(torch.ones(1, 4, 4, dtype=torch.uint8))
    rois, index = torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="masks 1 to 1 of 1"):
        crop_masks(pixels, offsets, windows, (4, 4), rois, index + 1, 2)
    with pytest.raises(ValueError, match="outside the picture"):
        crop_masks(pixels, offsets, windows, (3, 4), rois, index, 2)
    with pytest.raises(ValueError, match="do not fit"):
        crop_masks(pixels[1:], offsets, windows, (4, 4), rois, index, 2)
