"""Settings given as words: each brought to the type that its owner declares, or refused with one clear line."""

from __future__ import annotations

import collections.abc
import json
import math
import types
import typing
from typing import Any

from videre.errors import ConfigError

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def parse_setting(setting: str, said: str = "") -> tuple[str, Any]:
    """The name and the value of "lr=1e-3", "anchor_sizes=[16,32]"; values are JSON, or else words.

    Raises ConfigError, in which `said` comes before the setting, for one without "=".
    """
    name, equals, value = setting.partition("=")
    if not equals:
        raise ConfigError(f"{said}{setting}: settings are KEY=VALUE, as in {said}lr=0.001")
    return name.strip(), _value(value.strip())


def _value(text: str) -> Any:
    """JSON, a number or word as Python writes it (.5, True, None), or else the text."""
    if text in (words := {"True": True, "False": False, "None": None}):
        return words[text]
    for parse in (json.loads, float):
        try:
            return parse(text)
        except ValueError:
            continue
    return text


def typed(name: str, value: Any, hint: Any) -> Any:
    """`value` as the type that setting `name` has: whole numbers become floats where these are wanted, lists tuples.

    Args:
        hint: bool, int, float, str, Any; `X | None`; tuple, list or Sequence of them; dict from str.

    Raises:
        ConfigError: it is of another type, or not finite.
    """
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        rest = [h for h in inside if h is not types.NoneType]
        return None if value is None and len(rest) < len(inside) else typed(name, value, rest[0])
    if origin in (tuple, list, collections.abc.Sequence) and isinstance(value, tuple | list):
        fixed = origin is tuple and inside[-1] is not Ellipsis
        if not fixed or len(inside) == len(value):
            return tuple(typed(name, v, inside[i] if fixed else inside[0]) for i, v in enumerate(value))
    if origin is dict and isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {k: typed(f"{name} of {k}", v, inside[1]) for k, v in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if isinstance(hint, type) and type(value) is hint and hint is not float:
        return value
    raise ConfigError(f"{name} must be {_wanted(hint)}, found {value!r}")


def in_words(hint: Any) -> str:
    """A type in words, also that it may be left out: "a number, or null"."""
    rest = [h for h in typing.get_args(hint) if h is not types.NoneType]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return f"{_wanted(rest[0])}, or null"
    return _wanted(hint)


def _wanted(hint: Any) -> str:
    """A type in words."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return "anything"
    if origin is tuple and inside[-1] is not Ellipsis:
        return f"a list of {len(inside)}, as in [{', '.join('1' for _ in inside)}]"
    if origin in (tuple, list, collections.abc.Sequence):
        return f"a list, each {_wanted(inside[0])}, as in [1, 2]"
    if origin is dict:
        return f'a table, each {_wanted(inside[1])}, as in {{"name": 1}}'
    return WORDS.get(hint, str(hint))
