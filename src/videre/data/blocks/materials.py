"""What the solids of the blocks world are made of: named colours, materials, textures and the noise in them."""

import math

import numpy as np

from videre.data.blocks.solids import CONE, CUBE, CYLINDER, SPHERE, TORUS, hypot, kernel

COLOURS = {  # sRGB, chosen to stay apart in every material and light
    "red": (200, 38, 34),
    "orange": (240, 120, 20),
    "yellow": (246, 200, 32),
    "green": (62, 150, 60),
    "teal": (18, 150, 150),
    "blue": (34, 84, 190),
    "purple": (116, 56, 160),
    "pink": (240, 130, 168),
    "white": (236, 232, 222),
    "grey": (118, 122, 126),
}
RUBBER, PLASTIC, METAL = range(3)
MATERIALS = ("rubber", "plastic", "metal")
PLAIN, STRIPED, CHECKED, DOTTED, GRAINED, MARBLED = range(6)
TEXTURES = ("plain", "striped", "checked", "dotted", "grained", "marbled")
METAL_TEXTURES = (PLAIN, STRIPED, CHECKED, DOTTED)  # wood grain and marble veins are not for metal

_TURN = 2.0 * math.pi


def linear(srgb: tuple[float, float, float]) -> np.ndarray:
    """Turn an sRGB colour in 0..255 into linear light in [0, 1]."""
    x = np.asarray(srgb, float) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


@kernel
def smooth(low, high, x):
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@kernel
def mix(a, b, t):
    return (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), a[2] + t * (b[2] - a[2]))


@kernel
def _lattice(x, y, z):
    """Return a number in [0, 1] that looks random for each triple of integers."""
    n = (x * 374761393 + y * 668265263 + z * 1274126177) & 0xFFFFFFFF
    n = ((n ^ (n >> 13)) * 1103515245) & 0xFFFFFFFF
    n = ((n ^ (n >> 15)) * 668265263) & 0xFFFFFFFF
    return ((n >> 8) & 0xFFFF) / 65535.0


