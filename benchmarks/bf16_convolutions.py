"""Convolutions that oneDNN does slowly in bfloat16 with AMX, and the ways round them: `python benchmarks/bf16_convolutions.py`.

Milliseconds both ways on one thread, the best of five, each beside what `engine/training.py` or `layers/upsample.py` does instead.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from videre.engine.training import FULL, as_product
from videre.layers.upsample import BilinearDeconv


def both_ways(way: Callable[[Tensor], Tensor], shape: tuple[int, ...], dtype: torch.dtype = torch.bfloat16) -> float:
    x = torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        y = way(x)
        y.backward(torch.ones_like(y))
        taken.append(time.perf_counter() - began)
    return 1000 * min(taken)


def main() -> None:
    torch.set_num_threads(1)
    weight = lambda *shape, dtype=torch.bfloat16: torch.randn(shape).to(dtype).requires_grad_()
    depthwise = weight(96, 1, 3, 3), weight(96, 1, 3, 3, dtype=torch.float32)
    slow, fast = (
        both_ways(lambda x, w=w: F.conv2d(x, w, stride=2, padding=1, groups=96), (4, 96, 192, 240), w.dtype)
        for w in depthwise
    )
    print(f"depthwise, stride 2: bf16 {slow:.0f}, fp32 {fast:.0f}")
    odd = 1376
    weights = [weight(256, n, 3, 3) for n in (odd, odd + -odd % FULL)]
    slow, fast = (both_ways(lambda x, w=w: F.conv2d(x, w, padding=1), (4, w.shape[1], 24, 30)) for w in weights)
    print(f"3x3 to 256 channels: of {odd} {slow:.0f}, of {odd + -odd % FULL} {fast:.0f}")
    for ins, outs in ((2048, 512), (512, 2048), (1024, 256)):
        kernel = weight(outs, ins, 1, 1)
        slow = both_ways(lambda x, w=kernel: F.conv2d(x, w), (2, ins, 60, 80))
        fast = both_ways(lambda x, w=kernel: as_product(x, w, None), (2, ins, 60, 80))
        print(f"1x1 from {ins} to {outs} channels: {slow:.0f}, as a product of matrices {fast:.0f}")
    layer = BilinearDeconv(11, 32, 16).to(torch.bfloat16)
    slow = both_ways(lambda x: F.conv_transpose2d(x, layer.weight, stride=32, padding=16), (4, 11, 6, 8))
    print(
        f"transposed, kernel 64, stride 32: {slow:.0f}, as one small convolution {both_ways(layer, (4, 11, 6, 8)):.0f}"
    )


if __name__ == "__main__":
    main()
