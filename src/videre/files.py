"""Files written whole or not at all, and where those are kept that can be had again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write the bytes whole or not at all, see `atomic`."""
    with atomic(path) as file:
        file.write(data)


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write under a temporary name beside `path`; synced and renamed at the end, so that an interrupted write
    leaves the old file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Where fetched weights, plans and features are kept: $VIDERE_CACHE, or ~/.cache/videre."""
    return Path(os.environ.get("VIDERE_CACHE", Path.home() / ".cache" / "videre"))
