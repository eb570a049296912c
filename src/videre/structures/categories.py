"""Named classes: what the integers in `labels` mean, from the file to the checkpoint to the result."""

from __future__ import annotations

import colorsys
import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from videre.errors import ConfigError, DataError

Color = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Categories:
    """An ordered list of class names with what belongs to each; equal when the contents are equal.

    Args:
        names: unique, non-empty; the position is the label 0..K-1. Background is never a category.
        colors: RGB 0..255 for drawing; chosen by name order when absent.
        source_ids: the ids of the annotation file (sparse ones survive a round trip); 1..K when absent.
        supercategories: parent name or "" per class.
        synsets: WordNet id such as "dog.n.01", or "" per class.

    Raises:
        DataError: names empty or repeated, or a list of another length.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] = ()
    source_ids: tuple[int, ...] = ()
    supercategories: tuple[str, ...] = ()
    synsets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)
        put("names", tuple(str(n) for n in self.names))
        repeated = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if repeated or "" in self.names:
            raise DataError(f"category names must be unique and not empty, found repeated or empty: {repeated or ['']}")
        put("colors", tuple((int(r), int(g), int(b)) for r, g, b in self.colors) or palette(len(self)))
        put("source_ids", tuple(int(i) for i in self.source_ids) or tuple(range(1, len(self) + 1)))
        put("supercategories", tuple(self.supercategories) or ("",) * len(self))
        put("synsets", tuple(self.synsets) or ("",) * len(self))
        for field in ("colors", "source_ids", "supercategories", "synsets"):
            if len(getattr(self, field)) != len(self):
                raise DataError(f"categories: {field} has {len(getattr(self, field))} entries for {len(self)} names")
        if len(set(self.source_ids)) < len(self):
            raise DataError(f"categories: source_ids repeat: {self.source_ids}")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, label: int) -> str:
        return self.names[label]

    def index(self, name: str) -> int:
        """Label of a class name; ConfigError with the known names when there is none."""
        if name not in self._places:
            raise ConfigError(f"no class named {name!r}; there are: {', '.join(self.names)}")
        return self._places[name]

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def remap(self, other: Categories) -> tuple[int | None, ...]:
        """For each of our labels the label of the same name in `other`, or None."""
        return tuple(other._places.get(name) for name in self.names)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Categories:
        fields: dict[str, Any] = {k: tuple(tuple(x) if isinstance(x, list) else x for x in v) for k, v in data.items()}
        return cls(**fields)

    @classmethod
    def of(cls, names: Sequence[str]) -> Categories:
        return cls(tuple(names))


def palette(count: int) -> tuple[Color, ...]:
    """`count` well separated colours, the same at every call: hues by the golden angle, three lightnesses in turn."""
    colors = []
    for i in range(count):
        hue = (0.58 + i * 0.61803398875) % 1.0  # starts at blue; the golden ratio keeps neighbours apart
        r, g, b = colorsys.hls_to_rgb(hue, (0.52, 0.42, 0.62)[i % 3], 0.78)
        colors.append((round(r * 255), round(g * 255), round(b * 255)))
    return tuple(colors)


VOC_PIXELS = Categories(
    names=tuple(
        [
            "background",
            "aeroplane",
            "bicycle",
            "bird",
            "boat",
            "bottle",
            "bus",
            "car",
            "cat",
            "chair",
            "cow",
            "diningtable",
            "dog",
            "horse",
            "motorbike",
            "person",
            "pottedplant",
            "sheep",
            "sofa",
            "train",
            "tvmonitor",
        ]
    ),
    source_ids=tuple(range(21)),
)
"""The 21 classes of Pascal VOC's segmentation, with its ids."""
