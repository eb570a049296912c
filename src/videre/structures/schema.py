"""Schema: what every label of a data set or checkpoint means. It travels with both."""

from __future__ import annotations

import dataclasses
from typing import Any

from videre.structures.categories import Categories
from videre.structures.skeleton import Skeleton
from videre.structures.tokenizer import Tokenizer

CATEGORY_FIELDS = ("things", "pixels", "pictures", "predicates", "attributes", "verbs", "roles", "nouns", "events")


@dataclasses.dataclass(frozen=True)
class Schema:
    """Named `Categories`, the `Skeleton`, and the tokenizer; absent is None.

    Args:
        things: classes of instances (`Instances.labels`).
        pixels: classes of `Scene.segmentation`. overlap: whether a pixel may have any number of them; else it has one.
        pictures: classes of `Scene.labels`.
        predicates: classes of relations. attributes: columns of `Instances.attributes`.
        verbs, roles, nouns: of situations. events: classes of events.
        skeleton: the keypoints of `Instances.keypoints`.
        tokenizer: how sentences become numbers.
    """

    things: Categories | None = None
    pixels: Categories | None = None
    pictures: Categories | None = None
    predicates: Categories | None = None
    attributes: Categories | None = None
    verbs: Categories | None = None
    roles: Categories | None = None
    nouns: Categories | None = None
    events: Categories | None = None
    skeleton: Skeleton | None = None
    tokenizer: Tokenizer | None = None
    overlap: bool = False

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of each part that there is: {"things": ("cat", "dog"), "skeleton": ("nose", …)}."""
        parts = {name: getattr(self, name) for name in (*CATEGORY_FIELDS, "skeleton")}
        return {name: part.names for name, part in parts.items() if part is not None}

    def replace(self, **changes: Any) -> Schema:
        return dataclasses.replace(self, **changes)

    def to_json(self, tables: bool = True) -> dict[str, Any]:
        """Plain JSON. tables: the tokenizer's too, which may be megabytes; a checkpoint keeps it among its tensors."""
        data: dict[str, Any] = {name: c.to_json() for name in CATEGORY_FIELDS if (c := getattr(self, name)) is not None}
        if self.skeleton is not None:
            data["skeleton"] = self.skeleton.to_json()
        if self.tokenizer is not None and tables:
            data["tokenizer"] = self.tokenizer.to_json()
        if self.overlap:
            data["overlap"] = True
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schema:
        fields: dict[str, Any] = {name: Categories.from_json(data[name]) for name in CATEGORY_FIELDS if name in data}
        if "skeleton" in data:
            fields["skeleton"] = Skeleton.from_json(data["skeleton"])
        if "tokenizer" in data:
            fields["tokenizer"] = Tokenizer.from_json(data["tokenizer"])
        return cls(**fields, overlap=data.get("overlap", False))
