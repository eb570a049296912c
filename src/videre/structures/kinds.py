"""What one kind of value in a scene is: how it is checked, moved, renamed, picked, joined, sent to a device and written as JSON."""

from __future__ import annotations

import base64
import dataclasses
import difflib
import functools
import io
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videre.errors import DataError, ShapeError
from videre.structures.affine import STEEPEST, Affine

Size = tuple[int, int]
Names = Mapping[str, Sequence[str]]
"""The names that labels stand for, by part of the schema: {"things": ("cat", "dog")}."""


@dataclasses.dataclass(frozen=True)
class Renaming:
    """Other labels for the same things, or other words.

    Args:
        table: for a part of the schema ("things", "skeleton") the new label of each old one, int64 [K]; None: they stay.
        counts: how many new labels there are, by part; as many as old ones where it is absent.
        words: other words for a sentence.
    """

    table: Callable[[str], Tensor | None]
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    words: Callable[[str], str] = str


class Kind:
    """What one kind of value is and does. This one is a value that nothing moves: a base for the others.

    Attributes:
        names: the part of the schema that its labels stand for, where it has labels.
    """

    names: str | None = None

    def check(self, value: Any, where: str, size: Size | None) -> Any:
        """The value in its own type; ShapeError or DataError that begins with `where`. size: of the picture."""
        return value

    def move(self, value: Any, motion: Affine) -> Any:
        """The value in the moved picture; DataError for what cannot be moved so."""
        return value

    def rename(self, value: Any, renaming: Renaming) -> Any:
        """The value with other labels and words."""
        return value

    def take(self, value: Any, index: Tensor) -> Any:
        """The rows at an index, int64 [n]."""
        return tuple(value[i] for i in index.tolist())

    def join(self, values: Sequence[Any]) -> Any:
        """The rows of several values, one after the other."""
        return tuple(row for value in values for row in value)

    def to(self, value: Any, device: torch.device | str) -> Any:
        """The value on a device."""
        return value

    def to_json(self, value: Any, names: Names) -> Any:
        """Plain JSON, from which `from_json` makes the same value."""
        return list(value) if isinstance(value, tuple) else value

    def from_json(self, data: Any, names: Names) -> Any:
        """The value of what `to_json` wrote; `check` comes after it."""
        return data

    # of things that are referred to by their index

    def refer(self, value: Any, places: Mapping[int, int]) -> Any:
        """The value when instance i becomes places[i], or is gone."""
        return value

    def referred(self, value: Any) -> Iterable[int]:
        """The instances that the value refers to."""
        return ()


class Rows(Kind):
    """A tensor [N, …].

    Args:
        dtype: of the tensor. tail: the other sides: numbers, or letters where any length will do.
        low, high: range of the values, where there is one.
        names: the part of the schema that its values are labels of (or, with a tail, that its columns belong to).
    """

    def __init__(
        self,
        dtype: torch.dtype,
        *tail: int | str,
        low: float | None = None,
        high: float | None = None,
        names: str | None = None,
    ) -> None:
        self.dtype, self.tail, self.low, self.high, self.names = dtype, tail, low, high, names

    def check(self, value: Any, where: str, size: Size | None) -> Tensor:
        rows = as_rows(where, value, self.dtype)
        wanted = ("N", *self.tail)
        if rows.ndim != len(wanted) or any(m not in (n, str(m)) for n, m in zip(rows.shape, wanted, strict=True)):
            raise ShapeError(f"{where} must be [{', '.join(map(str, wanted))}], found shape {tuple(rows.shape)}")
        if self.dtype.is_floating_point and not bool(rows.isfinite().all()):
            at = first(~rows.isfinite())
            raise DataError(f"{where} must be finite, found {rows[tuple(at)].item()} at {at}")
        low, high = (rows.min().item(), rows.max().item()) if rows.numel() and self.low is not None else (self.low, 0)
        if self.low is not None and (low < self.low or (self.high is not None and high > self.high)):  # type: ignore[operator]
            limit = f"be at least {self.low:g}" if self.high is None else f"lie in [{self.low:g}, {self.high:g}]"
            raise DataError(f"{where} must {limit}, found {low:.4g}..{high:.4g}")
        return rows

    def rename(self, value: Tensor, renaming: Renaming) -> Tensor:
        table = None if self.names is None else renaming.table(self.names)
        if table is None or self.names is None:
            return value
        if not self.tail:
            return table.to(value.device)[value]
        columns = renaming.counts.get(self.names, len(table))
        renamed = value.new_zeros((len(value), columns, *value.shape[2:]))
        renamed[:, table.to(value.device)] = value
        return renamed

    def take(self, value: Tensor, index: Tensor) -> Tensor:
        return value[index.to(value.device)]

    def join(self, values: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(values))

    def to(self, value: Tensor, device: torch.device | str) -> Tensor:
        return value.to(device)

    def to_json(self, value: Tensor, names: Names) -> Any:
        if self.names in names and not self.tail:
            return [names[str(self.names)][label] for label in value.tolist()]
        return numbers(value)

    def from_json(self, data: Any, names: Names) -> Any:
        if isinstance(data, dict):  # nothing in it but its shape
            return torch.zeros(*data["shape"], dtype=self.dtype)
        if self.names is not None and not self.tail:
            return [label_of(label, self.names, names) for label in data]
        return data


