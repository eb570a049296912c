"""Random worlds of the blocks world: which solids lie where, under which light, seen from where.

Solids rest on the floor, or a small one on a larger one's flat top; none cut into each other. A world is kept only if
each of its solids shows enough of itself (`MIN_SHOWN`, `MIN_AREA`), so occlusion is common and total occlusion absent.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from videre.data.blocks.materials import (
    COLOURS,
    GRAINED,
    MARBLED,
    MATERIALS,
    METAL,
    METAL_TEXTURES,
    PLAIN,
    TEXTURES,
    linear,
)
from videre.data.blocks.raytrace import CONCRETE, PAPER, PLANKS, TILES, Studio, View, trace
from videre.data.blocks.solids import CONE, CUBE, CYLINDER, SHAPES, SOLID, SPHERE, TORUS, reach, span
from videre.errors import ConfigError

SIZES = ("small", "large")
POSES = ("upright", "lying")  # cubes and spheres are always upright; a torus is upright on its rim, lying flat
UPRIGHT, LYING = range(2)
HALF = ((0.22, 0.31), (0.44, 0.60))  # metres: half the height of a small and a large solid; the gap keeps them apart

MIN_SHOWN = 0.35  # of a solid's own silhouette inside the picture
MIN_AREA = 0.0045  # of the picture
CLEARANCE = 0.04  # metres between two solids on the floor

_LIES = (0.0, 0.0, 0.35, 0.35, 0.75)  # how often a solid of each shape lies

_LINEAR = {name: linear(srgb) for name, srgb in COLOURS.items()}
_NAMES = tuple(COLOURS)
_TURNS = np.arange(24) * (np.pi / 24)
_AROUND = np.stack([np.cos(_TURNS), np.sin(_TURNS), np.zeros(24)], 1)
_UP = np.array([[0.0, 0.0, 1.0]])

# floor and its second tone, backdrop: sRGB, chosen to flatter the palette
_ROOMS = (
    (PAPER, (188, 208, 226), (174, 196, 218), (138, 174, 212)),
    (PAPER, (234, 204, 170), (226, 192, 156), (232, 172, 128)),
    (PAPER, (180, 214, 196), (166, 204, 184), (118, 186, 168)),
    (PAPER, (210, 190, 218), (198, 176, 208), (164, 136, 192)),
    (PAPER, (226, 222, 214), (216, 211, 202), (190, 190, 194)),
    (PAPER, (92, 108, 132), (80, 96, 120), (58, 74, 104)),
    (CONCRETE, (196, 192, 186), (158, 155, 150), (140, 150, 164)),
    (CONCRETE, (150, 158, 168), (118, 127, 139), (96, 112, 134)),
    (CONCRETE, (220, 206, 186), (192, 174, 152), (206, 180, 156)),
    (PLANKS, (204, 166, 124), (166, 126, 88), (186, 172, 154)),
    (PLANKS, (158, 120, 88), (116, 84, 60), (140, 126, 116)),
    (PLANKS, (214, 206, 194), (182, 172, 158), (164, 174, 184)),
    (TILES, (214, 216, 214), (186, 190, 190), (152, 172, 188)),
    (TILES, (196, 150, 128), (170, 124, 104), (190, 166, 148)),
    (TILES, (150, 182, 184), (126, 162, 166), (120, 150, 164)),
)


@dataclass(frozen=True)
class World:
    """Everything that a picture is made from. `colour`, `large`, `pose` are int64 [N]; `support` [N] is the index of
    the solid underneath, -1 for the floor."""

    solids: npt.NDArray[np.void]
    colour: npt.NDArray[np.int64]
    large: npt.NDArray[np.int64]
    pose: npt.NDArray[np.int64]
    support: npt.NDArray[np.int64]
    view: View
    studio: Studio

    def __len__(self) -> int:
        return len(self.solids)

    def take(self, index: npt.ArrayLike) -> "World":
        """Return the world with only the solids at `index`; where a support is not among them, it is the floor."""
        index = np.asarray(index, np.int64)
        place = np.full(len(self) + 1, -1)
        place[index] = np.arange(len(index))
        return World(
            self.solids[index],
            self.colour[index],
            self.large[index],
            self.pose[index],
            place[self.support[index]],
            self.view,
            self.studio,
        )


def random_world(rng: np.random.Generator, size: tuple[int, int], solids: tuple[int, int]) -> World:
    """Return a world of `solids` (fewest, most) solids for pictures of the shape of `size` (height, width).

    Raises ConfigError as `check_world` does, or if no view has room for so many solids.
    """
    check_world(size, solids)
    low, high = solids
    wanted = int(rng.integers(low, high + 1))
    for attempt in range(200):
        view = random_view(rng, size)
        # a crowded choice may not fit this view: after some tries settle for fewer
        world = _populate(rng, size, view, random_studio(rng, view), max(low, wanted - attempt // 4))
        if len(world) >= max(low, wanted - attempt // 4):
            return world
    raise ConfigError(f"no view of size {size} shows {low} solids; ask for fewer")


def check_world(size: tuple[int, int], solids: tuple[int, int]) -> None:
    """Raise ConfigError if `solids` asks for none or for more than 16, or `size` is smaller than 16 pixels."""
    low, high = solids
    if not 1 <= low <= high <= 16:
        raise ConfigError(f"solids {low}-{high}: give fewest and most with 1 <= fewest <= most <= 16")
    if min(size) < 16:
        raise ConfigError(f"size={size}: pictures of the blocks world are at least 16 pixels high and wide")


def random_view(rng: np.random.Generator, size: tuple[int, int]) -> View:
    """Return a camera that looks at the origin, 16 to 42 degrees from above and 4.3 to 6.4 metres away.

    Its field of view is 32 to 46 degrees wide.
    """
    height, width = size
    pitch, azimuth = math.radians(rng.uniform(16, 42)), rng.uniform(0, 2 * math.pi)
    away = rng.uniform(4.3, 6.4)
    focal = 0.5 * max(size) / math.tan(math.radians(rng.uniform(32, 46)) / 2)
    flat, rise = math.cos(pitch), math.sin(pitch)
    forward = (math.cos(azimuth) * flat, math.sin(azimuth) * flat, -rise)
    right = (math.sin(azimuth), -math.cos(azimuth), 0.0)
    down = (-math.cos(azimuth) * rise, -math.sin(azimuth) * rise, -flat)
    eye = (-away * forward[0], -away * forward[1], 0.35 - away * forward[2])
    return View(eye, right, down, forward, focal, width / 2, height / 2)


def seen_from(view: View, point: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Return where a world point falls in the picture (x, y) and its depth in metres."""
    to = point - np.array(view.eye)
    z = float(to @ np.array(view.forward))
    scale = view.focal / (z if abs(z) > 1e-9 else 1e-9)
    return float(to @ np.array(view.right)) * scale + view.cx, float(to @ np.array(view.down)) * scale + view.cy, z


