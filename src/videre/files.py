"""Files: read by one rule, written whole or not at all, and where those are kept that can be had again."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from videre.errors import ConfigError, DataError

ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""By the mark at the beginning of a text; without one it is UTF-8."""
OLD_ENCODING = "cp1252"
"""Of a text that is no UTF-8: what spreadsheets in western languages save."""


def check_regular(path: str | Path) -> None:
    """DataError unless there is a file with content: a pipe or a device may never end."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, device or socket"
        raise DataError(f"{path}: is {kind}, not a file")


def read_bytes(path: str | Path) -> bytes:
    """What a file holds. Raises DataError where there is none."""
    check_regular(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def read_text(path: str | Path, keep_ends: bool = False) -> str:
    """The text of a file, in the encoding that its first bytes or its content tell; line ends become \\n, unless they
    are to be kept.

    Raises DataError where there is no file, or it is no text.
    """
    data = read_bytes(path)
    encoding = next((name for mark, name in ENCODINGS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        try:
            if encoding != "utf-8" or b"\0" in data:
                raise
            text = data.decode(OLD_ENCODING)
        except UnicodeDecodeError:
            raise DataError(
                f"{path}: not a text in {encoding} (byte {error.start} is {data[error.start]:#04x}); save it as UTF-8"
            ) from None
    return text if keep_ends else text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text that hold anything, without blanks around them. Raises as `read_text`."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


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


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill under a temporary name beside `path`, renamed at the end; after an error nothing of it is left.

    Raises ConfigError where `path` holds anything already.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError(f"{path}: is not an empty folder; name a new one")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
            path.rmdir()
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def cache_folder() -> Path:
    """Where fetched weights, plans and features are kept: $VIDERE_CACHE, or ~/.cache/videre."""
    return Path(os.environ.get("VIDERE_CACHE", Path.home() / ".cache" / "videre"))
