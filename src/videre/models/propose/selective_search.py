"""Selective Search: proposals from a grouping of regions, by several similarities in several colour spaces.

Uijlings, van de Sande, Gevers and Smeulders, Selective Search for Object Recognition, IJCV 2013. A picture falls into
small regions, and those are grouped until one is left; every region on the way gives a box. One grouping finds what is
told apart by what it looks at, so groupings are made from all combinations of a colour space, a size of the first
regions and a set of similarities, and their boxes are taken together.

The order: the i-th box of a grouping, counted back from the whole picture, is given i times a random number in [0, 1],
so that large regions tend to come first, and no grouping has all the first places. Smaller is better.

    boxes, scores = selective_search(picture, "fast")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch

from videre.errors import ConfigError
from videre.images.prepare import resample
from videre.models.propose.method import ProposalMethod
from videre.ops.graph_segmentation import Edges, join_pixels, sort_edges
from videre.ops.group_regions import SIMILARITIES, describe_regions, group_regions, pixel_bins
from videre.structures import Preprocess, Schema

ALL, NO_COLOUR, FILL, SIZE = SIMILARITIES, ("texture", "size", "fill"), ("fill",), ("size",)


@dataclasses.dataclass(frozen=True)
class Strategy:
    """Which groupings are made: all combinations.

    Args:
        spaces: of colour, keys of SPACES.
        similarities: sets of what `group_regions` compares.
        scales: k of the first regions.
        min_size: pixels of the first regions, at least; None: k, as in the authors' code.
    """

    spaces: tuple[str, ...]
    similarities: tuple[tuple[str, ...], ...]
    scales: tuple[int, ...]
    min_size: int | None = None


MODES = {
    "single": Strategy(("hsv",), (ALL,), (100,)),
    "fast": Strategy(("hsv", "lab"), (ALL, NO_COLOUR), (50, 100)),
    "quality": Strategy(("hsv", "lab", "rgi", "h", "i"), (ALL, NO_COLOUR, FILL, SIZE), (50, 100, 150, 300)),
}
"""As in the paper: 1, 8 and 80 groupings."""


def selective_search(
    picture: np.ndarray,
    mode: str | Strategy = "fast",
    seed: int = 0,
    min_side: float = 20,
    long_side: int | None = 500,
    sigma: float = 0.8,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes that may hold a thing.

    Args:
        picture: (H, W, 3) uint8, RGB, sides up to 65,535.
        mode: a key of MODES, or a strategy of your own.
        seed: of the random numbers in the order.
        min_side: boxes with a shorter side are dropped, pixels after resizing.
        long_side: to which the picture is resized first; None for its own. Scales and `min_side` are made for pictures
            of 500 pixels, as those of VOC are; R-CNN, too, resized to 500, but the width.
        sigma: of the Gaussian that smooths the picture before it falls into regions, pixels after resizing.
    Returns:
        boxes (P, 4) float32 xyxy, pixels, right and bottom edges excluded, the best first, each one once; and
        scores (P) float32 in (0, 1], falling: 1 / (1 + the number that orders them), no probability.
    Raises:
        ValueError: no such picture, or no such mode.
    """
    if (
        picture.ndim != 3
        or picture.shape[2] != 3
        or picture.dtype != np.uint8
        or picture.size == 0
        or max(picture.shape) >= 1 << 16
    ):
        raise ValueError(
            f"selective_search: picture {picture.shape} of {picture.dtype}, "
            "expected (H, W, 3) of uint8, sides from 1 to 65,535"
        )
    if isinstance(mode, str) and mode not in MODES:
        raise ValueError(f"selective_search: mode is {mode!r}, expected one of {', '.join(MODES)}")
    strategy = MODES[mode] if isinstance(mode, str) else mode

    height, width = picture.shape[:2]
    if long_side is not None:
        ratio = long_side / max(height, width)
        picture = resample(picture, (max(round(height * ratio), 1), max(round(width * ratio), 1)))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # the kernels release the interpreter lock
        spaces = [SPACES[name](picture) for name in strategy.spaces]
        edges = pool.map(lambda space: sort_edges(space, sigma), spaces)
        bins = pool.map(pixel_bins, spaces)
        jobs = [(*shared, scale, strategy) for shared in zip(spaces, edges, bins) for scale in strategy.scales]
        groupings = [boxes for found in pool.map(_group, *zip(*jobs)) for boxes in found]
    random = np.random.default_rng(seed)
    order = np.concatenate([np.arange(len(boxes), 0, -1) * random.random(len(boxes)) for boxes in groupings])
    boxes, scores = _best_first(np.concatenate(groupings), order, min_side)
    return boxes * np.array([width / picture.shape[1], height / picture.shape[0]] * 2, np.float32), scores


def _group(picture: np.ndarray, edges: Edges, bins: np.ndarray, scale: int, strategy: Strategy) -> list[np.ndarray]:
    """Boxes of the groupings that begin with the same regions."""
    ids = join_pixels(edges, scale, scale if strategy.min_size is None else strategy.min_size)
    regions = describe_regions(picture, ids, bins)
    return [group_regions(regions, chosen)[0] for chosen in strategy.similarities]


def _best_first(boxes: np.ndarray, order: np.ndarray, min_side: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores by rising order, without small ones and all but the best of equal ones."""
    large = (boxes[:, 2:] - boxes[:, :2]).min(1) >= min_side
    boxes, order = boxes[large], order[large]
    rank = np.argsort(order, kind="stable")
    boxes, order = boxes[rank], order[rank]
    key = boxes.astype(np.uint16).view(np.uint64)[:, 0]  # the four sides, whole numbers, in one
    first = np.sort(np.unique(key, return_index=True)[1])
    return boxes[first], (1 / (1 + order[first])).astype(np.float32)


def _hsv(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2HSV_FULL)


def _lab(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)


def _intensity(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]


def _rgi(picture: np.ndarray) -> np.ndarray:
    """Shares of red and green, and the intensity."""
    total = np.maximum(picture.sum(2, dtype=np.float32), 1)[..., None]
    return np.concatenate([picture[..., :2] * (255 / total), _intensity(picture).astype(np.float32)], 2)


SPACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hsv": _hsv,
    "lab": _lab,
    "rgi": _rgi,
    "h": lambda picture: np.ascontiguousarray(_hsv(picture)[..., :1]),
    "i": _intensity,
}
"""Pictures (H, W, C), each channel from 0 to 255."""


class SelectiveSearch(ProposalMethod):
    """Selective Search as a system.

    Args:
        schema, preprocess: of no consequence; the picture is seen in its own size.
        mode: "single", "fast" or "quality". seed, min_side, long_side: as of `selective_search`.
    """

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        mode: str = "fast",
        seed: int = 0,
        min_side: float = 20.0,
        long_side: int | None = 500,
    ) -> None:
        super().__init__(schema, preprocess)
        if mode not in MODES:
            raise ConfigError(f"mode must be one of {', '.join(MODES)}, found {mode!r}")
        self.mode, self.seed, self.min_side, self.long_side = mode, seed, min_side, long_side

    def find(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `selective_search`."""
        return selective_search(picture, self.mode, self.seed, self.min_side, self.long_side)