def random_studio(rng: np.random.Generator, view: View) -> Studio:
    """Return a room and its light: the lamp stands to one side or behind, never in the camera's back."""
    kind, floor, second, wall = _ROOMS[rng.integers(len(_ROOMS))]
    ahead = math.atan2(view.forward[1], view.forward[0])
    side = rng.choice((-1.0, 1.0))
    turn, rise = ahead + side * math.radians(rng.uniform(45, 125)), math.radians(rng.uniform(36, 60))
    lamp = (math.cos(turn) * math.cos(rise), math.sin(turn) * math.cos(rise), math.sin(rise))
    other, low = ahead - side * math.radians(rng.uniform(60, 150)), math.radians(rng.uniform(20, 35))
    strip = (math.cos(other) * math.cos(low), math.sin(other) * math.cos(low), math.sin(low))
    warm = rng.uniform(0.0, 1.0)
    strength = rng.uniform(1.1, 1.35)
    colour = (strength * (1.0 + 0.06 * warm), strength, strength * (1.0 - 0.16 * warm))
    sky = (0.33 - 0.04 * warm, 0.37, 0.43 + 0.03 * warm)
    laid = rng.uniform(0, math.pi)
    floor_linear, wall_linear = linear(floor), linear(wall)
    return Studio(
        lamp=lamp,
        lamp_colour=colour,
        lamp_size=math.tan(math.radians(rng.uniform(2.5, 7.0))),
        strip=strip,
        sky=sky,
        floor=_triple(floor_linear),
        floor_second=_triple(linear(second)),
        floor_kind=int(kind),
        floor_axis=(math.cos(laid), math.sin(laid)),
        polish=float(rng.choice((0.0, 0.5, 1.0))),
        wall_low=_triple(0.62 * floor_linear + 0.38 * wall_linear),
        wall_high=_triple(0.62 * wall_linear),
        exposure=rng.uniform(0.95, 1.08),
    )


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


