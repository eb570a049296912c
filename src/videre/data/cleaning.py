"""What files say, made usable: boxes clipped or dropped, sizes that nobody states looked up; each repair is counted and named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from videre.data.dataset import Repair
from videre.errors import ConfigError, DataError
from videre.images.reading import most_pixels, picture_size
from videre.structures import Polygons

OnInvalid = Literal["drop", "error"]

TOLERANCE = 0.05
"""Pixels by which a box may leave its picture without being counted: the files round to tenths and hundredths."""


UNREADABLE = "picture unreadable"
"""Kind of the repair that leaves a picture out."""


def fill_sizes(
    sizes: np.ndarray, paths: Sequence[str], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[Repair]]:
    """Look up the sizes that the annotations do not state; without its size a picture's truth cannot be used.

    A size so large that no such picture is read is looked up, too, and counted.

    Args:
        sizes: int [P, 2] height, width; zeros where nothing is said. paths, names: of the pictures.

    Returns:
        sizes filled in, bool [P] which pictures to keep, and a repair for each of the others, which cannot be read, and
        for each size that was not believed.

    Raises:
        DataError: there are pictures and none can be read: the folder is likely another.
    """
    sizes, keep, repairs = sizes.copy(), np.ones(len(paths), bool), list[Repair]()
    too_large = np.flatnonzero(sizes.astype(float).prod(1) > most_pixels())
    looked_up = [
        Repair("size that no picture has", names[i], "-", f"{sizes[i, 1]}x{sizes[i, 0]}", "looked up")
        for i in too_large.tolist()
    ]
    sizes[too_large] = 0
    for i in np.flatnonzero((sizes == 0).any(1)).tolist():
        try:
            sizes[i] = picture_size(paths[i])
        except DataError as error:
            keep[i] = False
            repairs.append(Repair(UNREADABLE, names[i], "-", str(error), "dropped"))
    if repairs and not keep.any():
        raise DataError(
            f"{repairs[0].found}; nor can any other of the {len(paths)} pictures be read, and the annotations "
            "do not state their sizes"
        )
    return sizes, keep, repairs + [r for r in looked_up if r.picture not in {u.picture for u in repairs}]


def are_drawn(masks: int, things: int) -> bool:
    """Whether the truth is masks, where so many of the things have one; else it is boxes, with some outlines among them."""
    return masks > 0 and 2 * masks >= things


def complete_masks(
    masks: Sequence[Polygons | np.ndarray | None],
    sizes: np.ndarray,
    pictures: Sequence[str],
    annotations: Sequence[int | str],
    found: str,
    drawn: bool | None = None,
) -> tuple[list[Polygons | np.ndarray] | None, np.ndarray, list[Repair]]:
    """The masks of all things, of which some have none.

    Where more than half have none, the truth is boxes: the masks of the others are left out. Else those without are
    ignored, as nobody drew them: they are neither right nor wrong to find.

    Args:
        drawn: whether the truth is masks, where that is decided by more than these things.
        masks: outlines or run lengths; None for a thing that has a box alone. sizes: [N, 2] height, width of each thing's
            picture. pictures, annotations: picture name and annotation id of each. found: what is said of one without.

    Returns:
        the masks, None where the truth is boxes; bool [N] what to ignore; the repairs.
    """
    bare = np.array([mask is None for mask in masks], bool)
    rows = lambda which: zip(np.array(pictures, object)[which].tolist(), np.array(annotations, object)[which].tolist())
    if not (are_drawn(len(bare) - bare.sum(), len(bare)) if drawn is None else drawn):
        told = f"{bare.sum()} of {len(bare)} things have a box alone"
        return (
            None,
            np.zeros(len(bare), bool),
            [Repair("mask among boxes", p, a, told, "left out") for p, a in rows(~bare)],
        )
    empty = [np.array([int(height * width)]) for height, width in sizes]
    whole: list[Polygons | np.ndarray] = [empty[n] if mask is None else mask for n, mask in enumerate(masks)]
    return whole, bare, [Repair("instance without mask", p, a, found, "ignored") for p, a in rows(bare)]


def clean_boxes(
    boxes: np.ndarray,
    sizes: np.ndarray,
    pictures: Sequence[str],
    annotations: Sequence[int | str],
    on_invalid: OnInvalid,
    file: object,
) -> tuple[np.ndarray, np.ndarray, list[Repair]]:
    """Clip boxes to their pictures and find those that cannot be used.

    Args:
        boxes: float [N, 4] xyxy continuous pixels. sizes: [N, 2] height, width of each box's picture.
        pictures, annotations: picture name and annotation id of each, for the messages. file: named in the error.
        on_invalid: "drop" leaves degenerate boxes out, "error" refuses the file.

    Returns:
        clipped float32 boxes [N, 4], bool [N] which to keep, and the repairs made.

    Raises:
        DataError: on_invalid is "error" and there are degenerate boxes; the first ten are named.
    """
    if on_invalid not in ("drop", "error"):
        raise ConfigError(f"on_invalid must be 'drop' or 'error', found {on_invalid!r}")
    boxes, limits = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(sizes, np.float64).reshape(-1, 2)
    limits = limits[:, [1, 0, 1, 0]]
    clipped = np.clip(boxes, 0, limits)
    keep = np.asarray(np.isfinite(boxes).all(1) & (clipped[:, 2:] > clipped[:, :2]).all(1))
    moved = keep & (np.abs(np.where(np.isfinite(boxes), boxes, 0) - clipped) > TOLERANCE).any(1)
    repairs = []
    for n in np.flatnonzero(~keep | moved).tolist():
        found = f"({', '.join(f'{v:g}' for v in boxes[n])}) in {limits[n, 0]:g}x{limits[n, 1]:g}"
        turned = boxes[n, 2] < boxes[n, 0] or boxes[n, 3] < boxes[n, 1]
        flat = boxes[n, 2] == boxes[n, 0] or boxes[n, 3] == boxes[n, 1]
        kind = "turned-over box" if turned else "box without area" if flat else "box outside the picture"
        kind = kind if np.isfinite(boxes[n]).all() else "box that is not finite"
        repairs.append(Repair(kind, pictures[n], annotations[n], found, "clipped" if keep[n] else "dropped"))
    unusable = [r for r in repairs if r.action == "dropped"]
    if unusable and on_invalid == "error":
        listed = "\n  ".join(f"{r.picture}, annotation {r.annotation}: {r.kind} {r.found}" for r in unusable[:10])
        more = f"\n  and {len(unusable) - 10} more" if len(unusable) > 10 else ""
        raise DataError(
            f"{file}: {len(unusable)} boxes cannot be used; boxes need x1 < x2 and y1 < y2 inside the "
            f"picture. Fix the file, or read with on_invalid='drop'.\n  {listed}{more}"
        )
    return clipped.astype(np.float32), keep, repairs
