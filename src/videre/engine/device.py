"""Which device computes."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from videre.errors import ConfigError


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" is a CUDA GPU where there is one, else Apple's, else the processor.

    Raises ConfigError when it is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, found in there.items() if found))
    if not there.get(name.split(":")[0], False):
        found = ", ".join(kind for kind, yes in there.items() if yes)
        raise ConfigError(f"there is no device {name!r} here; there is: {found}")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"no device is called {name!r}; as in cpu, cuda, cuda:1, mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"there is no device {name!r} here; there are {torch.cuda.device_count()} GPUs, from cuda:0 on"
        )
    return device


def describe_processor() -> str:
    """The processor as a benchmark names it: "AMD EPYC, AVX512, 2 threads"."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(named, platform.processor() or platform.machine())
    threads = torch.get_num_threads()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}, {threads} thread{'s' if threads > 1 else ''}"
