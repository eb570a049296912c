"""The blocks world in the library's nouns: its `Schema`, its truths as `Scene`, its endless pictures as a `Dataset`."""

import math
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from videre.data.blocks.clips import VERBS, BlocksClip, render_clip
from videre.data.blocks.pictures import render, truth_of
from videre.data.blocks.solids import SHAPES
from videre.data.blocks.truth import KEYPOINT_EDGES, KEYPOINT_FLIPS, KEYPOINTS, PIXELS, Truth
from videre.data.blocks.words import ATTRIBUTES, PREDICATES
from videre.data.blocks.world import check_world
from videre.data.dataset import Dataset
from videre.structures import (
    Box3D,
    Camera,
    Categories,
    Clip,
    Event,
    Instances,
    Masks,
    Mesh,
    Relations,
    Scene,
    Schema,
    Skeleton,
)

_SHAPE_COLOURS = ((222, 84, 72), (66, 133, 210), (82, 168, 96), (240, 176, 52), (150, 96, 190))
_FIELDS = (
    "boxes",
    "instances.labels",
    "masks",
    "keypoints",
    "visibility",
    "attributes",
    "instances.captions",
    "boxes3d",
    "ids",
    "labels",
    "segmentation",
    "captions",
    "questions",
    "answers",
    "relations",
    "camera",
    "depth",
)


def blocks_schema() -> Schema:
    """Return what the labels of the blocks world mean."""
    things = Categories(SHAPES, colors=_SHAPE_COLOURS)
    return Schema(
        things=things,
        pixels=Categories(PIXELS, colors=(*_SHAPE_COLOURS, (176, 170, 160), (96, 106, 120))),
        pictures=things,
        predicates=Categories.of(PREDICATES),
        attributes=Categories.of(ATTRIBUTES),
        events=Categories.of(VERBS),
        skeleton=Skeleton(KEYPOINTS, KEYPOINT_EDGES, KEYPOINT_FLIPS),
    )


def to_scene(truth: Truth, name: str = "blocks", meshes: bool = False) -> Scene:
    """Return a picture's truth as a `Scene`; `Scene.labels` are the shapes that are there.

    Args:
        name: the picture's id, for messages. meshes: whether to build a mesh for each solid (a millisecond for all).
    """
    size = truth.ids.shape
    windows = truth.boxes.astype(np.int64)
    crops = [(truth.ids[y1:y2, x1:x2] == n).astype(np.uint8) for n, (x1, y1, x2, y2) in enumerate(windows)]
    pitch, yaw, roll = _angles(truth.rotations3d)
    solids = Instances(
        boxes=torch.from_numpy(truth.boxes),
        labels=torch.from_numpy(truth.labels),
        masks=Masks.from_windows(crops, list(windows), size),
        keypoints=torch.from_numpy(truth.keypoints),
        visibility=torch.from_numpy(truth.visibility),
        attributes=torch.from_numpy(truth.attributes),
        captions=truth.region_captions,
        boxes3d=Box3D(*(_float(v) for v in (truth.centers3d, truth.sizes3d, yaw, pitch, roll))),
        meshes=tuple(Mesh(torch.from_numpy(v), torch.from_numpy(f)) for v, f in truth.meshes) if meshes else None,
        ids=torch.from_numpy(truth.tracks),
    )
    subjects, predicates, objects = torch.from_numpy(truth.relations).unbind(1)
    return Scene(
        size=size,
        instances=solids,
        labels=torch.from_numpy(np.unique(truth.labels)),
        segmentation=torch.from_numpy(truth.segmentation),
        captions=truth.captions,
        questions=truth.questions,
        answers=tuple({answer: 1.0} for answer in truth.answers),
        relations=Relations(subjects, predicates, objects),
        camera=Camera(*(_float(v) for v in (truth.intrinsics, truth.rotation, truth.translation))),
        depth=torch.from_numpy(truth.depth),
        meta={"id": name, "source": "blocks"},
    )


def to_clip_scene(clip: BlocksClip, name: str = "blocks") -> tuple[Scene, list[Scene]]:
    """Return the `Scene` of a whole clip (its solids, events and duration) and one per frame.

    The clip's instances are all solids that ever appear; a frame's `ids` are indices of them.
    """
    frames = [to_scene(truth, f"{name}, frame {t}") for t, truth in enumerate(clip.truths)]
    solids = Instances(
        labels=torch.tensor([one.shape for one in clip.looks]),
        attributes=torch.from_numpy(np.array([one.attributes() for one in clip.looks])),
        ids=torch.arange(len(clip.looks)),
    )
    events = tuple(Event(e.start, e.end, e.caption, e.verb, e.tracks) for e in clip.events)
    captions = ("; then ".join(e.caption for e in clip.events) or "nothing moves",)
    whole = Scene(
        size=frames[0].size,
        instances=solids,
        events=events,
        duration=clip.duration,
        captions=captions,
        meta={"id": name, "source": "blocks", "fps": clip.fps},
    )
    return whole, frames


