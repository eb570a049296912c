"""The allocator's settings: taken where glibc is, left alone when asked."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# in a process of its own: the settings stay for as long as a process lives
SCRIPT = """
import resource, torch
from videre.engine.allocator import keep_memory
torch.set_num_threads(1)
print(keep_memory())
x = torch.ones(16_000_000)
for _ in range(12):
    y = x + 1
    del y
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    y = x + 1
    del y
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_large_blocks_are_kept_unless_told_otherwise() -> None:
    """Forty times 64 MB. Without the settings every page of each is faulted in again (pages may be of 4 KiB or 2 MiB).

    With them a block is fresh only where something small was put into the hole that the last one left, which happens a few times
    and mostly among the first eight.
    """
    started = {  # both at once: they take their time to import torch
        kept: subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={"VIDERE_ALLOCATOR": allocator, "PATH": ""},
            stdout=subprocess.PIPE,
            text=True,
        )
        for allocator, kept in (("", True), ("plain", False))
    }
    faults = {}
    for kept, process in started.items():
        answer, count = process.communicate()[0].split()
        assert process.returncode == 0 and answer == str(kept)
        faults[kept] = int(count)
    assert faults[False] > 200
    assert faults[True] <= 0.1 * faults[False]
