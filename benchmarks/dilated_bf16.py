"""Weight gradients of dilated convolutions in bfloat16, with memory full of NaN around: `python benchmarks/dilated_bf16.py`.

Prints the kinds whose gradient torch gets wrong on this processor, and whether the training's guard covers them.
"""

import torch
import torch.nn.functional as F

from videre.engine.training import is_unsound, planned

CHANNELS, DILATIONS, WIDTHS = (8, 16, 24, 32, 48, 64, 96, 160, 320), (1, 2, 4), (20, 30, 40, 64, 120)


def poison() -> None:
    """What is allocated next has been NaN before."""
    for exponent in range(12, 23, 2):
        blocks = [torch.full((1 << exponent,), float("nan")) for _ in range(6)]
        del blocks


def gradient(channels: int, groups: int, dilation: int, width: int) -> bool:
    """Whether the gradient is that of float32, to the precision of bfloat16."""
    x = torch.randn(2, channels, 20, width).to(memory_format=torch.channels_last)
    weight = (torch.randn(channels, channels // groups, 3, 3) * 0.1).requires_grad_()
    found = []
    for enabled in (True, False):
        poison()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = F.conv2d(x, weight, padding=dilation, dilation=dilation, groups=groups)
            poison()
        found += torch.autograd.grad(y.float().square().mean(), weight)
    return bool((found[0] - found[1]).abs().max() < 0.05 * found[1].abs().max())


def main() -> None:
    torch.manual_seed(0)
    wrong, uncovered = [], []
    for channels in CHANNELS:
        for kind, groups in (("dense", 1), ("depthwise", channels)):
            for dilation in DILATIONS:
                widths = [width for width in WIDTHS if not gradient(channels, groups, dilation, width)]
                if widths:
                    wrong.append(f"{kind}, {channels} channels, dilation {dilation}: wrong at widths {widths}")
                    weight = torch.empty(channels, channels // groups, 3, 3, requires_grad=True)
                    uncovered += [] if is_unsound(weight, weight, groups, dilation) else [wrong[-1]]
                with planned(None):
                    uncovered += [
                        f"{kind}, {channels}, {dilation}" for w in WIDTHS if not gradient(channels, groups, dilation, w)
                    ]
    print(f"torch {torch.__version__}", *(wrong or ["all are right"]), sep="\n")
    print("with the guard:", *(uncovered or ["all are right"]), sep="\n")


if __name__ == "__main__":
    main()
