"""What the operators need to run on a GPU: Triton, which compiles their kernels when they are first called.

Only the operators' CUDA functions import this file, when they are called: Triton costs half a second that a program
without a GPU need not pay. Torch's CUDA packages bring Triton along; where it is missing, cannot be imported or cannot
compile for the device (it wants a C compiler for its launchers), `usable` says so and the torch definitions remain.

Kernels are launched with STRICT: products and sums are not contracted to fused multiply-adds, so that comparisons
decide as in the definition. For the same reason they divide with `tl.div_rn`: `/` is an approximation in float32.
"""

import functools
import importlib
import warnings
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

triton: Any = None
_import_error: Exception | None = None
try:
    tl = importlib.import_module("triton.language")
    triton = importlib.import_module("triton")
except Exception as error:  # a broken installation fails in many ways, and none of them is worth a program
    _import_error = error

HAS_TRITON = triton is not None
STRICT: dict[str, Any] = {"enable_fp_fusion": False}


def _probe_kernel(number):
    tl.store(number, 1)


@functools.cache
def usable(device: torch.device) -> bool:
    """Whether Triton is here and compiles for the device; tried once with a kernel of one line."""
    if not HAS_TRITON:
        if not isinstance(_import_error, ModuleNotFoundError):
            _warn(_import_error)
        return False
    number = torch.zeros(1, dtype=torch.int32, device=device)
    try:
        with on_device(number):
            triton.jit(_probe_kernel)[(1,)](number)
    except Exception as error:  # whatever a compiler, a linker or a driver may raise
        _warn(error)
        return False
    return True


def on_device(tensor: Tensor) -> AbstractContextManager[Any]:
    """Launch on the GPU that holds the tensor, which need not be the current one."""
    return torch.cuda.device_of(tensor)


def _warn(error: Exception | None) -> None:
    warnings.warn(
        f"Triton does not work here ({type(error).__name__}: {error}); "
        "operators on the GPU use their torch definitions, which are slower and take more memory",
        RuntimeWarning,
        stacklevel=3,
    )
