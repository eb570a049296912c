"""Files of tensors, read by the library whose format it is."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from videre.tensors import NAMES, read_tensors, write_tensors


def test_the_format_library_reads_what_was_written(tmp_path: Path) -> None:
    """All types, orders of memory, scalars, nothing, and memory shared by two names."""
    tied = torch.randn(3, 5)
    tensors = {
        **{str(dtype): (torch.rand(2, 3) * 9).to(dtype) for dtype in NAMES},
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "one": tied,
        "other": tied,
        "turned": tied.T,
        "trained": torch.nn.Parameter(torch.randn(3)),
    }
    write_tensors(tmp_path / "x.safetensors", tensors, {"said": "ä"})
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape and torch.equal(found[name], value)
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert file.metadata() == {"said": "ä"}
    write_tensors(tmp_path / "bare.safetensors", {"w": tied})
    assert read_tensors(tmp_path / "bare.safetensors")[1] == {}


def test_a_large_net_is_written_without_a_copy_of_it(tmp_path: Path) -> None:
    """Of 512 MiB in eight tensors no more than two are in memory a second time."""
    code = (
        "import resource, sys, torch\n"
        "from videre.tensors import write_tensors\n"
        "tensors = {str(i): torch.ones(1, 64, 512, 512).to(memory_format=torch.channels_last) for i in range(8)}\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "write_tensors(sys.argv[1], tensors)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    path = tmp_path / "large.safetensors"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert path.stat().st_size > 512 << 20 and int(done.stdout) < 2 * 64 << 10
    path.unlink()


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"w": torch.ones(2)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_tensors(path, {"w": torch.ones(2000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.equal(read_tensors(path)[0]["w"], torch.ones(2)) and list(tmp_path.iterdir()) == [path]
