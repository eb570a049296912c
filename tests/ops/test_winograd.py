"""Winograd's convolution against torch's direct one."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.ops._bf16 import as_array, narrow, widen
from videre.ops._numba import HAS_NUMBA, serial
from videre.ops.winograd import (
    _winograd,
    _winograd_train,
    winograd_conv2d,
    winograd_conv2d_train,
    winograd_tiles,
    winograd_weight,
)

STEP = 576
"""Kernels of multiples of it are whole numbers in the basis of either tile."""


@st.composite
def cases(draw):
    """x, weight, padding, dilation, tile; sizes from the smallest that has an output on.

    All are whole numbers, and weights multiples of STEP, so that each way to sum up a convolution gives whole multiples of
    STEP: what is a little off by rounding is told from what is wrong as well as in float64, for which the kernels would
    be compiled once more, for this test alone.
    """
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    padding, dilation = draw(st.integers(0, 4)), draw(st.integers(1, 4))
    least = max(1, 2 * dilation - 2 * padding + 1)
    h, w = (least + draw(st.integers(0, 14)) for _ in range(2))
    b, c, k = draw(st.integers(0, 3)), draw(st.sampled_from([1, 3, 17, 70])), draw(st.sampled_from([1, 5, 64, 130]))
    x = torch.randint(-4, 5, (b, c, h, w), generator=rng).float()
    if draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randint(-2, 3, (k, c, 3, 3), generator=rng).float() * STEP
    return x, weight, padding, dilation, draw(st.sampled_from([2, 4]))


def assert_same(found, expected):
    """Of multiples of STEP: every one, none by another."""
    assert found.shape == expected.shape
    torch.testing.assert_close((found / STEP).double(), expected / STEP, atol=0.1, rtol=0)


@settings(max_examples=60)
@given(cases(), st.booleans(), st.booleans(), st.booleans())
def test_it_is_the_direct_convolution(case, biased, relu, added):
    x, weight, padding, dilation, tile = case
    bias = torch.arange(len(weight), dtype=x.dtype) % 5 * STEP if biased else None
    direct = F.conv2d(x.double(), weight.double(), None if bias is None else bias.double(), 1, padding, dilation)
    residual = direct.flip(1).float() if added else None
    direct = direct if residual is None else direct + residual
    direct = direct.relu() if relu else direct
    basis = winograd_weight(weight, tile)
    for operator in (
        winograd_conv2d,
        lambda x, basis, bias, *how: _winograd._init_fn(x, basis, bias, how[3], *how[:3]),
    ):
        out = operator(x, basis, bias, padding, dilation, relu, residual)
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert_same(out, direct)


@settings(max_examples=30)
@given(cases(), st.booleans())
def test_the_product_may_be_anothers_in_either_order_of_memory(case, together):
    x, weight, padding, dilation, tile = case
    basis = winograd_weight(weight, tile)

    def multiply(seen):
        assert seen.is_contiguous()
        return torch.einsum("tpc,pck->tpk" if together else "ptc,pck->ptk", seen, basis).contiguous()

    how = (len(weight), tile, together, None, None, padding, dilation, False)
    out = winograd_tiles(x, multiply, *how)
    assert_same(out, F.conv2d(x.double(), weight.double(), None, 1, padding, dilation))


@pytest.mark.parametrize(("batch", "side"), [(1, 23), (5, 23), (3, 48)], ids=["less", "a little more", "more"])
def test_tiles_that_are_done_twice_are_right(batch, side):
    """A chunk holds 128 tiles; these are 36, 180 and 432 of them."""
    rng = torch.Generator().manual_seed(0)
    x, weight = torch.randn(batch, 512, side, side, generator=rng), torch.randn(512, 512, 3, 3, generator=rng)
    added = torch.randn(batch, 512, side, side, generator=rng) * 100
    expected = (F.conv2d(x, weight, padding=1) + added).relu()
    found = winograd_conv2d(x, winograd_weight(weight), padding=1, relu=True, residual=added)
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=1e-4)


@pytest.mark.parametrize(("tile", "error"), [(2, 3e-6), (4, 2e-5)])
def test_single_precision_keeps_five_digits(tile, error):
    rng = torch.Generator().manual_seed(0)
    x, weight = torch.randn(1, 256, 30, 30, generator=rng).relu(), torch.randn(64, 256, 3, 3, generator=rng)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    found = winograd_conv2d(x, winograd_weight(weight, tile), padding=1)
    assert (found - exact).abs().max() / exact.abs().max() < error


@pytest.mark.skipif(not HAS_NUMBA, reason="the definition rounds after each of its operators")
@settings(max_examples=20)
@given(cases(), st.booleans(), st.booleans())
def test_bfloat16_rounds_three_times(case, relu, added):
    """The transformed inputs, the transformed kernel and the products are rounded; the sums around them are not."""
    x, weight, padding, dilation, _ = case
    x, weight = x.bfloat16(), weight / STEP
    exact = F.conv2d(x.double(), weight.double(), None, 1, padding, dilation)
    bias, residual = torch.ones(len(weight)).bfloat16(), exact.flip(1).bfloat16() if added else None
    found = winograd_conv2d(x, winograd_weight(weight, 2).bfloat16(), bias, padding, dilation, relu, residual)
    exact = exact + 1 + (0 if residual is None else residual.double())
    exact = exact.relu() if relu else exact
    assert found.dtype == torch.bfloat16 and found.is_contiguous(memory_format=torch.channels_last)
    if len(x):
        spread = (80 / 12) ** 0.5 * 2**0.5  # of whole numbers from -4 to 4, and from -2 to 2
        size = spread * (9 * x.shape[1]) ** 0.5  # of a sum of products of them
        assert (found - exact).abs().max() <= 2**-8 * exact.abs().max() + 8 * 2**-8 * size
        assert (found - exact).square().mean().sqrt() <= 2**-8 * exact.square().mean().sqrt() + 2**-8 * size


@pytest.mark.skipif(not HAS_NUMBA, reason="helpers of compiled kernels")
def test_bfloat16_is_rounded_as_torch_rounds():
    """Every bfloat16 that is finite, what lies half-way to the next, and a little beside."""
    short = torch.arange(2**16).to(torch.uint16).view(torch.bfloat16).float()
    short = short[short.isfinite()]
    numbers = torch.cat([(short.view(torch.int32) + more).view(torch.float32) for more in (0, 1, 2**15, 2**15 + 1)])
    found = torch.empty_like(numbers, dtype=torch.bfloat16)
    _round(numbers.numpy(), as_array(found))
    assert torch.equal(found, numbers.bfloat16())


@serial
def _round(numbers, out):
    for i in range(len(numbers)):
        out[i] = narrow(numbers[i], out[i])
        out[i] = narrow(widen(out[i]), out[i])


@settings(max_examples=20)
@given(cases())
def test_gradients_are_the_direct_ones(case):
    x, weight, padding, dilation, tile = case
    padding = min(padding, 2 * dilation)
    if min(x.shape[2:]) + 2 * padding - 2 * dilation < 1 or not len(x):
        return
    bias = torch.ones(len(weight))
    mine, theirs = (
        [t.to(dtype, copy=True).requires_grad_() for t in (x, weight, bias)] for dtype in (x.dtype, torch.float64)
    )
    out = winograd_conv2d_train(*mine, padding, dilation, tile)
    direct = F.conv2d(*theirs, 1, padding, dilation)
    gradient = (torch.arange(direct.numel(), dtype=torch.float64) % 9 - 4).reshape(direct.shape)
    out.backward(gradient.float())
    direct.backward(gradient)
    assert_same(mine[0].grad, theirs[0].grad)
    for a, b in zip(mine[1:], theirs[1:]):  # of x: whole numbers
        torch.testing.assert_close(a.grad.double(), b.grad, atol=0.1, rtol=0)


def test_only_wanted_gradients_are_computed():
    x, weight = torch.randn(1, 4, 6, 6), torch.randn(4, 4, 3, 3, requires_grad=True)
    winograd_conv2d_train(x, weight, padding=1).sum().backward()
    assert x.grad is None and weight.grad is not None


@pytest.mark.parametrize("rows", [3, 0], ids=["some", "empty"])
def test_operators_are_whole(rows):
    x = torch.randn(rows, 8, 7, 9).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(5, 8, 3, 3), torch.randn(5)
    torch.library.opcheck(_winograd, (x, winograd_weight(weight), bias, torch.randn(rows, 5, 7, 9), 1, 1, True))
    if rows:
        inputs = (x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), 1, 1, 4)
        torch.library.opcheck(_winograd_train, inputs)


def test_pictures_do_not_depend_on_their_neighbours():
    """Tiles of several pictures share a product; each row of it is a sum of its own."""
    x = torch.randn(5, 32, 21, 13)
    basis = winograd_weight(torch.randn(16, 32, 3, 3))
    whole = winograd_conv2d(x, basis, padding=1)
    for n in range(len(x)):
        torch.testing.assert_close(winograd_conv2d(x[n : n + 1], basis, padding=1)[0], whole[n], atol=1e-5, rtol=1e-5)


def test_what_does_not_fit_is_refused():
    basis = winograd_weight(torch.randn(4, 3, 3, 3))
    for x, message in ((torch.randn(1, 2, 9, 9), "does not fit"), (torch.randn(1, 3, 2, 9), "does not fit")):
        with pytest.raises(ValueError, match=message):
            winograd_conv2d(x, basis)
    with pytest.raises(ValueError, match="residual is"):
        winograd_conv2d(torch.randn(1, 3, 9, 9), basis, residual=torch.randn(1, 4, 9, 9))
    with pytest.raises(ValueError, match="tile of 2 or 4"):
        winograd_weight(torch.randn(4, 3, 5, 5))
    with pytest.raises(ValueError, match="twice the dilation"):
        winograd_conv2d_train(torch.randn(1, 3, 9, 9), torch.randn(4, 3, 3, 3), padding=3)
