"""Dataset: a sequence of lazily read (picture, Scene) with the schema that says what its labels mean."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from videre.data.hashes import hash_file
from videre.data.sizes import picture_fault
from videre.errors import DataError, ShapeError
from videre.images.reading import picture_size, read_picture
from videre.structures import AnyClip, Masks, Scene, Schema


class Source(Protocol):
    """Where a data set's pictures and truths come from; one per format, or a flat store shared by several."""

    fields: frozenset[str]

    def __len__(self) -> int: ...

    def name(self, i: int) -> str:
        """What the picture is called inside the data set: unique, and the same on every machine."""

    def path(self, i: int) -> Path | None:
        """The picture's file; None when it is made, not read."""

    def size(self, i: int) -> tuple[int, int]:
        """Height and width, without decoding the picture."""

    def scene(self, i: int) -> Scene:
        """The truth, without reading the picture; meta has "path" and "id"."""

    def picture(self, i: int) -> Any:
        """The picture, uint8 or uint16 [H, W, C] RGB; or a `Clip`."""


@dataclasses.dataclass
class OverSource:
    """The pictures of another source; an heir has other truths of them."""

    source: Source

    def __len__(self) -> int:
        return len(self.source)

    def name(self, i: int) -> str:
        return self.source.name(i)

    def path(self, i: int) -> Path | None:
        return self.source.path(i)

    def size(self, i: int) -> tuple[int, int]:
        return self.source.size(i)

    def picture(self, i: int) -> Any:
        return self.source.picture(i)


@dataclasses.dataclass(frozen=True)
class Repair:
    """One thing that a reader changed or left out, so that the rest can be used.

    Args:
        kind: what was wrong ("degenerate box"). picture: its name in the data set. annotation: its id or place in the
            file. found: the values. action: "dropped", "clipped", "ignored".
    """

    kind: str
    picture: str
    annotation: int | str
    found: str
    action: str

    def __str__(self) -> str:
        return f"{self.picture}, annotation {self.annotation}: {self.kind} {self.found}, {self.action}"


@dataclasses.dataclass(frozen=True)
class Origin:
    """What files a data set was read of: their format, what that was known by, suffixes of its files beside the pictures."""

    format: str
    found: str
    suffixes: frozenset[str]


