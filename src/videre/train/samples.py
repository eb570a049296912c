"""Training samples: which picture comes when, augmented how. All of it follows from (seed, epoch, picture).

The order never depends on the number of processes or loading threads, and any step can be asked for directly: that is
what makes a resumed run equal to an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
from collections.abc import Generator, Sequence

import numpy as np

from videre.data.dataset import Dataset
from videre.data.loading import load
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
    generator,
)
from videre.data.transforms.turn import QuarterTurns
from videre.errors import ConfigError
from videre.images.prepare import prepare, prepare_truth
from videre.structures import ImageBatch, Preprocess, Scene
from videre.train.recipe import Recipe

Sample = tuple[str, ImageBatch, Scene]
"""Name, the prepared picture as a batch of one, its truth in the batch's frame."""


def augmentation(recipe: Recipe) -> list[Transform]:
    """The transforms that a recipe asks for, in the order they are applied."""
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
    return transforms


class TrainingSamples:
    """The endless stream of samples of a training.

    Args:
        data: pictures with truth. preprocess: of the model. recipe: which are shown, order and augmentation.

    Attributes:
        data: the pictures that are shown.
    """

    def __init__(self, data: Dataset, preprocess: Preprocess, recipe: Recipe) -> None:
        if not len(data):
            raise ConfigError(f"{data.title}: there is no picture to train on")
        if not recipe.empty:
            data = data.subset([i for i in range(len(data)) if data.scene(i).instances])
            if not len(data):
                raise ConfigError(f"{data.title}: no picture has objects, and empty=false leaves out those without")
        self.data, self.preprocess, self.recipe = data, preprocess, recipe
        self.transform = Compose(tuple(augmentation(recipe)))

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.recipe.steps(len(self.data))

    @functools.lru_cache(maxsize=4)  # noqa: B019 - as many permutations as are in flight
    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.recipe.seed, epoch)).permutation(len(self.data))

    def place(self, position: int) -> tuple[int, int]:
        """Epoch and index in the data of the sample at a position of the stream."""
        epoch = position // len(self.data)
        return epoch, int(self._order(epoch)[position % len(self.data)])

    def sample(self, position: int) -> Sample:
        """The sample at a position of the stream."""
        epoch, index = self.place(position)
        picture, scene = self.data[index]
        rng = generator(self.recipe.seed, epoch, index)
        picture, scene = self.transform(picture, scene, rng, self.data.schema)
        preprocess = self.preprocess
        if self.recipe.short_sides:
            preprocess = preprocess.replace(short_side=int(rng.choice(self.recipe.short_sides)))
        batch = prepare(picture, preprocess, _seed(self.recipe.seed, epoch, index))
        return self.data.name(index), batch, prepare_truth(scene, batch)

    def batches(self, first: int, last: int, rank: int = 0, world: int = 1) -> Generator[list[Sample], None, None]:
        """The part of one process of each step's pictures, from step `first` to before `last`, loaded ahead."""
        size = self.recipe.batch
        positions = (p for step in range(first, last) for p in range(step * size + rank, (step + 1) * size, world))
        name = lambda position: self.data.where(self.place(position)[1])
        with contextlib.closing(load(positions, self.sample, self.recipe.workers, name)) as loaded:
            for _ in range(first, last):
                yield list(itertools.islice(loaded, size // world))


def _seed(*parts: int) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "big")


def names(samples: Sequence[Sample]) -> list[str]:
    """The names of the pictures of a step."""
    return [name for name, _, _ in samples]
