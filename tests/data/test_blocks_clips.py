"""Clips of the blocks world: what is said to happen is what the frames' truths show."""

from itertools import pairwise

import numpy as np
import pytest

from videre.data.blocks import BlocksClip, render_clip
from videre.data.blocks.clips import ENTERS, FALLS, HITS, LEAVES, ROLLS, SLIDES, TURNS
from videre.data.blocks.solids import SPHERE, distance, mesh

SIZE, FPS = (64, 80), 8.0


@pytest.fixture(scope="module")
def clips() -> list[BlocksClip]:
    return [render_clip(0, i, SIZE, fps=FPS) for i in range(16)]


def path(clip: BlocksClip, track: int) -> dict[int, np.ndarray]:
    """Where a solid's centre is in the world, by frame, in the frames that show it."""
    found = {}
    for t, truth in enumerate(clip.truths):
        for i in np.flatnonzero(truth.tracks == track):
            found[t] = truth.world.solids[i]["centre"]
    return found


def test_a_clip_is_as_long_as_asked_and_the_same_again(clips):
    assert clips[0].frames.shape == (32, *SIZE, 3) and clips[0].duration == 4.0
    again = render_clip(0, 0, SIZE, fps=FPS)
    assert (again.frames == clips[0].frames).all() and again.events == clips[0].events


def test_events_lie_inside_the_clip_and_come_in_order(clips):
    assert sum(len(c.events) for c in clips) > 20
    for clip in clips:
        starts = [e.start for e in clip.events]
        assert starts == sorted(starts)
        for event in clip.events:
            assert 0 <= event.start < event.end <= clip.duration
            assert event.caption.startswith("the ") and len(event.tracks) in (1, 2)


def test_only_who_is_in_an_event_moves_and_only_then(clips):
    for clip in clips:
        for track in range(len(clip.looks)):
            spans = [(e.start, e.end) for e in clip.events if track in e.tracks]
            places = path(clip, track)
            for a, b in pairwise(places):
                if not any(start < b / FPS and end > a / FPS for start, end in spans):
                    assert np.allclose(places[a], places[b], atol=1e-9)


def test_verbs_are_what_they_say(clips):
    seen = set()
    for clip in clips:
        for event in clip.events:
            seen.add(event.verb)
            track = event.tracks[0]
            places = path(clip, track)
            before = [p for t, p in places.items() if t / FPS <= event.start]
            after = [p for t, p in places.items() if t / FPS >= event.end]
            if event.verb in (ENTERS, FALLS):
                assert not before and (after or event.end > (len(clip.frames) - 1) / FPS)
            elif event.verb == LEAVES:
                assert before
            elif before and after:
                far = np.linalg.norm(after[0] - before[-1])
                assert (far < 1e-9) if event.verb == TURNS else (far > 0.45)
            if event.verb == ROLLS and clip.looks[track].shape == SPHERE:
                assert "rolls" in event.caption
    assert {SLIDES, HITS, TURNS, FALLS} <= seen


def test_left_and_right_of_ways_are_the_pictures(clips):
    checked = 0
    for clip in clips:
        for event in clip.events:
            columns = {
                t: x
                for t, truth in enumerate(clip.truths)
                for x in truth.keypoints[truth.tracks == event.tracks[0], 8, 0]
                if event.start <= t / FPS <= event.end
            }
            if len(columns) < 2:
                continue
            way = list(columns.values())[-1] - next(iter(columns.values()))
            if event.caption.endswith(("leaves to the left", "enters from the right", "slides to the left")):
                assert way < 0
                checked += 1
            elif event.caption.endswith(("leaves to the right", "enters from the left", "slides to the right")):
                assert way > 0
                checked += 1
    assert checked >= 3


def test_nothing_passes_through_anything(clips):
    for clip in clips[:8]:
        for truth in clip.truths[::3]:
            for i, solid in enumerate(truth.world.solids):
                points = mesh(solid, 16)[0] @ solid["rotation"].T + solid["centre"]
                assert points[:, 2].min() > -1e-4
                for j, other in enumerate(truth.world.solids):
                    if i != j:
                        assert min(distance(other, tuple(p)) for p in points[::2]) > -2e-3


def test_a_rolling_ball_does_not_slip(clips):
    checked = 0
    for clip in clips:
        for event in clip.events:
            track = event.tracks[0]
            if event.verb != ROLLS or clip.looks[track].shape != SPHERE:
                continue
            shown = [
                truth.world.solids[i]
                for t, truth in enumerate(clip.truths)
                if event.start <= t / FPS <= event.end
                for i in np.flatnonzero(truth.tracks == track)
            ]
            for a, b in pairwise(shown):
                way = b["centre"] - a["centre"]
                turn = b["rotation"] @ a["rotation"].T
                angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
                assert angle * a["extent"][0] == pytest.approx(np.linalg.norm(way), abs=1e-6)
                checked += 1
    assert checked > 3


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"fps": -1}])
def test_impossible_clips_are_refused(wrong):
    with pytest.raises(ValueError, match="positive"):
        render_clip(0, 0, SIZE, **wrong)
