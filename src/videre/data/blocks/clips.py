"""Short clips of the blocks world: solids slide, roll, turn, fall, enter, leave and hit each other, one by one.

The camera stands still. Each event moves one solid (a hit moves two) along a straight way that is free of the others,
starting and ending at rest; a pause separates events. Whatever moves is followed by shadows and mirrors, of course.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from videre.data.blocks.raytrace import photograph
from videre.data.blocks.solids import CUBE, CYLINDER, SPHERE
from videre.data.blocks.truth import Truth, looks_of, observe, relations_of
from videre.data.blocks.words import BEHIND, FRONT, LEFT, PREDICATES, RIGHT, Looks, names
from videre.data.blocks.world import CLEARANCE, LYING, World, gaps, intervals, random_world, seen_from
from videre.errors import ConfigError

VERBS = ("slides", "rolls", "turns", "falls", "enters", "leaves", "hits")
SLIDES, ROLLS, TURNS, FALLS, ENTERS, LEAVES, HITS = range(len(VERBS))
GRAVITY = 9.81
_OFTEN = (0.2, 0.25, 0.06, 0.07, 0.1, 0.1, 0.22)  # how often each verb is tried; most ways are blocked
PAUSE = 0.25  # seconds between events
_AWAY = 60.0  # metres

Centres = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Happening:
    """One event: seconds from `start` to `end`, its verb of `VERBS`, a sentence, and the solids in it (tracks)."""

    start: float
    end: float
    verb: int
    caption: str
    tracks: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class BlocksClip:
    """A clip: frames uint8 [T,H,W,3] RGB with the truth about each, taken at t / fps seconds, and what happens."""

    frames: npt.NDArray[np.uint8]
    truths: tuple[Truth, ...]
    events: tuple[Happening, ...]
    fps: float
    looks: tuple[Looks, ...]

    @property
    def duration(self) -> float:
        return len(self.frames) / self.fps


@dataclass(frozen=True)
class _Move:
    """One solid's straight way between two moments. `pace` maps the part of the time to the part of the way, 0 to 1."""

    track: int
    start: float
    end: float
    way: tuple[float, float, float]  # metres
    rolls: bool
    turn: float  # radians about the vertical
    pace: Callable[[float], float]


def render_clip(
    seed: int,
    index: int,
    size: tuple[int, int] = (128, 128),
    solids: tuple[int, int] = (3, 6),
    seconds: float = 4.0,
    fps: float = 8.0,
    min_pixels: int = 12,
) -> BlocksClip:
    """Render clip `index` of the endless set `seed`; as for pictures, the same arguments give the same pixels.

    Raises ConfigError for `seconds` or `fps` that are not positive, and as `render` does.
    """
    if seconds <= 0 or fps <= 0:
        raise ConfigError(f"seconds={seconds}, fps={fps}: both must be positive")
    rng = np.random.Generator(np.random.PCG64([seed, index, 1]))
    world = random_world(rng, size, solids)
    first, moves, events = _plan(rng, world, size, seconds)
    frames, truths = [], []
    for t in range(max(round(seconds * fps), 1)):
        now = _at(first, moves, t / fps)
        picture, who, depth, whole = photograph(now.solids, now.view, now.studio, size, rng)
        frames.append(picture)
        truths.append(observe(now, who, depth, whole, rng, min_pixels))
    return BlocksClip(np.stack(frames), tuple(truths), tuple(events), fps, looks_of(world))


def _at(world: World, moves: list[_Move], time: float) -> World:
    """Return the world at a time: each move adds the part of its way that is done."""
    solids = world.solids.copy()
    for move in moves:
        done = min(max((time - move.start) / (move.end - move.start), 0.0), 1.0)
        if done > 0.0:
            _advance(solids[move.track], move, move.pace(done))
    return replace(world, solids=solids)


def _advance(solid: np.void, move: _Move, part: float) -> None:
    step = part * np.array(move.way)
    solid["centre"] += step
    angle, axis = part * move.turn, np.array([0.0, 0.0, 1.0])
    if move.rolls:  # without slipping: about the level axis across the way
        far = math.hypot(step[0], step[1])
        angle, axis = far / solid["extent"][0], np.array([-step[1], step[0], 0.0]) / max(far, 1e-9)
    if angle:
        solid["rotation"] = _about(axis, angle) @ solid["rotation"]


