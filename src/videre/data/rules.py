"""What the values of a JSON may be: one rule for a kind of value, used by every reader."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from videre.data.faults import Rule
from videre.errors import DataError
from videre.files import read_text


def load_json(file: Path) -> Any:
    """What a JSON file holds; DataError where it is none."""
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: not a JSON file ({error})") from None


LARGEST = 2**31
"""Pixels, and other numbers: larger ones are mistakes."""
FLAGS = {
    "": False,
    "0": False,
    "1": True,
    "false": False,
    "true": True,
    "no": False,
    "yes": True,
    "0.0": False,
    "1.0": True,
}


def as_number(value: Any) -> float | None:
    """A number, also one that is written as text; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def as_numbers(value: Any, count: int | None = None) -> list[float] | None:
    """A list of `count` numbers, or of any count; None where it is none."""
    if not isinstance(value, list) or (count is not None and len(value) != count):
        return None
    if set(map(type, value)) <= {int, float}:  # nearly all of the millions in a data set
        try:
            return list(map(float, value))
        except OverflowError:
            return None
    numbers = [as_number(v) for v in value]
    return None if None in numbers else numbers  # type: ignore[return-value]


def as_flag(value: Any) -> bool | None:
    """Yes or no as programs write it: true, 1, "1", "True", "yes"; absent is no. None where it is neither."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float):
        return bool(value) if value in (0, 1) else None
    return FLAGS.get(value.strip().lower()) if isinstance(value, str) else None


def as_key(value: Any) -> int | str | None:
    """An id, so that 7, 7.0 and "7" are one; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value % 1 == 0 else None
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < 19 and str(int(value)) == value else value
    return value if isinstance(value, int) else None


def is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) < 2**1000  # more is no double


def are_numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(map(is_number, value))


def _is_side(value: Any) -> bool:
    number = as_number(value)
    return value is None or (number is not None and 0 <= number < LARGEST)


ID: Rule = ("a number or text", lambda v: as_key(v) is not None)
WHOLE: Rule = ("a whole number", lambda v: isinstance(key := as_key(v), int) and abs(key) < 2**63)
INTEGER: Rule = ("a whole number", lambda v: integer(v) is not None)
_HALVES = re.compile("[\\ud800-\\udfff]")
"""Halves of letters of UTF-16, which a JSON may hold, and no file."""
TEXT: Rule = ("text", lambda v: isinstance(v, str) and (v.isascii() or not _HALVES.search(v)))
SIDE: Rule = ("a number of pixels", _is_side)
BOX: Rule = ("[x, y, width, height]", lambda v: as_numbers(v, 4) is not None)
COLOR: Rule = (
    "three numbers of 0 to 255",
    lambda v: v is None or (are_numbers(v, 3) and all(isinstance(x, int) and 0 <= x <= 255 for x in v)),
)
NAMES: Rule = ("a list of names", lambda v: isinstance(v, list) and all(isinstance(name, str) for name in v))
PAIRS: Rule = ("pairs of numbers", lambda v: not v or (isinstance(v, list) and all(are_numbers(e, 2) for e in v)))
FLAG: Rule = ("0 or 1", lambda v: as_flag(v) is not None)


def is_background(name: str) -> bool:
    """Whether a class is called as what belongs to no thing: "background", labelme's "_background_"."""
    return name.strip(" _").lower() == "background"


def looks_like_coco(file: Path) -> bool:
    """By the keys in the first and last bytes: the files are large."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        head = stream.read(4096)
        stream.seek(max(0, file.stat().st_size - 4096))
        ends = head + stream.read()
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") or b'"segments_info"' in ends:  # see `panoptic`
        return False
    if not re.search(rb'"(images|annotations|categories)"\s*:\s*\[', ends):  # as counts they are in many a report
        return False
    if re.search(rb'"categories"\s*:\s*\{', ends):  # Datumaro's, where COCO has a list
        return False
    keys = (b'"images"', b'"annotations"', b'"categories"', b'"image_id"', b'"file_name"', b'"supercategory"')
    return sum(key in ends for key in keys) >= 2


def integer(value: Any) -> int | None:
    """An id as a whole number of 64 bit, None where it is none."""
    text = isinstance(value, str) and value.isdecimal() and len(value) < 20
    number = int(value) if isinstance(value, int) or text else None
    return number if number is not None and abs(number) < 2**63 else None
