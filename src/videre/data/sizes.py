"""What to do where a picture is not of the size that its truth says."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from videre.images.reading import exif_orientation

Size = tuple[int, int]


def map_fault(what: str, found: Size, picture: str, size: Size) -> str:
    """One line on a map that has not its picture's size, with the cure: "a.png: the class map is 4x3 …".

    Args:
        found, size: height, width of the map and of the upright picture.
    """
    says = f"{what} {found[1]}x{found[0]} (width x height), the picture {picture} is {size[1]}x{size[0]}"
    return f"{says}{_cure(found, picture, size, True, 'map')}"


def picture_fault(picture: str, size: Size, stated: Size, boxes: Tensor | None) -> str:
    """The same of a picture that has not the size that its annotation states.

    Args:
        boxes: of its truth, which tell whether it was drawn on the pixels as they are stored.
    """
    says = (
        f"{picture}: the picture is {size[1]}x{size[0]} (width x height), its annotation says {stated[1]}x{stated[0]}"
    )
    outside = boxes is not None and bool(((boxes[:, 2] > size[1]) | (boxes[:, 3] > size[0])).any())
    return f"{says}{_cure(stated, picture, size, outside, 'labels')}"


def _cure(found: Size, picture: str, size: Size, stored: bool, what: str) -> str:
    """stored: whether the labels were surely drawn on the pixels as they are stored, where those are turned."""
    if found != size[::-1]:
        return "; it is another picture, or was resized: resize it back, or the labels with it"
    tag = exif_orientation(picture) if Path(picture).is_file() else 1
    if tag < 5:
        return "; width and height have changed places: correct them, or turn the picture"
    turn = f"turn the {what}, or turn the picture's pixels and drop the tag"
    if stored:
        return f", which is how its pixels are stored (EXIF orientation {tag}), and the {what} drawn: {turn}"
    return (
        f", which is how its pixels are stored (EXIF orientation {tag}): if the {what} were drawn on the picture as it is "
        f"seen, correct width and height in the file; if on the pixels as stored, {turn}"
    )
