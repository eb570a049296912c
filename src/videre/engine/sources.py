"""What people point at: pictures, folders, globs, clips, arrays, and lists of these, as one stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from videre.errors import DataError, VidereError
from videre.images.clips import CLIP_SUFFIXES, clip_info, read_clip
from videre.images.reading import picture_paths, pictures_in

Named = tuple[str, Callable[[], np.ndarray]]
"""A picture's name, and what reads it."""


def pictures_from(source: Any) -> Iterator[Named]:
    """Every picture of a source, in order; of a clip every frame, named by its number and second.

    Args:
        source: what `pictures_in` takes, clips, and lists of all these. A .gif is a picture.

    Raises:
        DataError: when called, if something named does not exist; what cannot be read raises when it is its turn.
    """
    if isinstance(source, list | tuple):
        return (named for streams in [[pictures_from(item) for item in source]] for named in _numbered(streams))
    if is_clip(source):
        clip_info(source)
        return _frames(Path(source))
    if isinstance(source, str | Path):
        picture_paths(source)  # that it is there, now
    return pictures_in(source)


def is_clip(source: Any) -> bool:
    """Whether this is the path of a clip."""
    return isinstance(source, str | Path) and Path(source).suffix.lower() in {*CLIP_SUFFIXES} - {".gif"}


def is_one_picture(source: Any) -> bool:
    """Whether a source is one picture, whatever is in it, and not a collection that happens to hold one."""
    if isinstance(source, str | Path):
        return Path(source).is_file() and not is_clip(source)
    return not isinstance(source, Iterable) or (hasattr(source, "shape") and len(source.shape) < 4)


def _numbered(streams: Iterable[Iterable[Named]]) -> Iterator[Named]:
    """Arrays have no names of their own: "picture 0" is the first of a list only."""
    for number, stream in enumerate(streams):
        for name, read in stream:
            yield (f"picture {number}" if name == "picture 0" else name), read


def _frames(path: Path) -> Iterator[Named]:
    frames = enumerate(read_clip(path))
    while True:
        try:
            number, (seconds, frame) = next(frames)
        except StopIteration:
            return
        except VidereError as error:  # the rest of the sources goes on
            yield str(path), _failing(error)
            return
        yield f"{path.stem}-{number:06d} ({seconds:.2f} s)", lambda frame=frame: frame  # type: ignore[misc]


def _failing(error: VidereError) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        raise DataError(str(error)) from error

    return read
