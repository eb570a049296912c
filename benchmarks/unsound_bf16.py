"""Gradients in bfloat16 that torch gets wrong on this processor: `python benchmarks/unsound_bf16.py`.

Dilated convolutions, computed with memory full of NaN around; and convolutions from many channels to a few, each in a process
of its own under an allocator that looks whether anybody wrote beyond their memory (glibc's). Prints the kinds, and whether
the training's guard covers them.
"""

import contextlib
import os
import subprocess
import sys

import torch
import torch.nn.functional as F

from videre.engine.training import is_unsound, planned

INS, OUTS, THREADS = (512, 1024, 2048, 2064, 2560, 4096, 8192), (1, 11, 15, 16, 17, 24), (1, 2, 3, 4, 8)
CHECKED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
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


def ends(ins: int, outs: int, threads: int, guarded: bool) -> bool:
    """Whether a process that computes the gradient of ins to outs channels, on a map of 6x8, is ended by the allocator."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        torch.set_num_threads(threads)
        weight, bias = torch.randn(outs, ins, 1, 1, requires_grad=True), torch.zeros(outs, requires_grad=True)
        for _ in range(3):
            x = torch.randn(4, ins, 6, 8).to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16), planned(None) if guarded else contextlib.nullcontext():
                y = F.conv2d(x, weight, bias)
            torch.autograd.grad(y.float().square().mean(), (weight, bias))
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def narrowing() -> None:
    wrong, uncovered = [], []
    for threads in THREADS:
        for ins in INS:
            outs = [o for o in OUTS if ends(ins, o, threads, guarded=False)]
            wrong += [f"{ins} to {outs} channels, {threads} threads: writes beyond its memory"] if outs else []
            uncovered += [f"{ins} to {o}, {threads} threads" for o in outs if ends(ins, o, threads, guarded=True)]
    report("1x1 convolutions with a bias", wrong, uncovered)


def dilated() -> None:
    torch.manual_seed(0)
    wrong, uncovered = [], []
    for channels in CHANNELS:
        for kind, groups in (("dense", 1), ("depthwise", channels)):
            for dilation in DILATIONS:
                widths = [width for width in WIDTHS if not gradient(channels, groups, dilation, width)]
                if widths:
                    wrong.append(f"{kind}, {channels} channels, dilation {dilation}: wrong at widths {widths}")
                    weight = torch.empty(channels, channels // groups, 3, 3, requires_grad=True)
                    uncovered += [] if is_unsound(weight, weight, None, groups, dilation) else [wrong[-1]]
                with planned(None):
                    uncovered += [
                        f"{kind}, {channels}, {dilation}" for w in WIDTHS if not gradient(channels, groups, dilation, w)
                    ]
    report("3x3 convolutions", wrong, uncovered)


def report(title: str, wrong: list[str], uncovered: list[str]) -> None:
    print(f"{title}, torch {torch.__version__}:", *(wrong or ["all are right"]), sep="\n")
    print("with the guard:", *(uncovered or ["all are right"]), sep="\n", flush=True)


if __name__ == "__main__":
    if "--narrowing" in sys.argv:
        narrowing()
    else:
        subprocess.run([sys.executable, __file__, "--narrowing"], env={**os.environ, **CHECKED}, check=True)
        dilated()
