"""The renderer of the blocks world: one ray per pixel for the truths, shading in linear light, more rays along edges.

A picture is made in four serial passes, each a Numba kernel that releases the interpreter: `trace` (who is where, how
far), `shade` (one colour per pixel), `refine` (four more rays wherever neighbours differ) and `develop` (vignette,
sensor noise, sRGB). Light comes from one large lamp with soft shadows by cone-marching the solids' distances (Aaltonen
2018, "GPU-based clay simulation"), and from a studio sky with contact occlusion; glossy things mirror the scene once.
The studio is a plane, z = 0, inside a round wall of radius `WALL`, so that every ray ends at a finite depth.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from videre.data.blocks.materials import METAL, PLASTIC, RUBBER, albedo, flat_noise, mix, noise, smooth
from videre.data.blocks.solids import (
    CUBE,
    TORUS,
    along,
    distance,
    dot,
    hit,
    hypot,
    kernel,
    local_point,
    nearest,
    normal,
    to_world,
    unit,
)

Vector = tuple[float, float, float]

WALL = 14.0  # metres
CONCRETE, PLANKS, TILES, PAPER = range(4)
GROUND, BACKDROP = -1, -2  # what `trace` writes where no solid is

_LIGHT = np.linspace(0, 1, 8192)
_SRGB = np.where(_LIGHT <= 0.0031308, 12.92 * _LIGHT, 1.055 * _LIGHT ** (1 / 2.4) - 0.055)
_SRGB = (255 * _SRGB + 0.5).astype(np.uint8)  # by linear light; fine enough that no level is skipped
_FOUR = ((0.125, 0.625), (0.375, 0.125), (0.625, 0.875), (0.875, 0.375))  # a rotated grid in the pixel


class View(NamedTuple):
    """A pinhole camera in the world: place, axes (right, down, forward), focal length and centre in pixels."""

    eye: Vector
    right: Vector
    down: Vector
    forward: Vector
    focal: float
    cx: float
    cy: float


class Studio(NamedTuple):
    """Light and surroundings; colours are linear light."""

    lamp: Vector  # unit vector towards the lamp
    lamp_colour: Vector
    lamp_size: float  # tangent of its angular radius
    strip: Vector  # unit vector towards a second, weaker softbox that only reflections show
    sky: Vector  # light from above
    floor: Vector
    floor_second: Vector
    floor_kind: int
    floor_axis: tuple[float, float]  # unit vector along which planks and tiles lie
    polish: float  # 0..1: how much the floor mirrors
    wall_low: Vector
    wall_high: Vector
    exposure: float


@kernel
def ray_through(view, x, y):
    """Return the unit ray through a point of the picture (continuous pixels), and its length per metre of depth."""
    a, b = (x - view.cx) / view.focal, (y - view.cy) / view.focal
    length = math.sqrt(1.0 + a * a + b * b)
    ray = along(along(view.forward, a, view.right), b, view.down)
    return (ray[0] / length, ray[1] / length, ray[2] / length), length


@kernel
def room(origin, ray):
    """Return the distance in metres from inside the studio to its floor or wall, and which of them it is."""
    if ray[2] < -1e-9:
        t = -origin[2] / ray[2]
        x, y = origin[0] + t * ray[0], origin[1] + t * ray[1]
        if x * x + y * y <= WALL * WALL:
            return t, GROUND
    a = ray[0] * ray[0] + ray[1] * ray[1]
    b = origin[0] * ray[0] + origin[1] * ray[1]
    c = origin[0] * origin[0] + origin[1] * origin[1] - WALL * WALL
    return (-b + math.sqrt(max(b * b - a * c, 0.0))) / max(a, 1e-12), BACKDROP


# --------------------------------------------------------------------------------------------------------------- passes
@kernel
def trace(solids, view, who, depth, whole):
    """Fill who [H,W] int16 (index, GROUND or BACKDROP), depth [H,W] float32 metres along the optical axis, and
    whole [N] int64: the pixels that each solid would cover if it stood alone. One ray through each pixel's centre."""
    height, width = who.shape
    for i in range(height):
        for j in range(width):
            ray, length = ray_through(view, j + 0.5, i + 0.5)
            best, index = room(view.eye, ray)
            for k in range(len(solids)):
                t = hit(solids[k], view.eye, ray)
                if t < math.inf:
                    whole[k] += 1
                    if t < best:
                        best, index = t, k
            who[i, j] = index
            depth[i, j] = best / length


