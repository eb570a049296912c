"""Truths of many pictures in flat arrays: a few arrays in all, not a Python object per annotation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from videre.data.dataset import FileSource
from videre.structures import Instances, Masks, Polygons, Scene
from videre.structures.scene import qualified


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Rows of different lengths: row i is values[offsets[i]:offsets[i + 1]]."""

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[Any], dtype: Any, width: int | None = None) -> Ragged:
        """From one array per row; `width` is the length of the second axis, where there is one."""
        arrays = [np.asarray(r, dtype).reshape((-1,) if width is None else (-1, width)) for r in rows]
        empty = np.zeros((0,) if width is None else (0, width), dtype)
        return cls(np.concatenate([empty, *arrays]), np.cumsum([0, *(len(a) for a in arrays)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.offsets[i] : self.offsets[i + 1]]


class Texts:
    """Lists of sentences, one list a picture, in one buffer."""

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        self._texts = Ragged.of([np.frombuffer(t.encode(), np.uint8) for row in rows for t in row], np.uint8)
        self._starts = np.cumsum([0, *(len(row) for row in rows)])

    def __getitem__(self, i: int) -> tuple[str, ...]:
        return tuple(self._texts[t].tobytes().decode() for t in range(self._starts[i], self._starts[i + 1]))


class FlatMasks:
    """Masks of all instances of a data set: polygons (float64: rasterising decides by fifths of a pixel) or runs."""

    def __init__(self, items: Sequence[Polygons | np.ndarray]) -> None:
        """One `Polygons`, or array of run lengths in COCO's order, per instance."""
        drawn = [p if isinstance(p, Polygons) else Polygons(()) for p in items]
        self._rings = Ragged.of([r for p in drawn for r in (*p.parts, *p.holes)], np.float64, 2)
        self._starts = np.cumsum([0, *(len(p.parts) + len(p.holes) for p in drawn)])
        self._parts = np.array([len(p.parts) for p in drawn], np.int64)
        self._runs = Ragged.of([[] if isinstance(p, Polygons) else p for p in items], np.int64)

    def rows(self, start: int, stop: int, size: tuple[int, int]) -> Masks:
        """The masks of instances start..stop, of a picture of `size`."""
        order = np.arange(start, stop)
        is_run = np.diff(self._runs.offsets)[order] > 0
        polygons = Masks.from_polygons([self._polygons(n) for n in order[~is_run]], size)
        if not is_run.any():
            return polygons
        runs = Ragged.of([self._runs[n] for n in order[is_run]], np.int64)
        masks = Masks.from_runs(torch.from_numpy(runs.values), torch.from_numpy(runs.offsets), size)
        if is_run.all():
            return masks
        back = np.argsort(np.concatenate([np.flatnonzero(~is_run), np.flatnonzero(is_run)]))
        return Masks.cat([polygons, masks]).select(torch.from_numpy(back))

    def _polygons(self, n: int) -> Polygons:
        rings = tuple(self._rings[r] for r in range(self._starts[n], self._starts[n + 1]))
        return Polygons(rings[: self._parts[n]], rings[self._parts[n] :])


@dataclasses.dataclass
class FlatSource(FileSource):
    """Picture files with their truths in flat arrays.

    Args:
        ids: one per picture, kept as `Scene.meta["id"]`; the names when absent.
        starts: int [P + 1]; picture i has instances starts[i]:starts[i + 1]. None: the set has no instances.
        columns: field of `Instances` to its array over all instances.
        masks: of all instances. labels: of pictures. captions: of pictures.
    """

    ids: Sequence[int | str] | None = None
    starts: np.ndarray | None = None
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    masks: FlatMasks | None = None
    labels: Ragged | None = None
    captions: Texts | None = None

    def __post_init__(self) -> None:
        things = {*self.columns, *(["masks"] if self.masks is not None else [])} if self.starts is not None else set()
        own = {name for name in ("labels", "captions") if getattr(self, name) is not None}
        self.fields = frozenset({qualified(name) for name in things} | own)

    def scene(self, i: int) -> Scene:
        size = self.size(i)
        truth: dict[str, Any] = {}
        if self.starts is not None:
            start, stop = int(self.starts[i]), int(self.starts[i + 1])
            # copies: who changes a scene must not change the data set
            values: dict[str, Any] = {k: torch.from_numpy(v[start:stop].copy()) for k, v in self.columns.items()}
            if self.masks is not None:
                values["masks"] = self.masks.rows(start, stop, size)
            truth["instances"] = Instances(**values)
        if self.labels is not None:
            truth["labels"] = torch.from_numpy(self.labels[i].copy())
        if self.captions is not None:
            truth["captions"] = self.captions[i]
        identity = self.names[i] if self.ids is None else self.ids[i]
        return Scene(size, meta={"path": self.paths[i], "id": identity}, **truth)
