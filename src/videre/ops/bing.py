"""BING: objects look alike as 8x8 maps of gradients, so one linear filter and a few bit operations find them.

Cheng, Zhang, Lin, Torr, BING: Binarized Normed Gradients for Objectness Estimation at 300fps, CVPR 2014. The picture is
resized so that a window of each of 36 sizes becomes 8x8; the filter scores the norms of the gradients there (section
3.1), approximated by N_w = 2 binary filters on the N_g = 4 highest bits of the norms (3.2). The best windows of each
size are calibrated by that size (equation 3). Sizes, gradients, arithmetic and order are those of OpenCV's
`saliency.ObjectnessBING`, which merges the windows of three colour spaces, and adds no constant for the lower bits.

    boxes, scores = bing(picture, read_bing_filters(folder))
"""

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor

from videre.errors import DataError
from videre.files import read_bytes

from ._numba import serial

SIDE = 8
"""Features of the filter across and down."""
SIDES = tuple(2**k for k in range(4, 10))
"""Pixels, of windows: heights and widths, so that size r is SIDES[r // 6] high and SIDES[r % 6] wide."""
BINARY_FILTERS, BITS = 2, 4
"""N_w and N_g of the paper."""
SPACES = ("MAXBGR", "HSV", "I")
"""Colour spaces, as OpenCV's files name them: the largest difference of a colour channel, the sum of those of hue,
saturation and value, halved, and that of the grey picture."""
HEAD_START = 300
"""Windows of the first colour space that come before the first of any other are 600: rank r of space s is merged by
(r + HEAD_START) · (1, 3, 5)[s]."""


@dataclass(frozen=True)
class BingFilter:
    """What BING has learned in one colour space.

    space: of SPACES.
    weights: (8, 8) float32 of stage one.
    sizes: (S) int64, in rising order, of the windows that are looked at, indices as in SIDES.
    calibration: (S, 2) float32 factor and offset of stage two.
    """

    space: str
    weights: np.ndarray
    sizes: np.ndarray
    calibration: np.ndarray

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise ValueError(f"BingFilter: space is {self.space!r}, expected one of {', '.join(SPACES)}")
        count = len(self.sizes)
        for name, shape in (("weights", (SIDE, SIDE)), ("sizes", (count,)), ("calibration", (count, 2))):
            value = getattr(self, name)
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"BingFilter: {name} of shape {value.shape}, expected finite numbers {shape}")
        if count and not 0 <= self.sizes.min() <= self.sizes.max() < len(SIDES) ** 2:
            raise ValueError(f"BingFilter: sizes {self.sizes.tolist()}, expected 0 .. {len(SIDES) ** 2 - 1}")


def bing(
    picture: np.ndarray | Tensor, filters: list[BingFilter], per_size: int = 250, radius: int = 2
) -> tuple[Tensor, Tensor]:
    """Propose boxes that hold objects.

    Args:
        picture: (H, W, 3) uint8 RGB.
        filters: one a colour space, the most trusted first.
        per_size: the most windows kept of one size in one colour space.
        radius: 8x8 cells between windows of one size, horizontally or vertically, of which only the better is kept.
    Returns:
        (P, 4) float32 boxes xyxy, pixels, and (P) float32 scores in (0, 1], falling. A score tells the place among the
        windows of the same colour space only, not how sure BING is. Colour spaces may find the same box again.
    Raises:
        ValueError: a picture that is not (H, W, 3) uint8, no filter, or a setting below its least value.
    Convention: OpenCV's boxes are the first and last pixel, counted from 1; ours lie around the same pixels, so x1 and
        y1 are OpenCV's less one, and x2 and y2 equal. OpenCV lists one colour space after the other; sorted by its
        values, which are HEAD_START / scores, its boxes come in the same order.
    """
    pixels = np.ascontiguousarray(picture)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"bing: picture is {pixels.dtype} {pixels.shape}, expected uint8 (H, W, 3)")
    if not filters or per_size < 1 or radius < 0:
        raise ValueError(f"bing: {len(filters)} filters, per_size {per_size}, radius {radius}; expected >= 1, 1 and 0")
    boxes, places = [], []
    for which, found in enumerate(_windows(pixels, filters, per_size, radius)):
        order = _falling(found[:, 4])
        boxes.append(found[order, :4])
        places.append((np.arange(len(order)) + HEAD_START) * (2 * which + 1))
    place = np.concatenate(places)
    order = np.argsort(place, kind="stable")
    scores = (HEAD_START / place[order]).astype(np.float32)
    return torch.from_numpy(np.concatenate(boxes)[order]), torch.from_numpy(scores)