@kernel
def shade(solids, view, studio, who, depth, image):
    """Fill image [H,W,3] float32, linear light in [0, 1], from the hits that `trace` found."""
    height, width = who.shape
    for i in range(height):
        for j in range(width):
            ray, length = ray_through(view, j + 0.5, i + 0.5)
            colour = light(solids, studio, view.eye, ray, depth[i, j] * length, who[i, j])
            image[i, j, 0], image[i, j, 1], image[i, j, 2] = expose(colour, studio.exposure)


@kernel
def refine(solids, view, studio, who, rough, image):
    """Mix four more rays (a rotated grid) into each pixel of `image` that differs from a neighbour in `rough`.

    Along an outline alone, such a ray takes over the colour of the neighbour whose surface it meets; it is shaded anew
    only where texture, shadow or reflection changes within one surface.
    """
    height, width = who.shape
    for i in range(height):
        for j in range(width):
            outline, inside = _differences(who, rough, i, j)
            if not (outline or inside):
                continue
            total = (rough[i, j, 0] * 1.0, rough[i, j, 1] * 1.0, rough[i, j, 2] * 1.0)
            for dx, dy in _FOUR:
                ray, _ = ray_through(view, j + dx, i + dy)
                t, index = nearest(solids, view.eye, ray, -1)
                far, backing = room(view.eye, ray)
                if far < t:
                    t, index = far, backing
                a, b = (-1, -1) if inside else _same(who, i, j, index)
                if a >= 0:
                    colour = (rough[a, b, 0] * 1.0, rough[a, b, 1] * 1.0, rough[a, b, 2] * 1.0)
                else:
                    colour = expose(light(solids, studio, view.eye, ray, t, index), studio.exposure)
                total = along(total, 1.0, colour)
            image[i, j, 0], image[i, j, 1], image[i, j, 2] = total[0] / 5.0, total[1] / 5.0, total[2] / 5.0


@kernel
def _differences(who, image, i, j):
    """Return whether a pixel has a neighbour of another solid, and whether one of its own differs in colour."""
    height, width = who.shape
    outline = inside = False
    for a, b in ((i, j - 1), (i, j + 1), (i - 1, j), (i + 1, j)):
        if 0 <= a < height and 0 <= b < width:
            if who[a, b] != who[i, j]:
                outline = True
                continue
            here = image[i, j, 0] + image[i, j, 1] + image[i, j, 2]
            there = image[a, b, 0] + image[a, b, 1] + image[a, b, 2]
            inside |= abs(here - there) > 0.12 + 0.2 * max(here, there)
    return outline, inside


@kernel
def _same(who, i, j, index):
    """Return the pixel at or beside (i, j) that shows `index`, (-1, -1) if none does."""
    height, width = who.shape
    for a, b in ((i, j), (i, j - 1), (i, j + 1), (i - 1, j), (i + 1, j)):
        if 0 <= a < height and 0 <= b < width and who[a, b] == index:
            return a, b
    return -1, -1


@kernel
def develop(image, grain, vignette, noise_level, picture):
    """Turn linear light into an sRGB picture [H,W,3] uint8 with vignette and shot and read noise from `grain`."""
    height, width, _ = image.shape
    for i in range(height):
        y = (i + 0.5) / height - 0.5
        for j in range(width):
            x = (j + 0.5) / width - 0.5
            fall = 1.0 - vignette * (x * x + y * y) * 2.0
            for c in range(3):
                v = image[i, j, c] * fall
                v += grain[i, j, c] * noise_level * math.sqrt(0.0004 + 0.03 * v)
                picture[i, j, c] = _SRGB[int(min(max(v, 0.0), 1.0) * 8191.0 + 0.5)]


@kernel
def expose(colour, exposure):
    """Scale light and roll bright values off smoothly towards 1."""
    return (_shoulder(colour[0] * exposure), _shoulder(colour[1] * exposure), _shoulder(colour[2] * exposure))


@kernel
def _shoulder(x):
    return x if x < 0.6 else 1.0 - 0.4 * math.exp((0.6 - x) / 0.4)


