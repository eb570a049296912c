"""Clips as streams of pictures with their seconds: one picture in memory at a time, however long the clip."""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from videre.errors import DataError
from videre.files import write_atomic
from videre.images.reading import as_picture, read_picture
from videre.structures.clip import AnyClip, Clip, middles

CLIP_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".gif")
"""What counts as a clip by its name; a .gif is a picture too."""

_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "mp4v", ".webm": "VP80"}


@dataclasses.dataclass(frozen=True)
class ClipInfo:
    """What the header of a clip says.

    Args:
        size: height, width. rate: pictures a second, on average. count: pictures; 0 where the header does not say.
    """

    size: tuple[int, int]
    rate: float
    count: int

    @property
    def seconds(self) -> float:
        """Duration; 0 where the header does not say."""
        return self.count / self.rate if self.rate > 0 else 0.0


def clip_info(path: str | Path) -> ClipInfo:
    """Read the header of a clip. Raises DataError when it is missing or no clip."""
    capture = _open(path)
    try:
        height, width = (int(capture.get(k)) for k in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        return ClipInfo((height, width), float(capture.get(cv2.CAP_PROP_FPS)), max(count, 0))
    finally:
        capture.release()


def read_clip(
    path: str | Path, start: float = 0.0, end: float | None = None, rate: float | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Give (seconds, picture uint8 [H, W, 3] RGB, upright) from `start` to before `end`.

    The seconds are the clip's own, so that clips of changing rate come out right.

    Args:
        rate: at most so many pictures a second; the others are skipped without being converted.

    Raises:
        DataError: the file is missing, no clip, or breaks off long before its header says.
    """
    capture = _open(path)
    try:
        expected, seen, due, last = capture.get(cv2.CAP_PROP_FRAME_COUNT), 0, start, -1.0
        while capture.grab():
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if seen and seconds <= last:  # no time stamps: count instead
                seconds = last + 1 / (capture.get(cv2.CAP_PROP_FPS) or 25.0)
            seen, last = seen + 1, seconds
            if end is not None and seconds >= end:
                return
            if seconds < due - 1e-6:
                continue
            if rate is not None:
                due = max(due + 1 / rate, seconds)
            done, picture = capture.retrieve()
            if not done:
                raise DataError(f"{path}: the picture at {seconds:.2f} s is damaged")
            yield seconds, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        if seen == 0 or seen < 0.9 * expected:  # counts of clips with changing rate are estimates
            raise DataError(f"{path}: the clip breaks off after {seen} of {expected:.0f} pictures")
    finally:
        capture.release()


class ClipFile(AnyClip):
    """A clip in a file, of which only the frames that are asked for are kept.

    Raises DataError when it is missing or no clip.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.info = Path(path), clip_info(path)
        self.size = self.info.size
        # where the header does not say how long it is, the last frame does
        self.duration = self.info.seconds or max((seconds for seconds, _ in read_clip(path)), default=0.0)

    def sample(self, count: int) -> Clip:
        wanted = middles(self.duration, count)
        kept: list[tuple[float, np.ndarray] | None] = [None] * count
        for seconds, frame in read_clip(self.path):
            for k, moment in enumerate(wanted):
                best = kept[k]
                if best is None or abs(seconds - moment) < abs(best[0] - moment):
                    kept[k] = seconds, frame
        found = [pair for pair in kept if pair is not None]
        return Clip(np.stack([frame for _, frame in found]), np.array([s for s, _ in found]), self.duration)


def read_item(path: str | Path) -> np.ndarray | ClipFile:
    """A picture's pixels, or a clip, by what the name ends in; a .gif is a picture. Raises DataError when it is neither."""
    return ClipFile(path) if is_clip(path) else read_picture(path)


def is_clip(path: str | Path) -> bool:
    """Whether a file is a clip by its name."""
    return Path(path).suffix.lower() in {*CLIP_SUFFIXES} - {".gif"}


def write_clip(
    path: str | Path, pictures: Iterable[np.ndarray | tuple[float, np.ndarray]], rate: float | None = None
) -> int:
    """Write pictures, or (seconds, picture) as `read_clip` gives them, one by one; returns how many.

    Args:
        path: .mp4, .mov, .mkv, .avi, .webm or .gif. pictures: all of one size; 16 bit is brought to 8.
        rate: pictures a second; by the first two time stamps, else 25, when absent.

    Raises:
        DataError: no pictures, sizes that change, or a format that cannot be written.
    """
    path = Path(path)
    stream = iter(pictures)
    first = list(itertools.islice(stream, 2))
    if not first:
        raise DataError(f"{path}: a clip needs at least one picture")
    if rate is None and len(first) == 2 and isinstance(first[0], tuple) and isinstance(first[1], tuple):
        rate = 1 / max(first[1][0] - first[0][0], 1e-3)
    rate = rate or 25.0
    frames = _frames(path, itertools.chain(first, stream))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".gif":
        return _write_gif(path, frames, rate)
    if path.suffix.lower() not in _CODECS:
        raise DataError(f"{path}: clips are written as {', '.join(_CODECS)} or .gif")
    head = next(frames)
    code = cv2.VideoWriter.fourcc(*_CODECS[path.suffix.lower()])
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    writer = cv2.VideoWriter(str(partial), code, rate, (head.shape[1], head.shape[0]))
    if not writer.isOpened():
        raise DataError(f"{path}: the clip cannot be written (folder, or codec {_CODECS[path.suffix.lower()]})")
    count = 0
    try:
        for frame in itertools.chain([head], frames):
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            count += 1
        writer.release()
        partial.replace(path)
    finally:
        writer.release()
        partial.unlink(missing_ok=True)
    return count


def _open(path: str | Path) -> cv2.VideoCapture:
    if not Path(path).is_file():
        raise DataError(f"{path}: there is no such file")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise DataError(f"{path}: not a clip that can be read ({', '.join(CLIP_SUFFIXES)})")
    return capture


def _frames(path: Path, pictures: Iterable[np.ndarray | tuple[float, np.ndarray]]) -> Iterator[np.ndarray]:
    size = None
    for number, item in enumerate(pictures):
        picture = as_picture(item[1] if isinstance(item, tuple) else item)
        size = size or picture.shape[:2]
        if picture.shape[:2] != size or picture.shape[2] not in (1, 3):
            raise DataError(
                f"{path}: picture {number} has shape {picture.shape}; all must be {size} with 1 or 3 channels"
            )
        if picture.dtype == np.uint16:
            picture = ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)
        yield np.repeat(picture, 3, 2) if picture.shape[2] == 1 else picture


def _write_gif(path: Path, frames: Iterator[np.ndarray], rate: float) -> int:
    written = itertools.count(1)
    counted = (Image.fromarray(frame) for frame in frames if next(written))
    head = next(counted)
    memory = io.BytesIO()
    head.save(memory, "gif", save_all=True, append_images=counted, duration=max(20, round(1000 / rate)), loop=0)
    write_atomic(path, memory.getvalue())
    return next(written) - 1
