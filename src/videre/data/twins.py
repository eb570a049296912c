"""Pictures that are there twice: the same bytes, or saved again, resized, shifted a little.

twins = find_twins(looks_at(dataset))      # groups of pictures, each with the pairs that joined it

Two pictures are near twins when their 64-bit perceptual hashes (signs of the low frequencies of a cosine transform, after
Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010), their grey thumbnails and their colours
agree. Groups are the connected parts of that relation: what is a twin of a twin belongs to them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from videre.data.dataset import Dataset
from videre.data.hashes import hash_file
from videre.engine.loading import load
from videre.structures.clip import still

NEAR_BITS = 6
"""Pictures whose 64-bit perceptual hashes differ in at most this many bits may show the same …"""
NEAR_CORRELATION = 0.97
"""… and do when their 32x32 thumbnails correlate this well: hashes of dark microscopy collide, thumbnails do not …"""
NEAR_COLOUR = 0.1
"""… and none of 8x8 cells differs by more in what each channel has beyond grey, of a range of 1."""
FLAT = 0.004
"""Deviation of a thumbnail, of a range of 1, below which there is nothing in it to compare."""

_PAIRS = 1 << 18
"""Pairs compared at once."""
_BAND = 16
"""Bits of a quarter of a hash. Of two hashes that differ in 6 bits, one quarter differs in at most one."""
_ONES = np.array([n.bit_count() for n in range(1 << 16)], np.uint8)


@dataclasses.dataclass(frozen=True)
class Look:
    """What of a picture tells its twins.

    Args:
        digest: SHA-256 of the file, "" without one. code: uint64, the perceptual hash; None where nothing is to be seen.
        thumbnail: float32 [1024], mean 0, length 1. colours: float32 [192], channel minus grey in 8x8 cells.
    """

    digest: str = ""
    code: int | None = None
    thumbnail: np.ndarray | None = None
    colours: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Twins:
    """Pictures that are the same.

    Args:
        members: their numbers, ascending. links: the pairs that joined them, one fewer than there are members, and
            whether each has the same bytes.
    """

    members: tuple[int, ...]
    links: tuple[tuple[int, int, bool], ...]


def look_at(picture: np.ndarray, path: Path | None) -> Look:
    """Look at a picture, uint8 or uint16 [H, W, C], that was read from `path`."""
    digest = hash_file(path) if path is not None else ""
    top = float(np.iinfo(picture.dtype).max)
    grey = cv2.resize(picture.mean(2, dtype=np.float32) / top, (32, 32), interpolation=cv2.INTER_AREA)
    cells = np.zeros((8, 8, 3), np.float32)
    if picture.shape[2] >= 3:
        cells = cv2.resize(picture[:, :, :3], (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32) / top
        cells -= cells.mean(2, keepdims=True)
    if float(grey.std()) < FLAT:  # the hash would be of noise; what differs in colour alone is read from the colours
        widest = cells[:, :, int(cells.std((0, 1)).argmax())]
        if float(widest.std()) < FLAT:
            return Look(digest)
        grey = cv2.resize(widest, (32, 32), interpolation=cv2.INTER_LINEAR)
    low = cv2.dct(grey)[:8, :8].ravel()
    code = int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), "little")
    centred = (grey - grey.mean()).ravel()
    return Look(digest, code, (centred / np.linalg.norm(centred)).astype(np.float32), cells.ravel())


def looks_at(dataset: Dataset, workers: int = 2) -> list[Look]:
    """Look at every picture of a set; one that cannot be read is no twin of any."""
    return list(load(range(len(dataset)), functools.partial(_look_or_not, dataset), workers, dataset.where))


def _look_or_not(dataset: Dataset, index: int) -> Look:
    try:
        return look_at(still(dataset.picture_as_is(index)), dataset.path(index))
    except Exception:  # whatever is wrong with the file: `check` says it
        return Look()


def find_twins(looks: Sequence[Look]) -> list[Twins]:
    """The groups of twins, by their first pictures."""
    groups = _Groups(len(looks))
    first: dict[str, int] = {}
    for i, look in enumerate(looks):
        if look.digest and (other := first.setdefault(look.digest, i)) != i:
            groups.join(other, i, exact=True)
    alone = [i for i, k in enumerate(looks) if k.code is not None and first.get(k.digest, i) == i]
    if alone:
        _join_near([looks[i] for i in alone], np.array(alone), groups)
    return groups.twins()


class _Groups:
    """Which pictures are joined, as the number of each one's group."""

    def __init__(self, count: int) -> None:
        self.of = np.arange(count)
        self._members = {i: [i] for i in range(count)}
        self._links: dict[int, list[tuple[int, int, bool]]] = {}

    def join(self, a: int, b: int, exact: bool) -> None:
        """Join the groups of two pictures; the smaller one is renumbered."""
        kept, gone = int(self.of[a]), int(self.of[b])
        if kept == gone:
            return
        if len(self._members[kept]) < len(self._members[gone]):
            kept, gone = gone, kept
        moved = self._members.pop(gone)
        self.of[moved] = kept
        self._members[kept] += moved
        self._links[kept] = [*self._links.pop(kept, ()), *self._links.pop(gone, ()), (min(a, b), max(a, b), exact)]

    def twins(self) -> list[Twins]:
        found = [
            Twins(tuple(sorted(self._members[k])), tuple(sorted(self._links[k], key=lambda row: (not row[2], row))))
            for k in self._links
        ]
        return sorted(found, key=lambda twins: twins.members)


