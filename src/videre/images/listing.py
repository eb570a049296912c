"""Which files are pictures, and which are left out: one rule for every folder that is looked through."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
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


NOTES = frozenset({"readme", "license", "licence", "notes", "about"})
"""Files beside pictures that need no mention, by the first words of their names in small letters."""


def is_note(path: Path) -> bool:
    """Whether a file is one that needs no mention: README.md, README.roboflow.txt."""
    return path.name.lower().partition(".")[0] in NOTES


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


def list_files(folder: Path, *suffixes: str) -> list[Path]:
    """The files of a folder with one of the suffixes, in any case, and not hidden, in natural order.

    Nothing where there is no such folder. Formats look through folders of a hundred thousand pictures for the few files
    that are theirs: names are sorted out before anything is made of them.
    """
    return _listed(folder, lambda entry: entry.name.lower().endswith(suffixes) and entry.is_file())


def list_folders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, in natural order; nothing where there is no such folder."""
    return _listed(folder, os.DirEntry.is_dir)


def _listed(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        found = [folder / entry.name for entry in entries if wanted(entry)]
    return sorted((path for path in found if not is_hidden(path)), key=natural)


def list_pictures(folder: Path, recursive: bool = False) -> list[Path]:
    """The pictures of a folder, in natural order; with those of the folders below where `recursive`."""
    if not recursive:
        return list_files(folder, *SUFFIXES)
    found = (p for p in folder.rglob("*") if is_picture(p) and not is_hidden(p, folder) and p.is_file())
    return sorted(found, key=natural)
