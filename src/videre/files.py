"""Files written whole or not at all."""

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