# ---------------------------------------------------------------------------------------------------------------- light
@kernel
def light(solids, studio, eye, ray, t, index):
    """Return the linear light that comes back along a ray which ends at distance t on `index`, mirroring once."""
    p = along(eye, t, ray)
    if index == BACKDROP:
        return wall(studio, p[2])
    if index == GROUND:
        colour = ground(solids, studio, p, True)
        if studio.polish > 0.0:
            mirror = (ray[0], ray[1], -ray[2])
            hit_at, other = nearest(solids, p, mirror, -1)
            if other >= 0:
                weight = studio.polish * _fresnel(-ray[2], 0.04) * math.exp(-1.5 * hit_at)
                colour = mix(colour, _glimpse(solids, studio, along(p, hit_at, mirror), mirror, other), weight)
        return colour
    return _surface(solids, studio, p, ray, index)


@kernel
def _fresnel(cosine, straight):
    """Schlick's reflectance."""
    k = 1.0 - min(max(cosine, 0.0), 1.0)
    return straight + (1.0 - straight) * k * k * k * k * k


@kernel
def _surface(solids, studio, p, ray, index):
    """Return the light from world point p of a solid that a ray from the camera meets: all there is."""
    solid = solids[index]
    q = local_point(solid, p)
    n = to_world(solid, normal(solid, q))
    if solid.material == METAL and solid.shape == CUBE:
        n = _hammered(solid, q, n)
    facing = -dot(n, ray)
    base = albedo(solid, q)
    lit = max(dot(n, studio.lamp), 0.0)
    if lit > 0.0:
        lit *= shadow(solids, studio, along(p, 2e-3, n), index)
    open_sky, bounce = ambience(solids, p, n, index)
    colour = _matt(studio, base, p, n, lit, open_sky, bounce)
    if solid.material == RUBBER:  # a wide faint sheen
        half = unit((studio.lamp[0] - ray[0], studio.lamp[1] - ray[1], studio.lamp[2] - ray[2]))
        sheen = 0.09 * max(dot(n, half), 0.0) ** 14 * min(lit * 2.0, 1.0) + 0.05 * _fresnel(facing, 0.0) * open_sky
        return along(colour, sheen, studio.lamp_colour)
    seen = reflected(solids, studio, p, unit(along(ray, 2.0 * facing, n)), index)
    return _coat(solid.material, base, colour, seen, facing, 0.45 + 0.55 * open_sky)


@kernel
def _hammered(solid, q, n):
    """Bend a normal a little, so that flat metal does not mirror like a window."""
    a = noise(q[0] * 5.0, q[1] * 5.0 + solid.phase, q[2] * 5.0) - 0.5
    b = noise(q[0] * 5.0 + solid.phase, q[1] * 5.0, q[2] * 5.0) - 0.5
    return unit((n[0] + 0.09 * a, n[1] + 0.09 * b, n[2] - 0.06 * (a + b)))


@kernel
def _glimpse(solids, studio, p, ray, index):
    """Return the light from world point p of a solid as seen in a mirror: without shadows, mirroring only the sky."""
    solid = solids[index]
    q = local_point(solid, p)
    n = to_world(solid, normal(solid, q))
    base = albedo(solid, q)
    colour = _matt(studio, base, p, n, max(dot(n, studio.lamp), 0.0), 0.7, (0.0, 0.0, 0.0))
    if solid.material == RUBBER:
        return colour
    facing = -dot(n, ray)
    mirror = along(ray, 2.0 * facing, n)
    seen = wall(studio, 1.0 + 6.0 * mirror[2]) if mirror[2] > 0.0 else studio.floor
    return _coat(solid.material, base, colour, seen, facing, 0.8)


@kernel
def _matt(studio, base, p, n, lit, open_sky, bounce):
    """Return the light that a colour scatters: lamp, sky from above, floor from below, neighbours."""
    up = 0.5 + 0.5 * n[2]
    below = (1.0 - up) * 0.55 * min(1.0, 0.35 + 1.3 * p[2])  # the floor is dark where the solid stands on it
    return (
        base[0] * (studio.lamp_colour[0] * lit + (studio.sky[0] * up + studio.floor[0] * below) * open_sky + bounce[0]),
        base[1] * (studio.lamp_colour[1] * lit + (studio.sky[1] * up + studio.floor[1] * below) * open_sky + bounce[1]),
        base[2] * (studio.lamp_colour[2] * lit + (studio.sky[2] * up + studio.floor[2] * below) * open_sky + bounce[2]),
    )


