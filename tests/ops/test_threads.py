"""Numba's kernels and torch share OpenMP's threads, and torch decides how many."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import torch
torch.set_num_threads(1)
from videre.ops._numba import use_torch_threads
from videre.ops.roi_align import roi_align
assert use_torch_threads() == 1
roi_align(torch.ones(1, 4, 8, 8), torch.tensor([[0.0, 1, 1, 6, 6]]), 2, 1.0, 2, True)
print(torch.get_num_threads())
"""


def test_the_first_kernel_does_not_change_the_number_of_torch() -> None:
    """In a process of its own: Numba's pool starts once."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "1", done.stderr