class Dataset(Sequence[tuple[np.ndarray, Scene]]):
    """Pictures and their truths.

    Args:
        source: gives pictures and truths by number. schema: what the labels mean.
        repairs: everything that the reader changed or left out. title: how messages call the set.
        index: the numbers of the source that belong to this set, in order; all when absent.

    Attributes:
        origin: of what files it was read; None where it was made.
        skip_broken: whether a training leaves out a picture whose truth is broken, as it does one that cannot be read.
    """

    skip_broken = False

    def __init__(
        self,
        source: Source,
        schema: Schema,
        repairs: Sequence[Repair] = (),
        title: str = "data",
        index: np.ndarray | None = None,
    ) -> None:
        self.source = source
        self.schema = schema
        self.repairs = tuple(repairs)
        self.title = title
        self.origin: Origin | None = None
        self._index = np.arange(len(source)) if index is None else np.asarray(index, np.int64)

    # reading ----------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return self.subset(range(len(self))[i])
        return self.picture(i), self.scene(i)

    def __iter__(self) -> Iterator[tuple[np.ndarray, Scene]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Dataset({self.title!r}, {len(self)} pictures, {', '.join(sorted(self.fields)) or 'no truth'})"

    @property
    def fields(self) -> frozenset[str]:
        """Fields that the scenes carry, by their qualified names, as in `Scene.has`."""
        return self.source.fields

    def scene(self, i: int) -> Scene:
        """The truth about picture i, without reading the picture."""
        place = self.place(i)
        try:
            return self.source.scene(place)
        except (DataError, ShapeError) as error:  # instances are made before their scene, and know no picture
            if self.where(i) in str(error):
                raise
            raise type(error)(f"{self.where(i)}: {error}") from error

    def usable_scene(self, i: int) -> Scene | None:
        """The truth about picture i; None where there is none to be had, and a training leaves the picture out: its size is
        in a file that cannot be read, or the truth is broken and the set was read with `skip_broken`."""
        try:
            return self.scene(i)
        except (DataError, ShapeError):
            if not self.skip_broken:
                try:
                    self.size(i)
                except DataError:
                    return None
                raise
            return None

    def picture(self, i: int) -> Any:
        """Picture i, uint8 or uint16 [H, W, C] RGB, or a `Clip`. Raises DataError when its size is not what its truth says."""
        place = self.place(i)
        picture, (height, width) = self.source.picture(place), self.source.size(place)
        found = picture.size if isinstance(picture, AnyClip) else picture.shape[:2]
        if found != (height, width):
            things = self.scene(i).instances
            where = str(self.source.path(place) or self.source.name(place))
            boxes = None if things is None else things.boxes
            raise DataError(picture_fault(where, found, (height, width), boxes))
        return picture

    def size(self, i: int) -> tuple[int, int]:
        """Height and width of picture i, from the annotation or the file's header."""
        return self.source.size(self.place(i))

    def path(self, i: int) -> Path | None:
        """The file of picture i."""
        return self.source.path(self.place(i))

    def name(self, i: int) -> str:
        """What picture i is called inside the set: unique, and the same wherever the set lies."""
        return self.source.name(self.place(i))

    def where(self, i: int) -> str:
        """Where picture i is, for messages: its file, or its name where it has none."""
        return str(self.path(i) or self.name(i))

    def picture_as_is(self, i: int) -> np.ndarray:
        """Picture i, whatever its annotation says of its size: to show what is wrong."""
        return self.source.picture(self.place(i))

    def place(self, i: int) -> int:
        """The number in the source of picture i."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.title} has {len(self)} pictures, asked for number {i}")
        return int(self._index[i])

    # parts and sums ---------------------------------------------------------------------------------------------------

    def subset(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The pictures at `indices`, in that order; nothing is copied."""
        index = self._index[np.asarray(indices, np.int64)]
        part = Dataset(self.source, self.schema, (), self.title, index)
        names = {part.name(i) for i in range(len(part))} if self.repairs else set()
        part.repairs = tuple(r for r in self.repairs if r.picture in names)
        part.origin = self.origin
        part.skip_broken = self.skip_broken
        return part

    def over(self, source: Source, schema: Schema) -> Dataset:
        """The same pictures with the truths of another source of as many, which says of them what `schema` means."""
        other = Dataset(source, schema, self.repairs, self.title, self._index)
        other.origin, other.skip_broken = self.origin, self.skip_broken
        return other

    @staticmethod
    def cat(sets: Sequence[Dataset]) -> Dataset:
        """Several sets of one schema as one. Raises DataError when the schemas differ."""
        first = sets[0]
        for other in sets[1:]:
            if other.schema != first.schema:
                raise DataError(
                    f"{first.title} and {other.title} do not mean the same by their labels: {_unlike(first.schema, other.schema)}"
                )
        if len(sets) == 1:
            return first
        repairs = [r for d in sets for r in d.repairs]
        joined = Dataset(_Joined(list(sets)), first.schema, repairs, " + ".join(d.title for d in sets))
        joined.skip_broken = any(d.skip_broken for d in sets)
        return joined

    def repair_counts(self) -> dict[str, int]:
        """How often each kind of repair was made: {"degenerate box, dropped": 2}."""
        return dict(Counter(f"{r.kind}, {r.action}" for r in self.repairs))

    def content_hash(self) -> str:
        """A name for exactly this content, wherever it lies: schema, names, sizes, truths, bytes of the pictures."""
        self._fingerprint()
        return self._hash

    def fingerprints(self) -> dict[str, str]:
        """By the name of each picture, a word for its content: size, truth, bytes of its file."""
        self._fingerprint()
        return self._words

    def _fingerprint(self) -> None:
        """Both in one pass, once. What cannot be read counts as nothing."""
        if hasattr(self, "_hash"):
            return
        digest, words = hashlib.sha256(repr(self.schema.to_json()).encode()), dict[str, str]()
        for i in range(len(self)):
            own = _Both(digest)
            path = self.path(i)
            try:
                own.update(f"{self.name(i)} {self.size(i)}".encode())
            except DataError:
                own.update(self.name(i).encode())
            with contextlib.suppress(OSError):
                own.update(hash_file(path).encode() if path else b"")
            truth = self.usable_scene(i)
            if truth is not None:
                _hash_value(own, truth.replace(meta={}))
            words[self.name(i)] = own.word()
        self._hash, self._words = digest.hexdigest(), words


class _Both:
    """Feeds a digest, and one of its own."""

    def __init__(self, whole: Any) -> None:
        self.whole, self.own = whole, hashlib.sha256()

    def update(self, data: bytes) -> None:
        self.whole.update(data)
        self.own.update(data)

    def word(self) -> str:
        return self.own.hexdigest()[:16]


@dataclasses.dataclass
class FileSource:
    """The part of a source that every format of picture files shares.

    Args:
        paths: the picture files. names: unique names, the same on every machine; the file names when absent.
        sizes: int [P, 2] height, width from the annotations; zeros (or absent) where they do not say.
    """

    paths: list[str]
    names: list[str]
    sizes: np.ndarray | None = None
    fields: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, i: int) -> str:
        return self.names[i]

    def path(self, i: int) -> Path | None:
        return Path(self.paths[i])

    def size(self, i: int) -> tuple[int, int]:
        if self.sizes is not None and self.sizes[i].all():
            return int(self.sizes[i][0]), int(self.sizes[i][1])
        return picture_size(self.paths[i])

    def picture(self, i: int) -> np.ndarray:
        return read_picture(self.paths[i])