@kernel
def _coat(material, base, colour, seen, facing, dim):
    """Lay what a glossy surface mirrors over what it scatters; metal tints it, plastic does not."""
    if material == PLASTIC:
        return mix(colour, seen, _fresnel(facing, 0.045))
    return (
        0.12 * colour[0] + dim * seen[0] * _fresnel(facing, 0.88 * base[0] + 0.06),
        0.12 * colour[1] + dim * seen[1] * _fresnel(facing, 0.88 * base[1] + 0.06),
        0.12 * colour[2] + dim * seen[2] * _fresnel(facing, 0.88 * base[2] + 0.06),
    )


@kernel
def reflected(solids, studio, p, mirror, index):
    """Return what a glossy point sees along its mirror direction: a solid, the floor, or the studio with its lamps."""
    t, other = nearest(solids, p, mirror, -1 if solids[index].shape == TORUS else index)
    if other >= 0:
        return _glimpse(solids, studio, along(p, t, mirror), mirror, other)
    t, backing = room(p, mirror)
    if backing == GROUND:
        return ground(solids, studio, along(p, t, mirror), False)
    seen = wall(studio, p[2] + t * mirror[2])
    seen = along(seen, 9.0 * softbox(studio.lamp, mirror, 0.16, 0.16), studio.lamp_colour)
    return along(seen, 1.6 * softbox(studio.strip, mirror, 0.10, 0.6), (0.9, 0.95, 1.0))


@kernel
def softbox(centre, ray, wide, high):
    """Return how much of a soft-edged rectangular lamp at unit direction `centre` a ray sees, 0 to 1."""
    ahead = dot(centre, ray)
    if ahead <= 0.0:
        return 0.0
    flat = max(hypot(centre[0], centre[1]), 1e-6)
    side = (-centre[1] / flat, centre[0] / flat, 0.0)
    x = dot(side, ray) / ahead
    rise = (-centre[0] * centre[2] / flat, -centre[1] * centre[2] / flat, flat)
    y = dot(rise, ray) / ahead
    return (1.0 - smooth(0.75 * wide, 1.15 * wide, abs(x))) * (1.0 - smooth(0.85 * high, 1.1 * high, abs(y)))


@kernel
def wall(studio, z):
    """Return the backdrop's light at height z: a gradient that starts in the floor's colour, so that no seam shows."""
    return mix(studio.wall_low, studio.wall_high, smooth(-0.5, 9.0, z))


@kernel
def shadow(solids, studio, p, own):
    """Return the part of the lamp that world point p sees, 0 to 1. Only a torus shades itself."""
    lamp, size = studio.lamp, studio.lamp_size
    seen = 1.0
    for i in range(len(solids)):
        solid = solids[i]
        if i == own and solid.shape != TORUS:
            continue
        c = solid.centre
        to = (c[0] - p[0], c[1] - p[1], c[2] - p[2])
        middle = dot(to, lamp)
        reach = solid.reach
        if middle < -reach:
            continue
        wide = reach + max(middle, 0.0) * size
        miss = dot(to, to) - middle * middle
        if miss > wide * wide:
            continue
        half = math.sqrt(wide * wide - miss)
        t, end = max(middle - half, 0.01), middle + half
        clear = 1.0  # smallest distance over the cone's radius: 1 leaves the lamp whole, -1 hides it
        for _ in range(20):
            gap = distance(solid, along(p, t, lamp))
            clear = min(clear, gap / (size * t))
            if clear < -1.0 or t > end:
                break
            t += max(abs(gap) * 0.9, 0.03 * reach + 0.004)
        clear = max(clear, -1.0)
        seen *= 0.25 * (1.0 + clear) * (1.0 + clear) * (2.0 - clear)
        if seen < 0.004:
            return 0.0
    return seen


