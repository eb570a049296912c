import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.ops.roi_align import _roi_align, _roi_align_backward, roi_align

RAMP = torch.arange(16.0).reshape(1, 1, 4, 4)
WHOLE = torch.tensor([[0.0, 0, 0, 4, 4]])


def pooled(image, roi, size, scale, samples, aligned):
    """The rule for one channel and one region, sample by sample, in plain Python."""
    height, width = len(image), len(image[0])

    def value(y, x):
        if not (-1 <= y <= height and -1 <= x <= width):
            return 0.0
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
        fy, fx = y - y0, x - x0
        top, bottom = image[y0][x0] * (1 - fx) + image[y0][x1] * fx, image[y1][x0] * (1 - fx) + image[y1][x1] * fx
        return top * (1 - fy) + bottom * fy

    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (c * scale - shift for c in roi)
    w, h = x2 - x1, y2 - y1
    if not aligned:
        w, h = max(w, 1.0), max(h, 1.0)
    bh, bw = h / size[0], w / size[1]
    gh, gw = (samples, samples) if samples > 0 else (math.ceil(bh), math.ceil(bw))
    return [
        [
            sum(
                value(y1 + p * bh + (i + 0.5) * bh / gh, x1 + q * bw + (j + 0.5) * bw / gw)
                for i in range(gh)
                for j in range(gw)
            )
            / max(gh * gw, 1)
            for q in range(size[1])
        ]
        for p in range(size[0])
    ]


@st.composite
def cases(draw, max_side=9):
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    b, c, r = draw(st.integers(1, 3)), draw(st.sampled_from([0, 1, 3, 17, 40])), draw(st.integers(0, 6))
    h, w = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    scale = draw(st.sampled_from([1.0, 0.5, 0.25]))
    features = torch.randn(b, c, h, w, generator=rng, dtype=torch.float64)
    if draw(st.booleans()):
        features = features.contiguous(memory_format=torch.channels_last)
    corner = (torch.rand(r, 2, generator=rng) * 2 - 0.5) * torch.tensor([w, h])
    side = torch.randn(r, 2, generator=rng) * torch.tensor([w, h])  # inverted ones too
    if not draw(st.booleans()):
        side = side.abs()
    index = torch.randint(b, (r, 1), generator=rng)
    rois = torch.cat([index, corner / scale, (corner + side) / scale], 1).double()
    size = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    return features, rois, size, scale, draw(st.sampled_from([0, 1, 2, 3])), draw(st.booleans())


@settings(max_examples=60)
@given(cases())
def test_kernels_agree_with_the_reference(case):
    features, rois, size, *how = case
    out = roi_align(features, rois, size, *how)
    torch.testing.assert_close(out, _roi_align._init_fn(features, rois, *size, *how), atol=1e-9, rtol=1e-9)
    gradient = torch.randn_like(out)
    shape = (features.shape[0], *features.shape[2:])
    back = _roi_align_backward(gradient, rois, *shape, *how)
    torch.testing.assert_close(back, _roi_align_backward._init_fn(gradient, rois, *shape, *how), atol=1e-9, rtol=1e-9)
    again = _roi_align_backward(gradient, rois, *shape, *how)
    assert torch.equal(back, again)


@settings(max_examples=60)
@given(cases(6))
def test_kernel_agrees_with_plain_python(case):
    features, rois, size, *how = case
    out = roi_align(features, rois, size, *how)
    if features.shape[1]:
        for r, (index, *roi) in enumerate(rois.tolist()):
            expected = pooled(features[int(index), 0].tolist(), roi, size, *how)
            torch.testing.assert_close(out[r, 0], torch.tensor(expected).double(), atol=1e-5, rtol=1e-5)


def test_vectors_of_torchvision():
    assert roi_align(RAMP, WHOLE, 2, 1.0, 2).flatten().tolist() == [5, 6.75, 12, 13.75]
    for samples in (0, 2):
        assert roi_align(RAMP, WHOLE, 2, 1.0, samples, aligned=True).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_degenerate_box():
    point = torch.tensor([[0.0, 1, 1, 1, 1]])
    assert roi_align(RAMP, point, 1, 1.0, 0).item() == 7.5  # widened to one pixel, sampled at (1.5, 1.5)
    assert roi_align(RAMP, point, 1, 1.0, 0, aligned=True).item() == 0


def test_boxes_that_are_not_finite_give_zero():
    rois = torch.tensor([[0, 0, 0, math.inf, 1], [0, math.nan, 0, 1, 1]])
    assert roi_align(RAMP, rois, 2, 1.0).eq(0).all()


@pytest.mark.parametrize("samples", [0, 2])
def test_float32_is_close_and_output_is_channels_last(samples):
    features = torch.randn(2, 70, 25, 31)
    corner = torch.rand(50, 2) * 80
    rois = torch.cat([torch.arange(50)[:, None] % 2, corner, corner + torch.rand(50, 2) * 60], 1)
    out = roi_align(features, rois, 7, 0.25, samples)
    assert out.is_contiguous(memory_format=torch.channels_last) and out.dtype == torch.float32
    exact = _roi_align._init_fn(features.double(), rois.double(), 7, 7, 0.25, samples, False)
    torch.testing.assert_close(out, exact.float(), atol=2e-5, rtol=1e-4)
    half = roi_align(features.bfloat16(), rois, 7, 0.25, samples)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), out, atol=0.03, rtol=0.03)


def test_gradients():
    features = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 1, 0.5, 9, 7], [1, -3, 2, 20, 30], [0, 4, 4, 4, 4]], dtype=torch.float64)
    for samples, aligned in ((0, True), (2, False)):
        call = lambda f, s=samples, a=aligned: roi_align(f, rois, (2, 3), 0.5, s, a)
        assert torch.autograd.gradcheck(call, features) and torch.autograd.gradgradcheck(call, features)
    (gradient,) = torch.autograd.grad(roi_align(features, rois, 2, 0.5).sum(), features)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("regions", [0, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 4])
def test_opcheck(regions, layout, channels):
    features = torch.randn(2, channels, 5, 6).contiguous(memory_format=layout).requires_grad_()
    rois = torch.tensor([[0.0, 1, 0, 9, 7], [1, -3, 2, 20, 30], [0, 4, 4, 4, 4]])[:regions]
    torch.library.opcheck(torch.ops.videre.roi_align.default, (features, rois, 2, 3, 0.5, 2, False))
    gradient = torch.randn(regions, channels, 2, 3).contiguous(memory_format=layout).requires_grad_()
    torch.library.opcheck(torch.ops.videre.roi_align_backward.default, (gradient, rois, 2, 5, 6, 0.5, 2, False))


def test_compiles_in_one_graph_forward_and_backward():
    features = torch.randn(1, 4, 8, 8, requires_grad=True)
    rois = torch.tensor([[0.0, 0, 0, 16, 12], [0, 3, 3, 9, 9]])
    call = lambda f: roi_align(f, rois, 3, 0.5, 2).square().sum()
    (expected,) = torch.autograd.grad(call(features), features)
    (compiled,) = torch.autograd.grad(torch.compile(call, fullgraph=True, backend="aot_eager")(features), features)
    torch.testing.assert_close(compiled, expected)


def test_errors_name_the_culprit():
    with pytest.raises(ValueError, match=r"\(1, 4\)"):
        roi_align(RAMP, torch.zeros(1, 4), 2, 1.0)
    with pytest.raises(ValueError, match="int64"):
        roi_align(RAMP.long(), WHOLE, 2, 1.0)
    with pytest.raises(ValueError, match="batch of 1"):
        roi_align(RAMP, WHOLE + 1, 2, 1.0)
