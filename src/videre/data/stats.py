"""What is in a data set: classes, sizes, objects per picture, and how large objects are once the net has resized them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from videre.data.dataset import Dataset
from videre.structures import Categories, Preprocess
from videre.structures.scene import VOID

SMALL, LARGE = 32.0, 96.0
"""COCO's borders between small, medium and large objects: the root of the area, pixels."""


@dataclasses.dataclass(frozen=True)
class ClassStats:
    """One class.

    Args:
        name: of the class. instances: that count. ignored: crowd or difficult. pictures: that show it.
        sides: 10th, 50th and 90th percentile of the root of the area, pixels; zeros without boxes or masks.
    """

    name: str
    instances: int
    ignored: int
    pictures: int
    sides: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Stats:
    """Counts and sizes of a data set.

    Args:
        pictures: how many. empty: of these without instances, where the set has instances.
        picture_sizes: (height, width) to count, the commonest first.
        per_picture: how many pictures have 0, 1, 2, … instances.
        classes: of things, or of pictures for classification.
        sides: root of the area of every object, pixels, as it is in the file.
        resized_sides: the same as the net sees it; equal to `sides` where no `Preprocess` was given.
        captions, words: sentences, and words in all of them. joints: name to how often it is labelled.
        pixels: class to its share of all pixels and how many pictures show it; "void" too where something is not labelled.
        title: of the set.
    """

    pictures: int
    empty: int
    picture_sizes: dict[tuple[int, int], int]
    per_picture: dict[int, int]
    classes: tuple[ClassStats, ...]
    sides: np.ndarray
    resized_sides: np.ndarray
    captions: int
    words: int
    joints: dict[str, int]
    title: str = ""
    pixels: dict[str, tuple[float, int]] = dataclasses.field(default_factory=dict)

    @property
    def instances(self) -> int:
        """Objects in all, the ignored ones left out."""
        return len(self.sides)

    def shares(self) -> dict[str, float]:
        """The parts of objects that the net sees as small, medium and large in COCO's sense."""
        if not len(self.resized_sides):
            return {"small": 0.0, "medium": 0.0, "large": 0.0}
        small, large = float((self.resized_sides < SMALL).mean()), float((self.resized_sides >= LARGE).mean())
        return {"small": small, "medium": 1 - small - large, "large": large}

    def __str__(self) -> str:
        sizes = ", ".join(f"{w}x{h} ({count})" for (h, w), count in list(self.picture_sizes.items())[:5])
        more = len(self.picture_sizes) - 5
        lines = [
            f"{self.title}: {self.pictures} pictures",
            f"width x height: {sizes}" + (f" and {more} more" if more > 0 else ""),
        ]
        if self.per_picture:
            counts = np.repeat(list(self.per_picture), list(self.per_picture.values()))
            lines.append(
                f"objects: {sum(c.instances for c in self.classes)}; a picture has {counts.min()} to {counts.max()}, "
                f"half have {np.median(counts):g} or more; {self.empty} have none"
            )
        if self.instances:
            low, middle, high = np.quantile(self.resized_sides, (0.1, 0.5, 0.9))
            shares = ", ".join(f"{share:.0%} {name}" for name, share in self.shares().items())
            lines.append(
                f"side of an object (root of its area, as the net sees it): {middle:.0f} pixels, eight of ten "
                f"within {low:.0f} to {high:.0f}; {shares} (COCO's borders, {SMALL:g} and {LARGE:g})"
            )
        if self.captions:
            lines.append(f"captions: {self.captions}, {self.words / self.captions:.1f} words each")
        if self.joints:
            lines.append("keypoints labelled: " + ", ".join(f"{name} {count}" for name, count in self.joints.items()))
        width = max((len(name) for name in (*(c.name for c in self.classes), *self.pixels)), default=0)
        for name, (share, pictures) in sorted(self.pixels.items(), key=lambda row: -row[1][0]):
            bar = "█" * round(30 * share / max(s for s, _ in self.pixels.values()))
            lines.append(f"  {name:{width}} {share:7.2%} of the pixels, in {pictures:6} pictures  {bar}".rstrip())
        most = max((c.instances for c in self.classes), default=0)
        for c in sorted(self.classes, key=lambda c: -c.instances):
            bar = "█" * round(30 * c.instances / max(most, 1))
            side = f"side {c.sides[1]:6.0f}" if c.sides[1] else ""
            ignored = f", {c.ignored} ignored" if c.ignored else ""
            lines.append(
                f"  {c.name:{width}} {c.instances:7} in {c.pictures:6} pictures{ignored}  {side}  {bar}".rstrip()
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        data = dataclasses.asdict(self)
        data["picture_sizes"] = [[*size, count] for size, count in self.picture_sizes.items()]
        for name in ("sides", "resized_sides"):
            data[name] = np.quantile(getattr(self, name), np.linspace(0, 1, 21)).tolist() if self.instances else []
        return data | {"shares": self.shares()}


def stats(dataset: Dataset, resize: Preprocess | int | None = None) -> Stats:
    """Count a data set, without reading pictures.

    Args:
        resize: the `Preprocess` of the net that will see the data, or its short side; gives `resized_sides`.
    """
    preprocess = Preprocess(short_side=resize, long_side=None) if isinstance(resize, int) else resize
    schema = dataset.schema
    names = schema.things or schema.pictures or Categories(())
    instances, ignored, shown = (np.zeros(len(names), np.int64) for _ in range(3))
    sizes, per_picture = Counter[tuple[int, int]](), Counter[int]()
    joints = np.zeros(len(schema.skeleton or ()), np.int64)
    of: list[np.ndarray] = []
    sides: list[np.ndarray] = []
    resized: list[np.ndarray] = []
    captions = words = 0
    pixels, seen, total = np.zeros(256, np.int64), np.zeros(256, np.int64), 0
    for i in range(len(dataset)):
        scene = dataset.scene(i)
        sizes[scene.size] += 1
        captions += len(scene.captions or ())
        words += sum(len(c.split()) for c in scene.captions or ())
        if scene.segmentation is not None:
            found = count_classes(scene.segmentation.numpy())
            pixels += found
            total += scene.size[0] * scene.size[1]
            seen += found > 0
        things = scene.instances
        if things is None:
            if scene.labels is not None:
                np.add.at(instances, scene.labels.numpy(), 1)
                np.add.at(shown, np.unique(scene.labels.numpy()), 1)
            continue
        counted = np.ones(len(things), bool) if things.ignore is None else ~things.ignore.numpy()
        per_picture[int(counted.sum())] += 1
        if things.visibility is not None and len(joints):
            joints += (things.visibility.numpy() > 0).sum(0)
        if things.labels is None:
            continue
        labels = things.labels.numpy()
        np.add.at(instances, labels[counted], 1)
        np.add.at(ignored, labels[~counted], 1)
        np.add.at(shown, np.unique(labels[counted]), 1)
        if things.areas is not None:
            area = things.areas.numpy()
        elif things.boxes is not None:
            boxes = things.boxes.double().numpy()
            area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        else:
            continue
        of.append(labels[counted])
        sides.append(np.sqrt(area[counted]))
        grown = preprocess.resized(scene.size) if preprocess else scene.size
        resized.append(sides[-1] * np.sqrt(grown[0] * grown[1] / (scene.size[0] * scene.size[1])))
    label, side = _joined(of).astype(np.int64), _joined(sides)
    quantiles = [
        np.quantile(side[label == k], (0.1, 0.5, 0.9)) if (label == k).any() else np.zeros(3) for k in range(len(names))
    ]
    return Stats(
        pictures=len(dataset),
        empty=per_picture[0],
        picture_sizes=dict(sizes.most_common()),
        per_picture=dict(sorted(per_picture.items())),
        classes=tuple(
            ClassStats(name, int(instances[k]), int(ignored[k]), int(shown[k]), tuple(quantiles[k].round(2).tolist()))
            for k, name in enumerate(names.names)
        ),
        sides=side,
        resized_sides=_joined(resized),
        captions=captions,
        words=words,
        title=dataset.title,
        pixels=_shares_of_pixels(schema.pixels, pixels, seen, total),
        joints={n: int(c) for n, c in zip(schema.skeleton.names if schema.skeleton else (), joints)},
    )


def count_classes(segmentation: np.ndarray) -> np.ndarray:
    """How many pixels each class has, int64 [256] with the void ones, in a map [H, W] or planes [K, H, W]."""
    if segmentation.ndim == 2:
        return np.bincount(segmentation.ravel(), minlength=256)
    found = np.zeros(256, np.int64)
    found[: len(segmentation)] = (segmentation == 1).sum((1, 2))
    found[VOID] = (segmentation == VOID).all(0).sum()
    return found


def _shares_of_pixels(
    classes: Categories | None, pixels: np.ndarray, seen: np.ndarray, total: int
) -> dict[str, tuple[float, int]]:
    if classes is None or not pixels.any():
        return {}
    share = pixels / total
    rows = {name: (float(share[k]), int(seen[k])) for k, name in enumerate(classes)}
    return rows | ({"void": (float(share[VOID]), int(seen[VOID]))} if seen[VOID] else {})


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)
