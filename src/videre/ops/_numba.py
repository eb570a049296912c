"""How the operators are compiled: two decorators over Numba, and what stands in for them where Numba is missing.

`serial` kernels may be called from any thread and from forked loader workers. `parallel` kernels split over threads.
Both keep IEEE arithmetic (no fastmath) unless a kernel asks for fused multiply-add in its accumulation, divide by
zero as NumPy does (a Python exception in the loop would forbid vector instructions), and are cached on disk. The cache
looks at the time stamp of a kernel's own file only: after changing a kernel that another file calls, touch that file.
Literals widen: float32 times a literal 0 or 0.5 is float64 to Numba, so kernels convert them (`T(0.5)`).

Torch is imported before the first parallel kernel runs, on purpose: Numba's OpenMP layer then binds to the OpenMP
library that torch has already loaded, and the two share one pool of threads. With two pools, the idle threads of the
one spin on the cores that the other needs (Numba's `workqueue` layer has that flaw: about half speed right after a
torch operator; the environment variable GOMP_SPINCOUNT=2000 cures it).
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch

numba: Any = None
with contextlib.suppress(ImportError):  # without it the torch references remain, and `serial` kernels are plain Python
    import numba

HAS_NUMBA = numba is not None
Kernel = Callable[..., Any]


def serial(function: Kernel) -> Kernel:
    """Compile a single-threaded kernel that releases the interpreter lock."""
    return function if numba is None else numba.njit(nogil=True, cache=True, error_model="numpy")(function)


def serial_fused(function: Kernel) -> Kernel:
    """As `serial`, with products and sums contracted to fused multiply-adds."""
    if numba is None:
        return function
    return numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})(function)


def parallel(function: Kernel) -> Kernel:
    """Compile a kernel whose `prange` loop runs on all threads; call `use_torch_threads` before it."""
    return (
        function if numba is None else numba.njit(parallel=True, nogil=True, cache=True, error_model="numpy")(function)
    )


def parallel_fused(function: Kernel) -> Kernel:
    """As `parallel`, with products and sums contracted to fused multiply-adds."""
    if numba is None:
        return function
    return numba.njit(parallel=True, nogil=True, cache=True, error_model="numpy", fastmath={"contract"})(function)


def use_torch_threads() -> int:
    """Give the parallel kernels as many threads as torch has been given, and return that number."""
    threads = torch.get_num_threads()
    if numba is not None:
        kernels = min(threads, numba.config.NUMBA_NUM_THREADS)
        numba.set_num_threads(kernels)
        # the first call starts Numba's pool, which sets OpenMP's number for both
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        return kernels
    return threads


prange = range if numba is None else numba.prange