class Labels(Rows):
    """int64 [N], 0..K-1 of a part of the schema."""

    def __init__(self, names: str | None) -> None:
        super().__init__(torch.int64, names=names)

    def check(self, value: Any, where: str, size: Size | None) -> Tensor:
        rows = super().check(value, where, size)
        if bool((rows < 0).any()):
            raise DataError(f"{where} start at 0 (background is never a label), found {int(rows.min())}")
        return rows


class Scores(Rows):
    """float32 [N, …] in [0, 1]."""

    def __init__(self, *tail: int | str, names: str | None = None) -> None:
        super().__init__(torch.float32, *tail, low=0, high=1, names=names)


class Boxes(Rows):
    """float32 [N, 4], xyxy; they move with the picture."""

    def __init__(self) -> None:
        super().__init__(torch.float32, 4)

    def check(self, value: Any, where: str, size: Size | None) -> Tensor:
        boxes = super().check(value, where, size)
        turned = (boxes[:, 2:] < boxes[:, :2]).any(1)
        if bool(turned.any()):
            i = first(turned)[0]
            raise DataError(f"{where}: {boxes[i].tolist()} at {i} is turned over; boxes need x1 <= x2, y1 <= y2")
        return boxes

    def move(self, value: Tensor, motion: Affine) -> Tensor:
        return motion.boxes(value)


class Points(Rows):
    """float32 [N, J, 2], x and y; they move with the picture, and a mirror gives them other names."""

    def __init__(self) -> None:
        super().__init__(torch.float32, "J", 2, names="skeleton")

    def move(self, value: Tensor, motion: Affine) -> Tensor:
        return motion.points(value)


class Areas(Rows):
    """float64 [N], square pixels; they grow with the picture."""

    def __init__(self) -> None:
        super().__init__(torch.float64)

    def move(self, value: Tensor, motion: Affine) -> Tensor:
        return value * abs(motion.determinant)


