"""Every setting that a training takes: what it means, what it is by itself, and what it may be.

Meanings are read out of the docstrings' Args sections, defaults and types out of the signatures: nothing is said twice.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from typing import Any

from videre.layers.norm import NORMS
from videre.models import MODELS, Model, find_model
from videre.models.base import arguments
from videre.models.settings import in_words
from videre.structures import Preprocess
from videre.train.build import BACKBONE, FRESH, SCRATCH
from videre.train.recipe import RANGES, WORDS, Recipe

_NAME = r"[A-Za-z_]\w*(?: \([^)]*\))?"
_HEAD = re.compile(rf"(?:^|(?<=[.] ))({_NAME}(?:, {_NAME})*): ")
_SEE = re.compile(r"(?:as|see) `(\w+)`(?:\..*)?")
_OTHERS = re.compile(r"^The others as `(\w+)`")


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting of a system.

    Args:
        owner: "recipe", "preprocess", "model", or "backbone" for those of the model that its backbone is made with.
        name: as `-o NAME=VALUE` takes it. default: where nothing is given. allowed: the values, in words.
        meaning: of it; "" where no docstring says one.
    """

    owner: str
    name: str
    default: Any
    allowed: str
    meaning: str


def settings_of(kind: type[Model]) -> list[Setting]:
    """Every setting of a system, by owner, in the order in which they are declared."""
    recipe, pictures = Recipe().replace(**kind.recipe), kind.usual
    found = [
        *_of_values("recipe", recipe, meanings(Recipe)),
        *_of_values("preprocess", pictures, meanings(Preprocess)),
    ]
    for name, parameter in arguments(kind).items():
        owner = "backbone" if name in BACKBONE and "backbone" in arguments(kind) else "model"
        words = NORMS if name == "norm" or name.endswith("_norm") else None
        allowed = f"one of {', '.join(words)}" if words else in_words(parameter.annotation)
        found.append(Setting(owner, name, parameter.default, allowed, meaning(kind, name)))
    order = ("recipe", "model", "preprocess", "backbone")
    return sorted(found, key=lambda setting: order.index(setting.owner))


def from_scratch(kind: type[Model]) -> dict[str, Any]:
    """The defaults that are others where no weights are given to start from."""
    known = arguments(kind)
    return {"tune": "scratch", **FRESH, **{name: value for name, value in SCRATCH.items() if name in known}}


def meaning(kind: type, name: str, seen: tuple[type, ...] = ()) -> str:
    """What a class's docstring, or the one it points to, says of an argument; "" where none does."""
    for base in kind.__mro__:
        said = meanings(base).get(name, "")
        other = _SEE.fullmatch(said)
        if other and (target := _named(other[1], base)) is not None and target not in (kind, *seen):
            said = meaning(target, name, (*seen, kind)) or said
        if said:
            return said
    for line in _entries(kind):
        if (other := _OTHERS.match(line)) and (target := _named(other[1], kind)) is not None:
            return meaning(target, name, (*seen, kind))
    for system in getattr(kind, "inner_systems", {}).values():
        if (said := meaning(find_model(system), name, (*seen, kind))) != "":
            return said
    return ""


def meanings(kind: type) -> dict[str, str]:
    """The entries of a docstring's Args section by name; names that share an entry each have it.

    An entry begins a line or follows a full stop: "width: channels. norm, padding (None: as published): of the backbone."
    """
    found: dict[str, str] = {}
    for line in _entries(kind):
        heads = list(_HEAD.finditer(line))
        for head, after in zip(heads, [*heads[1:], None]):
            said = line[head.end() : after.start() if after else None].strip().rstrip(".;")
            for name in re.findall(_NAME, head[1]):
                short, _, aside = name.partition(" (")
                found[short] = said + (f" ({aside}" if aside and aside.startswith("None") else "")
    return found


def _entries(kind: type) -> list[str]:
    """The lines of a class's own Args section, continuations joined."""
    lines = inspect.cleandoc(kind.__dict__.get("__doc__") or "").splitlines()
    if "Args:" not in lines:
        return []
    entries: list[str] = []
    for line in lines[lines.index("Args:") + 1 :]:
        if not line.startswith("    "):
            break
        if line.startswith("     ") and entries:
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    return entries


def _named(name: str, near: type) -> type | None:
    """The class that a docstring means by a name: a base, one of its module, or a system."""
    bases: dict[str, Any] = {base.__name__: base for base in near.__mro__}
    place = next((key for key, path in MODELS.items() if str(path).endswith(f":{name}")), None)
    found = bases.get(name) or vars(sys.modules[near.__module__]).get(name) or (find_model(place) if place else None)
    return found if isinstance(found, type) else None


def _of_values(owner: str, values: Any, said: dict[str, str]) -> list[Setting]:
    hints = typing.get_type_hints(type(values))
    return [
        Setting(owner, f.name, getattr(values, f.name), _allowed(f.name, hints[f.name], owner), said.get(f.name, ""))
        for f in dataclasses.fields(values)
    ]


def _allowed(name: str, hint: Any, owner: str) -> str:
    """The values that a setting may have, in words."""
    if owner == "recipe" and name in WORDS:
        return f"one of {', '.join(WORDS[name])}"
    if owner == "recipe" and name in RANGES:
        least, most = RANGES[name]
        limit = f"{least:g} or more" if most > 1e9 else f"{least:g} to {most:.6g}"
        kind, absent, _ = in_words(hint).partition(", or null")
        return f"{kind}, {limit}{absent}"
    return in_words(hint)
