"""Training samples: which picture comes when, augmented how. All of it follows from (seed, epoch, picture).

The order never depends on the number of processes or loading threads, and any step can be asked for directly: that is
what makes a resumed run equal to an uninterrupted one. A picture that cannot be read is replaced by the next of a stream of
its own, which again follows from (seed, epoch, picture): whoever finds it, and when, the same one takes its place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import math
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from videre.data.dataset import Dataset
from videre.data.transforms import (
    ColorJitter,
    Compose,
    HorizontalFlip,
    Invert,
    RandomCrop,
    Rotate,
    ScaleJitter,
    StainJitter,
    Transform,
    from_json,
    generator,
)
from videre.data.transforms.compose import Draw
from videre.data.transforms.turn import QuarterTurns
from videre.engine.loading import UnusableError, load
from videre.errors import ConfigError, DataError, ShapeError
from videre.images.prepare import prepare, prepare_truth
from videre.models.base import Model
from videre.models.stages import Descent, Fit
from videre.structures import AnyClip, ImageBatch, Scene
from videre.train.recipe import Recipe

Sample = tuple[str, ImageBatch, Any]
"""Name, the prepared picture as a batch of one, and the model's target."""

MOST_BROKEN, FEWEST_BROKEN = 0.1, 10
"""Of a set in which more than this share of the pictures, and at least so many, cannot be read something else is wrong."""
LISTED = 5
"""Pictures named in a message."""


class _LeftOut(Exception):
    """A picture that cannot be used."""


def augmentation(recipe: Recipe) -> list[Transform]:
    """The transforms that a recipe asks for, in the order they are applied: those of its short words, then its list."""
    transforms: list[Transform] = []
    if recipe.flip:
        transforms.append(HorizontalFlip(recipe.flip))
    if recipe.turn:
        transforms.append(QuarterTurns())
    if recipe.rotate:
        transforms.append(Rotate(recipe.rotate))
    if (recipe.scale_min, recipe.scale_max) != (1.0, 1.0):
        transforms.append(ScaleJitter(recipe.scale_min, recipe.scale_max))
    if recipe.crop < 1:
        transforms.append(RandomCrop(recipe.crop))
    colors = {name: getattr(recipe, name) for name in ("brightness", "contrast", "saturation", "hue")}
    if any(colors.values()):
        transforms.append(ColorJitter(**colors))
    if recipe.stain:
        transforms.append(StainJitter(recipe.stain))
    if recipe.invert:
        transforms.append(Invert(recipe.invert))
    return transforms + [from_json(transform) for transform in recipe.augment]


