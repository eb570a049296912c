"""Norms, convolutions, losses: each against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from videre.errors import ConfigError
from videre.layers.conv import SameConv2d, conv_block, make_conv
from videre.layers.losses import mean_count, smooth_l1
from videre.layers.norm import NORMS, FrozenBatchNorm2d, exchange_norms, make_norm


class NormReLU(nn.BatchNorm2d):
    """A norm that activates too, as timm has them."""

    def __init__(self, channels):
        super().__init__(channels, 1e-3)
        self.drop, self.act = nn.Identity(), nn.ReLU()

    def forward(self, x):
        return self.act(super().forward(x))


@pytest.mark.parametrize("norm", ["frozen", "batch", "sync", "group"])
def test_norms_of_others_are_exchanged_with_their_tensors(norm):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Sequential(nn.BatchNorm2d(16, 1e-4), NormReLU(16)), nn.GroupNorm(2, 16))
    for m in net[1]:
        nn.init.uniform_(m.running_var, 0.5, 2)
        nn.init.normal_(m.weight)
    x = torch.randn(2, 3, 9, 9)
    before = net.eval()(x)
    exchange_norms(net, norm)
    kind = type(make_norm(norm, 16))
    plain, (active, _, act) = net[1]
    assert type(plain) is type(active) is kind and type(act) is nn.ReLU and type(net[2]) is nn.GroupNorm
    assert (plain.eps, active.eps) == (1e-4, 1e-3)
    if norm != "group":
        torch.testing.assert_close(net.eval()(x), before)
    exchange_norms(net, norm, eps=0.5)
    if norm != "group":  # which is no batch norm any more
        assert not isinstance(plain, nn.BatchNorm2d) or net[1][0].eps == 0.5
    with pytest.raises(
        ConfigError, match="norm must be one of frozen, batch, sync, group for a net of another library"
    ):
        exchange_norms(net, "none")


@pytest.mark.parametrize("eps", [1e-5, 0.0, 1e-3])
def test_frozen_batch_norm_is_batch_norm_in_eval(eps):
    torch.manual_seed(0)
    live = nn.BatchNorm2d(6, eps)
    for tensor in (live.weight, live.bias, live.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(live.running_var, 0.1, 3)
    frozen = FrozenBatchNorm2d(6, eps)
    missing, odd = frozen.load_state_dict(live.state_dict(), strict=False)
    assert not missing and odd == ["num_batches_tracked"] and not list(frozen.parameters())
    x = torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(frozen.train()(x), live.eval()(x))


@pytest.mark.parametrize(
    ("channels", "groups"), [(512, 32), (256, 32), (64, 8), (32, 4), (24, 2), (96, 8), (20, 2), (7, 1)]
)
def test_group_counts(channels, groups):
    norm = make_norm("group", channels)
    assert norm.num_groups == groups and channels % groups == 0


def test_norms_by_name():
    kinds = {name: type(make_norm(name, 8, 1e-3)) for name in NORMS}
    assert kinds == {
        "frozen": FrozenBatchNorm2d,
        "batch": nn.BatchNorm2d,
        "sync": nn.SyncBatchNorm,
        "group": nn.GroupNorm,
        "none": nn.Identity,
    }
    assert all(make_norm(name, 8, 1e-3).eps == 1e-3 for name in NORMS if name != "none")
    with pytest.raises(ConfigError, match="norm must be one of frozen, batch, sync, group, none; found 'layer'"):
        make_norm("layer", 8)


# convolution ------------------------------------------------------------------------------------------------------------


def tensorflow_same(x, weight, stride, dilation):
    """The definition: ceil(n / stride) outputs, the zeros split with the odd one after; summed in loops."""
    channels, _, kernel_h, kernel_w = weight.shape
    height, width = x.shape[1:]
    out = np.zeros((channels, -(-height // stride), -(-width // stride)))
    before = []
    for side, n, kernel in ((height, out.shape[1], kernel_h), (width, out.shape[2], kernel_w)):
        total = max((n - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
        before.append(total // 2)
    for oy in range(out.shape[1]):
        for ox in range(out.shape[2]):
            for ky in range(kernel_h):
                for kx in range(kernel_w):
                    y = oy * stride + ky * dilation - before[0]
                    z = ox * stride + kx * dilation - before[1]
                    if 0 <= y < height and 0 <= z < width:
                        out[:, oy, ox] += weight[:, :, ky, kx] @ x[:, y, z]
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3, 5]), st.integers(1, 3), st.integers(1, 2))
def test_same_padding_is_tensorflows(height, width, kernel, stride, dilation):
    torch.manual_seed(0)
    conv = SameConv2d(2, 3, kernel, stride, 0, dilation, bias=False).double()
    x = torch.randn(1, 2, height, width, dtype=torch.float64)
    expected = tensorflow_same(x[0].numpy(), conv.weight.detach().numpy(), stride, dilation)
    np.testing.assert_allclose(conv(x)[0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("side", "same_as_half"), [(8, False), (9, True)])
def test_same_and_half_differ_on_even_sides_only(side, same_as_half):
    half, same = make_conv(1, 1, 3, 2), make_conv(1, 1, 3, 2, padding="same")
    same.load_state_dict(half.state_dict())
    x = torch.randn(1, 1, side, side)
    assert half(x).shape == same(x).shape
    assert torch.allclose(half(x), same(x)) == same_as_half


def test_a_block_has_a_bias_only_without_a_norm():
    for norm in NORMS:
        block = conv_block(4, 8, 3, 2, groups=2, norm=norm)
        assert (block[0].bias is not None) == (norm == "none") and len(block) == 3
    assert len(conv_block(4, 8, 1, activation=None)) == 2
    assert make_conv(4, 4, 3, dilation=2)(torch.zeros(1, 4, 7, 8)).shape == (1, 4, 7, 8)


# losses -----------------------------------------------------------------------------------------------------------------


def test_smooth_l1_by_hand():
    """Beta 1/9: .05 is in the square part, 1 and -2 in the straight parts; the sum."""
    difference = torch.tensor([[0.05, 1.0, -2.0, 0.0]])
    expected = 0.05**2 * 9 / 2 + (1 - 1 / 18) + (2 - 1 / 18)
    assert smooth_l1(difference, torch.zeros(1, 4)).item() == pytest.approx(expected, rel=1e-6)
    assert smooth_l1(difference, torch.zeros(1, 4), beta=4.0).item() == pytest.approx(float((difference**2).sum() / 8))
    assert smooth_l1(torch.zeros(0, 4), torch.zeros(0, 4)).item() == 0


def test_counts_are_never_zero():
    assert mean_count(12, torch.zeros(1)).item() == 12 and 0 < mean_count(0, torch.zeros(1)).item() < 1e-5
