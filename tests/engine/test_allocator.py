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
for _ in range(3):
    y = x + 1
    del y
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    y = x + 1
    del y
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
@pytest.mark.parametrize(("allocator", "kept"), [("", True), ("plain", False)])
def test_large_blocks_are_kept_unless_told_otherwise(allocator: str, kept: bool) -> None:
    env = {"VIDERE_ALLOCATOR": allocator, "PATH": ""}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True)
    answer, faults = done.stdout.split()
    assert answer == str(kept)
    # ten times 64 MB: without the settings every page is faulted in again (in pages of 4 KiB or 2 MiB)
    assert (int(faults) < 100) if kept else (int(faults) > 200)
