"""Ragged: rows of different lengths in one tensor, as proposals, relations, words and meshes of a batch are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import overload

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from videre.errors import ShapeError
from videre.structures.masks import positions


@dataclasses.dataclass(frozen=True)
class Ragged:
    """N rows: row i is values[offsets[i]:offsets[i + 1]].

    A node of torch's pytrees: nets may take and give it where they are compiled or exported. Compared with torch.equal,
    values and offsets each by itself.

    Args:
        values: [S, ...], all rows one after the other.
        offsets: int64 [N + 1] on the device of the values, from 0 to S, never falling.

    Raises ShapeError for offsets of another kind. The check waits for the device; inner code, whose offsets are right as
    they are made, takes `unchecked`.
    """

    values: Tensor
    offsets: Tensor

    def __post_init__(self) -> None:
        values = torch.as_tensor(self.values)
        offsets = torch.as_tensor(self.offsets, device=values.device)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "offsets", offsets)
        if values.ndim < 1:
            raise ShapeError(f"ragged: values must be [S, ...], found the single number {values.item()}")
        if offsets.dtype != torch.int64 or offsets.ndim != 1 or len(offsets) < 1:
            raise ShapeError(f"ragged: offsets must be int64 [N + 1], found {_describe(offsets)}")
        wrong = torch.cat([offsets[:1] != 0, self.lengths < 0, offsets[-1:] != len(values)])
        if bool(wrong.any()):  # the only wait for the device
            stop = int(wrong.nonzero()[0]) + 1
            start = max(stop - 2, 0)
            raise ShapeError(
                f"ragged: offsets must begin at 0, never fall, and end at {len(values)}, the number of values; found "
                f"{offsets[start:stop].tolist()} at {start}"
            )

    @classmethod
    def unchecked(cls, values: Tensor, offsets: Tensor) -> Ragged:
        """From offsets that are known to be right: nothing is looked at, no device is waited for."""
        ragged = object.__new__(cls)
        object.__setattr__(ragged, "values", values)
        object.__setattr__(ragged, "offsets", offsets)
        return ragged

    @classmethod
    def of(cls, rows: Sequence[Tensor], like: Tensor | None = None) -> Ragged:
        """From one tensor [length, ...] a row, all of one dtype and, after the first axis, of one shape.

        Args:
            like: a row, of any length, that says both where there are no rows.
        """
        if not rows:
            if like is None:
                raise ShapeError("ragged: no rows, so nothing says their dtype and shape; give a row as `like`")
            return cls.unchecked(like[:0], torch.zeros(1, dtype=torch.int64, device=like.device))
        _check_alike("row", rows)
        lengths = torch.tensor([0, *(len(row) for row in rows)])
        return cls.unchecked(torch.cat(list(rows)), lengths.cumsum(0).to(rows[0].device))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice | Tensor) -> Ragged: ...
    def __getitem__(self, index: int | slice | Tensor) -> Tensor | Ragged:
        """A row [length, ...] by its number (negative from the end); of a slice or an index tensor the rows, as `select`."""
        if isinstance(index, Tensor):
            return self.select(index)
        rows = range(len(self))[index]  # IndexError beyond the end
        if isinstance(rows, range):
            return self.select(torch.tensor(rows, dtype=torch.int64))
        start, stop = self.offsets[rows : rows + 2].tolist()
        return self.values[start:stop]

    def __iter__(self) -> Iterator[Tensor]:
        """The rows, each [length, ...], parts of `values`."""
        return iter(self.values.split(self.lengths.tolist()))

    @property
    def lengths(self) -> Tensor:
        """int64 [N]: how many values each row has."""
        return self.offsets.diff()

    def rows_of(self) -> Tensor:
        """int64 [S]: the row that each value belongs to."""
        rows = torch.arange(len(self), device=self.offsets.device)
        return rows.repeat_interleave(self.lengths, output_size=len(self.values))

    def select(self, index: Tensor) -> Ragged:
        """The rows at `index` (int64, any number of times; or bool [N]), in that order."""
        index = positions(index, len(self), "row").to(self.offsets.device)
        lengths = self.lengths[index]
        offsets = _offsets(lengths)
        back = (self.offsets[index] - offsets[:-1]).repeat_interleave(
            lengths
        )  # from a value's new place to its old one
        return Ragged.unchecked(self.values[torch.arange(len(back), device=back.device) + back], offsets)

    @staticmethod
    def cat(items: Sequence[Ragged]) -> Ragged:
        """All rows in order; values of one dtype and, after the first axis, of one shape."""
        _check_alike("item", [item.values for item in items])
        return Ragged.unchecked(
            torch.cat([item.values for item in items]), _offsets(torch.cat([item.lengths for item in items]))
        )

    def to(self, device: torch.device | str) -> Ragged:
        return Ragged.unchecked(self.values.to(device), self.offsets.to(device))

    def padded(self, value: float) -> tuple[Tensor, Tensor]:
        """[N, L, ...] with `value` behind the end of each row, L the longest row; and bool [N, L], true where a row is."""
        longest = int(self.lengths.max()) if len(self) else 0
        places = torch.arange(longest, device=self.offsets.device)
        inside = places < self.lengths[:, None]  # (N, L)
        padded = self.values.new_full((*inside.shape, *self.values.shape[1:]), value)
        padded[inside] = self.values
        return padded, inside


def _offsets(lengths: Tensor) -> Tensor:
    """int64 [N + 1] of rows of these lengths [N]."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _check_alike(what: str, values: Sequence[Tensor]) -> None:
    """ShapeError where tensors differ in more than their length."""
    for i, value in enumerate(values):
        if value.ndim < 1 or value.dtype != values[0].dtype or value.shape[1:] != values[0].shape[1:]:
            raise ShapeError(
                f"ragged: {what} {i} is {_describe(value)}, {what} 0 {_describe(values[0])}; all must be of one dtype "
                "and, after the first axis, of one shape"
            )


def _describe(value: Tensor) -> str:
    return f"{str(value.dtype)[6:]} {list(value.shape)}"


pytree.register_pytree_node(
    Ragged,
    lambda ragged: ([ragged.values, ragged.offsets], None),
    lambda leaves, _: Ragged.unchecked(*leaves),  # leaves need not be tensors: torch puts what it likes in their places
    serialized_type_name="videre.Ragged",
    flatten_with_keys_fn=lambda ragged: (
        [(pytree.GetAttrKey("values"), ragged.values), (pytree.GetAttrKey("offsets"), ragged.offsets)],
        None,
    ),
)
torch.serialization.add_safe_globals([Ragged])  # exported programs keep example inputs, and are read so
