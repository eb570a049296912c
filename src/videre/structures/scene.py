"""Scene: the truth or the prediction about one picture or clip, for every task."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from videre.errors import DataError, ShapeError
from videre.structures.camera import Camera
from videre.structures.instances import Instances, as_rows, as_tensor
from videre.structures.masks import positions

VOID = 255
"""The value of `Scene.segmentation` where nothing is said about the pixel."""


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


@dataclasses.dataclass(frozen=True)
class Situation:
    """What happens: a verb of `Schema.verbs`, and for each role name the noun and, where grounded, the instance."""

    verb: int
    roles: Mapping[str, tuple[str, int | None]]
    score: float | None = None


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happens in a clip from `start` to `end` (seconds), to the `instances` named."""

    start: float
    end: float
    caption: str = ""
    label: int | None = None
    instances: tuple[int, ...] = ()
    score: float | None = None


@dataclasses.dataclass(frozen=True)
class Scene:
    """All that is known about one picture (or clip) of `size` (height, width).

    Only `select` and `cat` drop or reorder instances: they remap everything that refers to them.

    Args:
        size: height, width in pixels.
        instances: the things. labels: int64 [L], the picture's classes, with label_scores float32 [L] in [0, 1].
        segmentation: uint8 or int64 [H, W], classes of `Schema.pixels`, 255 void; where they overlap (`Schema.overlap`)
            [K, H, W], for each class 1 where it is, 0 where it is not, 255 void. panoptic: int64 [H, W] segment ids.
        captions, questions, answers: sentences about the whole picture; as many answers as questions.
        relations, situation, events: refer to instances by index. duration: seconds of a clip.
        proposals: float32 [P, 4] xyxy candidate boxes, with proposal_scores [P].
        camera: the pinhole camera. depth: float32 [H, W], metres along z; 0 where unknown.
        meta: path, id, source and whatever a reader wants to keep.

    Raises:
        ShapeError or DataError naming the field and the picture.
    """

    size: tuple[int, int]
    instances: Instances | None = None
    labels: Tensor | None = None
    label_scores: Tensor | None = None
    segmentation: Tensor | None = None
    panoptic: Tensor | None = None
    captions: tuple[str, ...] | None = None
    questions: tuple[str, ...] | None = None
    answers: tuple[str, ...] | None = None
    relations: Relations | None = None
    situation: Situation | None = None
    proposals: Tensor | None = None
    proposal_scores: Tensor | None = None
    camera: Camera | None = None
    depth: Tensor | None = None
    events: tuple[Event, ...] | None = None
    duration: float | None = None
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        height, width = (int(n) for n in self.size)
        object.__setattr__(self, "size", (height, width))
        if height < 1 or width < 1:
            raise ShapeError(f"{self.name}: a picture of size {self.size} has no pixels")
        for field in ("captions", "questions", "answers", "events"):
            value = getattr(self, field)
            if isinstance(value, str):
                raise ShapeError(f"{self.name}: {field} must be a list of sentences, found the text {value!r}")
            if value is not None:
                object.__setattr__(self, field, tuple(value))
        if self.questions is not None and self.answers is not None and len(self.questions) != len(self.answers):
            raise ShapeError(f"{self.name}: {len(self.answers)} answers to {len(self.questions)} questions")
        if self.duration is not None and not 0 <= self.duration < math.inf:
            raise DataError(f"{self.name}: duration must be seconds from 0 on, found {self.duration}")
        self._check_rows()
        self._check_maps()
        masks = self.instances.masks if self.instances is not None else None
        if masks is not None and masks.size != self.size:
            raise ShapeError(f"{self.name}: masks are for a picture of {masks.size}, this one is {self.size}")
        self._check_references()

    @property
    def name(self) -> str:
        """How messages call this picture: its path, id, or 'scene'."""
        return str(self.meta.get("path") or self.meta.get("id") or "scene")

    def __len__(self) -> int:
        return 0 if self.instances is None else len(self.instances)

    def has(self, field: str) -> bool:
        """Whether a field is there: of the scene ("segmentation") or of its instances ("boxes", "masks").

        "labels" asks for the classes of the whole picture; the labels of instances always come with their boxes.
        """
        if field in _SCENE_FIELDS:
            return getattr(self, field) is not None
        return self.instances is not None and getattr(self.instances, field) is not None

    def replace(self, **changes: Any) -> Scene:
        return dataclasses.replace(self, **changes)

    def class_planes(self, classes: int) -> Tensor:
        """Where each class of pixels is, bool [K, H, W], whether they overlap or not."""
        assert self.segmentation is not None
        if self.segmentation.dim() == 3:
            return self.segmentation == 1
        return self.segmentation == torch.arange(classes)[:, None, None]

    def select(self, index: Tensor | Sequence[int]) -> Scene:
        """The same picture with only the instances at `index` (indices, each at most once, or bool [N]), in that order.

        Relations that lose an end are dropped; roles lose their grounding; events keep the instances that stay.
        """
        index = positions(index, len(self))
        new = {old: place for place, old in enumerate(index.tolist())}
        changes: dict[str, Any] = {}
        if self.instances is not None:
            changes["instances"] = self.instances.select(index)
        if self.relations is not None:
            r = self.relations
            pairs = list(zip(r.subjects.tolist(), r.objects.tolist()))
            kept = torch.tensor([i for i, (s, o) in enumerate(pairs) if s in new and o in new], dtype=torch.int64)
            remap = lambda side: torch.tensor([new[i] for i in side[kept].tolist()], dtype=torch.int64)
            scores = None if r.scores is None else r.scores[kept]
            changes["relations"] = Relations(remap(r.subjects), r.predicates[kept], remap(r.objects), scores)
        if self.situation is not None:
            roles = {k: (noun, None if i is None else new.get(i)) for k, (noun, i) in self.situation.roles.items()}
            changes["situation"] = dataclasses.replace(self.situation, roles=roles)
        if self.events is not None:
            changes["events"] = tuple(
                dataclasses.replace(e, instances=tuple(new[i] for i in e.instances if i in new)) for e in self.events
            )
        return self.replace(**changes)

    @staticmethod
    def cat(scenes: Sequence[Scene]) -> Scene:
        """Several accounts of one picture as one: instances, relations and events joined, references moved along.

        Everything at picture level is the first scene's. Raises ShapeError when the sizes differ.
        """
        first = scenes[0]
        if len({s.size for s in scenes}) > 1:
            raise ShapeError(
                f"{first.name}: scenes of different sizes cannot be joined: {sorted({s.size for s in scenes})}"
            )
        offsets = [sum(len(s) for s in scenes[:i]) for i in range(len(scenes))]
        changes: dict[str, Any] = {}
        parts = [s.instances for s in scenes if s.instances is not None]
        if parts:
            changes["instances"] = Instances.cat(parts)
        related = [(s.relations, o) for s, o in zip(scenes, offsets) if s.relations is not None]
        if related:
            scores = [r.scores for r, _ in related]
            changes["relations"] = Relations(
                torch.cat([r.subjects + o for r, o in related]),
                torch.cat([r.predicates for r, _ in related]),
                torch.cat([r.objects + o for r, o in related]),
                torch.cat([s for s in scores if s is not None]) if all(s is not None for s in scores) else None,
            )
        happened = [(s.events, o) for s, o in zip(scenes, offsets) if s.events is not None]
        if happened:
            changes["events"] = tuple(
                dataclasses.replace(e, instances=tuple(i + o for i in e.instances))
                for events, o in happened
                for e in events
            )
        return first.replace(**changes)

    def _check_rows(self) -> None:
        """Lists of numbers become tensors; their shapes and values are checked."""
        for field, (dtype, tail) in _ROWS.items():
            if getattr(self, field) is None:
                continue
            value = as_rows(f"{self.name}: {field}", getattr(self, field), dtype)
            object.__setattr__(self, field, value)
            if tuple(value.shape[1:]) != tail:
                shape = ", ".join(["N", *map(str, tail)])
                raise ShapeError(f"{self.name}: {field} must be [{shape}], found shape {tuple(value.shape)}")
            if dtype.is_floating_point and not bool(value.isfinite().all()):
                row = int((~value.isfinite()).nonzero()[0, 0])
                raise DataError(f"{self.name}: {field} must be finite, found {value[row].tolist()} at {row}")
        for of, scores in (("labels", "label_scores"), ("proposals", "proposal_scores")):
            rows, value = getattr(self, of), getattr(self, scores)
            if value is not None and (rows is None or len(rows) != len(value)):
                raise ShapeError(f"{self.name}: {len(value)} {scores} for {0 if rows is None else len(rows)} {of}")
        if self.labels is not None and bool((self.labels < 0).any()):
            raise DataError(f"{self.name}: labels start at 0, found {int(self.labels.min())}")
        if self.label_scores is not None and bool(((self.label_scores < 0) | (self.label_scores > 1)).any()):
            low, high = self.label_scores.aminmax()
            raise DataError(f"{self.name}: label_scores must lie in [0, 1], found {low:.4g}..{high:.4g}")
        if self.proposals is not None:
            turned = (self.proposals[:, 2:] < self.proposals[:, :2]).any(1)
            if bool(turned.any()):
                row = int(turned.nonzero()[0])
                raise DataError(f"{self.name}: proposal {row} {self.proposals[row].tolist()} is turned over; boxes need "
                                "x1 <= x2, y1 <= y2")  # fmt: skip

    def _check_maps(self) -> None:
        """One value per pixel; a single pass over each map, since this is done for every picture of a training."""
        for field, highest in (("segmentation", VOID), ("panoptic", math.inf), ("depth", math.inf)):
            if getattr(self, field) is None:
                continue
            value = as_tensor(f"{self.name}: {field}", getattr(self, field))
            if tuple(value.shape[-2:]) != self.size or value.dim() > (3 if field == "segmentation" else 2):
                raise ShapeError(f"{self.name}: {field} is {tuple(value.shape)}, the picture is {self.size}")
            if field == "depth":
                value = value.to(torch.float32)
            elif value.dtype not in (torch.uint8, torch.int16, torch.int32, torch.int64):
                raise ShapeError(f"{self.name}: {field} must be whole numbers (uint8 or int64), found {str(value.dtype)[6:]}")  # fmt: skip
            object.__setattr__(self, field, value)
            if value.dtype == torch.uint8:
                continue  # cannot be out of range
            low, high = (extreme.item() for extreme in value.aminmax())  # NaN where any is
            if not (low >= 0 and high <= highest and math.isfinite(high)):
                limit = "finite" if highest == math.inf else f"at most {highest}"
                raise DataError(f"{self.name}: {field} must be at least 0 and {limit}, found {low}..{high}")

    def _check_references(self) -> None:
        count = len(self)
        referred: list[int] = []
        if self.relations is not None:
            referred += self.relations.subjects.tolist() + self.relations.objects.tolist()
        if self.situation is not None:
            referred += [i for _, i in self.situation.roles.values() if i is not None]
        referred += [i for e in self.events or () for i in e.instances]
        wrong = [i for i in referred if not 0 <= i < count]
        if wrong:
            raise DataError(f"{self.name}: relations, roles or events name instance {wrong[0]}, there are {count}")


_ROWS: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
    "labels": (torch.int64, ()),
    "label_scores": (torch.float32, ()),
    "proposals": (torch.float32, (4,)),
    "proposal_scores": (torch.float32, ()),
}
_SCENE_FIELDS = {f.name for f in dataclasses.fields(Scene)}