# ------------------------------------------------------------------------------------------------------- one population
def _populate(rng: np.random.Generator, size: tuple[int, int], view: View, studio: Studio, wanted: int) -> World:
    """Add solids until `wanted` of them stand and show, or the patience ends; those that hide are taken away again."""
    none = np.zeros(0, np.int64)
    world = World(np.zeros(0, SOLID), none, none, none, none, view, studio)
    spans = np.zeros((0, 24, 2))  # world intervals along `_AROUND`
    for _ in range(4):
        for _ in range(12 * (wanted - len(world))):
            if len(world) == wanted:
                break
            solid, colour, large, pose = _random_solid(rng)
            under = _flat_top(rng, world, solid, pose) if rng.random() < 0.25 else -1
            if under < 0 and not _drop(rng, size, view, solid):
                continue
            taken = intervals(solid[0])
            # a stacked solid is above its support, so only the others can be in its way
            if ((gaps(taken, spans) < CLEARANCE) & (np.arange(len(world)) != under)).any():
                continue
            if _repeats(world, solid, colour, large):
                continue
            world = World(
                np.append(world.solids, solid),
                np.append(world.colour, colour),
                np.append(world.large, large),
                np.append(world.pose, pose),
                np.append(world.support, under),
                view,
                studio,
            )
            spans = np.append(spans, taken[None], 0)
        keep = _shown(world, size)
        if keep.all():
            return world
        world, spans = world.take(np.flatnonzero(keep)), spans[keep]
    return world


def _random_solid(rng: np.random.Generator) -> tuple[npt.NDArray[np.void], int, int, int]:
    """Return a solid at the origin (array of one) and its colour, size and pose."""
    shape, large = int(rng.integers(len(SHAPES))), int(rng.random() < 0.5)
    material, texture = int(rng.integers(len(MATERIALS))), PLAIN
    if rng.random() < 0.45:
        choice = METAL_TEXTURES if material == METAL else range(len(TEXTURES))
        texture = int(rng.choice(choice[1:]))
    colour = int(rng.integers(len(_NAMES)))
    while material == METAL and _NAMES[colour] == "white":  # it would look like grey metal
        colour = int(rng.integers(len(_NAMES)))
    pose = LYING if rng.random() < _LIES[shape] else UPRIGHT
    half, wide, tube = rng.uniform(*HALF[large]), rng.uniform(0.55, 0.85), rng.uniform(0.24, 0.36)
    solid = np.zeros(1, SOLID)
    one = solid[0]
    one["shape"], one["material"], one["texture"] = shape, material, texture
    one["extent"] = {
        CUBE: (0.86 * half,) * 3,
        SPHERE: (half,) * 3,
        CYLINDER: (half * wide, half * wide, half * rng.uniform(0.8, 1.1)),
        CONE: (half * (wide + 0.15), half * (wide + 0.15), half * rng.uniform(1.0, 1.25)),
        TORUS: (half * 0.77, half * tube, half * tube),
    }[shape]
    one["reach"] = reach(shape, one["extent"])
    base = _LINEAR[_NAMES[colour]]
    one["colour"], one["second"] = base, _second(base, texture)
    one["cells"], one["phase"] = rng.integers(4, 7), rng.uniform(0, 50)
    one["rotation"] = turned(shape, pose, one["extent"], rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi))
    if shape == SPHERE:
        tilt = rng.uniform(0, math.pi)
        c, s = math.cos(tilt), math.sin(tilt)
        one["rotation"] = one["rotation"] @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return solid, colour, large, pose


def _second(base: npt.NDArray[np.float64], texture: int) -> npt.NDArray[np.float64]:
    """Return the companion of a colour: cream on dark ones, a deeper tone on light ones and in wood."""
    if texture == GRAINED:
        return 0.38 * base
    light = base.mean() > 0.45
    if texture == MARBLED:
        return 0.3 * base if light else 0.25 * base + 0.6
    return 0.16 * base + np.array([0.02, 0.02, 0.03]) if light else 0.12 * base + np.array([0.74, 0.71, 0.64])


def turned(shape: int, pose: int, extent: npt.ArrayLike, yaw: float, roll: float) -> npt.NDArray[np.float64]:
    """Return the rotation [3,3] local to world of a solid at rest: axis up, or lying with its axis towards `yaw`.

    `roll` turns it about its own axis first. A lying cone rests on its side, its apex on the floor.
    """
    c, s = math.cos(roll), math.sin(roll)
    about = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    if (pose == UPRIGHT) == (shape != TORUS):  # the torus lies with its axis up
        c, s = math.cos(yaw), math.sin(yaw)
        return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ (about if shape != CUBE else np.eye(3))
    lean = math.atan2(np.asarray(extent)[0], 2 * np.asarray(extent)[2]) if shape == CONE else 0.0
    axis = np.array([math.cos(lean) * math.cos(yaw), math.cos(lean) * math.sin(yaw), -math.sin(lean)])
    side = np.array([-math.sin(yaw), math.cos(yaw), 0.0])
    return np.stack([np.cross(side, axis), side, axis], 1) @ about


