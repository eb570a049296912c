"""One training in several processes: started by torchrun, joined by gloo or nccl.

Whatever decides how a training goes on (stop, early stop, a broken loss) is decided by all processes together: one
that left the loop alone would leave the others waiting for ever.
"""

from __future__ import annotations

import datetime
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from videre.engine.device import choose_device
from videre.errors import ConfigError

T = TypeVar("T")

PATIENCE = datetime.timedelta(hours=24)
"""How long a process waits for the others: the first one evaluates alone, and that may take long. Dead ones are noticed
by torchrun, which ends the rest."""


@contextmanager
def joined(device: str = "auto") -> Iterator[tuple[int, int]]:
    """(rank, number of processes); joins the others where torchrun started this process, unless they are joined already.

    Processes on GPUs take one each and talk by nccl, all others by gloo. ConfigError where there are too few GPUs.
    """
    if _several():
        yield dist.get_rank(), dist.get_world_size()
        return
    if not dist.is_available() or "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    on_gpu = choose_device(device).type == "cuda"
    if on_gpu:
        place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if place >= gpus:
            raise ConfigError(
                f"process {place + 1} of this machine has no GPU of its own, there are {gpus}; start fewer"
            )
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield dist.get_rank(), dist.get_world_size()
        dist.barrier()  # one that leaves while another still exchanges numbers with it may bring itself down
    finally:
        leave()


def leave() -> None:
    """Leave the group, and end its threads.

    A model that was wrapped for it keeps it alive in a cycle until it is collected; a thread that is still there when the
    interpreter ends is thrown out of C++ code, and the process aborts.
    """
    gc.collect()
    dist.destroy_process_group()


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return os.environ.get("RANK", "0") == "0"


def largest(size: tuple[int, int], device: torch.device) -> tuple[int, int]:
    """The largest height and width of all processes: every part of a batch is padded alike."""
    if not _several():
        return size
    sides = torch.tensor(size, device=device)
    dist.all_reduce(sides, dist.ReduceOp.MAX)
    return int(sides[0]), int(sides[1])


def any_of(claims: tuple[bool, ...], device: torch.device) -> tuple[bool, ...]:
    """Each claim: whether it is true in any process."""
    if not _several():
        return claims
    flags = torch.tensor(claims, dtype=torch.int32, device=device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return tuple(bool(flag) for flag in flags)


def from_first(value: T) -> T:
    """The first process's value, in every process."""
    if not _several():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def from_all(value: T) -> list[T]:
    """The values of all processes, in every process."""
    if not _several():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def rank() -> int:
    """The number of this process."""
    return dist.get_rank() if _several() else 0


def mean(values: dict[str, torch.Tensor]) -> dict[str, float]:
    """Each value averaged over the processes, as numbers."""
    stacked = torch.stack([v.detach().float() for v in values.values()])
    if _several():
        dist.all_reduce(stacked)
        stacked = stacked / dist.get_world_size()
    return dict(zip(values, stacked.tolist()))


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