@kernel
def ambience(solids, p, n, own):
    """Return the open part of the sky above p, and the light that nearby solids colour and throw back."""
    seen = 1.0
    red = green = blue = 0.0
    for i in range(len(solids)):
        solid = solids[i]
        if i == own:
            continue
        c = solid.centre
        to = (c[0] - p[0], c[1] - p[1], c[2] - p[2])
        far = solid.reach + 0.75
        if dot(to, to) > far * far:
            continue
        cover = 0.0
        for step, weight in ((0.54, 0.22), (0.18, 0.28), (0.06, 0.34)):
            gap = distance(solid, along(p, step, n))
            if gap >= step:  # then the nearer steps are free too
                break
            cover += weight * (1.0 - max(gap, 0.0) / step)
        if cover == 0.0:
            continue
        cover = min(cover, 1.0) * 0.85
        seen *= 1.0 - cover
        red, green, blue = along((red, green, blue), 0.22 * cover, (solid.colour[0], solid.colour[1], solid.colour[2]))
    if own >= 0:  # the floor closes in from below
        seen *= 1.0 - 0.5 * max(0.0, 1.0 - p[2] / 0.25) * (0.5 - 0.5 * n[2])
    return seen, (red, green, blue)


@kernel
def ground(solids, studio, p, fine):
    """Return the floor's light at world point p; far away it turns into the backdrop."""
    base = _floor(studio, p[0], p[1]) if fine else studio.floor
    lit = studio.lamp[2] * shadow(solids, studio, (p[0], p[1], 0.0), -1)
    open_sky, bounce = ambience(solids, (p[0], p[1], 0.0), (0.0, 0.0, 1.0), -1)
    colour = (
        base[0] * (studio.lamp_colour[0] * lit + studio.sky[0] * open_sky + bounce[0]),
        base[1] * (studio.lamp_colour[1] * lit + studio.sky[1] * open_sky + bounce[1]),
        base[2] * (studio.lamp_colour[2] * lit + studio.sky[2] * open_sky + bounce[2]),
    )
    return mix(colour, studio.wall_low, smooth(3.5, WALL, hypot(p[0], p[1])))


@kernel
def _floor(studio, x, y):
    c, s = studio.floor_axis
    x, y = c * x - s * y, s * x + c * y
    if studio.floor_kind == PAPER:
        return mix(
            studio.floor,
            studio.floor_second,
            0.7 * flat_noise(x * 0.5, y * 0.5, 0) + 0.3 * flat_noise(x * 40.0, y * 40.0, 1),
        )
    cloud = 0.6 * flat_noise(x * 0.9, y * 0.9, 0) + 0.25 * flat_noise(x * 3.1, y * 3.1, 1)
    cloud += 0.15 * flat_noise(x * 11.0, y * 11.0, 2)
    if studio.floor_kind == CONCRETE:
        return mix(studio.floor, studio.floor_second, 1.1 * cloud)
    if studio.floor_kind == TILES:
        u, v = x / 0.9, y / 0.9
        i, j = math.floor(u), math.floor(v)
        gap = min(min(u - i, 1.0 - u + i), min(v - j, 1.0 - v + j))
        tone = 0.5 * cloud + 0.35 * flat_noise(i * 7.3, j * 5.7, 3)
        seam = 1.0 - 0.35 * (1.0 - smooth(0.006, 0.02, gap))
    else:
        u = x / 0.42
        i = math.floor(u)
        v = y / 2.6 + 0.37 * (i % 5.0)
        j = math.floor(v)
        gap = min(min(u - i, 1.0 - u + i) * 0.42, min(v - j, 1.0 - v + j) * 2.6)
        tone = 0.55 * flat_noise(i * 9.1, j * 3.3, 3) + 0.45 * flat_noise(x * 26.0, y * 1.6, int(i)) + 0.2 * cloud - 0.1
        seam = 1.0 - 0.4 * (1.0 - smooth(0.002, 0.010, gap))
    colour = mix(studio.floor, studio.floor_second, tone)
    return (colour[0] * seam, colour[1] * seam, colour[2] * seam)


def photograph(
    solids: npt.NDArray, view: View, studio: Studio, size: tuple[int, int], rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Render one picture of size (height, width): picture [H,W,3], who [H,W], depth [H,W] and whole [N] of `trace`."""
    who, depth = np.empty(size, np.int16), np.empty(size, np.float32)
    whole = np.zeros(len(solids), np.int64)
    rough = np.empty((*size, 3), np.float32)
    trace(solids, view, who, depth, whole)
    shade(solids, view, studio, who, depth, rough)
    image = rough.copy()
    refine(solids, view, studio, who, rough, image)
    grain = rng.standard_normal((*size, 3), np.float32)
    picture = np.empty((*size, 3), np.uint8)
    develop(image, grain, 0.22, 0.13, picture)
    return picture, who, depth, whole
