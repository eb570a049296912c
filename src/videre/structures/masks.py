"""Masks: N instance masks behind one type, kept as run lengths, polygons or cropped bitmaps.

Run lengths are the exact form (COCO's, column by column), polygons are what annotators draw (parts and holes,
continuous pixels), cropped bitmaps are what training samples from. Dense [N, H, W] arrays are made only when asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from videre.errors import DataError, ShapeError
from videre.structures.affine import Affine

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Polygons:
    """The outline of one instance: parts are united, holes are cut out. Each is a float64 array [P, 2] of x, y.

    The rings are copied on making and cannot be written to: `Masks` remembers what it computed from them.
    """

    parts: tuple[np.ndarray, ...]
    holes: tuple[np.ndarray, ...] = ()

    def __post_init__(self) -> None:
        for name in ("parts", "holes"):
            rings = tuple(np.array(ring, dtype=np.float64) for ring in getattr(self, name))
            for ring in rings:
                ring.setflags(write=False)
            object.__setattr__(self, name, rings)

    def map(self, matrix: np.ndarray) -> Polygons:
        """Every point through a 2x3 affine matrix."""
        move = lambda p: p @ matrix[:, :2].T + matrix[:, 2]
        return Polygons(tuple(map(move, self.parts)), tuple(map(move, self.holes)))


class Masks:
    """N masks of one picture of `size` (height, width).

    Made by `from_rle`, `from_polygons`, `from_bitmaps`, `from_label_map`; read by `bitmaps`, `rle`, `packed`, `crops`,
    `area`, `boxes`. `form` says how they are kept; a conversion gives a new object. A value: what it gives out must not be
    written to (run lengths are computed once and kept).
    """

    def __init__(self, size: Size, form: Literal["rle", "polygons", "bitmaps"], data: Any) -> None:
        self.size: Size = (int(size[0]), int(size[1]))
        self.form = form
        self._data = data
        self._runs: tuple[Tensor, Tensor] | None = data if form == "rle" else None

    # making -----------------------------------------------------------------------------------------------------------

    @classmethod
    def from_rle(cls, items: Sequence[dict[str, Any]], size: Size) -> Masks:
        """From COCO's dicts {"size": [h, w], "counts": list, str or bytes}.

        Raises DataError when an entry has another size or its runs do not fill the picture.
        """
        from videre.ops.rle import rle_from_string

        runs = []
        for i, item in enumerate(items):
            if not {"size", "counts"} <= set(item):
                raise DataError(f"mask {i}: run lengths need 'size' and 'counts', found {sorted(item)}")
            if tuple(item["size"]) != tuple(size):
                raise DataError(f"mask {i}: run lengths of size {tuple(item['size'])}, the picture is {tuple(size)}")
            counts = item["counts"]
            if isinstance(counts, str | bytes):
                try:
                    counts = rle_from_string(counts.encode() if isinstance(counts, str) else counts)
                except ValueError as error:
                    raise DataError(f"mask {i}: {error}") from error
            try:
                runs.append(_checked_runs(counts, size[0] * size[1]))
            except DataError as error:
                raise DataError(f"mask {i}: counts: {error}") from None
        return cls(size, "rle", _pack(runs))

    @classmethod
    def from_runs(cls, counts: Tensor, offsets: Tensor, size: Size) -> Masks:
        """From flat run lengths: mask n is counts[offsets[n]:offsets[n + 1]]."""
        return cls(size, "rle", (counts, offsets))

    @classmethod
    def from_polygons(cls, items: Iterable[Polygons | Sequence[np.ndarray]], size: Size) -> Masks:
        """From one `Polygons` (or list of [P, 2] parts) per instance. An instance without parts is an empty mask."""
        from videre.ops.rasterise import LONGEST, outline_length

        polygons = []
        for i, item in enumerate(items):
            try:
                polygon = item if isinstance(item, Polygons) else Polygons(tuple(item))
            except (TypeError, ValueError) as error:
                raise DataError(f"mask {i}: a part must be an array of points [P, 2] ({error})") from error
            for kind, rings in (("part", polygon.parts), ("hole", polygon.holes)):
                for n, ring in enumerate(rings):
                    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3:
                        raise DataError(f"mask {i}, {kind} {n}: at least 3 points [P, 2], found shape {ring.shape}")
                    if np.abs(ring).max() * 2 * len(ring) <= LONGEST:  # no outline of such points is longer
                        continue
                    if not np.isfinite(ring).all():
                        point = ring[~np.isfinite(ring).all(1)][0].tolist()
                        raise DataError(f"mask {i}, {kind} {n}: points must be finite, found {point}")
                    if outline_length(ring) > LONGEST:
                        far = ring[np.abs(ring).max(1).argmax()].tolist()
                        raise DataError(
                            f"mask {i}, {kind} {n}: an outline of {outline_length(ring):.3g} pixels, at most "
                            f"{LONGEST:.3g} are drawn; its furthest point is {far}"
                        )
            polygons.append(polygon)
        return cls(size, "polygons", polygons)

    @classmethod
    def from_bitmaps(cls, bitmaps: Tensor | np.ndarray) -> Masks:
        """From a dense [N, H, W] array of bool or 0/1; only the window of each mask is kept."""
        dense = torch.as_tensor(bitmaps).cpu()
        if dense.ndim != 3:
            raise ShapeError(f"bitmaps must be [N, H, W], found shape {tuple(dense.shape)}")
        dense = (dense != 0).to(torch.uint8)
        crops, windows = [], []
        for bitmap in dense.numpy():
            rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
            x1, y1, x2, y2 = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if len(rows) else (0, 0, 0, 0)
            crops.append(bitmap[y1:y2, x1:x2])
            windows.append((x1, y1, x2, y2))
        return cls.from_windows(crops, windows, (dense.shape[1], dense.shape[2]))

    @classmethod
    def from_windows(cls, crops: Sequence[np.ndarray], windows: Sequence[Sequence[int]], size: Size) -> Masks:
        """From one crop per instance (not 0 is inside) and its integer window x1, y1, x2, y2 inside the picture.

        Raises ShapeError when a crop does not have its window's size, or a window leaves the picture.
        """
        corners = np.asarray(windows, dtype=np.int64).reshape(-1, 4)
        if len(corners) != len(crops):
            raise ShapeError(f"{len(crops)} crops for {len(corners)} windows")
        for i, (crop, (x1, y1, x2, y2)) in enumerate(zip(crops, corners.tolist())):
            inside = 0 <= x1 <= x2 <= size[1] and 0 <= y1 <= y2 <= size[0]
            if not inside or crop.shape != (y2 - y1, x2 - x1):
                raise ShapeError(
                    f"mask {i}: a crop of {crop.shape} does not fit the window {(x1, y1, x2, y2)} in {tuple(size)}"
                )
        pixels, offsets = _pack([torch.from_numpy(np.not_equal(c, 0).reshape(-1)) for c in crops], torch.uint8)
        return cls(size, "bitmaps", (pixels, offsets, torch.from_numpy(corners)))

    @classmethod
    def from_label_map(cls, ids: np.ndarray, values: Sequence[int] | None = None) -> Masks:
        """From an integer map [H, W] where each instance has its own value; `values` in the order wanted.

        Without `values`: every value but 0, ascending. A value that is nowhere gives an empty mask.

        Raises DataError when the map holds other than whole numbers from 0 on.
        """
        from scipy.ndimage import find_objects

        ids = np.asarray(ids)
        if ids.ndim != 2 or ids.dtype.kind not in "bui" or ids.min(initial=0) < 0:
            raise DataError(
                f"an id map is [H, W] of whole numbers from 0 on, found {ids.shape} {ids.dtype}, least {ids.min(initial=0)}"
            )
        ids = ids.astype(np.uint8) if ids.dtype == bool else ids
        there, dense, _ = distinct(ids)
        found = there[there != 0] if values is None else np.asarray(values, np.int64)  # an empty list too
        number = {int(value): n for n, value in enumerate(found, start=1)}
        place = np.array([number.get(int(value), 0) for value in there], np.int32)[dense]  # 0: no wanted instance
        crops, windows = [], []
        for n, where in enumerate(find_objects(place, len(found)), start=1):
            rows, columns = where or (slice(0, 0), slice(0, 0))
            crops.append((place[rows, columns] == n).astype(np.uint8))
            windows.append((columns.start, rows.start, columns.stop, rows.stop))
        return cls.from_windows(crops, windows, ids.shape)

    # reading ----------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._data) if self.form == "polygons" else len(self._data[1]) - 1

    def __repr__(self) -> str:
        return f"Masks({len(self)} as {self.form}, {self.size[0]}x{self.size[1]})"

    def runs(self) -> tuple[Tensor, Tensor]:
        """Flat run lengths (counts, offsets), COCO's order; computed once."""
        from videre.ops.rasterise import rasterise_polygons
        from videre.ops.rle import rle_from_crops

        if self._runs is None:
            if self.form == "polygons":
                self._runs = _pack([rasterise_polygons(p.parts, self.size, p.holes) for p in self._data])
            else:
                pixels, offsets, windows = self._data
                self._runs = rle_from_crops(pixels, offsets, windows, self.size)
        return self._runs

    def rle(self) -> list[dict[str, Any]]:
        """COCO's compressed dicts {"size": [h, w], "counts": str}: exact, ready for JSON."""
        from videre.ops.rle import rle_to_string

        counts, offsets = self.runs()
        size = list(self.size)
        return [
            {"size": size, "counts": rle_to_string(counts[a:b]).decode()}
            for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist())
        ]

    def polygons(self) -> list[Polygons]:
        """Outlines; traced along pixel edges when the masks are not kept as polygons."""
        from videre.ops.rasterise import trace_polygons

        if self.form == "polygons":
            return list(self._data)
        outlines = []
        for crop, window in self.crops():
            parts, holes = trace_polygons(crop)
            shift = np.asarray([window[0], window[1]], np.float64)
            outlines.append(Polygons(tuple(p + shift for p in parts), tuple(h + shift for h in holes)))
        return outlines

    def bitmaps(self) -> Tensor:
        """Dense uint8 [N, H, W] of 0/1."""
        from videre.ops.rle import rle_decode

        if self.form != "bitmaps":
            counts, offsets = self.runs()
            return rle_decode(counts, offsets, self.size)
        dense = torch.zeros((len(self), *self.size), dtype=torch.uint8)
        for n, (crop, (x1, y1, x2, y2)) in enumerate(self.crops()):
            dense[n, y1:y2, x1:x2] = torch.from_numpy(crop)
        return dense

    def packed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Cropped bitmaps for sampling: pixels uint8 [S], offsets [N + 1], windows [N, 4] (x1, y1, x2, y2)."""
        return self.as_bitmaps()._data

    def crops(self) -> Iterator[tuple[np.ndarray, list[int]]]:
        """Each mask's own part of the picture: uint8 [h, w] of 0/1, and its window (x1, y1, x2, y2)."""
        pixels, offsets, windows = self.packed()
        flat, starts = pixels.numpy(), offsets.tolist()
        for n, (x1, y1, x2, y2) in enumerate(windows.tolist()):
            yield flat[starts[n] : starts[n + 1]].reshape(y2 - y1, x2 - x1), [x1, y1, x2, y2]

    def as_bitmaps(self) -> Masks:
        """The same masks kept as cropped bitmaps."""
        from videre.ops.rle import rle_boxes, rle_crop

        if self.form == "bitmaps":
            return self
        counts, offsets = self.runs()
        windows = rle_boxes(counts, offsets, self.size).to(torch.int64)
        pixels, starts = rle_crop(counts, offsets, self.size, windows)
        return Masks(self.size, "bitmaps", (pixels, starts, windows))

    def as_rle(self) -> Masks:
        """The same masks kept as run lengths."""
        return self if self.form == "rle" else Masks(self.size, "rle", self.runs())

    def area(self) -> Tensor:
        """Pixels of each mask, int64 [N]."""
        from videre.ops.rle import rle_area

        return rle_area(*self.runs())

    def boxes(self) -> Tensor:
        """Tight boxes float32 [N, 4], xyxy half-open; an empty mask gives zeros."""
        from videre.ops.rle import rle_boxes

        return rle_boxes(*self.runs(), self.size)

    # changing ---------------------------------------------------------------------------------------------------------

    def select(self, index: Tensor) -> Masks:
        """The masks at `index` (int64, or bool [N]), in that order. Call `Scene.select` to keep a scene consistent."""
        index = positions(index, len(self))
        order = index.tolist()
        if self.form == "polygons":
            return Masks(self.size, "polygons", [self._data[i] for i in order])
        starts = self._data[1].tolist()
        values, offsets = _pack([self._data[0][starts[i] : starts[i + 1]] for i in order], self._data[0].dtype)
        rest = () if self.form == "rle" else (self._data[2][index],)
        return Masks(self.size, self.form, (values, offsets, *rest))

    @staticmethod
    def cat(items: Sequence[Masks]) -> Masks:
        """All masks of pictures of one size, in order; of mixed forms as run lengths."""
        sizes = {m.size for m in items}
        if len(sizes) != 1:
            raise ShapeError(f"masks of different picture sizes cannot be joined: {sorted(sizes)}")
        size, forms = items[0].size, {m.form for m in items}
        if forms == {"polygons"}:
            return Masks(size, "polygons", [p for m in items for p in m._data])
        if forms == {"bitmaps"}:
            return Masks(
                size, "bitmaps", (*_join([m._data[:2] for m in items]), torch.cat([m._data[2] for m in items]))
            )
        return Masks(size, "rle", _join([m.runs() for m in items]))

    def moved(self, motion: Affine) -> Masks:
        """The masks of the moved picture.

        Polygons stay polygons (exact); the others are resampled, nearest pixel, inside their moved windows.
        """
        import cv2

        if self.form == "polygons":
            return Masks(motion.target, "polygons", [p.map(motion.matrix) for p in self._data])
        crops: list[np.ndarray] = []
        windows: list[tuple[int, ...]] = []
        limits = np.array(motion.target[::-1])
        for crop, (x1, y1, x2, y2) in self.crops():
            corners = np.array([(x1, y1), (x2, y1), (x1, y2), (x2, y2)], float) @ motion.linear.T + motion.matrix[:, 2]
            whole = np.floor(corners.min(0)).astype(int)
            low, high = np.clip(whole, 0, limits), np.clip(np.ceil(corners.max(0)).astype(int), 0, limits)
            if crop.size == 0 or (high <= low).any():
                crops.append(np.zeros((0, 0), np.uint8))
                windows.append((0, 0, 0, 0))
                continue
            if motion.is_grid:
                (left, top), (right, bottom) = low - whole, high - whole
                moved = motion.turned(crop)[top:bottom, left:right]
            else:
                # index coordinates of warpAffine: pixel i is centred at i + 0.5 of the continuous frame
                inner = motion.matrix.copy()
                inner[:, 2] += inner[:, :2] @ (np.array([x1, y1]) + 0.5) - low - 0.5
                shape = (int(high[0] - low[0]), int(high[1] - low[1]))
                moved = cv2.warpAffine(crop, inner, shape, flags=cv2.INTER_NEAREST)
            crops.append(moved)
            windows.append((*low, *high))
        return Masks.from_windows(crops, windows, motion.target)

    # writing ----------------------------------------------------------------------------------------------------------

    def to_json(self, names: object = None) -> dict[str, Any]:
        """Plain JSON: polygons as they are, all else as COCO's run lengths."""
        if self.form == "polygons":
            rings = lambda some: [ring.tolist() for ring in some]
            outlines = [{"parts": rings(p.parts), "holes": rings(p.holes)} for p in self._data]
            return {"size": list(self.size), "polygons": outlines}
        return {"size": list(self.size), "counts": [item["counts"] for item in self.rle()]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: object = None) -> Masks:
        """What `to_json` wrote, checked."""
        size = (int(data["size"][0]), int(data["size"][1]))
        if "polygons" in data:
            return cls.from_polygons(
                [Polygons(tuple(p["parts"]), tuple(p.get("holes", ()))) for p in data["polygons"]], size
            )
        return cls.from_rle([{"size": size, "counts": counts} for counts in data["counts"]], size)


