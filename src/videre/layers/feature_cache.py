"""Features that several passes over the same pictures read: kept on disk, within a stated size."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class FeatureCache:
    """Tensors by content, in half precision, in a folder that goes with the process.

    Args:
        gigabytes: what does not fit is computed each time.
    """

    def __init__(self, gigabytes: float) -> None:
        self.room = int(gigabytes * 1e9)
        self.folder: Path | None = None

    def get(self, key: bytes, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What `compute` gives, from the disk where it was kept. key: see `content_key`."""
        file = None if self.folder is None else self.folder / f"{key.hex()}.npz"
        if file is not None and file.exists():
            with np.load(file) as kept:
                return {name: torch.from_numpy(kept[name]).float() for name in kept.files}
        found = compute()
        halves = {name: value.detach().half().cpu().numpy() for name, value in found.items()}
        size = sum(value.nbytes for value in halves.values())
        if size <= self.room:
            self.room -= size
            np.savez(self._folder() / f"{key.hex()}.npz", **halves)  # type: ignore[arg-type]
        return {name: torch.from_numpy(value).float() for name, value in halves.items()}  # as it will be read

    def _folder(self) -> Path:
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="videre-features-"))
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        return self.folder


def content_key(*tensors: Tensor) -> bytes:
    """A name for exactly these numbers."""
    digest = hashlib.blake2b(digest_size=20)
    for tensor in tensors:
        digest.update(repr(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.digest()
