"""One training in several processes: started by torchrun, joined by gloo or nccl."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


@contextmanager
def joined() -> Iterator[tuple[int, int]]:
    """(rank, number of processes); joins the others where torchrun started this process."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()


def largest(size: tuple[int, int], device: torch.device) -> tuple[int, int]:
    """The largest height and width of all processes: every part of a batch is padded alike."""
    if not dist.is_initialized():
        return size
    sides = torch.tensor(size, device=device)
    dist.all_reduce(sides, dist.ReduceOp.MAX)
    return int(sides[0]), int(sides[1])


def mean(values: dict[str, torch.Tensor]) -> dict[str, float]:
    """Each value averaged over the processes, as numbers."""
    stacked = torch.stack([v.detach().float() for v in values.values()])
    if dist.is_initialized():
        dist.all_reduce(stacked)
        stacked = stacked / dist.get_world_size()
    return dict(zip(values, stacked.tolist()))