def positions(index: Tensor | Sequence[int], count: int, of: str = "instance") -> Tensor:
    """What a selection from `count` things means, as int64 positions: bool [count], or indices (negative from the end).

    Raises ShapeError when a bool selection has another length, or an index names nothing.
    """
    index = torch.as_tensor(index)
    if index.dtype == torch.bool:
        if index.shape != (count,):
            raise ShapeError(f"a selection of shape {tuple(index.shape)} for {count} {of}s")
        return index.nonzero().flatten()
    index = index.to(torch.int64).reshape(-1)
    wrong = index[(index < -count) | (index >= count)]
    if len(wrong):
        raise ShapeError(f"a selection names {of} {int(wrong[0])}, there are {count}")
    return torch.where(index < 0, index + count, index)


DENSE = 2**16
"""Values up to which a table by value is made: 8 and 16 bit maps."""


def distinct(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values of a map of whole numbers from 0 on, whatever their size: int64 ascending, the place of each pixel's
    value among them [H, W], and on how many pixels each stands."""
    if ids.max(initial=0) < DENSE:  # an order of magnitude faster than sorting
        counts = np.bincount(ids.ravel())
        values = np.flatnonzero(counts)
        place = np.zeros(len(counts), np.int32)
        place[values] = np.arange(len(values))
        return values, place[ids], counts[values]
    values, places, counts = np.unique(ids, return_inverse=True, return_counts=True)
    return values.astype(np.int64), places.reshape(ids.shape), counts


def _checked_runs(counts: Any, pixels: int) -> Tensor:
    """Run lengths as int64 [K]; DataError unless each lies in 0..pixels and they fill the picture.

    One by one: sums of numbers near 2^63 wrap around to anything.
    """
    if isinstance(counts, list | tuple) and all(isinstance(v, int | float) for v in counts):
        values = np.array(counts, np.float64)  # whose rounding begins far above any picture
    elif isinstance(counts, Tensor | np.ndarray):
        values = np.asarray(counts)
    else:
        raise DataError(f"should be a list of whole numbers, or compressed text, found {counts!r:.60}")
    wrong = values[~((values >= 0) & (values <= pixels) & (values % 1 == 0))]
    if len(wrong):
        raise DataError(f"run lengths are whole numbers from 0 to the picture's {pixels} pixels, found {wrong[0]:.15g}")
    if int(values.sum()) != pixels:
        raise DataError(f"run lengths sum to {int(values.sum())}, the picture has {pixels} pixels")
    return torch.from_numpy(values.astype(np.int64))


def _pack(rows: Sequence[Tensor], dtype: torch.dtype = torch.int64) -> tuple[Tensor, Tensor]:
    offsets = torch.zeros(len(rows) + 1, dtype=torch.int64)
    if rows:
        offsets[1:] = torch.tensor([len(r) for r in rows]).cumsum(0)
    return (torch.cat([r.to(dtype) for r in rows]) if rows else torch.zeros(0, dtype=dtype)), offsets


def _join(items: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    sizes = torch.cat([offsets.diff() for _, offsets in items])
    return torch.cat([values for values, _ in items]), torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