def window_gradients(picture: np.ndarray, boxes: np.ndarray, space: str) -> np.ndarray:
    """What a filter sees of windows: each cut out, resized to 8x8, as norms of gradients.

    Args:
        picture: (H, W, 3) uint8 RGB. boxes: (N, 4) xyxy, pixels. space: of SPACES.
    Returns:
        (N, 64) float32.
    """
    height, width = picture.shape[:2]
    rows = np.empty((len(boxes), SIDE * SIDE), np.float32)
    for n, (x1, y1, x2, y2) in enumerate(np.round(boxes).astype(int)):
        x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
        part = np.ascontiguousarray(picture[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)])
        small = cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR_EXACT)
        rows[n] = _gradient_kernel(_in_space(small, space), space == "HSV").reshape(-1)
    return rows


def stage_one(
    picture: np.ndarray, weights: np.ndarray, space: str, size: int, per_size: int = 250, radius: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """The windows of one size that a filter scores best, before that size is calibrated.

    Args:
        picture: (H, W, 3) uint8 RGB. weights: (8, 8). space: of SPACES. size: as in SIDES.
    Returns:
        (P, 4) float32 boxes xyxy, pixels, and (P) float32 scores, falling; none where the picture is too small for the size.
    """
    plain = BingFilter(space, weights, np.array([size]), np.array([[1, 0]], np.float32))
    (found,) = _windows(np.ascontiguousarray(picture), [plain], per_size, radius)
    return found[:, :4], found[:, 4]


def filter_scores(gradient: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Exact scores of stage one, the definition that the binary filters approximate.

    Args:
        gradient: (h, w) norms of gradients, at least 8x8.
        weights: (8, 8) of the filter.
    Returns:
        (h - 7, w - 7) float64 of the window with each top-left corner.
    """
    windows = np.lib.stride_tricks.sliding_window_view(gradient.astype(np.float64), (SIDE, SIDE))
    return np.einsum("yxij,ij->yx", windows, weights.astype(np.float64))


def binary_filters(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Filters of -1 and 1 whose weighted sum is near `weights`, each the best for what the ones before leave.

    Args:
        weights: (8, 8) of the filter.
    Returns:
        (N_w) uint64 where they are 1, the first weight in the highest bit, and (N_w) float32 their weights.
    Reference: algorithm 1.
    """
    rest = weights.astype(np.float32).reshape(-1)
    bits, betas = [], []
    for _ in range(BINARY_FILTERS):
        sign = np.where(rest > 0, np.float32(1), np.float32(-1))
        beta = np.cumsum(rest * sign, dtype=np.float32)[-1] / np.float32(rest.size)
        rest = rest - beta * sign
        bits.append(int("".join("1" if s > 0 else "0" for s in sign), 2))
        betas.append(beta)
    return np.array(bits, np.uint64), np.array(betas, np.float32)


def read_bing_filters(folder: str | Path) -> list[BingFilter]:
    """Read a model trained with OpenCV or the authors' code: ObjNessB2W8<space>.{idx,wS1,wS2}.yml.gz of each space.

    Raises:
        DataError: a file that is missing or damaged, or holds numbers that do not fit.
    """
    filters = []
    for space in SPACES:
        stem = f"ObjNessB2W8{space}"
        sizes, weights, calibration = (
            _read_matrix(Path(folder) / f"{stem}.{part}.yml.gz", stem) for part in ("idx", "wS1", "wS2")
        )
        try:
            filters.append(BingFilter(space, weights, sizes.reshape(-1).astype(np.int64), calibration))
        except ValueError as error:
            raise DataError(f"{Path(folder) / stem}.*: {error}") from None
    return filters


def _read_matrix(path: Path, name: str) -> np.ndarray:
    """(rows, cols) float32, of the matrix `name` in OpenCV's YAML."""
    try:
        text = gzip.decompress(read_bytes(path)).decode()
        document = yaml.safe_load(re.sub(r"^%YAML.*|!!opencv-matrix", "", text))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: not a gzipped YAML file ({error})") from error
    matrix = document.get(name) if isinstance(document, dict) else None
    if not isinstance(matrix, dict):
        raise DataError(f"{path}: field {name} is not an OpenCV matrix")
    for field, kind in (("rows", int), ("cols", int), ("data", list)):
        if not isinstance(matrix.get(field), kind):
            raise DataError(f"{path}: {name}.{field} is {matrix.get(field)!r}, expected {kind.__name__}")
    try:
        return np.array(matrix["data"], np.float32).reshape(matrix["rows"], matrix["cols"])
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {name}.data does not fit {matrix['rows']} x {matrix['cols']} ({error})") from error


def _windows(pixels: np.ndarray, filters: list[BingFilter], per_size: int, radius: int) -> list[np.ndarray]:
    """Of each filter, (P, 5) float32 windows and calibrated scores, the largest size first, each by falling score."""
    height, width = pixels.shape[:2]
    binary = [binary_filters(f.weights) for f in filters]
    found: list[list[np.ndarray]] = [[np.empty((0, 5), np.float32)] for _ in filters]
    for size in reversed(range(len(SIDES) ** 2)):
        high, wide = SIDES[size // len(SIDES)], SIDES[size % len(SIDES)]
        if high > 2 * height or wide > 2 * width:
            continue
        high, wide = min(high, height), min(wide, width)
        shape = round(SIDE * width / wide), round(SIDE * height / high)
        small = cv2.resize(pixels, shape, interpolation=cv2.INTER_LINEAR_EXACT)
        for f, (bits, betas), windows in zip(filters, binary, found):
            row = np.flatnonzero(f.sizes == size)
            if row.size == 0:
                continue
            gradient = _gradient_kernel(_in_space(small, f.space), f.space == "HSV")
            with np.errstate(over="ignore"):  # bits are counted modulo 2^64, which NumPy reports without Numba
                cost = _filter_kernel(gradient, bits, betas)
            y, x = _peaks_kernel(cost, _falling(cost.reshape(-1)), radius, per_size).T
            factor, offset = f.calibration[row[0]]
            left, top = x * (wide // SIDE), y * (high // SIDE)
            right, bottom = np.minimum(left + wide, width), np.minimum(top + high, height)
            score = cost[y, x] * factor + offset
            windows.append(np.stack([left, top, right, bottom, score], 1).astype(np.float32))
    return [np.concatenate(windows) for windows in found]


def _falling(scores: np.ndarray) -> np.ndarray:
    """Order of falling scores, of equal ones the last first."""
    return len(scores) - 1 - np.argsort(-scores[::-1], kind="stable")


def _in_space(pixels: np.ndarray, space: str) -> np.ndarray:
    """(H, W, 1 or 3) uint8."""
    if space == "HSV":
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None] if space == "I" else pixels


@serial
def _gradient_kernel(pixels, summed):
    """(H, W) uint8 norms |gx| + |gy| up to 255, by the mask -1, 0, 1; at borders twice the one-sided difference."""
    height, width, _ = pixels.shape
    out = np.empty((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            left, right, above, below = max(x - 1, 0), min(x + 1, width - 1), max(y - 1, 0), min(y + 1, height - 1)
            across = _difference(pixels[y, left], pixels[y, right], summed, right - left)
            down = _difference(pixels[above, x], pixels[below, x], summed, below - above)
            out[y, x] = min(across + down, 255)
    return out


@serial
def _difference(a, b, summed, steps):
    total, largest = np.int32(0), np.int32(0)
    for c in range(a.shape[0]):
        one = np.int32(abs(np.int32(a[c]) - np.int32(b[c])))
        total += one
        largest = max(largest, one)
    value = (total if summed else largest) * (2 if steps == 1 else 1)
    return value // 2 if summed else value


@serial
def _filter_kernel(gradient, filters, betas):
    """(H - 7, W - 7) float32 scores of the windows: of the highest four bits, each bit's 8x8 in one word."""
    height, width = gradient.shape
    out = np.empty((height - 7, width - 7), np.float32)
    words = np.zeros((width, BITS), np.uint64)  # the eight rows down to this one, the oldest in the highest byte
    one, byte = np.uint64(1), np.uint64(255)
    for y in range(height):
        rows = np.zeros(BITS, np.uint64)
        for x in range(width):
            first, second = 0, 0
            for k in range(BITS):
                bit = np.uint64(gradient[y, x] >> (8 - BITS + k)) & one
                rows[k] = ((rows[k] << one) | bit) & byte
                word = (words[x, k] << np.uint64(8)) | rows[k]
                words[x, k] = word
                ones = _ones(word)
                first += (2 * _ones(word & filters[0]) - ones) << k
                second += (2 * _ones(word & filters[1]) - ones) << k
            if y >= 7 and x >= 7:
                out[y - 7, x - 7] = betas[0] * np.float32(first) + betas[1] * np.float32(second)
    return out


@serial
def _ones(word):
    """Number of ones, added in pairs, fours and bytes: compilers know this form as one instruction."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@serial
def _peaks_kernel(cost, order, radius, most):
    """(P, 2) y, x of the places that are further than `radius` from a better one that stays, best first."""
    height, width = cost.shape
    taken = np.zeros((height, width), np.uint8)
    peaks = np.empty((min(order.shape[0], most), 2), np.int64)
    kept = 0
    for place in order:
        y, x = place // width, place % width
        if kept < most and not taken[y, x]:
            peaks[kept] = y, x
            kept += 1
            taken[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] = 1
    return peaks[:kept]
