"""What COCO's JSONs must look like: rules for their fields, and one clear line where a file breaks them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from videre.errors import DataError
from videre.files import read_bytes


def load_json(file: Path) -> Any:
    """What a JSON file holds; DataError where it is none."""
    try:
        return json.loads(read_bytes(file))
    except DataError:
        raise
    except (ValueError, RecursionError) as error:  # lists in lists without end
        raise DataError(f"{file}: not a JSON file ({error})") from None


Rule = tuple[str, Callable[[Any], bool]]
"""What a value should be, in words and as a test; a field that is absent is tested as None."""


def is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1000)  # more is no double


def are_numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(map(is_number, value))


_HALVES = re.compile("[\\ud800-\\udfff]")
"""Halves of letters of UTF-16, which a JSON may hold, and no file."""

ID: Rule = ("a number or text", lambda v: isinstance(v, int | float | str))
WHOLE: Rule = ("a whole number", lambda v: is_number(v) and v % 1 == 0 and abs(v) < 2**63)
INTEGER: Rule = ("a whole number", lambda v: integer(v) is not None)
TEXT: Rule = ("text", lambda v: isinstance(v, str) and (v.isascii() or not _HALVES.search(v)))
NUMBER: Rule = ("a number", is_number)
SIDE: Rule = ("a number of pixels", lambda v: v is None or (is_number(v) and 0 <= v < 2**31))
BOX: Rule = ("[x, y, width, height]", lambda v: are_numbers(v, 4))
COLOR: Rule = (
    "three numbers of 0 to 255",
    lambda v: v is None or (are_numbers(v, 3) and all(isinstance(x, int) and 0 <= x <= 255 for x in v)),
)
NAMES: Rule = ("a list of names", lambda v: isinstance(v, list) and all(isinstance(name, str) for name in v))
PAIRS: Rule = ("pairs of numbers", lambda v: not v or (isinstance(v, list) and all(are_numbers(e, 2) for e in v)))
AREA: Rule = ("a finite number", lambda v: v is None or (is_number(v) and math.isfinite(v)))


def demand(file: str | Path, what: str, rows: Any, **rules: Rule) -> None:
    """Raise DataError unless every row keeps the rules, one for each field; names the first row that does not."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"{file}: a list with an object for each {what} is expected, found {rows!r:.60}; correct the file"
        )
    for field, (expected, holds) in rules.items():
        wrong = [n for n, row in enumerate(rows) if not holds(row.get(field))]
        if wrong:
            row = rows[wrong[0]]
            found = f"found {row[field]!r:.60}" if field in row else "but it is missing"
            more = f" ({len(wrong)} such)" if len(wrong) > 1 else ""
            raise DataError(
                f"{file}: {what} {row.get('id', f'at place {wrong[0]}')}: {field} should be {expected}, "
                f"{found}; correct the file{more}"
            )


def looks_like_coco(file: Path) -> bool:
    """By the keys in the first and last bytes: the files are large."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        head = stream.read(4096)
        stream.seek(max(0, file.stat().st_size - 4096))
        ends = head + stream.read()
    if not head.lstrip().startswith(b"{") or b'"segments_info"' in ends:  # see `panoptic`
        return False
    keys = (b'"images"', b'"annotations"', b'"categories"', b'"image_id"', b'"file_name"', b'"supercategory"')
    return sum(key in ends for key in keys) >= 2


def integer(value: Any) -> int | None:
    """An id as a whole number of 64 bit, None where it is none."""
    text = isinstance(value, str) and value.isdecimal() and len(value) < 20
    number = int(value) if isinstance(value, int) or text else None
    return number if number is not None and abs(number) < 2**63 else None