class Map(Kind):
    """A number for every pixel, [H, W], or [K, H, W].

    Args:
        outside: its value where the moved picture shows nothing. highest: of whole numbers. dtype: None: whole numbers.
        names: the part of the schema that its values are labels of. planes: a plane for each label is allowed.
    """

    def __init__(
        self,
        outside: int = 0,
        highest: float = math.inf,
        dtype: torch.dtype | None = None,
        names: str | None = None,
        planes: bool = False,
    ) -> None:
        self.outside, self.highest, self.dtype, self.names, self.planes = outside, highest, dtype, names, planes

    def check(self, value: Any, where: str, size: Size | None) -> Tensor:
        """One pass over the map: this is done for every picture of a training."""
        field = as_tensor(where, value)
        if tuple(field.shape[-2:]) != size or field.dim() > (3 if self.planes else 2):
            raise ShapeError(f"{where} is {tuple(field.shape)}, the picture is {size}")
        if self.dtype is not None:
            field = field.to(self.dtype)
        elif field.dtype not in (torch.uint8, torch.int16, torch.int32, torch.int64):
            raise ShapeError(f"{where} must be whole numbers (uint8 or int64), found {str(field.dtype)[6:]}")
        if field.dtype == torch.uint8:
            return field  # cannot be out of range
        low, high = (extreme.item() for extreme in field.aminmax())  # NaN where any is
        if not (low >= 0 and high <= self.highest and math.isfinite(high)):
            limit = "finite" if self.highest == math.inf else f"at most {self.highest:g}"
            raise DataError(f"{where} must be at least 0 and {limit}, found {low}..{high}")
        return field

    def move(self, value: Tensor, motion: Affine) -> Tensor:
        return motion.pixels(value, self.outside)

    def rename(self, value: Tensor, renaming: Renaming) -> Tensor:
        table = None if self.names is None else renaming.table(self.names)
        if table is None or self.names is None:
            return value
        if value.dim() == 3:
            planes = value.new_zeros((renaming.counts.get(self.names, len(table)), *value.shape[1:]))
            planes[table] = value
            return planes
        values = torch.arange(256, dtype=value.dtype)  # what is no label stays
        values[: len(table)] = table.to(value.dtype)
        return values[value.long()]

    def to(self, value: Tensor, device: torch.device | str) -> Tensor:
        return value.to(device)

    def to_json(self, value: Tensor, names: Names) -> Any:
        """Run lengths of whole numbers, row by row; else NumPy's format, packed."""
        if self.dtype is not None:
            file = io.BytesIO()
            np.save(file, value.cpu().numpy())
            return {"npy": base64.b64encode(zlib.compress(file.getvalue())).decode()}
        flat = value.cpu().flatten()
        values, runs = torch.unique_consecutive(flat, return_counts=True)
        kind, found = str(value.dtype).removeprefix("torch."), values.tolist()
        if value.dim() == 2 and self.names in names:
            known = dict(enumerate(names[str(self.names)]))
            found = [known.get(label) for label in found]  # void is null
        return {"shape": list(value.shape), "dtype": kind, "values": found, "runs": runs.tolist()}

    def from_json(self, data: Any, names: Names) -> Tensor:
        if "npy" in data:
            packed = zlib.decompress(base64.b64decode(data["npy"]))
            return torch.from_numpy(np.load(io.BytesIO(packed), allow_pickle=False))
        runs = torch.tensor(data["runs"], dtype=torch.int64)
        if bool((runs < 0).any()) or int(runs.sum()) != math.prod(data["shape"]):
            raise DataError(f"runs of {int(runs.sum())} pixels for a map of {data['shape']}")
        labels = [self.outside if v is None else label_of(v, str(self.names), names) for v in data["values"]]
        values = torch.tensor(labels, dtype=getattr(torch, data["dtype"]))
        return values.repeat_interleave(runs).view(data["shape"])


class Sentences(Kind):
    """N sentences."""

    def check(self, value: Any, where: str, size: Size | None) -> tuple[str, ...]:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ShapeError(f"{where} must be a list of sentences, found {value!r:.60}")
        sentences = tuple(value)
        for i, sentence in enumerate(sentences):
            if not isinstance(sentence, str):
                raise ShapeError(f"{where} must be sentences, found {sentence!r} at {i}")
        return sentences

    def move(self, value: Any, motion: Affine) -> Any:
        motion.refuse_turn("sentences", STEEPEST)
        return value

    def rename(self, value: tuple[str, ...], renaming: Renaming) -> tuple[str, ...]:
        return tuple(map(renaming.words, value))


class Answers(Kind):
    """To each of Q questions its answers, each with its weight: {"two": 0.7, "2": 0.3}. One text is {text: 1}."""

    def check(self, value: Any, where: str, size: Size | None) -> tuple[dict[str, float], ...]:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ShapeError(f"{where} must be a list of answers, found {value!r:.60}")
        found = []
        for i, answer in enumerate(value):
            weights = {answer: 1.0} if isinstance(answer, str) else answer
            if not isinstance(weights, Mapping):
                raise ShapeError(f"{where} must be texts or texts with weights, found {answer!r:.60} at {i}")
            for text, weight in weights.items():
                if not isinstance(text, str) or not _is_positive(weight):
                    raise DataError(f"{where} are texts with weights from 0 on, found {text!r}: {weight!r} at {i}")
            found.append({text: float(weight) for text, weight in weights.items()})
        return tuple(found)

    def rename(self, value: tuple[dict[str, float], ...], renaming: Renaming) -> tuple[dict[str, float], ...]:
        return tuple({renaming.words(text): weight for text, weight in answers.items()} for answers in value)


class Number(Kind):
    """One number from 0 on, in `unit`."""

    def __init__(self, unit: str) -> None:
        self.unit = unit

    def check(self, value: Any, where: str, size: Size | None) -> float:
        if not _is_positive(value):
            raise DataError(f"{where} must be {self.unit} from 0 on, found {value!r:.60}")
        return float(value)


