"""Text: antialiased by Pillow in DejaVu Sans, which comes with matplotlib; and labels that do not cover each other.

Letters that it lacks (Chinese, emoji) are drawn in a font of this machine that has them. Where none has, they are written
in Latin letters, and a line on stderr says so: an empty box tells nobody anything.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import importlib.util
import itertools
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

NOWHERE = "\U0010ffff"
"""A letter that no font has: it looks as every letter that a font lacks."""
UNUSABLE = ("lastresort", "adobeblank")
"""Parts of the names of fonts that have a box, or nothing, for every letter."""
ROMANISED: dict[str, str] = {}
"""Letters that no font here has, and what is written in their place."""


@functools.cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of `size` pixels."""
    return _open(_own(bold), size)


def text_size(text: str, size: int, bold: bool = False) -> tuple[int, int]:
    """Width and height of a line in pixels."""
    return max(1, round(sum(part.getlength(letters) for part, letters in _parts(text, size, bold)))), round(size * 1.3)


def text_coverage(text: str, size: int, bold: bool = False) -> np.ndarray:
    """A line of text as uint8 [h, w]: how much of each pixel it covers."""
    image, x = Image.new("L", text_size(text, size, bold)), 0.0
    for part, letters in _parts(text, size, bold):
        ImageDraw.Draw(image).text((x, round(size * 1.02)), letters, fill=255, font=part, anchor="ls")
        x += part.getlength(letters)
    return np.asarray(image)


def _parts(text: str, size: int, bold: bool) -> list[tuple[ImageFont.FreeTypeFont, str]]:
    """A line cut where the font changes."""
    if text.isascii():
        return [(font(size, bold), text)]
    drawn = [found for letter in text if (found := _drawn(letter, bold))[1]]
    runs = itertools.groupby(drawn, key=lambda pair: pair[0])
    return [(_open(path, size), "".join(letters for _, letters in run)) for path, run in runs]


@functools.cache
def _drawn(letter: str, bold: bool) -> tuple[str, str]:
    """The file of the font that has a letter, and the letter; else ours and the letter in Latin ones."""
    own = _own(bold)
    if letter.isascii() or has_letter(own, letter):
        return own, letter
    if unicodedata.category(letter) == "Cf" or "\ufe00" <= letter <= "\ufe0f":  # joiners: they choose a form
        return own, ""
    for path in _other_fonts():
        if has_letter(path, letter):
            return path, letter
    from anyascii import anyascii

    if not ROMANISED:
        atexit.register(lambda: print(romanised(), file=sys.stderr))
    is_mark = unicodedata.category(letter).startswith("M")  # on the letter before it
    ROMANISED[letter] = anyascii(letter) or ("" if is_mark else "?")
    return own, ROMANISED[letter]


def romanised() -> str:
    """The note on letters that no font here has."""
    return (
        f"videre: no font of this machine has {' '.join(ROMANISED)}: written in Latin letters; install one that has, such as "
        "Noto Sans CJK"
    )


@functools.cache
def has_letter(path: str, letter: str) -> bool:
    """Whether a font file has a letter: what it draws is not what it draws for none.

    Letter for letter: the layout of whole words puts a mark that is missing on a circle, which looks like something.
    """
    try:
        plain = ImageFont.truetype(path, 24, layout_engine=ImageFont.Layout.BASIC)
        found, missing = (plain.getmask(text) for text in (letter, NOWHERE))
        return (found.size, bytes(found)) != (missing.size, bytes(missing))
    except (OSError, ValueError):  # a font of pictures in one size only, a damaged one
        return False


@functools.cache
def _other_fonts() -> tuple[str, ...]:
    """The font files of this machine, plain ones first."""
    from matplotlib.font_manager import findSystemFonts  # half a second, and only for letters that ours lacks

    paths = [path for path in findSystemFonts() if not any(word in Path(path).stem.lower() for word in UNUSABLE)]
    return tuple(sorted(paths, key=lambda path: ("regular" not in path.lower(), "sans" not in path.lower(), path)))


@functools.cache
def _own(bold: bool) -> str:
    package = importlib.util.find_spec("matplotlib")  # its files only: importing it would take half a second
    assert package is not None and package.origin is not None  # a dependency
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return str(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / name)


