"""Which picture an annotation means: one rule for the names that people and programs write into their files.

finder = PictureFinder([root / "train", root])
path = finder.find("data\\\\train\\\\0001.JPG")     # root/train/0001.jpg
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from videre.errors import DataError
from videre.images.listing import SUFFIXES, list_pictures


class PictureFinder:
    """Finds pictures by the names that annotations have for them.

    A name leads to a picture when it is its path below one of the roots. Else it may differ from the path in what a move
    to another machine changes: backslashes, a drive, an address of the web, folders in front that are not here, capitals, and
    at last the suffix; as many of its last folders count as are there.

    Args:
        roots: folders, the likely one first. All below them are looked through, once, when a name alone does not lead
            to a picture.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = [root for root in dict.fromkeys(roots) if root.is_dir()]
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, stated: str) -> Path | None:
        """The picture; None where there is none. Raises DataError where several may be meant."""
        name = plain_name(stated)
        for text in dict.fromkeys((stated, name, unquote(name))):
            for root in self.roots if text else ():
                if _is_file(root / text):
                    return root / text
        parts = [part for part in unquote(name).split("/") if part not in ("", ".", "..")]
        if not parts:
            return None
        by_name = [(self._likeness(path, parts), path) for path in self._index().get(parts[-1].lower(), [])]
        # another suffix is meant by what lies in the likely folder only: elsewhere it may be a mask
        by_stem = [(self._likeness(path, parts), path) for path in self._index().get(_stem(parts[-1].lower()), [])]
        found = by_name or [(like, path) for like, path in by_stem if self._rank(path) == 0]
        if not found and parts[-1].isdecimal():  # a spreadsheet has taken the zeros in front off
            found = [((0, 0, False), path) for path in self._numbered().get(int(parts[-1]), [])]
        best = [path for like, path in found if like == max(like for like, _ in found)]
        if len(best) > 1:
            home = next((r for r in reversed(self.roots) if all(p.is_relative_to(r) for p in best)), Path("/"))
            listed = " or ".join(path.relative_to(home).as_posix() for path in best[:3])
            raise DataError(f"{stated!r} may be {listed}; write the path below {home}")
        return best[0] if best else None

    def looked(self, stated: str) -> str:
        """In words, where `find` looked."""
        return f"no picture {plain_name(stated)!r} in {' or '.join(map(str, self.roots)) or 'any folder'}, or below"

    def _index(self) -> dict[str, list[Path]]:
        """By name in small letters, with and without suffix."""
        if self._by_name is None:
            self._by_name = {}
            for path in dict.fromkeys(p for root in self.roots for p in list_pictures(root, recursive=True)):
                name = path.name.lower()
                for key in dict.fromkeys((name, _stem(name))):
                    self._by_name.setdefault(key, []).append(path)
        return self._by_name

    def _numbered(self) -> dict[int, list[Path]]:
        """The pictures whose names are numbers."""
        numbered: dict[int, list[Path]] = {}
        for key, paths in self._index().items():
            if key.isdecimal():
                numbered.setdefault(int(key), []).extend(paths)
        return numbered

    def _rank(self, path: Path) -> int:
        """The place of the first root that a picture lies in."""
        return next(n for n, root in enumerate(self.roots) if path.is_relative_to(root))

    def _likeness(self, path: Path, parts: list[str]) -> tuple[int, int, bool]:
        """How many of the last folders agree, how likely the root is, and whether capitals agree."""
        agree = 0
        for own, stated in zip(reversed(path.parts[:-1]), reversed(parts[:-1])):
            if own.lower() != stated.lower():
                break
            agree += 1
        return agree, -self._rank(path), path.name == parts[-1]


def usual_folders(file: Path, split: str) -> list[Path]:
    """Where the pictures of an annotation file of COCO's kind lie, the likely place first."""
    root = file.parent.parent if file.parent.name.lower() == "annotations" else file.parent
    of_split = [root / split, root / "images" / split, root / split / "images"] if split else []
    return [*of_split, root, root / "images", root / "JPEGImages", file.parent]


def usual_paths(file: Path, split: str, names: Sequence[str]) -> list[str]:
    """The paths of the pictures that an annotation file names; the likely ones of those that are not there."""
    folders = usual_folders(file, split)
    finder = PictureFinder(folders)
    return [str(finder.find(name) or folders[0] / plain_name(name)) for name in names]


def plain_name(stated: str) -> str:
    """A stated path as folders and a name joined by "/", without drive, address and query."""
    text = stated.strip().replace("\\", "/")
    scheme, colon, rest = text.partition("://")
    if colon and scheme.isalnum():
        text = unquote(urlsplit(text).path) if scheme.lower() != "file" else unquote(rest)
    if len(text) > 1 and text[1] == ":" and text[0].isalpha():
        text = text[2:]
    return text.lstrip("/").removeprefix("./")


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if "." + name.rpartition(".")[2] in SUFFIXES else name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
