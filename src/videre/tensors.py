"""Files of tensors, in safetensors' format: read without pickles, written one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from videre.errors import WeightsError
from videre.files import atomic

PICKLES = (".pth", ".pt", ".pkl", ".bin")
"""Suffixes of files that can run code when they are read."""
NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The format's names: https://github.com/huggingface/safetensors#format."""


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the header of a safetensors file; pickles are refused."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    if path.suffix in PICKLES:
        raise WeightsError(
            f"{path}: pickles can run code when they are read, so only safetensors files are; official checkpoints "
            "load by their name (see `videre models`)"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: damaged or no safetensors file ({error})") from error


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write the file whole or not at all.

    The library's own `save` holds everything three times over, which ends the training of a large net; and `save_file`
    does not say why it failed. Tensors may share memory: each is written as it is.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))  # so that all are aligned
    entries: dict[str, object] = {"__metadata__": dict(header)} if header else {}
    end = 0
    for name, value in ordered:
        start, end = end, end + value.numel() * value.element_size()
        entries[name] = {"dtype": NAMES[value.dtype], "shape": list(value.shape), "data_offsets": [start, end]}
    head = json.dumps(entries).encode()
    head += b" " * (-len(head) % 8)
    with atomic(path) as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for _, value in ordered:
            file.write(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
