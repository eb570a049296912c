import math

import pytest
import torch
from hypothesis import given, settings

from videre.ops.roi_pool import _roi_pool, _roi_pool_backward, roi_pool

from .test_roi_align import RAMP, cases


def pooled(image, roi, size, scale):
    """The rule for one channel and one region in plain Python."""
    height, width = len(image), len(image[0])
    x1, y1, x2, y2 = (math.copysign(math.floor(abs(c * scale) + 0.5), c) for c in roi)
    h, w = max(y2 - y1 + 1, 1) / size[0], max(x2 - x1 + 1, 1) / size[1]

    def span(first, side, p, length):
        start, end = math.floor(p * side) + first, math.ceil((p + 1) * side) + first
        return range(int(min(max(start, 0), length)), int(min(max(end, 0), length)))

    return [
        [
            max((image[y][x] for y in span(y1, h, p, height) for x in span(x1, w, q, width)), default=0.0)
            for q in range(size[1])
        ]
        for p in range(size[0])
    ]


@settings(max_examples=60)
@given(cases())
def test_kernel_reference_and_plain_python_agree(case):
    features, rois, size, scale, *_ = case
    rois[:, 1:] = rois[:, 1:].mul(2).round() / 2  # halves, to meet the rounding
    out, where = _roi_pool(features, rois, *size, scale)
    reference, reference_where = _roi_pool._init_fn(features, rois, *size, scale)
    assert torch.equal(out, reference) and torch.equal(where, reference_where)
    if features.shape[1]:
        for r, (index, *roi) in enumerate(rois.tolist()):
            expected = pooled(features[int(index), 0].tolist(), roi, size, scale)
            assert out[r, 0].tolist() == expected
    gradient = torch.randn_like(out)
    shape = (features.shape[0], *features.shape[2:])
    torch.testing.assert_close(
        _roi_pool_backward(gradient, where, rois, *shape), _roi_pool_backward._init_fn(gradient, where, rois, *shape)
    )


def test_vectors_of_torchvision():
    assert roi_pool(RAMP, torch.tensor([[0.0, 0, 0, 3, 3]]), 2, 1.0).flatten().tolist() == [5, 7, 13, 15]
    assert roi_pool(RAMP, torch.tensor([[0.0, 0, 0, 4, 4]]), 2, 1.0).flatten().tolist() == [10, 11, 14, 15]


def test_the_first_maximum_gets_the_gradient():
    features = torch.ones(1, 1, 2, 2, requires_grad=True)
    roi_pool(features, torch.tensor([[0.0, 0, 0, 1, 1]]), 1, 1.0).sum().backward()
    assert features.grad.flatten().tolist() == [1, 0, 0, 0]


def test_gradcheck():
    features = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 1, 0.5, 9, 7], [1, -3, 2, 20, 30], [0, 40, 40, 44, 44]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: roi_pool(f, rois, (2, 3), 0.5), features)


@pytest.mark.parametrize("regions", [0, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_opcheck(regions, layout):
    features = torch.randn(2, 4, 5, 6).contiguous(memory_format=layout).requires_grad_()
    rois = torch.tensor([[0.0, 1, 0, 9, 7], [1, -3, 2, 20, 30]])[:regions]
    torch.library.opcheck(torch.ops.videre.roi_pool.default, (features, rois, 2, 3, 0.5))


def test_boxes_that_are_not_finite_read_nothing_outside():
    rois = torch.tensor([[0, 0, 0, math.inf, 1], [0, math.nan, 0, 1, 1], [0, 1e30, 0, 2e30, 1]])
    assert roi_pool(RAMP, rois, 2, 1.0).isfinite().all()


def test_float32_and_compile():
    features, rois = torch.randn(1, 20, 8, 8), torch.tensor([[0.0, 0, 0, 16, 12], [0, 3, 3, 9, 9]])
    out = roi_pool(features, rois, 3, 0.5)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out, _roi_pool._init_fn(features, rois, 3, 3, 0.5)[0])
    assert torch.equal(torch.compile(roi_pool, fullgraph=True, backend="aot_eager")(features, rois, 3, 0.5), out)
