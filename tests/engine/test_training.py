"""Planned convolutions and linear layers of a training step: torch's numbers and gradients, whatever the plan says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.engine.plan import Plan
from videre.engine.training import planned


class Always(Plan):
    """Takes one candidate, the last where none is named, untimed."""

    def __init__(self, way: str | None = None) -> None:
        super().__init__()
        self.way = way

    def choose(self, key, candidates):
        self.asked[key] = self.way or list(candidates)[-1]
        return self.asked[key]


def net(dilation: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(64, 96, 3, padding=dilation, dilation=dilation),
        nn.ReLU(),
        nn.Conv2d(96, 64, 3, padding="same", bias=False),
        nn.Conv2d(64, 64, 3, groups=2),
        nn.Conv2d(64, 8, 1),
    )


def step(net: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    loss = net(x).square().sum()
    trained = [p for p in chain([x], net.parameters()) if p.requires_grad]
    return loss.detach(), *torch.autograd.grad(loss, trained)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("frozen", [0, 1, 3])
@pytest.mark.parametrize("way", ["winograd4", "winograd4 onednn"])
def test_losses_and_gradients_are_torchs(dilation: int, frozen: int, way: str) -> None:
    layers, x = net(dilation), torch.randn(2, 3, 33, 41).requires_grad_(frozen == 0)
    layers[:frozen].requires_grad_(False)
    plain, plan = step(layers, x), Always(way)
    with planned(plan):
        found = step(layers, x)
    assert list(plan.asked.values()) == [way] and "64-96 3x3" in next(iter(plan.asked))
    assert next(iter(plan.asked)).endswith({0: "for xw", 1: "for w", 3: "for nothing"}[frozen])
    for a, b in zip(plain, found, strict=True):
        torch.testing.assert_close(b, a, atol=1e-4 * float(a.abs().max()), rtol=1e-4)


def test_a_trial_leaves_no_trace() -> None:
    """The same loss and gradients, to the bit, in the step that times the algorithms and in the next one."""
    layers, x, plan = net(), torch.randn(2, 3, 33, 41), Plan()
    with planned(plan):
        first, second = step(layers, x), step(layers, x)
    assert len(plan.choices) == 1 and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(p.grad is None for p in layers.parameters())


def test_what_has_no_gain_is_not_tried() -> None:
    plan = Always()
    x, weight = torch.randn(1, 64, 9, 9), torch.randn(64, 64, 3, 3)
    with planned(plan):
        F.conv2d(x.double(), weight.double())
        F.conv2d(x, weight, stride=2)
        F.conv2d(x, weight, None, 1, (1, 0))
        F.conv2d(x[:0], weight)
        F.conv2d(x[:, :32], weight[:, :32])
        with torch.autocast("cpu", torch.bfloat16):
            F.conv2d(x, weight)
    assert not plan.asked
    with pytest.raises(RuntimeError, match="channels"), planned(plan):
        F.conv2d(x[:, :63], weight)


@pytest.mark.parametrize("size", [(1024,), (4, 256)], ids=str)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("frozen", ["", "x", "w", "xw"])
def test_large_linear_layers_are_torchs(size: tuple[int, ...], biased: bool, frozen: str) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(320, 256, bias=biased), nn.ReLU(), nn.Linear(256, 4))
    x = torch.randn(*size, 320, requires_grad="x" not in frozen)
    layers[0].weight.requires_grad_("w" not in frozen)
    plain, plan = step(layers, x), Always()
    with planned(plan):
        found = step(layers, x)
    wanted = "".join(name for name in "xw" if name not in frozen) or "nothing"
    assert plan.asked == {f"training linear 320-256 2^11 for {wanted}": "onednn"}  # the second is small
    for a, b in zip(plain, found, strict=True):
        torch.testing.assert_close(b, a, atol=1e-5 * float(a.abs().max()), rtol=1e-4)


def test_linear_layers_of_any_layout_are_torchs() -> None:
    """Slices, transposed and repeated memory, of what comes in and of the gradient that comes back."""
    torch.manual_seed(0)
    x, weight = torch.randn(1024, 640), torch.randn(256, 640)
    sums: list[Callable[[Tensor], Tensor]] = [Tensor.sum, lambda y: y.T[::3].square().sum()]
    with planned(Always()):
        for a, b in (
            (x[:, ::2], weight[:, ::2]),
            (x.T.contiguous().T, weight.T.contiguous().T),
            (x[:1].expand_as(x), weight),
        ):
            for total in sums:
                trained = [t.detach().requires_grad_() for t in (a, b)]
                found = torch.autograd.grad(total(F.linear(*trained)), trained)
                expected = torch.autograd.grad(total(trained[0] @ trained[1].T), trained)
                for one, other in zip(found, expected, strict=True):
                    torch.testing.assert_close(one, other, atol=1e-5 * float(other.abs().max()), rtol=1e-4)


def test_a_trial_of_a_linear_layer_leaves_no_trace() -> None:
    layer, x, plan = nn.Linear(320, 256), torch.randn(1024, 320, requires_grad=True), Plan()
    with planned(plan):
        first, second = step(layer, x), step(layer, x)
    assert len(plan.choices) == 1 and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(p.grad is None for p in layer.parameters())


def test_which_linear_layers_are_not_tried() -> None:
    plan, x, weight = Always(), torch.randn(1024, 320), torch.randn(256, 320)
    with planned(plan):
        F.linear(x[:512], weight)
        F.linear(x.double(), weight.double())
        with torch.autocast("cpu", torch.bfloat16):
            F.linear(x, weight)
    with planned(None):
        F.linear(x, weight)
    assert not plan.asked
    with pytest.raises(RuntimeError, match="shapes"), planned(Plan()):
        F.linear(x, weight[:, :300])


@pytest.mark.parametrize(("channels", "groups", "way"), [(320 + 24, 1, "filled"), (40, 40, "fp32")])
@pytest.mark.parametrize("stride", [1, 2])
def test_other_ways_of_bfloat16_give_its_numbers(channels: int, groups: int, way: str, stride: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, channels if groups > 1 else 32, 3, stride, 1, groups=groups)
    x = torch.randn(2, channels, 17, 22).to(memory_format=torch.channels_last).requires_grad_()
    exact, plan = step(layer, x), Always()
    with torch.autocast("cpu", torch.bfloat16):
        plain = step(layer, x)
        with planned(plan):
            found = step(layer, x)
    assert list(plan.asked.values()) == [way] and " bf16 " in next(iter(plan.asked))
    check(exact, plain, found)


def check(exact: tuple[Tensor, ...], plain: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> None:
    """Of the same types as torch's own, and hardly further from what float32 says."""
    assert [t.dtype for t in found] == [t.dtype for t in plain]
    for a, b, c in zip(exact, plain, found, strict=True):
        error = lambda other, a=a: float((other - a).abs().max() / a.abs().max())
        assert error(c) <= max(0.01, 1.5 * error(b))


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_a_pointwise_convolution_as_a_product(biased: bool, order: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(128, 64, 1, bias=biased)
    x = torch.randn(2, 128, 9, 13).to(memory_format=order).requires_grad_()
    exact, plan = step(layer, x), Always()
    with torch.autocast("cpu", torch.bfloat16):
        plain = step(layer, x)
        with planned(plan):
            found, strided, padded = step(layer, x), layer(x[:, :, ::2]), F.conv2d(x, layer.weight, padding=1)
    assert list(plan.asked.values()) == ["product"]  # the same key twice, and nothing for the padded one
    assert strided.shape == (2, 64, 5, 13) and padded.shape == (2, 64, 11, 15)
    check(exact, plain, found)


def test_a_trial_under_bfloat16_leaves_no_trace() -> None:
    layer, plan = nn.Conv2d(32, 32, 3, 2, 1, groups=32), Plan()
    x = torch.randn(2, 32, 17, 22, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16), planned(plan):
        first, second = step(layer, x), step(layer, x)
    assert len(plan.choices) == 1 and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("channels", "groups"), [(24, 1), (32, 32), (20, 20)])