@functools.lru_cache(maxsize=64)
def _open(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def wrap(text: str, size: int, width: int) -> list[str]:
    """Lines of at most `width` pixels, broken at spaces, and inside words that are wider than that."""
    lines: list[str] = []
    for word in (piece for whole in text.split() for piece in _pieces(whole, size, width)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_size(longer, size)[0] <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _pieces(word: str, size: int, width: int) -> list[str]:
    if text_size(word, size)[0] <= width:
        return [word]
    pieces = [""]
    for letter in word:
        if pieces[-1] and text_size(pieces[-1] + letter, size)[0] > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


@dataclasses.dataclass(frozen=True)
class Label:
    """A text that wants to stand at a box.

    Args:
        box: x1, y1, x2, y2 in pixels of the canvas. texts: what to write, the shorter ones where the first finds no room.
        owner: the caller's number for it.
    """

    box: tuple[float, float, float, float]
    texts: tuple[str, ...]
    owner: int


@dataclasses.dataclass(frozen=True)
class Placed:
    """A label that found room: its rectangle and what is written in it."""

    x: int
    y: int
    width: int
    height: int
    text: str
    size: int
    owner: int


def place_labels(
    labels: Sequence[Label], canvas: tuple[int, int], size: int, smallest: int = 9, line: int = 2
) -> list[Placed]:
    """Find room for labels, the first ones first; no two overlap and none leaves the canvas.

    Each is tried at the corners of its box, outside and inside, then shorter, then smaller, and left out before it
    would cover another label or mostly other things.

    Args:
        canvas: height, width. size: of the font; `smallest` is the least that can be read. line: width of box lines.
    """
    boxes = np.array([label.box for label in labels], np.float64).reshape(-1, 4)
    placed: list[Placed] = []
    taken = np.zeros((0, 4))
    for label, box in zip(labels, boxes):
        best = None
        for text, points in _attempts(label.texts, size, smallest):
            width, height = text_size(text, points)
            width += 2 * _margin(points)
            spots = _spots(box, width, height, line)
            rectangles = np.concatenate([spots, spots + np.array([width, height])], axis=1)  # (S, 4)
            inside = (rectangles[:, :2] >= 0).all(1) & (rectangles[:, 2:] <= (canvas[1], canvas[0])).all(1)
            free = inside & ~(_shared(rectangles, taken) > 0).any(1)
            if not free.any():
                continue
            covered = _shared(rectangles, boxes)  # (S, N) pixels
            own = _shared(rectangles, box[None])[:, 0]
            others = (covered.sum(1) - own) / (width * height)
            itself = own / max((box[2] - box[0]) * (box[3] - box[1]), 1)
            cost = others + 3 * itself + 0.02 * np.arange(len(spots))
            cost[~free] = np.inf
            spot = int(cost.argmin())
            if others[spot] > 2.5 or itself[spot] > 0.6:
                continue
            x, y = (int(v) for v in spots[spot])
            best = Placed(x, y, width, height, text, points, label.owner)
            break
        if best is not None:
            placed.append(best)
            taken = np.concatenate([taken, [[best.x, best.y, best.x + best.width, best.y + best.height]]])
    return placed


def _margin(size: int) -> int:
    return max(2, round(size * 0.3))


def _attempts(texts: Sequence[str], size: int, smallest: int) -> list[tuple[str, int]]:
    small = max(min(size, smallest), round(size * 0.82))
    return [(text, points) for points in dict.fromkeys((size, small)) for text in texts]


def _spots(box: np.ndarray, width: int, height: int, line: int) -> np.ndarray:
    """Top-left corners to try, the liked ones first, [S, 2]."""
    x1, y1, x2, y2 = box
    half = line // 2
    left, right = round(x1) - half, round(x2) + half - width
    above, below = round(y1) - half - height, round(y2) + half
    top, bottom = round(y1) + half, round(y2) - half - height
    middle = round((x1 + x2 - width) / 2)
    return np.array(
        [
            (left, above),
            (right, above),
            (left, below),
            (right, below),
            (left + line, top),
            (right - line, top),
            (left + line, bottom),
            (right - line, bottom),
            (middle, above),
            (middle, below),
            (round(x2) + half + 1, top),
            (round(x1) - half - 1 - width, top),
            (round(x2) + half + 1, bottom),
            (round(x1) - half - 1 - width, bottom),
        ],
        np.float64,
    )


def _shared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pixels that each rectangle of a [S, 4] shares with each of b [N, 4]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.clip(high - low, 0, None).prod(2)
