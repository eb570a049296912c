"""Where a YOLO set keeps its pictures, its labels and its names: data.yaml, the usual folders, lists of pictures."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from videre.data.faults import Faults
from videre.data.formats.folders import SPLIT_NAME
from videre.data.pictures import PictureFinder
from videre.errors import DataError
from videre.files import read_lines, read_text
from videre.images.listing import is_hidden, list_files, list_folders, list_pictures

CONFIGS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
"""What the file is called that says where everything is; one of another name must say where the pictures are."""
IMAGES, LABELS, DATA = "images", "labels", "data"
NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels")
"""A class name a line, where there is no data.yaml."""
LOOKS = 50
"""Files that are looked into before a folder is taken for another format's."""
_DARKNET = re.compile(r"obj(?:_(.+)_data)?", re.IGNORECASE)
_NAMES = re.compile(r"^\s*[{,]?\s*['\"]?(names|nc)['\"]?\s*:", re.MULTILINE)
_PLACES = re.compile(r"^\s*['\"]?(train|val|valid|test)['\"]?\s*:", re.MULTILINE)


class Layout:
    """What is found in a folder, or by its data.yaml; pictures are listed by `parts` only.

    Args:
        path: the folder, or the data.yaml.

    Raises DataError for a data.yaml that is no YAML.
    """

    def __init__(self, path: Path) -> None:
        self.root = path if path.is_dir() else path.parent
        self.file = find_config(path)
        self.config = {} if self.file is None else load_config(self.file)
        self.missing: dict[str, list[str]] = {}
        self.sources: dict[str, list[Path]] = {}
        for name, value in self.config.items():
            if SPLIT_NAME.fullmatch(name):
                self._resolve(name, value)
        self.lists: dict[str, Path] = {}
        if not self.sources:
            self.lists = find_lists(self.root)
            self.sources = picture_folders(self.root, bool(self.lists), self.file is not None)
            if set(self.sources) - {""}:
                self.lists = {}

    @property
    def splits(self) -> list[str]:
        return [name for name in (*self.sources, *self.lists) if name]

    @property
    def has_lists(self) -> bool:
        """Whether lists, not folders, say which pictures there are."""
        return any(source.is_file() for sources in self.sources.values() for source in sources)

    def parts(self, faults: Faults, split: str | None = None) -> dict[str, dict[Path, str]]:
        """The pictures of each split, "" for those in none, with the name of each: as short as it can be, and unique.

        faults: takes those of lists; with a split those of its lists only.
        """
        others, taken = Faults(skip=True), set[Path]()
        faults_of = lambda name: faults if split in (None, name) else others
        parts: dict[str, dict[Path, str]] = {}
        for name, sources in self.sources.items():
            part: dict[Path, str] = {}
            for source in sources:
                if source.is_file():
                    part |= {picture: picture.name for picture in self._listed(source, faults_of(name))}
                else:
                    found = list_pictures(source, recursive=source != self.root)
                    part |= {p: _without_images(p.relative_to(source)) for p in found if name or p not in taken}
            taken |= set(part)
            if part:
                parts[name] = part
        short = {picture: called for part in parts.values() for picture, called in part.items()}
        often = Counter(short.values())
        whole = {p: n if often[n] == 1 else Path(os.path.relpath(p, self.root)).as_posix() for p, n in short.items()}
        parts = {name: {picture: whole[picture] for picture in part} for name, part in parts.items()}
        for name, file in self.lists.items():
            listed = self._listed(file, faults_of(name)) if split == name else []
            parts[name] = {picture: whole.get(picture, picture.name) for picture in listed}
        return parts

    def names(self) -> tuple[dict[int, str], Path] | None:
        """The names of the classes by their numbers in rows, and the file that has them; None where none has.

        Raises DataError for names that repeat, are empty, or are not numbered.
        """
        stated = self.config.get("names")
        if stated and self.file is not None:
            return _listed_names(stated, self.file), self.file
        file = self._name_list()
        if file is None:
            return None
        lines = read_text(file).rstrip().split("\n")
        return _checked({k: line.strip() for k, line in enumerate(lines)}, file), file

    def _name_list(self) -> Path | None:
        folders = [self.root, self.root / LABELS, self.root / DATA]
        for source in itertools.chain.from_iterable(self.sources.values()):
            folders += [source, label_folders(source / "x")[0], source.parent, source.parent / LABELS]
        for folder in dict.fromkeys(folders):
            others = sorted(p.name for p in folder.glob("*.names")) if folder.is_dir() else []
            for name in (*NAME_LISTS, *others):
                if (folder / name).is_file():
                    return folder / name
        return None

    def _resolve(self, split: str, value: Any) -> None:
        """Where the folders or lists of a split are, as data.yaml says or means."""
        for entry in value if isinstance(value, list) else [value]:
            if not isinstance(entry, str) or entry.strip() in ("", "~", "null", "None"):
                continue
            found = self._find(entry.strip())
            if found is None:
                self.missing.setdefault(split, []).append(entry.strip())
            else:
                self.sources.setdefault(split, []).append(found)

    def _find(self, entry: str) -> Path | None:
        """A path of data.yaml: below its `path` or beside the file; folders in front that are not here are left out."""
        stated = self.config.get("path")
        bases = [self.root]
        if isinstance(stated, str) and stated.strip() not in ("", "~", "null"):
            bases.insert(0, self.root / stated.strip())  # an absolute one stays what it is
        plain = entry.replace("\\", "/")
        words = [word for word in plain.split("/") if word not in ("", ".", "..")]
        told = any(map(SPLIT_NAME.fullmatch, words))
        shorter = ["/".join(words[k:]) for k in range(len(words))]
        shorter = [text for text in shorter if not told or any(map(SPLIT_NAME.fullmatch, text.split("/")))]
        candidates = (base / text for text in (plain, *shorter) for base in bases)
        return next((Path(os.path.normpath(p)) for p in candidates if _is_source(p)), None)

    def _listed(self, file: Path, faults: Faults) -> list[Path]:
        """The pictures that a list names, a path a line; a line that names none is a fault."""
        finder, found = PictureFinder([file.parent, self.root]), list[Path]()
        for number, line in enumerate(read_text(file).split("\n"), start=1):
            if line.strip():
                try:
                    picture = finder.find(line.strip())
                except DataError as error:
                    faults.add(f"{file}: line {number}", str(error))
                    continue
                if picture is None:
                    faults.add(f"{file}: line {number}", f"{finder.looked(line.strip())}; correct the list")
                else:
                    found.append(Path(os.path.normpath(picture)))
        return list(dict.fromkeys(found))


