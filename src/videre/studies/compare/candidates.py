"""What is compared: a meta-architecture, the weights that it starts from, the size of the pictures."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videre.data.dataset import Dataset
from videre.errors import ConfigError
from videre.models import find_model
from videre.models.base import arguments
from videre.models.checkpoint import Checkpoint
from videre.zoo.weights import find_weights

SYSTEMS: dict[str, dict[str, Any]] = {
    "faster-rcnn": {
        "strides": [8, 16, 32],
        "anchor_sizes": [32, 64, 128, 256],
        "rpn_pre_nms": [1000, 500],
        "rpn_post_nms": [1000, 300],
        "roi_batch": 128,
    },
    "r-fcn": {"rpn_pre_nms": [2000, 1000]},
    "retinanet": {},
    "ssd": {"scales": [0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05], "augment": []},
    "yolox": {},
}
"""Compared where no others are named, with settings for a plain computer and an hour: a pyramid from stride 8 on, few proposals; SSD with
the smaller default boxes that its paper has over VGG16, and without its crops, which pay in trainings of days."""
SHARES = (2 / 3, 1.0)
"""Of the size that pictures have."""
LARGEST = 640
"""Longest side of the larger one of the two, in pixels."""
GRAIN = 32


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to train a detector.

    Args:
        system: its name. source: weights to start from. backbone: that it stands on, in words.
        side: longest side of the pictures, in pixels. settings: as `videre train -o` takes them, the sides among them.
    """

    system: str
    source: str
    backbone: str
    side: int
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of its row and its folders."""
        return f"{self.system}-{self.backbone}-{self.side}"


def candidates(
    data: Dataset,
    sources: Sequence[str],
    systems: Sequence[str] = (),
    sides: Sequence[int] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Candidate]:
    """Every system with every source at every size.

    Args:
        sources: weights of a backbone, for all systems, or a detector's checkpoint, for its own system alone.
        systems: names; (): those of `SYSTEMS`. sides: longest sides; (): two thirds of the pictures' own, and all of it, at most `LARGEST`.
        settings: by system, and under "" for all.

    Raises:
        ConfigError: a system that is unknown or finds no boxes by descent alone, or two candidates of one name. WeightsError: see
        `find_weights`. DataError: the data lack what a system needs.
    """
    height, width = typical_size(data)
    sides = sides or own_sides(max(height, width))
    settings, made = settings or {}, []
    for source in sources:
        found = find_weights(source)
        if isinstance(found, Checkpoint):
            backbone, kinds = Path(source).stem, [found.model]
            if systems and found.model not in systems:
                raise ConfigError(
                    f"{source}: a {found.model}, which is not among the systems compared ({', '.join(systems)})"
                )
        else:
            backbone, kinds = found[0].backbone, list(systems or SYSTEMS)
        for system in kinds:
            kind = find_model(system)
            if "boxes" not in kind.gives or not kind.needs or kind.takes:
                raise ConfigError(
                    f"{system} is no detector that can be compared here: it must find boxes in a picture alone"
                )
            kind.require(data.fields, data.title)
            for side in sides:
                short, long = sorted(max(1, round(side * each / max(height, width))) for each in (height, width))
                shape: dict[str, Any] = {"short_side": short, "long_side": long}
                if kind.usual.size is not None:  # pictures are stretched to one size: the one of most of them
                    shape = {"size": [short, long] if height <= width else [long, short]}
                own = {} if isinstance(found, Checkpoint) else SYSTEMS.get(system, {})
                chosen = {**own, **shape, **settings.get("", {}), **settings.get(system, {})}
                made.append(Candidate(system, str(source), backbone, side, chosen))
    names = [one.name for one in made]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two candidates are called {', '.join(sorted(twice))}: give each weights and size once")
    return made


def is_two_stage(system: str) -> bool:
    """Whether a system looks at proposals of its own."""
    return "rpn_post_nms" in arguments(find_model(system))


def typical_size(data: Dataset) -> tuple[int, int]:
    """(height, width), medians of at most a hundred pictures."""
    step = max(1, len(data) // 100)
    sizes = [truth.size for i in range(0, len(data), step) if (truth := data.usable_scene(i)) is not None]
    return int(statistics.median(h for h, _ in sizes)), int(statistics.median(w for _, w in sizes))


def own_sides(longest: int) -> list[int]:
    """The two sizes that are compared where none are named: multiples of 32."""
    most = min(longest, LARGEST)
    return sorted({max(GRAIN, round(share * most / GRAIN) * GRAIN) for share in SHARES})
