"""Relations between instances, situations that they play a role in, events that happen to them: all refer by index."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from videre.errors import DataError, ShapeError
from videre.structures.affine import STEEPEST, Affine
from videre.structures.kinds import Names, Renaming, label_of, numbers


@dataclasses.dataclass(frozen=True)
class Relations:
    """R triplets subject - predicate - object between instances.

    Args:
        subjects, objects: int64 [R], indices of instances. predicates: int64 [R] of `Schema.predicates`.
        scores: float32 [R] in [0, 1], for predictions.
    """

    subjects: Tensor
    predicates: Tensor
    objects: Tensor
    scores: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("subjects", "predicates", "objects"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name), dtype=torch.int64))
        if self.scores is not None:
            object.__setattr__(self, "scores", torch.as_tensor(self.scores, dtype=torch.float32))
        lengths = {len(v) for v in (self.subjects, self.predicates, self.objects, self.scores) if v is not None}
        if len(lengths) > 1:
            raise ShapeError(f"relations: fields of different lengths {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.subjects)

    def select(self, index: Tensor) -> Relations:
        """The triplets at an index, in that order."""
        scores = None if self.scores is None else self.scores[index]
        return Relations(self.subjects[index], self.predicates[index], self.objects[index], scores)

    @staticmethod
    def cat(items: Sequence[Relations]) -> Relations:
        """All triplets; with scores where all have some."""
        join = lambda name: torch.cat([getattr(r, name) for r in items])
        scored = all(r.scores is not None for r in items)
        return Relations(join("subjects"), join("predicates"), join("objects"), join("scores") if scored else None)

    def moved(self, motion: Affine) -> Relations:
        """The same, unless the picture leans too far."""
        motion.refuse_turn("relations", STEEPEST)
        return self

    def renamed(self, renaming: Renaming) -> Relations:
        """With other predicates."""
        table = renaming.table("predicates") if len(self) else None
        return self if table is None else dataclasses.replace(self, predicates=table[self.predicates])

    def referred(self) -> Iterable[int]:
        """The instances that are subject or object."""
        return self.subjects.tolist() + self.objects.tolist()

    def refer(self, places: Mapping[int, int]) -> Relations:
        """With instance i as places[i]; triplets that lose an end are dropped."""
        pairs = zip(self.subjects.tolist(), self.objects.tolist(), strict=True)
        kept = self.select(
            torch.tensor([i for i, (s, o) in enumerate(pairs) if s in places and o in places], dtype=torch.int64)
        )
        remap = lambda side: torch.tensor([places[i] for i in side.tolist()], dtype=torch.int64)
        return dataclasses.replace(kept, subjects=remap(kept.subjects), objects=remap(kept.objects))

    def to_json(self, names: Names) -> dict[str, Any]:
        """Plain JSON, predicates by name where `names` has them."""
        known = names.get("predicates")
        predicates = self.predicates.tolist()
        data: dict[str, Any] = {
            "subjects": self.subjects.tolist(),
            "objects": self.objects.tolist(),
            "predicates": predicates if known is None else [known[p] for p in predicates],
        }
        return data | ({} if self.scores is None else {"scores": numbers(self.scores)})

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: Names) -> Relations:
        """What `to_json` wrote."""
        predicates = [label_of(p, "predicates", names) for p in data["predicates"]]
        return cls(data["subjects"], predicates, data["objects"], data.get("scores"))  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Situation:
    """What happens: a verb of `Schema.verbs`, and for each role name the noun (of `Schema.nouns`, or None) and, where it is
    grounded, the instance. What several annotators say are several situations.

    Args:
        verb: its label. roles: {"agent": (noun, instance)}. score: in [0, 1], for predictions.
    """

    verb: int
    roles: Mapping[str, tuple[int | None, int | None]]
    score: float | None = None

    def renamed(self, renaming: Renaming) -> Situation:
        """With other labels of verb and nouns."""
        verbs, nouns = renaming.table("verbs"), renaming.table("nouns")
        verb = self.verb if verbs is None else int(verbs[self.verb])
        noun = lambda n: n if n is None or nouns is None else int(nouns[n])
        return dataclasses.replace(self, verb=verb, roles={role: (noun(n), i) for role, (n, i) in self.roles.items()})

    def referred(self) -> Iterable[int]:
        """The instances that have a role."""
        return [i for _, i in self.roles.values() if i is not None]

    def refer(self, places: Mapping[int, int]) -> Situation:
        """With instance i as places[i]; roles lose what is gone."""
        at = lambda i: None if i is None else places.get(i)
        return dataclasses.replace(self, roles={role: (noun, at(i)) for role, (noun, i) in self.roles.items()})

    def to_json(self, names: Names) -> dict[str, Any]:
        """Plain JSON, verb and nouns by name where `names` has them."""
        named = lambda part, label: label if label is None or part not in names else names[part][label]
        roles = {role: {"noun": named("nouns", n), "instance": i} for role, (n, i) in self.roles.items()}
        score = {} if self.score is None else {"score": self.score}
        return {"verb": named("verbs", self.verb), "roles": roles} | score

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: Names) -> Situation:
        """What `to_json` wrote."""
        noun = lambda n: None if n is None else label_of(n, "nouns", names)
        roles = {role: (noun(two["noun"]), two["instance"]) for role, two in data["roles"].items()}
        return cls(label_of(data["verb"], "verbs", names), roles, data.get("score"))


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happens in a clip from `start` to `end` (seconds), to the `instances` named.

    Args:
        caption: in words, "" where nothing is said. label: of `Schema.events`. score: in [0, 1], for predictions.

    Raises:
        DataError: it ends before it starts, or a time is not finite.
    """

    start: float
    end: float
    caption: str = ""
    label: int | None = None
    instances: tuple[int, ...] = ()
    score: float | None = None

    def __post_init__(self) -> None:
        if not float("-inf") < self.start <= self.end < float("inf"):
            raise DataError(f"an event from {self.start} to {self.end} s; it needs start <= end")
        object.__setattr__(self, "instances", tuple(self.instances))

    def renamed(self, renaming: Renaming) -> Event:
        """With another label and other words."""
        events = None if self.label is None else renaming.table("events")
        label = self.label if events is None or self.label is None else int(events[self.label])
        return dataclasses.replace(self, label=label, caption=renaming.words(self.caption))

    def moved(self, motion: Affine) -> Event:
        """The same, unless the picture leans too far for what is said."""
        if self.caption:
            motion.refuse_turn("captions of events", STEEPEST)
        return self

    def referred(self) -> Iterable[int]:
        """The instances that it happens to."""
        return self.instances

    def refer(self, places: Mapping[int, int]) -> Event:
        """With instance i as places[i], without those that are gone."""
        return dataclasses.replace(self, instances=tuple(places[i] for i in self.instances if i in places))

    def to_json(self, names: Names) -> dict[str, Any]:
        """Plain JSON, the label by name where `names` has it."""
        data: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.label is not None and "events" in names:
            data["label"] = names["events"][self.label]
        return {name: list(v) if isinstance(v, tuple) else v for name, v in data.items() if v not in (None, "", ())}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: Names) -> Event:
        """What `to_json` wrote."""
        label = None if data.get("label") is None else label_of(data["label"], "events", names)
        return cls(**{**data, "label": label})
