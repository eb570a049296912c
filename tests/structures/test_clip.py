"""Frames nearest to the middles of equal parts, in memory and from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videre.errors import ShapeError
from videre.images.clips import ClipFile, write_clip
from videre.structures import Clip


def clip(count: int = 10, rate: float = 5.0) -> Clip:
    """Frame n is of brightness 20 n."""
    frames = np.ones((count, 16, 24, 3), np.uint8) * (20 * np.arange(count, dtype=np.uint8))[:, None, None, None]
    return Clip(frames, np.arange(count) / rate, count / rate)


@pytest.mark.parametrize(
    ("count", "taken"),
    ((1, [5]), (2, [2, 8]), (4, [1, 4, 6, 9]), (10, list(range(10)))),  # .25, .75, 1.25, 1.75 s: 1.25, 3.75, 6.25, 8.75
)
def test_frames_nearest_to_the_middles(count: int, taken: list[int]) -> None:
    found = clip().sample(count)
    assert found.duration == 2.0
    if count != 2 and count != 10:  # .5 and 1.5 s lie between two frames
        assert (found.frames[:, 0, 0, 0] // 20).tolist() == taken and found.seconds.tolist() == [t / 5 for t in taken]
    assert np.abs(found.seconds - (np.arange(count) + 0.5) * 2 / count).max() <= 0.1 + 1e-9


def test_more_frames_than_there_are_repeat() -> None:
    found = clip(2, 1.0).sample(4)
    assert found.seconds.tolist() == sorted(found.seconds.tolist()) and set(found.seconds) == {0.0, 1.0}


def test_a_file_gives_what_the_memory_gives(tmp_path: Path) -> None:
    whole = clip()
    write_clip(tmp_path / "c.avi", whole.frames, 5.0)
    file = ClipFile(tmp_path / "c.avi")
    assert file.size == whole.size and file.duration == pytest.approx(2.0)
    for count in (1, 3, 4):
        one, two = whole.sample(count), file.sample(count)
        assert one.seconds == pytest.approx(two.seconds, abs=1e-3)
        assert np.abs(one.frames.astype(int) - two.frames).max() <= 6  # compressed


def test_times_and_frames_must_match() -> None:
    with pytest.raises(ShapeError, match="as many seconds"):
        Clip(np.zeros((3, 4, 4, 3), np.uint8), np.zeros(2), 1.0)
