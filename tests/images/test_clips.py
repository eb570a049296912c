"""Clips: pictures come with the clip's own seconds, one at a time, and go back."""

import weakref

import numpy as np
import pytest
from PIL import Image

from videre.errors import DataError
from videre.images.clips import clip_info, read_clip, write_clip


def ramp(count: int, size=(48, 64)):
    for n in range(count):
        picture = np.zeros((*size, 3), np.uint8)
        picture[:, :, 0], picture[:, :, 2] = n * 20, 255 - n * 20
        yield picture


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "mov"])
def test_written_clips_come_back_in_order_and_colour(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    assert write_clip(path, ramp(10), rate=12.5) == 10
    info = clip_info(path)
    assert info.size == (48, 64) and info.rate == pytest.approx(12.5) and info.seconds == pytest.approx(0.8)
    frames = list(read_clip(path))
    assert [s for s, _ in frames] == pytest.approx([n * 0.08 for n in range(10)])
    for n, (_, picture) in enumerate(frames):
        assert picture.shape == (48, 64, 3) and picture.dtype == np.uint8
        assert np.abs(picture.mean((0, 1)) - [n * 20, 0, 255 - n * 20]).max() < 8


def test_parts_and_rates(tmp_path):
    path = tmp_path / "a.avi"
    write_clip(path, ramp(10), rate=10)
    seconds = lambda **k: [round(s, 3) for s, _ in read_clip(path, **k)]
    assert seconds(start=0.35, end=0.8) == [0.4, 0.5, 0.6, 0.7]
    assert seconds(rate=5) == [0, 0.2, 0.4, 0.6, 0.8]
    assert len(seconds(rate=100)) == 10


def test_changing_rates_keep_their_seconds(tmp_path):
    frames = [Image.fromarray(p) for p in ramp(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[100, 200, 300, 100])
    assert [s for s, _ in read_clip(tmp_path / "a.gif")] == pytest.approx([0, 0.1, 0.3, 0.6])


def test_time_stamps_decide_the_rate_of_what_is_written(tmp_path):
    write_clip(tmp_path / "a.mp4", ramp(6), rate=20)
    write_clip(tmp_path / "b.mp4", read_clip(tmp_path / "a.mp4"))
    assert clip_info(tmp_path / "b.mp4").rate == pytest.approx(20)
    assert write_clip(tmp_path / "c.gif", ramp(5), rate=10) == 5
    with Image.open(tmp_path / "c.gif") as gif:
        assert gif.n_frames == 5 and gif.info["duration"] == 100


def test_grey_deep_and_odd_pictures_are_written(tmp_path):
    grey = (np.full((31, 45), n * 10000, np.uint16) for n in range(4))
    assert write_clip(tmp_path / "g.avi", grey) == 4
    values = [float(p.mean()) for _, p in read_clip(tmp_path / "g.avi")]
    assert values == pytest.approx([0, 39, 78, 117], abs=4)


def test_one_picture_is_held_at_a_time(tmp_path):
    made: list[weakref.ref] = []
    most = 0

    def stream():
        nonlocal most
        for _ in range(30):
            picture = np.zeros((48, 64, 3), np.uint8)
            made.append(weakref.ref(picture))
            most = max(most, sum(ref() is not None for ref in made))
            yield picture

    assert write_clip(tmp_path / "a.avi", stream()) == 30
    assert most <= 5  # the first two, from which the rate is taken, and those in passing
    reader = read_clip(tmp_path / "a.avi")
    next(reader)
    reader.close()  # gives the file back at once


def test_what_is_no_clip_is_said(tmp_path, capfd):
    with pytest.raises(DataError, match=r"none\.mp4: there is no such file"):
        list(read_clip(tmp_path / "none.mp4"))
    (tmp_path / "a.mp4").write_bytes(b"no clip at all")
    with pytest.raises(DataError, match=r"a\.mp4: not a clip that can be read"):
        clip_info(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="at least one picture"):
        write_clip(tmp_path / "b.mp4", [])
    with pytest.raises(DataError, match=r"clips are written as \.mp4"):
        write_clip(tmp_path / "b.xyz", ramp(2))
    with pytest.raises(DataError, match=r"picture 1 has shape \(5, 5, 3\); all must be \(48, 64\)"):
        write_clip(tmp_path / "b.avi", [*ramp(1), np.zeros((5, 5, 3), np.uint8)])


def test_a_clip_that_breaks_off_is_an_error(tmp_path, capfd):
    rng = np.random.default_rng(0)
    write_clip(tmp_path / "a.avi", (rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(40)))
    whole = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.avi: the clip breaks off after \d+ of 40 pictures"):
        list(read_clip(tmp_path / "a.avi"))