class Value(Kind):
    """A value of a type that knows itself what can be done to it.

    Args:
        type: has `from_json`, `to_json` and, as far as they mean something to it, `moved`, `renamed`, `select`, `cat`,
            `refer`, `referred`; absent ones change nothing. several: a tuple of such values, one a row.
        names: the part of the schema that its labels stand for.
    """

    def __init__(self, type: Any, several: bool = False, names: str | None = None) -> None:
        self.type, self.several, self.names = type, several, names

    def _each(self, value: Any, verb: str, *arguments: Any) -> Any:
        if not hasattr(self.type, verb):
            return value
        do = lambda one: getattr(one, verb)(*arguments)
        return tuple(map(do, value)) if self.several else do(value)

    def check(self, value: Any, where: str, size: Size | None) -> Any:
        values = tuple(value) if self.several else (value,)
        for one in values:
            if not isinstance(one, self.type):
                raise ShapeError(f"{where} must be {self.type.__name__}, found {type(one).__name__}")
            own = getattr(one, "size", size)
            if size is not None and own != size:
                raise ShapeError(f"{where} are for a picture of {own}, this one is {size}")
        return values if self.several else value

    def move(self, value: Any, motion: Affine) -> Any:
        return self._each(value, "moved", motion)

    def rename(self, value: Any, renaming: Renaming) -> Any:
        return self._each(value, "renamed", renaming)

    def take(self, value: Any, index: Tensor) -> Any:
        return super().take(value, index) if self.several else value.select(index)

    def join(self, values: Sequence[Any]) -> Any:
        return super().join(values) if self.several else self.type.cat(values)

    def to(self, value: Any, device: torch.device | str) -> Any:
        return self._each(value, "to", device)

    def to_json(self, value: Any, names: Names) -> Any:
        return [one.to_json(names) for one in value] if self.several else value.to_json(names)

    def from_json(self, data: Any, names: Names) -> Any:
        make = functools.partial(self.type.from_json, names=names)
        return tuple(map(make, data)) if self.several else make(data)

    def refer(self, value: Any, places: Mapping[int, int]) -> Any:
        return self._each(value, "refer", places)

    def referred(self, value: Any) -> Iterable[int]:
        if not hasattr(self.type, "referred"):
            return ()
        return [i for one in (value if self.several else (value,)) for i in one.referred()]


# numbers --------------------------------------------------------------------------------------------------------------


def _is_positive(value: Any) -> bool:
    """Whether it is a finite number from 0 on."""
    return isinstance(value, int | float) and 0 <= value < 2.0**1023


def label_of(label: Any, part: str, names: Names) -> int:
    """A label from its name, or as it is; DataError for a name that the schema does not have."""
    if not isinstance(label, str):
        return int(label)
    if part not in names:
        raise DataError(f"{label!r} is a name, and the schema names no {part}")
    known = names[part]
    if label not in known:
        near = difflib.get_close_matches(label, known, 1)
        raise DataError(f"no {part} named {label!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return list(known).index(label)


def numbers(value: Tensor) -> Any:
    """A tensor as nested lists; of float32 the shortest numbers that give the same ones again."""
    if not value.numel() and value.ndim > 1:
        return {"shape": list(value.shape)}
    array = value.cpu().numpy()
    if array.dtype == np.float32:
        array = array.astype(str).astype(np.float64)
    return array.tolist()


def as_rows(name: str, values: Any, dtype: torch.dtype) -> Tensor:
    """A field as a tensor [N, …] of its dtype; whole numbers and flags must not change by that.

    Args:
        name: of the field, and of what it belongs to, for messages.
    """
    value = as_tensor(name, values)
    if value.ndim == 0:
        raise ShapeError(f"{name} must be a list, found the single number {value.item()}")
    result = value.to(dtype)
    if not dtype.is_floating_point and value.dtype != dtype:
        changed = result.to(value.dtype) != value
        if bool(changed.any()):
            at = first(changed)
            raise DataError(f"{name} must be {str(dtype)[6:]}, found {value[tuple(at)].item()} at {at}")
    return result


def as_tensor(name: str, values: Any) -> Tensor:
    """Any array as a tensor; ShapeError naming the field where it is none."""
    try:  # of lists torch itself would make float32, and lose digits of areas
        return torch.as_tensor(values if isinstance(values, Tensor) else np.asarray(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"{name} must be an array of numbers, found {type(values).__name__} ({error})") from None


def first(bad: Tensor) -> list[int]:
    """Where the first True is."""
    return bad.nonzero()[0].tolist()
