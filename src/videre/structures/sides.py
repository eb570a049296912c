"""Left and right in names and sentences: one rule for mirrors of keypoints, classes, relations and captions."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ENDINGS = r"(?:most|ward|wards|hand|handed|side)?"
_IN_SENTENCE = re.compile(rf"\b(left|right)({_ENDINGS})\b", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""One word of a name whose words are joined by anything but letters, or by capitals (leftEye, LEye)."""
_SIDE = re.compile(rf"(left|right)({_ENDINGS})|(l|r|lt|rt|lft|rgt)", re.IGNORECASE)
_JOINED = re.compile(r"^(left|right)(?=[a-z]{2})|(?<=[a-z]{2})(left|right)$", re.IGNORECASE)
"""A side that is written together with the word that it belongs to: lefteye, eyeleft."""
_OTHER = {"left": "right", "l": "r", "lt": "rt", "lft": "rgt"}
_OTHER |= {b: a for a, b in _OTHER.items()}


def mirror_words(sentence: str) -> str:
    """Left for right and right for left, in whole words of a sentence, keeping capitals."""
    return _IN_SENTENCE.sub(lambda m: _other(m[1]) + m[2], sentence)


def mirror_name(name: str) -> str:
    """A name with its words left and right exchanged: "right hand", "RIGHT_HAND", "handRight"; others as they are."""
    return _swap(name, abbreviated=False)


def mirror_order(names: Sequence[str]) -> list[int]:
    """For each name the place of the one that it becomes in the mirror; its own where there is none.

    Sides may be words, abbreviated (L, r, lt), or written together with another word, first or last: the latter two
    count only where the other side is among the names, too.
    """
    place = {name.lower(): i for i, name in enumerate(names)}
    order = []
    for i, name in enumerate(names):
        others = (
            mirror_name(name),
            _swap(name, abbreviated=True),
            _JOINED.sub(lambda m: _other(m[0]), name),
        )
        order.append(next((place[o.lower()] for o in others if o != name and o.lower() in place), i))
    return [b if order[b] == a else a for a, b in enumerate(order)]


def mirror_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...] | None:
    """The pairs of names that change places; None, unknown, when no name says so."""
    return tuple((a, b) for a, b in enumerate(mirror_order(names)) if a < b) or None


def _swap(name: str, abbreviated: bool) -> str:
    def swap(match: re.Match[str]) -> str:
        side = _SIDE.fullmatch(match[0])
        if side is None or (side[3] and not abbreviated):
            return match[0]
        return _other(side[1] or side[3]) + (side[2] or "")

    return _WORD.sub(swap, name)


def _other(side: str) -> str:
    other = _OTHER[side.lower()]
    return other.upper() if side.isupper() else other.capitalize() if side[0].isupper() else other
