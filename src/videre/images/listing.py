"""Which files are pictures, and which are left out: one rule for every folder that is looked through."""

from __future__ import annotations

import re
from pathlib import Path

SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
    ".bmp",
    ".gif",
    ".jp2",
    ".j2k",
    ".avif",
    ".mpo",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".tga",
)
"""What counts as a picture when a folder is looked through."""

SYSTEM_NAMES = frozenset(
    {"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "System Volume Information"}
)
"""What systems leave behind in folders, beside everything whose name begins with a dot."""


def is_hidden(path: Path, under: Path | None = None) -> bool:
    """Whether a file, or a folder that it lies in below `under`, is not meant to be seen."""
    parts = path.relative_to(under).parts if under is not None else (path.name,)
    return any(part[:1] == "." or part in SYSTEM_NAMES for part in parts)


def is_picture(path: Path) -> bool:
    """By its name: a suffix of SUFFIXES, in any case, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not is_hidden(path)


def natural(path: Path | str) -> list[tuple[int, int, str]]:
    """A sort key by which 9 comes before 10."""
    words = re.split(r"(\d+)", str(path))
    return [(0, int(word), word) if word.isdecimal() else (1, 0, word) for word in words if word]


def list_folder(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, in natural order; nothing where there is no such folder."""
    return sorted((p for p in folder.iterdir() if not is_hidden(p)), key=natural) if folder.is_dir() else []


def list_pictures(folder: Path, recursive: bool = False) -> list[Path]:
    """The pictures of a folder, in natural order; with those of the folders below where `recursive`."""
    if not folder.is_dir():
        return []
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted((p for p in found if is_picture(p) and not is_hidden(p, folder) and p.is_file()), key=natural)
