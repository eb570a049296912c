"""Preprocess: how a picture becomes the net's input. A value stored with the weights.

It alone decides the padded size of a picture, from that picture's size only, so that no neighbour in a batch can
change a result.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from torch import sym_max, sym_min

from videre.errors import ConfigError

Size = tuple[int, int]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Resize, cut out, normalise, pad.

    Args:
        short_side, long_side: the short side becomes `short_side` unless the long side would pass `long_side`
            (torchvision's rule: sides are floored). One alone: that side; both None: the size stays.
        size: (height, width): stretch to exactly this instead.
        centre_crop: (height, width): of the resized picture the middle of this size, on zeros where it is smaller; the divisor
            then plays no part. As classifiers are trained and measured: short side 256, of it 224x224.
        divisor: both sides are padded with zeros (the mean colour), right and bottom, to multiples of this.
        channels: of the input, "rgb" (or "bgr", "grey").
        mean, std: per channel, of pictures scaled to [0, 1].
        frames: of a clip so many are taken, at the middles of equal parts of it; None: the net takes pictures.
        antialias: average over the pixels that fall into one when shrinking (area); otherwise plain bilinear.
    """

    short_side: int | None = 800
    long_side: int | None = 1333
    size: Size | None = None
    centre_crop: Size | None = None
    divisor: int = 32
    channels: str = "rgb"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    antialias: bool = True
    frames: int | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(float(x) for x in getattr(self, name)))
        for name in ("size", "centre_crop"):
            sides = getattr(self, name)
            if sides is not None:
                if len(sides) != 2 or min(sides) < 1:
                    raise ConfigError(f"preprocess: {name} must be at least 1 x 1, found {sides}")
                object.__setattr__(self, name, (int(sides[0]), int(sides[1])))
        if len(self.mean) != len(self.std) or min(self.std, default=0.0) <= 0:
            raise ConfigError(
                f"preprocess: mean {self.mean} and std {self.std} must be as long as there are channels, std > 0"
            )
        if self.channels not in ("rgb", "bgr", "grey", "any"):
            raise ConfigError(f"preprocess: channels must be rgb, bgr, grey or any, found {self.channels!r}")
        wanted = {"grey": 1, "rgb": 3, "bgr": 3}.get(self.channels)
        if wanted not in (None, len(self.mean)):
            raise ConfigError(
                f"preprocess: channels={self.channels} takes {wanted} mean and std, found {len(self.mean)}"
            )
        for name in ("short_side", "long_side"):
            side = getattr(self, name)
            if side is not None and side < 1:
                raise ConfigError(f"preprocess: {name} must be at least 1, found {side}")
        if self.frames is not None and self.frames < 1:
            raise ConfigError(f"preprocess: frames must be at least 1, found {self.frames}")
        if self.divisor < 1:
            raise ConfigError(f"preprocess: divisor must be at least 1, found {self.divisor}")

    def resized(self, size: Size) -> Size:
        """The size that a picture of `size` (height, width) is resized to.

        In whole numbers: 480 * (800 / 480) must be 800; and a size may be a symbol, where the model is exported.
        """
        if self.size is not None:
            return self.size
        sides = ((self.short_side, sym_min(*size)), (self.long_side, sym_max(*size)))
        scales = [(wanted, side) for wanted, side in sides if wanted is not None]
        height, width = (functools.reduce(sym_min, (n * a // b for a, b in scales)) if scales else n for n in size)
        return sym_max(1, height), sym_max(1, width)

    def window(self, size: Size) -> tuple[int, int, int, int]:
        """What of the resized picture is kept: top, left, height, width."""
        resized = self.resized(size)
        if self.centre_crop is None:
            return 0, 0, *resized
        height, width = (sym_min(n, most) for n, most in zip(resized, self.centre_crop))
        return (resized[0] - height) // 2, (resized[1] - width) // 2, height, width

    def padded(self, size: Size) -> Size:
        """The size of the net's input for a picture of `size`."""
        if self.centre_crop is not None:
            return self.centre_crop
        height, width = ((n + self.divisor - 1) // self.divisor * self.divisor for n in self.resized(size))
        return height, width

    def replace(self, **changes: Any) -> Preprocess:
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Preprocess:
        return cls(**data)
