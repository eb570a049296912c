"""Position-sensitive RoI pool and align: kernels against definitions, definitions against hand-worked cases."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.ops.ps_roi_align import _ps_roi_align, _ps_roi_align_backward, ps_roi_align
from videre.ops.ps_roi_pool import _ps_roi_pool, _ps_roi_pool_backward, ps_roi_pool
from videre.ops.roi_align import roi_align

OPERATORS = {
    "align": (ps_roi_align, _ps_roi_align, _ps_roi_align_backward, (0,)),
    "pool": (ps_roi_pool, _ps_roi_pool, _ps_roi_pool_backward, ()),
}


@st.composite
def cases(draw):
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    b, c, r, size = (
        draw(st.integers(1, 3)),
        draw(st.sampled_from([0, 1, 3])),
        draw(st.integers(0, 6)),
        draw(st.integers(1, 4)),
    )
    h, w, scale = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.sampled_from([1.0, 0.5, 0.25]))
    features = torch.randn(b, c * size**2, h, w, generator=rng, dtype=torch.float64)
    corner = (torch.rand(r, 2, generator=rng) * 2 - 0.5) * torch.tensor([w, h])
    side = torch.randn(r, 2, generator=rng) * torch.tensor([w, h])  # inverted ones too
    index = torch.randint(b, (r, 1), generator=rng)
    return features, torch.cat([index, corner / scale, (corner + side) / scale], 1).double(), size, scale


@pytest.mark.parametrize("name", list(OPERATORS))
@settings(max_examples=60)
@given(case=cases())
def test_kernels_agree_with_the_definition(name, case):
    features, rois, size, scale = case
    operator, definition, backward, more = OPERATORS[name]
    out = operator(features, rois, size, scale)
    torch.testing.assert_close(out, definition._init_fn(features, rois, size, scale, *more), atol=1e-9, rtol=1e-9)
    gradient = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    how = (gradient, rois, len(features), *features.shape[2:], scale, *more)
    torch.testing.assert_close(backward(*how), backward._init_fn(*how), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", list(OPERATORS))
@settings(max_examples=30)
@given(case=cases())
def test_the_gradient_is_the_adjoint(name, case):
    """Both are linear in the features: <op(x), g> = <x, gradient(g)>."""
    features, rois, size, scale = case
    features.requires_grad_()
    out = OPERATORS[name][0](features, rois, size, scale)
    gradient = torch.randn(out.shape, dtype=out.dtype)
    (back,) = torch.autograd.grad(out, features, gradient)
    torch.testing.assert_close((out * gradient).sum(), (features * back).sum(), atol=1e-8, rtol=1e-8)


def test_a_bin_reads_its_own_channels():
    """A map whose channel k is k everywhere gives output c, bin (i, j) the number of their channel."""
    features = torch.arange(18.0).reshape(1, 18, 1, 1).expand(1, 18, 9, 9)
    rois = torch.tensor([[0.0, 1, 2, 7, 8]])
    wanted = torch.arange(18.0).reshape(1, 2, 3, 3)
    assert torch.equal(ps_roi_pool(features, rois, 3, 1.0), wanted)
    torch.testing.assert_close(ps_roi_align(features, rois, 3, 1.0), wanted)


def test_align_of_one_bin_is_roi_align():
    features, rois = torch.randn(2, 5, 9, 8), torch.tensor([[1.0, 0.3, 1.2, 6.7, 7.1], [0, 2, 2, 3, 9]])
    torch.testing.assert_close(
        ps_roi_align(features, rois, 1, 1.0, 2), roi_align(features, rois, 1, 1.0, 2, aligned=True)
    )


def test_pool_by_hand():
    """Side 3 in two bins: rows 0-1 and 1-2, columns alike; the last row and column count."""
    features = torch.stack([torch.arange(9.0).reshape(3, 3) + 100 * k for k in range(4)])[None]
    out = ps_roi_pool(features, torch.tensor([[0.0, 0, 0, 3, 3]]), 2, 1.0)
    assert out.tolist() == [[[[2.0, 103.0], [205.0, 306.0]]]]
    assert ps_roi_pool(features, torch.tensor([[0.0, 50, 50, 60, 60]]), 2, 1.0).abs().sum() == 0


@pytest.mark.parametrize("name", list(OPERATORS))
def test_operators_are_whole(name):
    _, definition, _, more = OPERATORS[name]
    for rois in (torch.tensor([[0.0, 1, 1, 5, 6]]), torch.zeros(0, 5)):
        features = torch.randn(1, 8, 7, 9).contiguous(memory_format=torch.channels_last).requires_grad_()
        torch.library.opcheck(definition, (features, rois, 2, 0.5, *more))


@pytest.mark.parametrize("name", list(OPERATORS))
def test_what_does_not_fit_is_refused(name):
    operator = OPERATORS[name][0]
    with pytest.raises(ValueError, match="10 channels are not a multiple of 3 x 3 bins"):
        operator(torch.randn(1, 10, 4, 4), torch.zeros(1, 5), 3, 1.0)
    with pytest.raises(ValueError, match="rois name pictures 0 to 7"):
        operator(torch.randn(1, 9, 4, 4), torch.tensor([[0.0, 0, 0, 1, 1], [7, 0, 0, 1, 1]]), 3, 1.0)


def test_equal_to_torchvision():
    """The numbers are of torchvision 0.29.2: each result against a wave, so that every entry counts."""
    x = torch.sin(torch.arange(2 * 18 * 12 * 10, dtype=torch.float64).reshape(2, 18, 12, 10) * 0.37)
    rois = torch.tensor([[0, 3.0, 5, 31, 40], [1, 2.2, 1.1, 17.9, 22.6], [1, 8, 8, 36.4, 20]], dtype=torch.float64)
    found = [ps_roi_align(x, rois, 3, 0.25, 0), ps_roi_align(x, rois, 3, 0.25, 2), ps_roi_pool(x, rois, 3, 0.25)]
    wave = torch.cos(torch.arange(54, dtype=torch.float64)).reshape(3, 2, 3, 3)
    assert [(f * wave).sum().item() for f in found] == pytest.approx([2.149208846, 1.606910179, 1.826772645], abs=1e-8)
