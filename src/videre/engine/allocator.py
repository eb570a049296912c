"""Keep freed memory instead of giving it back to the system after every operator.

glibc maps each tensor of 32 MiB or more afresh and unmaps it when it is freed; every page of it is then zeroed by the
kernel and faulted in again, for each layer of each step. Told to keep its memory, the process reuses pages that it has
already touched. What it holds at its peak it holds until it ends.
"""

from __future__ import annotations

import ctypes
import os

# from glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8


def keep_memory() -> bool:
    """Tell the C library to keep large blocks; True where it understood (glibc).

    The environment variable VIDERE_ALLOCATOR=plain leaves the allocator as it is. One arena serves all threads, those
    that load and prepare pictures too: glibc gives each an arena of its own otherwise, made of heaps of at most 64 MiB,
    and what such an arena has kept no other thread can reuse.
    """
    if os.environ.get("VIDERE_ALLOCATOR") == "plain":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False  # another C library, or another system
    settings = {M_ARENA_MAX: 1, M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 * 2**20}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
