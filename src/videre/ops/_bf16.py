"""bfloat16 in kernels: Numba has no such number, so arrays hold its 16 bits and the arithmetic between is float32's."""

import numpy as np
import torch
from torch import Tensor

from ._numba import numba


def as_array(x: Tensor) -> np.ndarray:
    """A tensor's memory; that of bfloat16 as uint16, the upper half of a float32."""
    return x.view(torch.uint16).numpy() if x.dtype == torch.bfloat16 else x.numpy()


def widen(stored):
    """The number that an element of an array stands for: of any type itself, of uint16 a float32."""
    raise NotImplementedError("inside of kernels only")


def narrow(number, like):
    """The reverse, rounded to the nearest number, of two the even one. like: an element of the array that it goes to."""
    raise NotImplementedError("inside of kernels only")


if numba is not None:
    from numba import types
    from numba.extending import overload

    @overload(widen, inline="always")
    def _(stored):
        if stored == types.uint16:
            return lambda stored: np.uint32(np.uint32(stored) << np.uint32(16)).view(np.float32)
        return lambda stored: stored

    @overload(narrow, inline="always")
    def _(number, like):
        if like != types.uint16:
            return lambda number, like: number

        def rounded(number, like):
            bits = np.float32(number).view(np.uint32)
            odd = (bits >> np.uint32(16)) & np.uint32(1)
            return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

        return rounded
