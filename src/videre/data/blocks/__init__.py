"""The blocks world: pictures and clips of solids on a plane, rendered here and now, with every kind of truth.

    picture, truth = render(seed=0, index=7, size=(480, 640))

The same (seed, index, size, solids) gives the same pixels and words, on any number of threads.
"""

import numpy as np
import numpy.typing as npt

from videre.data.blocks.raytrace import photograph
from videre.data.blocks.truth import Truth, observe
from videre.data.blocks.world import random_world

__all__ = ["Truth", "render"]


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
        ValueError: a size or number of solids that cannot be.
    """
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    world = random_world(rng, size, solids)
    picture, who, depth, whole = photograph(world.solids, world.view, world.studio, size, rng)
    return picture, observe(world, who, depth, whole, rng, min_pixels)
