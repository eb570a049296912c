import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.ops.paste_masks import _paste_masks, paste_masks, paste_masks_rle
from videre.ops.rle import rle_encode


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, side = draw(st.integers(0, 4)), draw(st.sampled_from([1, 2, 7, 28]))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    corner = (rng.random((n, 2)) * 1.8 - 0.6) * [width, height]
    extent = rng.random((n, 2)) * [width, height] * rng.choice([0.1, 1, 2])
    if draw(st.booleans()):
        extent -= 2  # points and inverted boxes
    masks = rng.random((n, side, side))
    if draw(st.booleans()):
        masks = np.round(masks * 2) / 2  # plateaus exactly at the threshold
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    boxes = torch.from_numpy(np.concatenate([corner, corner + extent], 1))
    return torch.from_numpy(masks).to(dtype), boxes.float(), (height, width)


@settings(max_examples=200)
@given(cases())
def test_kernel_agrees_with_the_reference_and_runs_with_the_bitmap(case):
    masks, boxes, size = case
    bitmaps = paste_masks(masks, boxes, size)
    # Where the last bit decides, torch's interpolation and ours may: so the truth lies between two close thresholds.
    least, most = (_paste_masks._init_fn(masks, boxes, *size, 0.5 + e) for e in (1e-5, -1e-5))
    assert (least <= bitmaps).all() and (bitmaps <= most).all()
    counts, offsets = paste_masks_rle(masks, boxes, size)
    expected = rle_encode(bitmaps)
    assert torch.equal(counts, expected[0]) and torch.equal(offsets, expected[1])


def test_a_full_mask_by_hand():
    # 28 + 2 samples over 30 + 1 pixels, from pixel 9 on: the border of zeros falls on the outermost pixels.
    bitmap = paste_masks(torch.ones(1, 28, 28), torch.tensor([[10.0, 10, 38, 38]]), (50, 60))[0]
    inside = bitmap.nonzero()
    assert inside.min(0).values.tolist() == [10, 10] and inside.max(0).values.tolist() == [38, 38]
    assert bitmap.sum() == 29 * 29


def test_boxes_outside_and_not_finite():
    boxes = torch.tensor([[100.0, 0, 120, 9], [-50, -50, -20, -20], [float("nan"), 0, 1, 1], [0, 0, float("inf"), 9]])
    assert paste_masks(torch.ones(4, 7, 7), boxes, (20, 30))[:2].sum() == 0
    counts, _ = paste_masks_rle(torch.ones(4, 7, 7), boxes, (20, 30))
    assert torch.equal(rle_encode(paste_masks(torch.ones(4, 7, 7), boxes, (20, 30)))[0], counts)


@pytest.mark.parametrize("n", [0, 2])
def test_opcheck(n):
    args = (torch.rand(n, 7, 7), torch.tensor([[1.0, 2, 9, 9], [-3, -3, 30, 4]])[:n], 10, 12, 0.5)
    torch.library.opcheck(torch.ops.videre.paste_masks.default, args)


def test_half_precision_and_errors():
    masks, boxes = torch.ones(1, 7, 7), torch.tensor([[1.0, 2, 9, 9]])
    assert torch.equal(paste_masks(masks.bfloat16(), boxes, (10, 10)), paste_masks(masks, boxes, (10, 10)))
    with pytest.raises(ValueError, match=r"\(1, 7, 6\)"):
        paste_masks(masks[..., :6], boxes, (10, 10))
    with pytest.raises(ValueError, match="threshold"):
        paste_masks(masks, boxes, (10, 10), 0.0)
