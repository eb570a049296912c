"""Scene: the truth or the prediction about one picture or clip, for every task."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from videre.errors import ConfigError, DataError, ShapeError
from videre.structures.affine import Affine
from videre.structures.camera import Camera
from videre.structures.fields import Entry, Fielded, entries, entry, values_of
from videre.structures.instances import Instances, as_index
from videre.structures.kinds import (
    Answers,
    Boxes,
    Kind,
    Labels,
    Map,
    Names,
    Number,
    Renaming,
    Rows,
    Scores,
    Sentences,
    Size,
    Value,
)
from videre.structures.masks import positions
from videre.structures.relations import Event, Relations, Situation

VOID = 255
"""The value of `Scene.segmentation` where nothing is said about the pixel."""


class _Things(Value):
    """Instances inside a scene: their masks are of the scene's picture."""

    def check(self, value: Any, where: str, size: Size | None) -> Any:
        masks = super().check(value, where, None).masks
        if masks is not None and masks.size != size:
            raise ShapeError(f"{where.rpartition(':')[0]}: masks are for a picture of {masks.size}, this one is {size}")
        return value


@dataclasses.dataclass(frozen=True)
class Scene(Fielded):
    """All that is known about one picture (or clip) of `size` (height, width).

    Only `select` and `cat` drop or reorder instances: they remap everything that refers to them. `scene[2]`, `scene[0:3]`
    and `scene[flags]` are the scene with fewer things; iterating gives a scene for each thing.

    Args:
        size: height, width in pixels.
        instances: the things. labels: int64 [L], the picture's classes, with label_scores float32 [L] in [0, 1].
        segmentation: uint8 or int64 [H, W], classes of `Schema.pixels`, 255 void; where they overlap (`Schema.overlap`)
            [K, H, W], for each class 1 where it is, 0 where it is not, 255 void. panoptic: int64 [H, W] segment ids.
        captions: sentences about the whole picture, with caption_scores in [0, 1].
        questions: about the picture. answers: to each of them a text, or several with weights.
        relations, situations, events: refer to instances by index. duration: seconds of a clip.
        proposals: float32 [P, 4] xyxy candidate boxes, with proposal_scores [P].
        camera: the pinhole camera. depth: float32 [H, W], metres along z; 0 where unknown.
        meta: path, id, source and whatever a reader wants to keep.

    Raises:
        ShapeError or DataError naming the field and the picture.
    """

    size: tuple[int, int]
    instances: Instances | None = entry(_Things(Instances))
    labels: Tensor | None = entry(Labels("pictures"), "labels")
    label_scores: Tensor | None = entry(Scores(), "labels")
    segmentation: Tensor | None = entry(Map(VOID, VOID, names="pixels", planes=True))
    panoptic: Tensor | None = entry(Map())
    captions: tuple[str, ...] | None = entry(Sentences(), "captions")
    caption_scores: Tensor | None = entry(Scores(), "captions")
    questions: tuple[str, ...] | None = entry(Sentences(), "questions")
    answers: tuple[dict[str, float], ...] | None = entry(Answers(), "questions")
    relations: Relations | None = entry(Value(Relations, names="predicates"))
    situations: tuple[Situation, ...] | None = entry(Value(Situation, several=True, names="verbs"))
    proposals: Tensor | None = entry(Boxes(), "proposals")
    proposal_scores: Tensor | None = entry(Rows(torch.float32), "proposals")
    camera: Camera | None = entry(Value(Camera))
    depth: Tensor | None = entry(Map(dtype=torch.float32))
    events: tuple[Event, ...] | None = entry(Value(Event, several=True, names="events"))
    duration: float | None = entry(Number("seconds"))
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        height, width = (int(n) for n in self.size)
        object.__setattr__(self, "size", (height, width))
        if height < 1 or width < 1:
            raise ShapeError(f"{self.name}: a picture of size {self.size} has no pixels")
        self._check(self.name, self.size)
        known, count = entries(type(self)), len(self)
        referred = (i for name in self.fields() for i in known[name].kind.referred(getattr(self, name)))
        wrong = [i for i in referred if not 0 <= i < count]
        if wrong:
            raise DataError(f"{self.name}: relations, roles or events name instance {wrong[0]}, there are {count}")

    @property
    def name(self) -> str:
        """How messages call this picture: its path, id, or 'scene'."""
        return str(self.meta.get("path") or self.meta.get("id") or "scene")

    def __len__(self) -> int:
        return 0 if self.instances is None else len(self.instances)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int | slice | Tensor | Sequence[int]) -> Self:
        return self.select(as_index(index, len(self)))

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    # fields by name -----------------------------------------------------------------------------------------------------

    def get(self, field: str) -> Any:
        """A field by its qualified name, of the scene ("segmentation", "labels") or of its things ("boxes",
        "instances.labels"); None where it is absent. ConfigError for a name that nobody has."""
        level, name = locate(field, type(self), type(self.instances or Instances()))
        owner = self.instances if level else self
        return None if owner is None else getattr(owner, name)

    def has(self, field: str) -> bool:
        """Whether a field is there, see `get`."""
        return self.get(field) is not None

    def present(self) -> frozenset[str]:
        """The qualified names of all fields that are there."""
        own = {*self.fields()} - {"instances"}
        things = () if self.instances is None else self.instances.fields()
        return frozenset(own | {qualified(name) for name in things})

    def only(self, fields: Iterable[str]) -> Self:
        """With no other fields than these (qualified names), and meta."""
        kinds = type(self), type(self.instances or Instances())
        places = [locate(field, *kinds) for field in fields]
        own, things = ({name for level, name in places if level == inside} for inside in (False, True))
        drop = {name: None for name in self.fields() if name not in own and name != "instances"}
        if self.instances is None:
            return self.replace_unchecked(**drop)
        kept = {name: None for name in self.instances.fields() if name not in things}
        return self.replace_unchecked(**drop, instances=self.instances.replace_unchecked(**kept) if things else None)

    def joined(self, other: Scene) -> Self:
        """With the picture-level fields that `other` has of the same picture, in place of its own."""
        return self.replace_unchecked(**{name: getattr(other, name) for name in other.fields() if name != "instances"})

    def without(self, fields: Iterable[str]) -> Self:
        """Without these fields (qualified names)."""
        return self.only(self.present() - set(fields))

    def class_planes(self, classes: int) -> Tensor:
        """Where each class of pixels is, bool [K, H, W], whether they overlap or not."""
        assert self.segmentation is not None
        if self.segmentation.dim() == 3:
            return self.segmentation == 1
        return self.segmentation == torch.arange(classes)[:, None, None]

    # changing -----------------------------------------------------------------------------------------------------------

    def select(self, index: Tensor | Sequence[int]) -> Self:
        """The same picture with only the instances at `index` (indices, each at most once, or bool [N]), in that order.

        Relations that lose an end are dropped; roles lose their grounding; events keep the instances that stay.
        """
        index = positions(index, len(self))
        places = {old: place for place, old in enumerate(index.tolist())}
        things = None if self.instances is None else self.instances.select(index)
        return self.map(lambda kind, value: kind.refer(value, places), instances=things)

    @staticmethod
    def cat(scenes: Sequence[Scene]) -> Scene:
        """Several accounts of one picture as one: instances, relations and events joined, references moved along.

        Everything else at picture level is the first scene's. Raises ShapeError when the sizes differ.
        """
        first = scenes[0]
        if len({s.size for s in scenes}) > 1:
            raise ShapeError(
                f"{first.name}: scenes of different sizes cannot be joined: {sorted({s.size for s in scenes})}"
            )
        moved, start = [], 0
        for scene in scenes:
            places = {i: i + start for i in range(len(scene))}
            moved.append(scene.map(lambda kind, value, places=places: kind.refer(value, places)))  # type: ignore[misc]
            start += len(scene)
        known = entries(type(first))
        joined = {}
        for name in ("instances", "relations", "events"):
            parts = [value for scene in moved if (value := getattr(scene, name)) is not None]
            if parts:
                joined[name] = known[name].kind.join(parts)
        return first.replace_unchecked(**joined)

    def moved(self, motion: Affine) -> Self:
        """What is true of the moved picture; nothing is cut or dropped, and maps are resampled nearest pixel.

        Raises DataError naming what cannot be moved so: cameras, 3D boxes and meshes do not turn.
        """
        return self._named(lambda kind, value: kind.move(value, motion), size=motion.target)

    def renamed(self, renaming: Renaming) -> Self:
        """The same under other labels, or in other words."""
        return self._named(lambda kind, value: kind.rename(value, renaming))

    def _named(self, change: Any, **more: Any) -> Self:
        try:
            return self.map(change, **more)
        except DataError as error:
            if self.name in str(error):
                raise
            raise DataError(f"{self.name}: {error}") from None

    # other libraries ----------------------------------------------------------------------------------------------------

    def to_supervision(self, names: Sequence[str] | None = None) -> Any:
        """The things as a `supervision.Detections`; names: `schema.things`. See `structures.exchange`."""
        from videre.structures.exchange import to_supervision

        return to_supervision(self, names)

    @staticmethod
    def from_supervision(detections: Any, size: tuple[int, int], names: Sequence[str] | None = None) -> Scene:
        """A scene of `size` (height, width) from a `supervision.Detections`. See `structures.exchange`."""
        from videre.structures.exchange import from_supervision

        return from_supervision(detections, size, names)

    def to_torchvision_dict(self) -> dict[str, Any]:
        """The things as torchvision's detectors take and give them: labels from 1, keypoints counted from the middle of the
        first pixel. See `structures.exchange`."""
        from videre.structures.exchange import to_torchvision_dict

        return to_torchvision_dict(self)

    @staticmethod
    def from_torchvision_dict(found: Mapping[str, Any], size: tuple[int, int]) -> Scene:
        """A scene of `size` (height, width) from a target or a prediction of torchvision. See `structures.exchange`."""
        from videre.structures.exchange import from_torchvision_dict

        return from_torchvision_dict(found, size)

    # writing ------------------------------------------------------------------------------------------------------------

    def to_json(self, names: Names | None = None) -> dict[str, Any]:
        """Plain JSON, whole: what `from_json` makes of it is equal. Labels by their names where `names` has them, as
        `Schema.names` gives it; maps as run lengths, masks as COCO's, or polygons."""
        plain = {key: value for key, value in self.meta.items() if isinstance(value, str | int | float | bool)}
        return {"size": list(self.size), **super().to_json(names), **({"meta": plain} if plain else {})}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: Names | None = None) -> Scene:
        """What `to_json` wrote, checked. DataError naming the field that is unknown or does not fit."""
        size, meta = data.get("size"), data.get("meta", {})
        if not (
            isinstance(size, Sequence) and len(size) == 2 and all(isinstance(n, int) and 0 < n < 2**31 for n in size)
        ):
            raise DataError(f"size should be [height, width] in whole pixels, found {size!r:.60}")
        if not isinstance(meta, Mapping):
            raise DataError(f"meta should be an object, found {meta!r:.60}")
        kinds: list[type[Scene]] = [cls, *cls.__subclasses__()]
        fields = {name: value for name, value in data.items() if name not in ("size", "meta")}
        kind = next((kind for kind in kinds if set(fields) <= set(entries(kind))), cls)
        try:
            return kind((size[0], size[1]), meta=meta, **values_of(kind, fields, names or {}))  # type: ignore[arg-type]
        except (DataError, ShapeError, KeyError) as error:
            name = str(meta.get("path") or meta.get("id") or "scene")
            said = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(said if name in said else f"{name}: {said}") from error