@kernel
def noise(x, y, z):
    """Return smooth value noise in [0, 1] with one feature per unit length."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    i, j, k = int(fx), int(fy), int(fz)
    u, v, w = x - fx, y - fy, z - fz
    u, v, w = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v), w * w * (3.0 - 2.0 * w)
    a = _lattice(i, j, k) * (1 - u) + _lattice(i + 1, j, k) * u
    b = _lattice(i, j + 1, k) * (1 - u) + _lattice(i + 1, j + 1, k) * u
    c = _lattice(i, j, k + 1) * (1 - u) + _lattice(i + 1, j, k + 1) * u
    d = _lattice(i, j + 1, k + 1) * (1 - u) + _lattice(i + 1, j + 1, k + 1) * u
    return (a * (1 - v) + b * v) * (1 - w) + (c * (1 - v) + d * v) * w


@kernel
def flat_noise(x, y, layer):
    """Return smooth value noise in [0, 1] on a plane; each integer layer is another one."""
    fx, fy = math.floor(x), math.floor(y)
    i, j = int(fx), int(fy)
    u, v = x - fx, y - fy
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    a = _lattice(i, j, layer) * (1 - u) + _lattice(i + 1, j, layer) * u
    return a * (1 - v) + (_lattice(i, j + 1, layer) * (1 - u) + _lattice(i + 1, j + 1, layer) * u) * v


@kernel
def _unroll(solid, q):
    """Lay a local surface point on a grid of cells: (row, column), whole columns all the way round, so no seam shows.

    A third number is the column's width over the row's height, for dots that stay round.
    """
    e, n = solid.extent, solid.cells
    if solid.shape == CUBE:
        x, y, z = q[0] / e[0], q[1] / e[1], q[2] / e[2]
        u, v = x, y
        if abs(x) >= abs(y) and abs(x) >= abs(z):
            u, v = y, z
        elif abs(y) >= abs(z):
            u, v = x, z
        return (v + 1.0) * 0.5 * n, (u + 1.0) * 0.5 * n, 1.0
    turn = math.atan2(q[1], q[0]) / _TURN + 0.5
    if solid.shape == TORUS:
        tube = math.atan2(q[2], hypot(q[0], q[1]) - e[0]) / _TURN + 0.5
        columns = 2.0 * math.ceil(n * 1.5)
        height = _TURN * e[1] / 4.0
        return tube * 4.0, turn * columns, _TURN * e[0] / columns / height
    if solid.shape == SPHERE:
        tilt = math.asin(min(max(q[2] / e[0], -1.0), 1.0)) / math.pi + 0.5
        row = tilt * n
        around = math.cos((math.floor(row) + 0.5) / n * math.pi - 0.5 * math.pi) * e[0]
        height = math.pi * e[0] / n
    else:
        rho, height = hypot(q[0], q[1]), 2.0 * e[2] / n
        flat = e[2] - abs(q[2]) < 1e-4 if solid.shape == CYLINDER else q[2] + e[2] < 1e-4
        row = (e[0] - rho) / height if flat else (q[2] + e[2]) / height
        middle = (math.floor(row) + 0.5) * height
        around = max(e[0] - middle, 0.0) if flat else e[0]
        if solid.shape == CONE and not flat:
            around = e[0] * (1.0 - middle / (2.0 * e[2]))
    if solid.texture == CHECKED:  # equal columns in every row keep the checks in line
        around = e[0]
    columns = max(2.0, 2.0 * math.floor(0.5 * _TURN * around / height + 0.5))
    return row, turn * columns, _TURN * around / columns / height


@kernel
def _vein(q, phase):
    cloud = noise(q[0] * 3.0 + phase, q[1] * 3.0, q[2] * 3.0) + 0.5 * noise(q[0] * 7.0, q[1] * 7.0 + phase, q[2] * 7.0)
    fine = noise(q[0] * 17.0, q[1] * 17.0, q[2] * 17.0 + phase)
    wave = abs(math.sin(5.0 * (q[0] + 0.6 * q[1] + 0.8 * q[2]) + 7.0 * cloud + 0.8 * fine))
    return (1.0 - wave) ** 3


@kernel
def _ring(q, phase):
    """Wood: rings about a tilted axis, wavering, and fibres along it."""
    bend = noise(q[0] * 1.7 + phase, q[1] * 1.7, q[2] * 0.7)
    radius = hypot(q[0] + 0.35 + 0.1 * q[2], q[1] + 0.22) + 0.10 * bend
    wave = radius * 17.0
    wave -= math.floor(wave)
    fibre = noise(q[0] * 60.0, q[1] * 60.0 + phase, q[2] * 5.0)
    return 0.75 * smooth(0.0, 0.8, wave) * (1.0 - smooth(0.85, 1.0, wave)) + 0.35 * fibre


@kernel
def albedo(solid, q):
    """Return the linear colour of a solid at a local surface point."""
    first = (solid.colour[0], solid.colour[1], solid.colour[2])
    if solid.texture == PLAIN:
        return first
    second = (solid.second[0], solid.second[1], solid.second[2])
    if solid.texture == GRAINED:
        return mix(first, second, _ring(q, solid.phase))
    if solid.texture == MARBLED:
        return mix(first, second, _vein(q, solid.phase))
    row, column, ratio = _unroll(solid, q)
    if solid.texture == STRIPED:
        if solid.shape == TORUS:
            row = column
        odd = math.floor(row) % 2.0
    elif solid.texture == CHECKED:
        odd = (math.floor(row) + math.floor(column)) % 2.0
    else:
        y, x = row - math.floor(row) - 0.5, (column - math.floor(column) - 0.5) * ratio
        odd = 1.0 if x * x + y * y < 0.09 else 0.0
    return second if odd > 0.5 else first