class _Joined:
    def __init__(self, sets: list[Dataset]) -> None:
        self.sets = sets
        self.starts = np.cumsum([0] + [len(d) for d in sets])
        self.fields = frozenset.intersection(*(d.fields for d in sets))
        names = Counter(d.name(i) for d in sets for i in range(len(d)))
        self._repeated = any(count > 1 for count in names.values())

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _find(self, i: int) -> tuple[Dataset, int]:
        part = int(np.searchsorted(self.starts, i, side="right")) - 1
        return self.sets[part], i - int(self.starts[part])

    def name(self, i: int) -> str:
        dataset, place = self._find(i)
        return f"{dataset.title}/{dataset.name(place)}" if self._repeated else dataset.name(place)

    def path(self, i: int) -> Path | None:
        dataset, place = self._find(i)
        return dataset.path(place)

    def size(self, i: int) -> tuple[int, int]:
        dataset, place = self._find(i)
        return dataset.size(place)

    def scene(self, i: int) -> Scene:
        dataset, place = self._find(i)
        return dataset.scene(place)

    def picture(self, i: int) -> np.ndarray:
        dataset, place = self._find(i)
        return dataset.picture(place)


def _hash_value(digest: Any, value: Any) -> None:
    """Feed any value of a Scene to a digest, by content."""
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes())
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, Masks):
        _hash_value(digest, [value.polygons() if value.form == "polygons" else value.runs(), value.size])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            digest.update(field.name.encode())
            _hash_value(digest, getattr(value, field.name))
    elif isinstance(value, dict):
        _hash_value(digest, sorted(value.items(), key=repr))
    elif isinstance(value, tuple | list):
        digest.update(f"[{len(value)}".encode())
        for item in value:
            _hash_value(digest, item)
    else:
        digest.update(repr(value).encode() + b";")


def few(names: Collection[str], most: int = 5) -> str:
    """The first of some names, for messages."""
    return ", ".join(itertools.islice(names, most)) + (", …" if len(names) > most else "")


def unread_in_words(names: Collection[str]) -> str:
    """How many pictures could not be read, and which: "2 pictures that could not be read (a.jpg, b.jpg)"."""
    return f"{len(names)} picture{'s' if len(names) > 1 else ''} that could not be read ({few(names)})"


def _unlike(a: Schema, b: Schema) -> str:
    """In words, where two schemas differ."""
    for field in dataclasses.fields(Schema):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if x != y:
            names = [list(getattr(s, "names", ())) if s is not None else None for s in (x, y)]
            return f"{field.name} are {names[0]} and {names[1]}"
    return "nothing"
