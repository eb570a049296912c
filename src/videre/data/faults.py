"""What is wrong with the files of a data set, gathered in one pass over all of them.

A reader makes one `Faults`, lets every fault into it, and calls `settle` when it has seen everything: an error then lists
them all, each with its file, place, field, value and cure. Where the user asked to go on without what is broken, they are
repairs instead, and what they concern is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from videre.data.dataset import Repair
from videre.errors import DataError

SHOWN = 20
"""Faults that an error lists; the others it counts."""
BROKEN = "broken annotation"
"""Kind of the repair that leaves a fault's annotation or file out."""

Rule = tuple[str, Callable[[Any], bool]]
"""What a value should be, in words and as a test; a field that is absent is tested as None."""


class Faults:
    """The faults of one reading.

    Args:
        skip: leave out what is broken, and count it, instead of refusing the whole set.
        optional: whether the reader can go on without it.
    """

    def __init__(self, skip: bool = False, optional: bool = True) -> None:
        self.skip, self.optional = skip, optional
        self.found: list[tuple[str, str, str]] = []

    def add(self, where: str | Path, what: str, picture: str = "-") -> None:
        """One fault: "a.json: annotation 7", "bbox should be …, found …; correct it"."""
        self.found.append((str(where), what, picture))

    def demand(self, file: str | Path, what: str, rows: Any, **rules: Rule) -> list[Any]:
        """The rows (JSON objects) that keep the rules, one for each field; what breaks one is a fault.

        Raises DataError when there is no list of objects at all.
        """
        if not isinstance(rows, list):
            raise DataError(
                f"{file}: a list with an object for each {what} is expected, found {rows!r:.60}; correct the file"
            )
        kept = []
        for place, row in enumerate(rows):
            if not isinstance(row, dict):
                self.add(f"{file}: {what} at place {place}", f"should be an object, found {row!r:.60}; correct it")
                continue
            broken = [(field, expected) for field, (expected, holds) in rules.items() if not holds(row.get(field))]
            for field, expected in broken:
                found = f"found {row[field]!r:.60}" if field in row else "but it is missing"
                name = row["id"] if isinstance(row.get("id"), int | str) else f"at place {place}"
                self.add(f"{file}: {what} {name}", f"{field} should be {expected}, {found}; correct the file")
            if not broken:
                kept.append(row)
        return kept

    def settle(self) -> list[Repair]:
        """The repairs that leave out what is broken; DataError with all faults where that was not asked for."""
        if not self.found or self.skip:
            return [Repair(BROKEN, picture, where, what, "dropped") for where, what, picture in self.found]
        raise self._error(self.optional)

    def refuse(self, reason: str = "") -> NoReturn:
        """Raise DataError where nothing is left to go on with: with the faults, or this reason where there are none."""
        raise self._error(optional=False) if self.found else DataError(reason)

    def _error(self, optional: bool) -> DataError:
        lines = [f"{where}: {what}" for where, what, _ in self.found]
        if len(lines) == 1:
            return DataError(lines[0] + (" (or go on without it: --skip-broken, skip_broken=True)" if optional else ""))
        more = f"\n  and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        hint = ", or go on without what is broken (--skip-broken, skip_broken=True)" if optional else ""
        return DataError(f"{len(lines)} faults; correct them{hint}\n  " + "\n  ".join(lines[:SHOWN]) + more)
