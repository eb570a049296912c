"""What people point at: pictures, folders, globs, clips, arrays, and lists of these, as one stream."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from videre.errors import DataError, VidereError
from videre.images import clips
from videre.images.clips import ClipFile, clip_info, read_clip
from videre.images.reading import picture_paths, read_picture
from videre.structures import AnyClip

Named = tuple[str, Any]
"""A picture's name, and the picture as it was given or what reads it."""
DRAWN = ".drawn.jpg"
"""How the names of pictures with predictions drawn on them end: results, never a source."""


def pictures_from(source: Any, results: Path | None = None, frames: int | None = None) -> Iterator[Named]:
    """Every picture of a source, in order; of a clip every frame, named by its number and second.

    Args:
        source: a path, folder, glob, clip, array or tensor of one picture or of several, Pillow image, and lists of all
            these. A .gif is a picture. Folders and globs leave out what `videre predict` has drawn.
        results: where results go: folders and globs leave it out, unless it holds them.
        frames: for nets that take clips: every clip is one item, of so many frames.

    Raises:
        DataError: when called, if something named does not exist; what cannot be read raises when it is its turn.
    """
    if isinstance(source, list | tuple):
        return _numbered([pictures_from(item, results, frames) for item in source])
    if isinstance(source, AnyClip):
        return iter([("clip", source)])
    if is_clip(source):
        clip_info(source)
        whole = [(str(source), functools.partial(ClipFile, source))] if frames is not None else []
        return iter(whole) if whole else _frames(Path(source))
    if frames is not None and isinstance(source, str | Path) and Path(source).is_dir():
        files = [path for path in sorted(Path(source).iterdir()) if is_clip(path)]
        return _numbered([pictures_from(path, results, frames) for path in files])
    if isinstance(source, str | Path):
        paths = _without_results(source, results)
        return ((str(path), functools.partial(read_picture, path)) for path in paths)
    if isinstance(source, Image.Image) or (hasattr(source, "shape") and len(source.shape) < 4):
        return iter([("picture 0", source)])
    if isinstance(source, Iterable):
        return _numbered(pictures_from(item, results, frames) for item in source)
    raise DataError(
        f"pictures come from a path, glob, array, tensor, Pillow image or a list of these; "
        f"found {type(source).__name__}"
    )


def is_clip(source: Any) -> bool:
    """Whether this is the path of a clip."""
    return isinstance(source, str | Path) and clips.is_clip(source)


def is_one_picture(source: Any) -> bool:
    """Whether a source is one picture, whatever is in it, and not a collection that happens to hold one."""
    if isinstance(source, str | Path):
        return Path(source).is_file() and not is_clip(source)
    if isinstance(source, AnyClip):
        return True
    return not isinstance(source, Iterable) or (hasattr(source, "shape") and len(source.shape) < 4)


def _without_results(source: str | Path, results: Path | None) -> list[Path]:
    """The picture files of a source. A file that is named is taken, whatever it is."""
    paths = picture_paths(source)
    if Path(source).is_file():
        return paths
    kept = [path for path in paths if not path.name.endswith(DRAWN)]
    if results is not None and not Path(source).resolve().is_relative_to(results.resolve()):
        kept = [path for path in kept if not path.resolve().is_relative_to(results.resolve())]
    if not kept:
        raise DataError(f"{source}: holds no pictures but results of a prediction; name another folder")
    return kept


def _numbered(streams: Iterable[Iterable[Named]]) -> Iterator[Named]:
    """Arrays have no names of their own: "picture 0" is the first of a list only."""
    for number, stream in enumerate(streams):
        for name, picture in stream:
            yield (f"picture {number}" if name == "picture 0" else name), picture


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
        yield f"{path.stem}-{number:06d}-{seconds:.2f}s", lambda frame=frame: frame


def _failing(error: VidereError) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        raise DataError(str(error)) from error

    return read
