import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from videre.ops.decode_keypoints import decode_keypoints

reference = decode_keypoints._init_fn


@st.composite
def cases(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    n, joints, side = draw(st.integers(0, 3)), draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 7, 14]))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    maps = torch.randn(n, joints, side, side, generator=generator, dtype=dtype) * 3
    corner = torch.rand(n, 2, generator=generator) * 100 - 20
    sides = torch.rand(n, 2, generator=generator) * draw(st.sampled_from([0.0, 1.0, 20.0, 150.0]))
    order = draw(st.sampled_from([torch.contiguous_format, torch.channels_last]))
    return maps.contiguous(memory_format=order), torch.cat([corner, corner + sides], 1)


@given(cases())
def test_kernel_agrees_with_the_reference(case):
    check(*case)


def check(maps: Tensor, boxes: Tensor) -> None:
    """The same scores, and points at the same pixels but where two values differ by rounding only."""
    points, scores = decode_keypoints(maps, boxes)
    expected, expected_scores = reference(maps, boxes)
    assert points.dtype == scores.dtype == maps.dtype
    torch.testing.assert_close(scores, expected_scores, atol=1e-5, rtol=1e-5)
    for d, j in ((points - expected).abs().amax(2) > 1e-3).nonzero().tolist():
        side = (boxes[d, 2:] - boxes[d, :2]).clamp(min=1)
        width, height = (int(n) for n in side.ceil())
        fine = functional.interpolate(maps[d : d + 1, j : j + 1], (height, width), mode="bicubic")[0, 0]
        x, y = ((points[d, j] - boxes[d, :2]) / side * torch.tensor([width, height])).long().tolist()
        assert float(fine.max() - fine[y, x]) <= 1e-5 * float(maps[d, j].abs().max())


def test_boxes_of_a_large_picture_and_of_no_size():
    maps = torch.randn(4, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.0, 0, 1000, 800], [3, 4, 3, 4], [7.5, 0, 8, 700], [9, 9, 5, 2]])
    check(maps, boxes)


def test_of_equal_values_the_first_counts():
    """At the map's own size nothing is resampled: the peaks are two cells of 5, and on a flat map all."""
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, 1, 3] = maps[0, 0, 2, 0] = 5
    points, _ = decode_keypoints(maps, torch.tensor([[10.0, 20, 14, 24]]))
    assert points.tolist() == [[[13.5, 21.5], [10.5, 20.5]]]


@pytest.mark.parametrize("n", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(n, dtype):
    args = (torch.rand(n, 3, 7, 7, dtype=dtype), torch.tensor([[1.0, 2, 9, 9], [-3, -3, 30, 4]])[:n])
    torch.library.opcheck(torch.ops.videre.decode_keypoints.default, args)


def test_half_precision_and_boxes_that_are_not_finite():
    maps, boxes = torch.randn(1, 3, 7, 7), torch.tensor([[1.0, 2, 30, 9]])
    points, scores = decode_keypoints(maps.bfloat16(), boxes)
    expected = decode_keypoints(maps.bfloat16().float(), boxes)
    assert torch.equal(points, expected[0].bfloat16()) and torch.equal(scores, expected[1].bfloat16())
    for number in (float("nan"), float("inf")):
        for decode in (decode_keypoints, reference):
            with pytest.raises(ValueError, match="finite"):
                decode(maps, torch.tensor([[1.0, 2, number, 9]]))
