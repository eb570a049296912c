"""SHA-256 of files, read once as long as they do not change: by path, size and time of change, in memory and in the cache."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sqlite3
import threading
import time
from pathlib import Path

from videre.files import cache_folder

SETTLED = 2.0
"""Seconds since its last change after which a file is remembered: a second change within the clock's tick goes unseen."""
NAME = "hashes.sqlite"


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    stat = path.stat()
    key = (str(path.absolute()), stat.st_size, stat.st_mtime_ns)
    known = _known(cache_folder())
    if (digest := known.get(key)) is None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if time.time() - stat.st_mtime > SETTLED:
            known.put(key, digest)
    return digest


@functools.cache
def _known(folder: Path) -> _Known:
    return _Known(folder)


class _Known:
    """A table of hashes; where the cache cannot be written or read, it lasts as long as the process."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._table = self._open(folder / NAME)
        except (OSError, sqlite3.Error):
            self._table = self._open(":memory:")

    @staticmethod
    def _open(path: Path | str) -> sqlite3.Connection:
        table = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        table.execute("PRAGMA synchronous = OFF")  # what is lost with the power is computed again
        table.execute(
            "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, sha256 TEXT)"
        )
        return table

    def get(self, key: tuple[str, int, int]) -> str | None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            row = self._table.execute(
                "SELECT sha256 FROM hashes WHERE path = ? AND size = ? AND changed = ?", key
            ).fetchone()
            return row[0] if row else None
        return None

    def put(self, key: tuple[str, int, int], digest: str) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._table.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", (*key, digest))