class TrainingSamples:
    """The endless stream of samples of a training.

    Args:
        data: pictures with truth. model: prepares them, and says what it takes. recipe: which are shown, order, augmentation.
        target: from a truth in its batch's frame; None: the model's own.
        extra: fields found in each picture of the data, by its name, in its own pixels, see `Descent.given`.
        left_out: pictures that are known to be broken, by name, with the reasons; those that are found are added.

    Attributes:
        data: the pictures that are shown.
    """

    def __init__(
        self,
        data: Dataset,
        model: Model,
        recipe: Recipe,
        target: Callable[[Scene], Any] | None = None,
        extra: Mapping[str, Scene] | None = None,
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        self.data, self.model, self.recipe = shown(data, recipe), model, recipe
        self.transform = Compose(tuple(augmentation(recipe)))
        self.target, self.extra = target or model.target, extra
        self.given = type(model).takes | type(model).accepts
        self.left_out = dict(left_out or {})
        self._lock, self._refuses = threading.Lock(), False

    @functools.lru_cache(maxsize=4)  # noqa: B019 - as many permutations as are in flight
    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.recipe.seed, epoch)).permutation(len(self.data))

    def place(self, position: int) -> tuple[int, int]:
        """Epoch and index in the data of the sample at a position of the stream."""
        epoch = position // len(self.data)
        return epoch, int(self._order(epoch)[position % len(self.data)])

    def sample(self, position: int) -> Sample:
        """The sample at a position of the stream."""
        epoch, place = self.place(position)
        index, picture, scene = self._first(itertools.chain([place], self._others(epoch, place)))
        rng = generator(self.recipe.seed, epoch, place)
        draw = lambda rng: self._first(int(rng.integers(len(self.data))) for _ in itertools.count())[1:]
        picture, scene = self._augmented(picture, scene, rng, draw)
        preprocess = self.model.preprocess
        if self.recipe.short_sides:
            preprocess = preprocess.replace(short_side=int(rng.choice(self.recipe.short_sides)))
        given = scene.only(self.given) if self.given else None
        batch = prepare(picture, preprocess, _seed(self.recipe.seed, epoch, place), given)
        return self.data.name(index), batch, self.target(prepare_truth(scene, batch))

    def _augmented(self, picture: Any, scene: Scene, rng: np.random.Generator, draw: Draw) -> tuple[Any, Scene]:
        """The picture and its truth after the transforms; of a clip every frame after the same ones."""
        if not isinstance(picture, AnyClip) or self.model.preprocess.frames is None:
            return self.transform.apply(picture, scene, rng, self.data.schema, draw)
        clip = picture.sample(self.model.preprocess.frames)
        state, frames = rng.bit_generator.state, []
        for frame in clip.frames:
            rng.bit_generator.state = state
            changed, moved = self.transform.apply(frame, scene, rng, self.data.schema, draw)
            frames.append(changed)
        return dataclasses.replace(clip, frames=np.stack(frames)), moved

    def plain(self, index: int) -> Sample | None:
        """Picture `index` of the data as it is predicted, with its target; None where it is left out."""
        try:
            picture, scene = self._read(index)
        except _LeftOut:
            return None
        batch = prepare(picture, self.model.preprocess, given=scene.only(self.given) if self.given else None)
        return self.data.name(index), batch, self.target(prepare_truth(scene, batch))

    def _others(self, epoch: int, place: int) -> Iterator[int]:
        """The pictures that may stand in for one, each once."""
        yield from np.random.default_rng([self.recipe.seed, epoch, place, 1]).permutation(len(self.data)).tolist()

    def _first(self, indices: Iterable[int]) -> tuple[int, Any, Scene]:
        """The first picture that can be used: its index, itself and its truth. There is one, or `_read` has raised."""
        for index in indices:
            with contextlib.suppress(_LeftOut):
                return index, *self._read(index)
        raise self._too_many()

    def _read(self, index: int) -> tuple[Any, Scene]:
        """A picture and its truth. Raises _LeftOut where they cannot be used, DataError where that holds of too many."""
        name = self.data.name(index)
        if name in self.left_out:
            raise _LeftOut
        try:
            picture = self.data.picture(index)
        except DataError as error:
            raise self._leave_out(index, error) from error
        try:
            scene = self.data.scene(index)
        except (DataError, ShapeError) as error:
            if not self.data.skip_broken:
                raise
            raise self._leave_out(index, error) from error
        if self.extra is None:
            return picture, scene
        if name not in self.extra:
            raise self._leave_out(index, DataError("it could not be read when what the stage is given was found"))
        return picture, scene.joined(self.extra[name])

    def _leave_out(self, index: int, error: Exception) -> Exception:
        """Note a picture; what to raise."""
        where, reason = self.data.where(index), str(error)
        with self._lock:  # what was too many stays that number, though other threads are reading on
            if not self._refuses:
                self.left_out[self.data.name(index)] = reason if where in reason else f"{where}: {reason}"
                count = len(self.left_out)
                most = MOST_BROKEN * len(self.data)
                self._refuses = (count >= FEWEST_BROKEN and count > most) or count >= len(self.data)
        return self._too_many() if self._refuses else _LeftOut()

    def _too_many(self) -> DataError:
        left_out = self.left_out
        reasons = "; ".join(itertools.islice(left_out.values(), LISTED)) + ("; …" if len(left_out) > LISTED else "")
        return UnusableError(
            f"{self.data.title}: {len(left_out)} of its {len(self.data)} pictures cannot be used: {reasons}. Repair or remove these files (`videre data check` names them all), or see whether the "
            "folder of pictures is the right one; then go on with --resume"
        )

    def batches(self, first: int, last: int, rank: int = 0, world: int = 1) -> Generator[list[Sample], None, None]:
        """The part of one process of each step's pictures, from step `first` to before `last`, loaded ahead."""
        size = self.recipe.batch
        positions = (p for step in range(first, last) for p in range(step * size + rank, (step + 1) * size, world))
        name = lambda position: self.data.where(self.place(position)[1])
        with contextlib.closing(load(positions, self.sample, self.recipe.workers, name)) as loaded:
            for _ in range(first, last):
                yield list(itertools.islice(loaded, size // world))

    def plain_batches(self, first: int) -> Generator[list[Sample], None, None]:
        """All pictures in the order of the data, from batch `first` on, as they are predicted, loaded ahead. Those that are
        left out are missing in their batch."""
        size = self.recipe.batch
        order = range(first * size, len(self.data))
        with contextlib.closing(load(order, self.plain, self.recipe.workers, self.data.where)) as loaded:
            while group := list(itertools.islice(loaded, size)):
                yield [sample for sample in group if sample is not None]


def shown(data: Dataset, recipe: Recipe) -> Dataset:
    """The pictures that a training shows. Raises ConfigError where there are none."""
    if not len(data):
        raise ConfigError(f"{data.title}: there is no picture to train on")
    if recipe.empty:
        return data
    truths = (data.usable_scene(i) for i in range(len(data)))
    with_things = data.subset([i for i, truth in enumerate(truths) if truth is None or len(truth)])
    if not len(with_things):
        raise ConfigError(f"{data.title}: no picture has objects, and empty=false leaves out those without")
    return with_things


def _seed(*parts: int) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "big")


def names(samples: Sequence[Sample]) -> list[str]:
    """The names of the pictures of a step."""
    return [name for name, _, _ in samples]


def stage_recipe(stage: Descent, recipe: Recipe) -> Recipe:
    """The recipe of a stage: its own changes, but for what is not as `Recipe` has it by default."""
    usual = Recipe().replace(**stage.recipe)  # checked
    own = [name for name in stage.recipe if getattr(recipe, name) == getattr(Recipe(), name)]
    return recipe.replace(**{name: getattr(usual, name) for name in own})


def stage_steps(model: Model, data: Dataset, recipe: Recipe) -> list[int]:
    """Steps of each stage."""
    counts = []
    for stage in model.stages():
        of_stage = stage_recipe(stage, recipe) if isinstance(stage, Descent) else recipe
        count = len(TrainingSamples(data, model, of_stage).data)
        if isinstance(stage, Fit):
            counts.append(stage.passes * math.ceil(count / recipe.batch))
        else:
            counts.append(max(1, round(stage.share * of_stage.steps(count))))
    return counts