def locate(field: str, scene: type = Scene, things: type = Instances) -> tuple[bool, str]:
    """Where the field of a qualified name is: whether among the things, and its own name.

    A plain name is the scene's where it has one ("labels"), else the things' ("boxes"); "instances.labels" is theirs.

    Raises ConfigError, with the nearest name, for one that neither has.
    """
    level, _, name = field.rpartition(".")
    if level in ("", "instances"):
        if not level and name in entries(scene):
            return False, name
        if name in entries(things):
            return True, name
    known = all_fields(scene, things)
    near = difflib.get_close_matches(field, known, 1)
    raise ConfigError(f"no scene has a field {field!r}" + (f"; did you mean {near[0]}?" if near else ""))


def field_of(field: str) -> Entry:
    """The entry of a qualified name. ConfigError for one that nobody has."""
    things, name = locate(field)
    return entries(Instances if things else Scene)[name]


def qualified(name: str, scene: type = Scene) -> str:
    """How a field of the things is called among those of the scene: "boxes", but "instances.labels"."""
    return f"instances.{name}" if name in entries(scene) else name


def all_fields(scene: type = Scene, things: type = Instances) -> list[str]:
    """The qualified names of all fields."""
    return [*(n for n in entries(scene) if n != "instances"), *(qualified(n, scene) for n in entries(things))]


__all__ = ["VOID", "Event", "Kind", "Relations", "Scene", "Situation", "all_fields", "field_of", "locate", "qualified"]