class LabelFinder:
    """The labels of pictures: <stem>.txt in labels/ where the picture is in images/, else beside it."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, Path]] = {}

    def find(self, picture: Path) -> Path | None:
        found = (self._texts(folder).get(picture.stem) for folder in label_folders(picture))
        return next((file for file in found if file is not None), None)

    def strays(self, sources: list[Path], pictures: list[Path]) -> list[Path]:
        """Files of rows, where labels were looked for, that are of none of the pictures."""
        used = {self.find(picture) for picture in pictures}
        for source in sources:
            labels = label_folders(source / "x")[0]
            if labels != source and labels.is_dir():
                for folder in (labels, *(p for p in sorted(labels.rglob("*")) if p.is_dir())):
                    self._texts(folder)
        files = (file for folder in list(self._folders) for file in self._texts(folder).values())
        return [file for file in files if file not in used and file.name not in NAME_LISTS and has_rows(file)]

    def _texts(self, folder: Path) -> dict[str, Path]:
        if folder not in self._folders:
            self._folders[folder] = {file.stem: file for file in list_files(folder, ".txt")}
        return self._folders[folder]


def find_config(path: Path) -> Path | None:
    """The data.yaml of a folder, or the file itself; None where there is none that names classes.

    Raises DataError where several other YAMLs of a folder do.
    """
    if path.is_file():
        return path if path.suffix.lower() in (".yaml", ".yml") and _is_config(path, path.name in CONFIGS) else None
    usual = next((path / name for name in CONFIGS if (path / name).is_file() and _is_config(path / name, True)), None)
    if usual is not None or not path.is_dir():
        return usual
    others = [p for p in list_files(path, ".yaml", ".yml") if _is_config(p, False)]
    if len(others) > 1:
        raise DataError(f"{path}: {', '.join(p.name for p in others)} may all be its data.yaml; name the one to read")
    return others[0] if others else None


def load_config(file: Path) -> dict[str, Any]:
    """What a data.yaml says, every value as it is written: a class may be called "no" or "1e3".

    Raises DataError where it is no YAML, or no mapping.
    """
    try:
        content = yaml.load(read_text(file), Loader=yaml.BaseLoader)  # makes text, lists and dicts only
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"{file}: not a YAML file ({text}); correct it") from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: should be keys and values (names: …, train: …), found {content!r:.60}; correct it")
    return {str(key): value for key, value in content.items()}


def picture_folders(root: Path, listed: bool = False, sure: bool = False) -> dict[str, list[Path]]:
    """By split ("" without) the folders of pictures of a usual layout; empty where there is none.

    listed: lists say what the splits are, whatever the folders of darknet are called. sure: a data.yaml says that this is
    YOLO, so that the texts in labels/ may all be empty.
    """
    is_labels = Path.is_dir if sure else has_rows_below
    folders = list_folders(root)
    parts = [p for p in folders if SPLIT_NAME.fullmatch(p.name)]
    images, labels = root / IMAGES, root / LABELS
    if images.is_dir() and is_labels(labels):
        named = {p.name: [p] for p in list_folders(images) if SPLIT_NAME.fullmatch(p.name)}
        return {**named, "": [images]}
    if any((p / IMAGES).is_dir() and is_labels(p / LABELS) for p in parts):
        return {p.name: [p / IMAGES] for p in parts if (p / IMAGES).is_dir()}
    darknet: dict[str, list[Path]] = {}
    for folder in (*folders, *list_folders(root / DATA)):
        found = _DARKNET.fullmatch(folder.name)
        if found and has_rows_below(folder):
            darknet.setdefault("" if listed else found[1] or "", []).append(folder)
    if darknet:
        return darknet
    beside = {p.name: [p] for p in parts if _has_pairs(p)}
    return beside or ({"": [root]} if _has_pairs(root) else {})


def find_lists(root: Path) -> dict[str, Path]:
    """Lists of pictures that are called like splits, here or in data/."""
    files = [p for folder in (root, root / DATA) for p in list_files(folder, ".txt")]
    named = [p for p in files if SPLIT_NAME.fullmatch(p.stem)]
    lists: dict[str, Path] = {}
    for file in named:
        if not has_rows(file) and read_lines(file):
            lists.setdefault(file.stem, file)
    return lists


def label_folders(picture: Path) -> list[Path]:
    """Where the labels of a picture may be, the likely folder first."""
    parts = picture.parent.parts
    last = next((k for k in reversed(range(len(parts))) if parts[k] == IMAGES), None)
    return ([] if last is None else [Path(*parts[:last], LABELS, *parts[last + 1 :])]) + [picture.parent]


def has_rows(file: Path) -> bool:
    """Whether the first line of a text that holds anything is a row of labels: at least five numbers, the first whole."""
    try:
        with file.open("rb") as stream:
            line = next((text for text in stream.read(4096).splitlines() if text.strip(b"\xef\xbb\xbf \t")), b"")
        values = [float(word) for word in line.removeprefix(b"\xef\xbb\xbf").split()[:5]]
    except (OSError, ValueError):
        return False
    return len(values) == 5 and values[0] % 1 == 0


def has_rows_below(folder: Path) -> bool:
    """Whether one of the first texts below a folder has rows of labels."""
    if not folder.is_dir():
        return False
    texts = (p for p in folder.rglob("*") if p.suffix.lower() == ".txt" and not is_hidden(p, folder))
    return any(map(has_rows, itertools.islice(texts, LOOKS)))


def _has_pairs(folder: Path) -> bool:
    """Whether a picture lies beside its rows."""
    texts = list_files(folder, ".txt")
    stems = {p.stem for p in list_pictures(folder)} if texts else set()
    return any(map(has_rows, itertools.islice((p for p in texts if p.stem in stems), LOOKS)))


def _is_config(file: Path, usual: bool) -> bool:
    try:
        text = read_text(file)
    except DataError:
        return False
    return bool(_NAMES.search(text)) and (usual or bool(_PLACES.search(text)))


def _is_source(path: Path) -> bool:
    try:
        return path.is_dir() or (path.suffix.lower() == ".txt" and path.is_file())
    except (OSError, ValueError):  # a name that no file can have
        return False


def _without_images(path: Path) -> str:
    return Path(*(part for part in path.parts if part != IMAGES)).as_posix()


def _listed_names(stated: Any, file: Path) -> dict[int, str]:
    """names: [cat, dog], {0: cat, 1: dog}, or with the numbers of another set: {1: cat, 17: dog}."""
    if isinstance(stated, dict):
        strange = [key for key in stated if not (str(key).isdecimal() and str(int(key)) == key)]
        if strange:
            raise DataError(f"{file}: names should be numbered from 0 on, found {strange[0]!r:.60}; correct the file")
        numbered = {int(key): stated[key] for key in sorted(stated, key=int)}
    elif isinstance(stated, list):
        numbered = dict(enumerate(stated))
    if not isinstance(stated, dict | list) or not all(isinstance(name, str) for name in numbered.values()):
        raise DataError(f"{file}: names should be a list, or names by number, found {stated!r:.60}; correct the file")
    return _checked({k: name.strip() for k, name in numbered.items()}, file)


def _checked(names: dict[int, str], file: Path) -> dict[int, str]:
    bare = [k for k, name in names.items() if not name]
    if bare:
        raise DataError(f"{file}: class {bare[0]} has no name; give it one")
    often = [name for name, count in Counter(names.values()).items() if count > 1]
    if often:
        listed = " and ".join(str(k) for k, name in names.items() if name == often[0])
        raise DataError(f"{file}: classes {listed} are both called {often[0]!r}; give each a name of its own")
    return names
