"""What a field of a scene is: one entry beside its declaration says how it is checked, moved, renamed, picked and written.

`Scene` and `Instances` are dataclasses whose fields are declared with `entry(kind, rows=…)`. Whatever is done to a whole
scene (checks, `select`, `cat`, `moved`, `renamed`, `to`, JSON) runs over these entries, so a new field is one line, and none
can be forgotten. A subclass of `Scene` or `Instances` may have more; `needs`, `takes` and `gives` know those of the library.
"""

from __future__ import annotations

import dataclasses
import difflib
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from videre.errors import ConfigError, DataError, ShapeError
from videre.structures.kinds import Kind, Names, Size


@dataclasses.dataclass(frozen=True)
class Entry:
    """A field in the table.

    Args:
        kind: what it is. rows: the axis that its first one runs over ("instances", "labels"): fields of one axis are
            equally long; None: it has no rows.
    """

    kind: Kind
    rows: str | None = None


def entry(kind: Kind, rows: str | None = None) -> Any:
    """Declare a field: `boxes: Tensor | None = entry(Boxes(), rows="instances")`."""
    return dataclasses.field(default=None, metadata={"entry": Entry(kind, rows)})


def entries(owner: type) -> dict[str, Entry]:
    """The entries of a class by the name of their field."""
    if owner not in _KNOWN:
        _KNOWN[owner] = {f.name: f.metadata["entry"] for f in dataclasses.fields(owner) if "entry" in f.metadata}
    return _KNOWN[owner]


_KNOWN: dict[type, dict[str, Entry]] = {}


@dataclasses.dataclass(frozen=True)
class Fielded:
    """A value that is made of entries; absent ones are None."""

    def fields(self) -> list[str]:
        """Names of the fields that are there."""
        return [name for name in entries(type(self)) if getattr(self, name) is not None]

    def replace(self, **changes: Any) -> Self:
        """With other values, checked."""
        return dataclasses.replace(self, **changes)

    def replace_unchecked(self, **changes: Any) -> Self:
        """With other values that are known to be right: for transforms and nets, which change what was checked once."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__ | changes)
        return new

    @classmethod
    def unchecked(cls, **values: Any) -> Self:
        """Of values that are known to be right, in their own types."""
        new = object.__new__(cls)
        made = {
            f.name: f.default_factory() for f in dataclasses.fields(cls) if f.default_factory is not dataclasses.MISSING
        }
        new.__dict__.update(dict.fromkeys(entries(cls)) | made | values)
        return new

    def map(self, change: Callable[[Kind, Any], Any], **more: Any) -> Self:
        """With change(kind, value) for every field that is there."""
        known, changes = entries(type(self)), {}
        for name in self.fields():
            try:
                changes[name] = change(known[name].kind, getattr(self, name))
            except DataError as error:
                raise DataError(f"{name}: {error}") from error
        return self.replace_unchecked(**changes | more)

    def take_rows(self, rows: str, index: Tensor, **more: Any) -> Self:
        """Of every field along an axis ("proposals") only the rows at an index, int64; `more` replaces fields as they are."""
        known = entries(type(self))
        along = {
            name: known[name].kind.take(getattr(self, name), index)
            for name in self.fields()
            if known[name].rows == rows
        }
        return self.replace_unchecked(**along | more)

    def to(self, device: torch.device | str) -> Self:
        """On another device; what is no tensor stays where it is."""
        return self.map(lambda kind, value: kind.to(value, device))

    def _check(self, where: str, size: Size | None) -> None:
        """Bring every field to its type, and see that those of one axis are equally long."""
        lengths: dict[str, dict[str, int]] = {}
        for name, known in entries(type(self)).items():
            value = getattr(self, name)
            if value is not None:
                value = known.kind.check(value, f"{where}: {name}", size)
                object.__setattr__(self, name, value)
                if known.rows is not None:
                    lengths.setdefault(known.rows, {})[name] = len(value)
        for rows, by_name in lengths.items():
            if len(set(by_name.values())) > 1:
                raise ShapeError(f"{where}: fields of different lengths: {by_name}")
            if rows in entries(type(self)) and rows not in by_name:
                raise ShapeError(f"{where}: {', '.join(by_name)} without {rows}")

    def to_json(self, names: Names | None = None) -> dict[str, Any]:
        """Plain JSON; labels by their names where `names` has them."""
        known = entries(type(self))
        return {name: known[name].kind.to_json(getattr(self, name), names or {}) for name in self.fields()}


def values_of(owner: type, data: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """The fields of a class from what its `to_json` wrote. DataError for a field that it does not have."""
    known = entries(owner)
    values = {}
    for name, value in data.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise DataError(f"there is no field {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
        try:
            values[name] = known[name].kind.from_json(value, names)
        except (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, RuntimeError, zlib.error) as error:
            if isinstance(error, DataError | ShapeError | ConfigError):
                raise type(error)(f"{name}: {error}") from error
            raise DataError(f"{name}: cannot be read ({type(error).__name__}: {error})") from error
    return values
