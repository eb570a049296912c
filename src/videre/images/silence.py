"""Decoders that print nothing: what they complain of on damaged files an error says once, with the file's name."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import PIL

_decoding = threading.local()
_opencv = threading.Lock()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing is printed by Pillow's libtiff from now on, or logged by tifffile and Pillow in this thread meanwhile."""
    _prepare()
    depth = getattr(_decoding, "depth", 0)
    _decoding.depth = depth + 1
    try:
        yield
    finally:
        _decoding.depth = depth


@contextlib.contextmanager
def silent_opencv() -> Iterator[None]:
    """OpenCV prints nothing meanwhile; its level is one for the process, so that threads come one after the other."""
    with _opencv:
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(level)


@functools.cache
def _prepare() -> None:
    for name in ("tifffile", "PIL.TiffImagePlugin"):
        logging.getLogger(name).addFilter(lambda record: not getattr(_decoding, "depth", 0))
    home = Path(PIL.__file__).parent
    for file in (*home.parent.glob("pillow.libs/libtiff*"), *home.glob(".dylibs/libtiff*")):  # of Linux, of macOS
        library = ctypes.CDLL(str(file))
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)