def _join_near(looks: Sequence[Look], numbers: np.ndarray, groups: _Groups) -> None:
    """Join near twins; `numbers` are the pictures' in `groups`, ascending."""
    thumbnails = np.stack([k.thumbnail for k in looks if k.thumbnail is not None])
    colours = np.stack([k.colours for k in looks if k.colours is not None])
    codes = np.array([k.code for k in looks], np.uint64)
    for rows, columns in _candidates(codes, thumbnails, lambda: groups.of[numbers]):
        # few at a time: a group that is found makes most of the pairs after it superfluous
        for start in range(0, len(rows), 4096):
            a, b = rows[start : start + 4096], columns[start : start + 4096]
            apart = groups.of[numbers[a]] != groups.of[numbers[b]]
            a, b = a[apart], b[apart]
            near = np.einsum("ij,ij->i", thumbnails[a], thumbnails[b]) >= NEAR_CORRELATION
            near[near] = np.abs(colours[a[near]] - colours[b[near]]).max(1, initial=0) <= NEAR_COLOUR
            for i, j in zip(numbers[a[near]].tolist(), numbers[b[near]].tolist()):
                groups.join(i, j, exact=False)


def _sketches(thumbnails: np.ndarray) -> np.ndarray:
    """Unit vectors [N, 17] whose products are never below those of the thumbnails (Cauchy-Schwarz): a quick first look."""
    waves = np.cos(np.pi * (np.arange(32) + 0.5) * np.arange(5)[:, None] / 32)
    waves = waves / np.linalg.norm(waves, axis=1, keepdims=True)
    basis = np.einsum("ai,bj->abij", waves, waves).reshape(25, 1024)[1:17].astype(np.float32)
    low = thumbnails @ basis.T
    return np.hstack([low, np.sqrt(np.maximum(0, 1 - (low**2).sum(1, keepdims=True)))]).astype(np.float32)


