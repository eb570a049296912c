"""Ways to make maps larger, against torch's own where it has them, and by hand where it has not."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.errors import ConfigError
from videre.layers.convolution_matrix import convolution_matrix
from videre.layers.upsample import (
    BilinearDeconv,
    bed_of_nails,
    bilinear,
    max_pool_with_places,
    max_unpool,
    nearest,
)

SIDES = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 3), st.integers(0, 3), st.integers(0, 2**31))
def test_a_convolution_is_its_matrix_and_the_transposed_one_is_the_transpose(
    length: int, size: int, stride: int, padding: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(size, generator=generator, dtype=torch.float64)
    if length + 2 * padding < size:
        with pytest.raises(ConfigError, match=f"a kernel of {size} does not fit {length} cells padded by {padding}"):
            convolution_matrix(kernel, length, stride, padding)
        return
    matrix = convolution_matrix(kernel, length, stride, padding)
    a = torch.randn(length, generator=generator, dtype=torch.float64)
    forward = F.conv1d(a[None, None], kernel[None, None], stride=stride, padding=padding)[0, 0]
    torch.testing.assert_close(matrix @ a, forward)
    b = torch.randn(len(matrix), generator=generator, dtype=torch.float64)
    full = F.conv_transpose1d(b[None, None], kernel[None, None], stride=stride)[0, 0]
    full = F.pad(full, (0, max(0, length + 2 * padding - len(full))))[padding : padding + length]
    torch.testing.assert_close(matrix.T @ b, full)


def test_a_matrix_written_out() -> None:
    matrix = convolution_matrix(torch.tensor([1.0, 2, 3]), 5, stride=2, padding=1)
    assert matrix.tolist() == [[2, 3, 0, 0, 0], [0, 1, 2, 3, 0], [0, 0, 0, 1, 2]]
    with pytest.raises(ConfigError, match="stride 0"):
        convolution_matrix(torch.ones(3), 5, stride=0)


def test_one_map_by_hand() -> None:
    x = torch.tensor([[1.0, 2], [3, 4]])[None, None]
    assert nearest(x, (4, 4))[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert bed_of_nails(x, (4, 4))[0, 0].tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    assert bed_of_nails(x, (3, 3))[0, 0].tolist() == [[1, 0, 2], [0, 0, 0], [3, 0, 4]]
    assert nearest(x, (3, 4))[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4]]
    assert bilinear(x, (4, 4))[0, 0, 0].tolist() == [1, 1.25, 1.75, 2]


def test_of_equal_values_the_first_is_the_maximum() -> None:
    flat = torch.full((1, 1, 3, 4), 7.0)
    flat[0, 0, 0, 1] = 7.0001  # the same in bfloat16's eight bits
    pooled, places = max_pool_with_places(flat)
    assert places[0, 0].tolist() == [[0, 2], [8, 10]]
    assert pooled[0, 0, 0, 0] == flat[0, 0, 0, 1]  # the value itself is exact
    assert max_unpool(torch.ones(1, 1, 2, 2), places, (3, 4))[0, 0].tolist() == [
        [1, 0, 1, 0],
        [0, 0, 0, 0],
        [1, 0, 1, 0],
    ]


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, st.integers(0, 2**31))
def test_unpooling_puts_each_maximum_where_it_was(height: int, width: int, seed: int) -> None:
    values = torch.randperm(2 * 3 * height * width, generator=torch.Generator().manual_seed(seed)) % 251
    x = values.view(2, 3, height, width).bfloat16().float()
    pooled, places = max_pool_with_places(x)
    back = max_unpool(pooled, places, (height, width))
    wanted, where = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
    assert torch.equal(pooled, wanted) and torch.equal(places, where)
    assert torch.equal(back, F.max_unpool2d(wanted, where, 2, 2, output_size=(height, width)))
    assert torch.equal(back[back != 0], x[back != 0])  # what is there is what was there


def test_gradients_go_where_values_came_from() -> None:
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    places = max_pool_with_places(x)[1]
    for grow in (
        lambda y: max_unpool(y, places, (5, 6)),
        lambda y: nearest(y, (5, 6)),
        lambda y: bed_of_nails(y, (5, 6)),
    ):
        assert torch.autograd.gradcheck(grow, (torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_a_transposed_convolution_begins_as_interpolation(factor: int) -> None:
    x = torch.randn(1, 3, 5, 6)
    layer = BilinearDeconv(3, factor, factor // 2)
    made, wanted = layer(x), F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    assert made.shape == wanted.shape
    edge = factor // 2  # beyond it the interpolation repeats the border, the convolution sees zeros
    torch.testing.assert_close(made[:, :, edge:-edge, edge:-edge], wanted[:, :, edge:-edge, edge:-edge])
    assert BilinearDeconv(3, factor)(x).shape[2:] == ((5 + 1) * factor, (6 + 1) * factor)
    assert not BilinearDeconv(2, 2, learned=False).weight.requires_grad


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES, st.sampled_from([2, 3, 4, 8]), st.integers(0, 3), st.integers(0, 2**31))
def test_a_learned_one_is_torchs_transposed_convolution(h: int, w: int, factor: int, padding: int, seed: int) -> None:
    """Whatever its weights have become, across channels, too; with both gradients."""
    torch.manual_seed(seed)
    layer = BilinearDeconv(2, factor, min(padding, factor // 2)).double()
    torch.nn.init.normal_(layer.weight)
    x = torch.randn(1, 2, h, w, dtype=torch.float64, requires_grad=True)
    made, wanted = layer(x), F.conv_transpose2d(x, layer.weight, None, layer.stride, layer.padding)
    torch.testing.assert_close(made, wanted)
    weights = torch.randn_like(wanted)
    for a, b in zip(*(torch.autograd.grad((y * weights).sum(), (x, layer.weight)) for y in (made, wanted))):
        torch.testing.assert_close(a, b)