def _about(axis: Centres, angle: float) -> Centres:
    """Return the right-handed rotation [3,3] about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


# ---------------------------------------------------------------------------------------------------------------- plans
def _plan(
    rng: np.random.Generator, world: World, size: tuple[int, int], seconds: float
) -> tuple[World, list[_Move], list[Happening]]:
    """Return the world at time 0, the moves and the events that fill `seconds`.

    Events are planned one by one, each in the world that the ones before leave behind. Who enters or falls is away from
    the start on: its way is taken off the first world.
    """
    first, short = world, names(looks_of(world))
    moves: list[_Move] = []
    events: list[Happening] = []
    moved: set[int] = set()
    clock = rng.uniform(0.1, 0.4)
    for _ in range(60):
        free = [i for i in range(len(world)) if i not in moved and i not in world.support and world.support[i] < 0]
        if not free:
            break
        track, verb = int(rng.choice(free)), int(rng.choice(len(VERBS), p=_OFTEN))
        planned = _try(rng, _at(first, moves, math.inf), size, track, verb, clock, short)
        if planned is None or planned[1][-1].end > seconds:
            continue
        new, happened = planned
        if verb in (ENTERS, FALLS):
            solids = first.solids.copy()
            for move in new:
                solids[track]["centre"] -= move.way
            first = replace(first, solids=solids)
        moves += new
        events += happened
        moved.update(i for event in happened for i in event.tracks)
        clock = happened[-1].end + PAUSE
    return first, moves, events


def _try(
    rng: np.random.Generator, world: World, size: tuple[int, int], track: int, verb: int, start: float, short: list[str]
) -> tuple[list[_Move], list[Happening]] | None:
    """Return one event's moves and happenings, None if this solid cannot do that here."""
    solid, it = world.solids[track], f"the {short[track]}"
    if verb == TURNS:
        if solid["shape"] != CUBE and world.pose[track] != LYING:
            return None  # nobody would see it
        turn = float(rng.choice((-1, 1)) * rng.uniform(0.6, 2.0))
        move = _Move(track, start, start + abs(turn) / 1.6, (0.0, 0.0, 0.0), False, turn, _eased)
        if not _clear(world, track, move):
            return None
        return [move], [Happening(start, move.end, verb, f"{it} turns {'left' if turn > 0 else 'right'}", (track,))]
    if verb == FALLS:
        height = _above(world, track)
        if height is None:
            return None
        # until then it waits far up, so that no shadow gives it away
        wait = _Move(track, start - 1e-6, start, (0.0, 0.0, -_AWAY), False, 0.0, _eased)
        move = _Move(track, start, start + math.sqrt(2 * height / GRAVITY), (0.0, 0.0, -height), False, 0.0, _falling)
        return [wait, move], [Happening(start, move.end, verb, f"{it} falls to the floor", (track,))]
    rolls = solid["shape"] == SPHERE or (solid["shape"] == CYLINDER and world.pose[track] == LYING)
    if (verb == ROLLS and not rolls) or (verb == SLIDES and solid["shape"] == SPHERE):
        return None
    rolls = rolls and verb != SLIDES
    if verb == HITS:
        return _hit_another(rng, world, size, track, rolls, start, short)
    way = _way(rng, world, size, track, verb, rolls)
    if way is None:
        return None
    move = _Move(track, start, start + max(math.hypot(way[0], way[1]) / 1.5, 0.5), way, rolls, 0.0, _eased)
    if not _clear(world, track, move, backwards=verb == ENTERS):
        return None
    side = "right" if np.dot(way, world.view.right) > 0 else "left"
    if verb == ENTERS:
        where = f"enters from the {'left' if side == 'right' else 'right'}"
    elif verb == LEAVES:
        where = f"leaves to the {side}"
    else:
        where = f"{VERBS[verb]} {_whereto(world, move, side, short)}"
    return [move], [Happening(start, move.end, verb, f"{it} {where}", (track,))]


def _way(
    rng: np.random.Generator, world: World, size: tuple[int, int], track: int, verb: int, rolls: bool
) -> tuple[float, float, float] | None:
    """Return a level way of some length; out of sight for who leaves or, read backwards, enters."""
    solid, right = world.solids[track], np.array(world.view.right)
    across = None
    if rolls and solid["shape"] == CYLINDER:  # it can only roll across its axis
        axis = solid["rotation"][:, 2]
        across = np.array([-axis[1], axis[0], 0.0])
    if verb in (ENTERS, LEAVES):
        way = right if across is None else across
        way = way * rng.choice((-1, 1))
        if abs(np.dot(way, right)) < 0.5:
            return None
        for far in np.arange(0.5, 9.0, 0.25):
            u, v, z = seen_from(
                world.view, solid["centre"] - way * far if verb == ENTERS else solid["centre"] + way * far
            )
            margin = world.view.focal * solid["reach"] / max(z, 0.5)
            if z < 0.8:
                return None
            if u < -margin or u > size[1] + margin:
                return float(way[0] * far), float(way[1] * far), 0.0
        return None
    far, angle = rng.uniform(0.7, 2.4), rng.uniform(0, 2 * math.pi)
    way = np.array([math.cos(angle), math.sin(angle), 0.0]) if across is None else across * rng.choice((-1, 1))
    u, v, z = seen_from(world.view, solid["centre"] + way * far)
    if z < 2.5 or not (0.1 * size[1] < u < 0.9 * size[1] and 0.15 * size[0] < v < 0.9 * size[0]):
        return None
    return float(way[0] * far), float(way[1] * far), 0.0