def _candidates(
    codes: np.ndarray, thumbnails: np.ndarray, groups: Callable[[], np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of pictures of different groups, with hashes near each other and sketches alike, in portions."""
    sketches, limit = _sketches(thumbnails), NEAR_CORRELATION - 1e-4
    order = np.argsort(codes, kind="stable")
    unique, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)

    def product(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        step = max(1, _PAIRS // len(second))
        for row in range(0, len(first), step):
            some, of = first[row : row + step], groups()
            alike = (sketches[some] @ sketches[second].T >= limit) & (of[some][:, None] != of[second])
            if alike.sum() > alike.size // 32:  # one product costs less than fetching that many pairs
                alike &= thumbnails[some] @ thumbnails[second].T >= limit
            a, b = np.nonzero(alike)
            yield some[a], second[b]

    for k in np.flatnonzero(counts > 1).tolist():
        members = order[starts[k] : starts[k] + counts[k]]
        yield from product(members, members)
    for c, d in _near_codes(unique):
        of = groups()[order]
        low, high = np.minimum.reduceat(of, starts), np.maximum.reduceat(of, starts)
        done = (low[c] == high[c]) & (low[d] == high[d]) & (low[c] == low[d])
        c, d = c[~done], d[~done]
        pairs = counts[c] * counts[d]
        for i in np.flatnonzero(pairs > 4096).tolist():
            yield from product(*(order[starts[k] : starts[k] + counts[k]] for k in (c[i], d[i])))
        c, d, pairs = c[pairs <= 4096], d[pairs <= 4096], pairs[pairs <= 4096]
        for begin, end in _portions(pairs):
            # every picture with the one hash beside every one with the other
            which = np.repeat(np.arange(begin, end), pairs[begin:end])
            within = np.arange(len(which)) - np.repeat(np.cumsum(pairs[begin:end]) - pairs[begin:end], pairs[begin:end])
            wide, of = counts[d[which]], groups()
            a, b = order[starts[c[which]] + within // wide], order[starts[d[which]] + within % wide]
            a, b = a[apart := of[a] != of[b]], b[apart]
            alike = np.einsum("ij,ij->i", sketches[a], sketches[b]) >= limit
            yield a[alike], b[alike]


def _portions(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose sizes add up to about _PAIRS."""
    edges = np.flatnonzero(np.diff(np.cumsum(sizes) // _PAIRS, prepend=-1)).tolist() if len(sizes) else []
    yield from zip(edges, [*edges[1:], len(sizes)])


def _near_codes(codes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of the places of different hashes, sorted, that differ in at most NEAR_BITS bits.

    One quarter of them is the same but for one bit: only those are compared, unless most hashes share their quarters.
    """
    if sum(_looked_up(codes, band)[1].sum() for band in range(4)) > len(codes) ** 2 // 4:
        yield from _by_product(codes)
        return
    for band in range(4):
        order, widths, begins = _looked_up(codes, band)
        flips = len(widths) // len(codes)
        for begin, end in _portions(widths):
            many = widths[begin:end]
            a = np.repeat(np.arange(begin, end) // flips, many)
            within = np.arange(len(a)) - np.repeat(np.cumsum(many) - many, many)
            b = order[np.repeat(begins[begin:end], many) + within]
            near = (a < b) & (_distance(codes[a], codes[b]) <= NEAR_BITS)
            a, b = a[near], b[near]
            for earlier in range(band):  # a pair is given by the first quarter that finds it
                seen = _quarter(codes[a] ^ codes[b], earlier)
                a, b = a[_ONES[seen] > 1], b[_ONES[seen] > 1]
            yield a, b


def _looked_up(codes: np.ndarray, band: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order of the hashes by a quarter, and for each hash and each of 17 likenesses of its quarter how many have that
    quarter, and where they begin in the order."""
    quarter = _quarter(codes, band)
    order = np.argsort(quarter, kind="stable")
    flips = np.array([0, *(1 << n for n in range(_BAND))], np.uint16)
    wanted = (quarter[:, None] ^ flips).ravel()
    begins = np.searchsorted(quarter[order], wanted, side="left")
    return order, np.searchsorted(quarter[order], wanted, side="right") - begins, begins


def _quarter(codes: np.ndarray, band: int) -> np.ndarray:
    return (codes >> np.uint64(_BAND * band) & np.uint64(0xFFFF)).astype(np.uint16)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _ONES[(a ^ b).view(np.uint16).reshape(-1, 4)].sum(1)


def _by_product(codes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    bits = np.unpackbits(codes.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32) * 2 - 1
    step = max(1, (1 << 24) // len(codes))
    for start in range(0, len(codes), step):
        rows, columns = np.nonzero(bits[start : start + step] @ bits.T >= 64 - 2 * NEAR_BITS)
        later = columns > rows + start
        yield rows[later] + start, columns[later]