def blocks_dataset(
    count: int,
    seed: int = 0,
    size: tuple[int, int] = (128, 128),
    solids: tuple[int, int] = (3, 8),
    meshes: bool = False,
    min_pixels: int = 12,
) -> Dataset:
    """Return `count` pictures that are rendered when they are asked for: the same ones every time.

    Sets of different seeds share no picture, so one seed trains and another one tests. Arguments as in `render`.
    """
    return Dataset(BlocksSource(count, seed, size, solids, meshes, min_pixels), blocks_schema(), title=f"blocks {seed}")


def blocks_clips(
    count: int,
    seed: int = 0,
    size: tuple[int, int] = (64, 64),
    solids: tuple[int, int] = (2, 4),
    seconds: float = 4.0,
    fps: float = 4.0,
) -> Dataset:
    """Return `count` clips with their events, rendered when they are asked for. Arguments as in `render_clip`."""
    return Dataset(BlocksClips(count, seed, size, solids, seconds, fps), blocks_schema(), title=f"blocks clips {seed}")


@dataclass
class BlocksClips:
    """Rendered clips as a `Source`. Asking for a clip and then its truth, in one thread, renders once."""

    count: int
    seed: int
    clip_size: tuple[int, int]
    solids: tuple[int, int]
    seconds: float
    fps: float
    fields: frozenset[str] = frozenset({"instances.labels", "attributes", "ids", "captions", "events", "duration"})

    def __len__(self) -> int:
        return self.count

    def name(self, i: int) -> str:
        return f"blocks-clip-{self.seed}-{i:06d}"

    def path(self, i: int) -> Path | None:
        return None

    def size(self, i: int) -> tuple[int, int]:
        return self.clip_size

    def scene(self, i: int) -> Scene:
        return to_clip_scene(self._render(i), self.name(i))[0]

    def picture(self, i: int) -> Clip:
        clip = self._render(i)
        return Clip(clip.frames, np.arange(len(clip.frames)) / clip.fps, clip.duration)

    def _render(self, i: int) -> BlocksClip:
        key, clip = getattr(_latest, "clip", (None, None))
        if key != (self.seed, self.clip_size, i) or clip is None:
            clip = render_clip(self.seed, i, self.clip_size, self.solids, self.seconds, self.fps)
            _latest.clip = (self.seed, self.clip_size, i), clip
        return clip


@dataclass
class BlocksSource:
    """Rendered pictures as a `Source`. Asking for a picture and then its truth, in one thread, renders once."""

    count: int
    seed: int = 0
    picture_size: tuple[int, int] = (128, 128)
    solids: tuple[int, int] = (3, 8)
    meshes: bool = False
    min_pixels: int = 12
    fields: frozenset[str] = field(default=frozenset(_FIELDS), init=False)

    def __post_init__(self) -> None:
        check_world(self.picture_size, self.solids)  # before anything is rendered or written
        self.fields = frozenset((*_FIELDS, "meshes") if self.meshes else _FIELDS)

    def __len__(self) -> int:
        return self.count

    def name(self, i: int) -> str:
        return f"blocks-{self.seed}-{i:06d}"

    def path(self, i: int) -> Path | None:
        return None

    def size(self, i: int) -> tuple[int, int]:
        return self.picture_size

    def scene(self, i: int) -> Scene:
        key, truth = getattr(_latest, "truth", (None, None))
        if key != (self, i) or truth is None:
            truth = truth_of(self.seed, i, self.picture_size, self.solids, self.min_pixels)
        return to_scene(truth, self.name(i), self.meshes)

    def picture(self, i: int) -> npt.NDArray[np.uint8]:
        picture, truth = render(self.seed, i, self.picture_size, self.solids, self.min_pixels)
        _latest.truth = (self, i), truth
        return picture


_latest = threading.local()  # per thread, so that loader threads do not take each other's


def _float(values: npt.NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _angles(rotations: npt.NDArray[np.float64]) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """Return pitch, yaw and roll [N] of `Box3D`: rotation = yaw about y, after pitch about x, after roll about z."""
    pitch = -np.arcsin(np.clip(rotations[:, 1, 2], -1, 1))
    yaw = np.arctan2(rotations[:, 0, 2], rotations[:, 2, 2])
    roll = np.arctan2(rotations[:, 1, 0], rotations[:, 1, 1])
    turned = np.abs(roll) > math.pi / 2  # a level box has none, so take the other solution
    return (
        np.where(turned, math.pi - pitch, pitch),
        np.where(turned, yaw + math.pi, yaw),
        np.where(turned, roll + math.pi, roll),
    )
