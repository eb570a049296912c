"""A one-dimensional convolution as the matrix that it is; its transpose is the transposed convolution."""

from __future__ import annotations

import torch
from torch import Tensor

from videre.errors import ConfigError


def convolution_matrix(kernel: Tensor, length: int, stride: int = 1, padding: int = 0) -> Tensor:
    """X [outputs, length] such that `X @ a` is the convolution of a [length] (as `F.conv1d`: the kernel is not mirrored).

    `X.T @ b` is then the transposed convolution of b [outputs] (as `F.conv_transpose1d`), cut or filled with zeros to
    `length`: each output hands its value back to the inputs that it was made of. The one undoes the other's change of
    size, not its values.

    Args:
        kernel: [k]. length: of the input. stride, padding: in cells; the padding is with zeros.

    Raises ConfigError where the kernel is longer than the padded input, or a number is out of range.
    """
    size = len(kernel)
    if stride < 1 or padding < 0 or length < 1 or size < 1:
        raise ConfigError(
            f"convolution matrix: stride {stride}, padding {padding}, length {length} and kernel {size} do not make one"
        )
    outputs = (length + 2 * padding - size) // stride + 1
    if outputs < 1:
        raise ConfigError(f"convolution matrix: a kernel of {size} does not fit {length} cells padded by {padding}")
    padded = torch.zeros(outputs, length + 2 * padding, dtype=kernel.dtype)
    for row in range(outputs):
        padded[row, row * stride : row * stride + size] = kernel
    return padded[:, padding : padding + length]
