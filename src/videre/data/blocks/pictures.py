"""One picture of the blocks world and its truth, by number."""

import numpy as np
import numpy.typing as npt

from videre.data.blocks.raytrace import photograph, trace
from videre.data.blocks.truth import Truth, observe
from videre.data.blocks.world import World, random_world


def render(
    seed: int, index: int, size: tuple[int, int] = (128, 128), solids: tuple[int, int] = (3, 8), min_pixels: int = 12
) -> tuple[npt.NDArray[np.uint8], Truth]:
    """Render picture `index` of the endless set `seed`.

    Args:
        size: (height, width) in pixels, each at least 16.
        solids: (fewest, most) solids, 1 to 16.
        min_pixels: solids with fewer visible pixels get no label, see `Truth`.

    Returns:
        The picture, uint8 [H,W,3] RGB, and the `Truth` about it.

    Raises:
        ConfigError: a size or number of solids that cannot be.
    """
    world, rng, words = _world(seed, index, size, solids)
    picture, who, depth, whole = photograph(world.solids, world.view, world.studio, size, rng)
    return picture, observe(world, who, depth, whole, words, min_pixels)


def truth_of(
    seed: int, index: int, size: tuple[int, int] = (128, 128), solids: tuple[int, int] = (3, 8), min_pixels: int = 12
) -> Truth:
    """Return the truth that `render` gives, without making the picture: three times as fast."""
    world, _, words = _world(seed, index, size, solids)
    who, depth = np.empty(size, np.int16), np.empty(size, np.float32)
    whole = np.zeros(len(world), np.int64)
    trace(world.solids, world.view, who, depth, whole)
    return observe(world, who, depth, whole, words, min_pixels)


def _world(
    seed: int, index: int, size: tuple[int, int], solids: tuple[int, int]
) -> tuple[World, np.random.Generator, np.random.Generator]:
    """Return a world, the generator that goes on to make its noise, and another one for the words about it."""
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    return random_world(rng, size, solids), rng, np.random.Generator(np.random.PCG64([seed, index, 2]))