def _above(world: World, track: int) -> float | None:
    """Return how high a solid must hang to be above the picture, None if that is over 4 metres."""
    solid = world.solids[track]
    for height in np.arange(0.5, 4.0, 0.1):
        _, v, z = seen_from(world.view, solid["centre"] + [0, 0, height])
        if z > 0.8 and v < -world.view.focal * solid["reach"] / z:
            return float(height)
    return None


def _hit_another(
    rng: np.random.Generator,
    world: World,
    size: tuple[int, int],
    track: int,
    rolls: bool,
    start: float,
    short: list[str],
) -> tuple[list[_Move], list[Happening]] | None:
    """Let a solid run straight at another, stop there, and send that one on its way."""
    free = [i for i in range(len(world)) if i != track and i not in world.support and world.support[i] < 0]
    if not free:
        return None
    other = int(rng.choice(free))
    struck = world.solids[other]
    ahead = (struck["centre"] - world.solids[track]["centre"]) * [1, 1, 0]
    far = float(np.linalg.norm(ahead))
    ahead /= max(far, 1e-9)
    if rolls and world.solids[track]["shape"] == CYLINDER:
        rolls = abs(np.dot(world.solids[track]["rotation"][:, 2], ahead)) < 0.05
    target = intervals(struck)
    step = 0.0
    while step < far:  # the first touch, to 5 mm
        solid = world.solids[track].copy()
        solid["centre"] += ahead * step
        if gaps(intervals(solid), target[None])[0] < 0.006:
            break
        step += 0.005
    if not 0.5 < step < far:
        return None
    on = rng.uniform(0.5, 0.9)
    touch = start + step / 1.8 * 1.25
    other_rolls = struck["shape"] == SPHERE
    moves = [
        _Move(track, start, touch, tuple(ahead * step), rolls, 0.0, _starting),
        _Move(other, touch, touch + on / 0.9, tuple(ahead * on), other_rolls, 0.0, _stopping),
    ]
    u, v, z = seen_from(world.view, struck["centre"] + ahead * on)
    inside = 0.05 * size[1] < u < 0.95 * size[1] and 0.1 * size[0] < v < 0.95 * size[0] and z > 2.0
    if not (inside and _clear(world, track, moves[0], but=other) and _clear(world, other, moves[1], but=track)):
        return None
    caption = f"the {short[track]} {'rolls' if rolls else 'slides'} into the {short[other]}"
    pushed = f"the {short[other]}, hit by the {short[track]}, {'rolls' if other_rolls else 'slides'} away and stops"
    second = ROLLS if other_rolls else SLIDES
    return moves, [
        Happening(start, touch, HITS, caption, (track, other)),
        Happening(touch, moves[1].end, second, pushed, (other, track)),
    ]


def _clear(world: World, track: int, move: _Move, but: int = -1, backwards: bool = False) -> bool:
    """Whether a solid's whole way is free of all others, `but` one; read backwards for who enters."""
    others = [intervals(s) for i, s in enumerate(world.solids) if i not in (track, but)]
    if not others:
        return True
    for part in np.linspace(0, 1, 25):
        solid = world.solids[track].copy()
        _advance(solid, move, -part if backwards else part)
        if (gaps(intervals(solid), np.stack(others)) < CLEARANCE).any():
            return False
    return True


def _whereto(world: World, move: _Move, side: str, short: list[str]) -> str:
    """Say where a way ends: a relation to the nearest solid that did not hold before, else the direction."""
    after = _at(world, [move], math.inf)
    before = {tuple(row) for row in relations_of(world)}
    new = [r for r in relations_of(after) if r[0] == move.track and tuple(r) not in before]
    new = [r for r in new if r[1] in (LEFT, RIGHT, FRONT, BEHIND)]
    here = after.solids["centre"]
    near = sorted(new, key=lambda r: float(np.linalg.norm(here[r[2]] - here[move.track])))
    if near and np.linalg.norm(here[near[0][2]] - here[move.track]) < 2.5:
        _, predicate, other = near[0]
        relation = PREDICATES[predicate]
        return f"{'to the ' if predicate in (LEFT, RIGHT) else ''}{relation} the {short[other]}"
    sideways, away = np.dot(move.way, world.view.right), np.dot(move.way, world.view.forward)
    if abs(sideways) > abs(away):
        return f"to the {side}"
    return "away from the camera" if away > 0 else "towards the camera"


# ------------------------------------------------------------------------------------------ paces: part of time to way
def _eased(x: float) -> float:
    return x * x * (3 - 2 * x)


def _falling(x: float) -> float:
    return x * x


def _starting(x: float) -> float:
    """Gather speed for the first two fifths, then keep it until the end."""
    return x * x / 0.64 if x < 0.4 else 0.25 + (x - 0.4) * 1.25


def _stopping(x: float) -> float:
    return 1 - (1 - x) ** 2
