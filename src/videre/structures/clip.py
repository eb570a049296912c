"""Clip: pictures with their times, an item of a data set like a picture."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import numpy as np

from videre.errors import ShapeError


class AnyClip(abc.ABC):
    """A clip in memory or in a file.

    Attributes:
        size: height and width. duration: in seconds.
    """

    size: Any
    duration: Any

    @abc.abstractmethod
    def sample(self, count: int) -> Clip:
        """The frames nearest to the middles of `count` equal parts of the duration (Wang et al., Temporal Segment Networks,
        2016); the same one several times where there are fewer."""


@dataclasses.dataclass(frozen=True, eq=False)
class Clip(AnyClip):
    """T frames of one size.

    Args:
        frames: [T, H, W, C], as pictures are. seconds: float64 [T], rising, when each was taken. duration: of the clip.

    Raises:
        ShapeError: no frames, or another number of times.
    """

    frames: np.ndarray
    seconds: np.ndarray
    duration: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", np.asarray(self.seconds, np.float64))
        if self.frames.ndim != 4 or not len(self.frames) or self.seconds.shape != (len(self.frames),):
            raise ShapeError(
                f"a clip is [T, H, W, C] with as many seconds, found {self.frames.shape} and {self.seconds.shape}"
            )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.frames.shape[1], self.frames.shape[2]

    def sample(self, count: int) -> Clip:
        wanted = middles(self.duration, count)
        nearest = np.abs(self.seconds[None] - wanted[:, None]).argmin(1)
        return Clip(self.frames[nearest], self.seconds[nearest], self.duration)


def still(item: Any) -> Any:
    """The frame in the middle of a clip; a picture itself."""
    return item.sample(1).frames[0] if isinstance(item, AnyClip) else item


def middles(duration: float, count: int) -> np.ndarray:
    """Seconds of the middles of `count` equal parts."""
    return (np.arange(count) + 0.5) * duration / count