def rest(solid: np.void, x: float, y: float, floor: float = 0.0) -> None:
    """Set a solid down at (x, y) on a level `floor`, in place."""
    solid["centre"] = x, y, floor - span(solid, _UP)[0, 0]


def _drop(rng: np.random.Generator, size: tuple[int, int], view: View, solids: npt.NDArray[np.void]) -> bool:
    """Rest a solid on the floor under a random place of the picture; False if that is too near or too far."""
    u, v = (0.5 + 0.42 * _middling(rng)) * size[1], (0.54 + 0.36 * _middling(rng)) * size[0]
    a, b = (u - view.cx) / view.focal, (v - view.cy) / view.focal
    eye, right, down, forward = (np.array(p) for p in (view.eye, view.right, view.down, view.forward))
    ray = forward + a * right + b * down
    if ray[2] > -0.05:
        return False
    far = eye[2] / -ray[2]
    at = eye + far * ray
    if far < 3.0 or far > 8.5:
        return False
    rest(solids[0], at[0], at[1])
    return True


def _middling(rng: np.random.Generator) -> float:
    """Return a number in (-1, 1), more often near 0: pictures are composed towards their middle."""
    return 0.6 * rng.uniform(-1, 1) + 0.4 * rng.uniform(-1, 1)


def _flat_top(rng: np.random.Generator, world: World, solids: npt.NDArray[np.void], pose: int) -> int:
    """Rest a solid on a free flat top that holds all of its foot; return that solid's index, -1 if there is none."""
    low, high = span(solids[0], _AROUND[:1])[0]
    foot = 0.5 * (high - low) if solids[0]["shape"] != SPHERE else 0.0
    if pose == LYING and solids[0]["shape"] != TORUS:
        return -1  # it would roll off
    for i in rng.permutation(len(world)):
        below = world.solids[i]
        flat = below["shape"] == CUBE or (below["shape"] == CYLINDER and world.pose[i] == UPRIGHT)
        room = below["extent"][0] - foot * (1.2 if below["shape"] == CUBE else 1.05)
        if flat and room > 0.0 and world.support[i] < 0 and i not in world.support and world.large[i]:
            turn, out = rng.uniform(0, 2 * math.pi), 0.5 * room * rng.random()
            x, y = below["centre"][0] + out * math.cos(turn), below["centre"][1] + out * math.sin(turn)
            rest(solids[0], x, y, below["centre"][2] + below["extent"][2])
            return int(i)
    return -1


def intervals(solid: np.void) -> npt.NDArray[np.float64]:
    """Return what a solid covers along 24 directions of the floor: [24,2], world metres."""
    return span(solid, _AROUND) + (_AROUND @ solid["centre"])[:, None]


def gaps(one: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the free way in metres from one solid's intervals [24,2] to each of others' [N,24,2], seen from above.

    It is the widest gap over 24 directions: never more than the true distance, negative where the outlines overlap.
    """
    apart = np.maximum(one[:, 0] - others[..., 1], others[..., 0] - one[:, 1])
    return apart.max(-1)


def _repeats(world: World, solids: npt.NDArray[np.void], colour: int, large: int) -> bool:
    """Whether words could not tell a solid from one that is there: every solid of a world has a name of its own."""
    same = (world.colour == colour) & (world.large == large) & (world.solids["shape"] == solids[0]["shape"])
    return bool((same & (world.solids["material"] == solids[0]["material"])).any())


def _shown(world: World, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Whether each solid shows enough, judged on a small tracing; who stands on a hidden solid goes with it."""
    scale = 56 / min(size)
    small = (max(round(size[0] * scale), 16), max(round(size[1] * scale), 16))
    view = world.view._replace(focal=world.view.focal * scale, cx=small[1] / 2, cy=small[0] / 2)
    who, depth = np.empty(small, np.int16), np.empty(small, np.float32)
    whole = np.zeros(len(world), np.int64)
    trace(world.solids, view, who, depth, whole)
    seen = np.bincount(who[who >= 0], minlength=len(world))
    good = (seen >= MIN_SHOWN * whole) & (seen >= MIN_AREA * who.size)
    return good & np.where(world.support >= 0, good[world.support], True)
