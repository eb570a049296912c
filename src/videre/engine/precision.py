"""Which number format is fast on this device, found by trying it."""

from __future__ import annotations

import statistics
import time

import torch
import torch.nn.functional as F

GAIN = 1.4
"""How many times faster bf16 must be to be chosen: casts and small operators eat a part of the gain."""


def fastest_precision(device: torch.device) -> str:
    """ "bf16" where a 3x3 convolution is faster in it by `GAIN`, else "fp32".

    The names of instruction sets do not tell: on some processors bf16 is twice as fast as fp32, on others it is
    emulated and a hundred times slower. The trial takes about a tenth of a second there, a hundredth elsewhere.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    picture, weight = torch.ones(1, 64, 32, 32), torch.ones(64, 64, 3, 3)
    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    with torch.no_grad():
        for _ in range(6):  # in turn, so that a busy moment meets both
            for dtype, taken in seconds.items():
                x, w = (t.to(dtype).contiguous(memory_format=torch.channels_last) for t in (picture, weight))
                began = time.perf_counter()
                F.conv2d(x, w, padding=1)
                taken.append(time.perf_counter() - began)
    plain, short = (statistics.median(taken[1:]) for taken in seconds.values())
    return "bf16" if short * GAIN < plain else "fp32"
