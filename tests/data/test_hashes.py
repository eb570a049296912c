"""A file's hash is that of its bytes, whatever the cache holds, and an unchanged file is not read again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from videre.data import hashes
from videre.data.hashes import NAME, hash_file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def old(path: Path, content: bytes, second: int = 1_000_000_000) -> Path:
    path.write_bytes(content)
    os.utime(path, (second, second))
    return path


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_an_unchanged_file_is_read_once_in_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = old(tmp_path / "a", b"one")
    assert hash_file(file) == sha(b"one")
    hashes._known.cache_clear()  # as a new process begins
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail(f"{self} is read again"))
    assert hash_file(file) == sha(b"one")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = old(tmp_path / "a", b"one")
    assert hash_file(file) == sha(b"one")
    assert hash_file(old(file, b"two", 1_000_000_001)) == sha(b"two")  # the same size
    assert hash_file(old(file, b"three", 1_000_000_001)) == sha(b"three")  # the same time


def test_a_file_that_has_just_changed_is_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "a"
    for content in (b"one", b"two"):
        file.write_bytes(content)
        assert hash_file(file) == sha(content)


@pytest.mark.parametrize("harm", ("damaged", "a file"))
def test_a_cache_that_cannot_be_used_costs_time_only(tmp_path: Path, cache: Path, harm: str) -> None:
    if harm == "damaged":
        cache.mkdir()
        (cache / NAME).write_bytes(b"not a table" * 100)
    else:
        cache.write_bytes(b"")
    file = old(tmp_path / "a", b"one")
    assert hash_file(file) == hash_file(file) == sha(b"one")