def test_dilated_gradients_are_sound_in_bfloat16(channels: int, groups: int) -> None:
    """Left to torch, these are NaN or any number where memory held something before (see benchmarks/unsound_bf16.py)."""
    torch.manual_seed(0)
    x = torch.randn(2, channels, 20, 40).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, groups=groups)
    found = []
    for bf16 in (True, False):
        filled = [torch.full((1 << 16,), float("nan")) for _ in range(8)]
        del filled
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16), planned(None):
            y = layer(x)
        found += torch.autograd.grad(y.float().square().mean(), layer.weight)
    torch.testing.assert_close(*found, atol=0.02 * float(found[1].abs().max()), rtol=0.02)


def test_only_what_is_unsound_is_kept_out_of_bfloat16() -> None:
    x = torch.randn(1, 32, 12, 12)
    weights = {groups: torch.randn(32, 32 // groups, 3, 3, requires_grad=True) for groups in (1, 32)}
    with torch.autocast("cpu", torch.bfloat16), planned(None):
        of = lambda groups, dilation: (
            F.conv2d(x, weights[groups], padding=dilation, dilation=dilation, groups=groups).dtype
        )
        assert of(32, 2) == torch.float32
        assert of(1, 2) == of(32, 1) == of(1, 1) == torch.bfloat16
        wide = torch.zeros(1, 2048, 2, 2)
        to = lambda channels: (
            F.conv2d(wide, torch.zeros(channels, 2048, 1, 1, requires_grad=True), torch.zeros(channels)).dtype
        )
        assert [to(channels) for channels in (11, 16, 21)] == [torch.float32, torch.bfloat16, torch.bfloat16]
        weights[32].requires_grad_(False)
        assert of(32, 2) == torch.bfloat16  # a frozen layer has no gradient to be wrong


def test_scores_of_many_channels_do_not_end_the_process() -> None:
    """4,096 channels to 11 on a small map: in bfloat16 oneDNN's weight gradient writes beyond its memory."""
    code = (
        "import torch\n"
        "from videre.engine.training import planned\n"
        "torch.set_num_threads(2)\n"
        "layer = torch.nn.Conv2d(4096, 11, 1).to(memory_format=torch.channels_last)\n"
        "for _ in range(4):\n"
        "    x = torch.randn(4, 4096, 6, 8).to(memory_format=torch.channels_last).requires_grad_()\n"
        "    with torch.autocast('cpu', torch.bfloat16), planned(None):\n"
        "        y = layer(x)\n"
        "    y.float().square().mean().backward()\n"
    )
    checked = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}  # glibc's, where it is installed
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **checked}, capture_output=True)
    assert done.returncode == 0, done.stderr[-500:]
