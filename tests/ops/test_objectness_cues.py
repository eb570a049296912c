"""Cues of objectness, on pictures in which it is clear what they should say."""

import numpy as np
import pytest

from videre.ops.objectness_cues import CUES, objectness_cues


def disc(noise: int = 8) -> np.ndarray:
    """A red disc of radius 30 about (100, 70) on a grey ground."""
    rng = np.random.default_rng(0)
    picture = rng.integers(120, 120 + noise, (140, 200, 3), dtype=np.uint8)
    y, x = np.mgrid[:140, :200]
    picture[(x + 0.5 - 100) ** 2 + (y + 0.5 - 70) ** 2 <= 900] = (230, 40, 40)
    return picture


def test_the_window_around_a_thing_is_best_by_every_cue():
    around, beside, part = [70.0, 40, 130, 100], [10.0, 10, 70, 70], [85.0, 55, 115, 85]
    cues = dict(zip(CUES, objectness_cues(disc(), np.array([around, beside, part])).T, strict=True))
    for name in ("MS", "CC", "ED"):
        assert cues[name][0] > cues[name][1], name
    assert cues["CC"][0] > cues["CC"][2] and cues["ED"][0] > cues["ED"][2]  # inside the disc nothing changes
    # the disc lies within the first: at most its corners, 1 - pi / 4, belong to a region that goes on outside; all of the third does
    assert cues["SS"][0] > np.pi / 4 - 0.03 and cues["SS"][2] < 0.2
    assert (cues["CC"] <= 1).all() and (cues["SS"] <= 1).all() and (cues["SS"] >= 0).all()


def test_a_uniform_picture_says_nothing():
    cues = objectness_cues(np.full((40, 50, 3), 90, np.uint8), np.array([[5.0, 5, 20, 20], [10, 10, 40, 35]]))
    assert np.isfinite(cues).all() and (cues[:, 1:3] == 0).all()


def test_what_is_no_picture_or_no_boxes_is_refused():
    with pytest.raises(ValueError, match="picture is"):
        objectness_cues(np.zeros((4, 4), np.uint8), np.zeros((1, 4)))
    with pytest.raises(ValueError, match="boxes are"):
        objectness_cues(disc(), np.array([[0.0, 0, np.nan, 4]]))
    assert objectness_cues(disc(), np.zeros((0, 4))).shape == (0, 4)
