"""The solids of the blocks world: cube, sphere, cylinder, cone, torus, as ray targets, distance fields and meshes.

Every solid has a local frame: origin at the middle of its extent, z along its axis of symmetry. `SOLID` is the record
of one solid placed in the world (x, y on the ground, z up, metres); worlds are arrays of it, so the kernels need no
objects.
`extent` per shape: cube (half x, half y, half z), sphere (r, r, r), cylinder and cone (radius, radius, half height),
torus (ring radius, tube radius, tube radius).

Rays meet sphere, cube, cylinder and cone in closed form, the torus by sphere tracing on its exact distance (Hart 1996).
The distances of capped cone and cylinder follow the geometry of Inigo Quilez' article "distance functions".
"""

import math

import numba
import numpy as np
import numpy.typing as npt

CUBE, SPHERE, CYLINDER, CONE, TORUS = range(5)
SHAPES = ("cube", "sphere", "cylinder", "cone", "torus")

SOLID = np.dtype(
    [
        ("shape", np.int64),
        ("material", np.int64),
        ("texture", np.int64),
        ("centre", np.float64, (3,)),  # world
        ("rotation", np.float64, (3, 3)),  # local to world
        ("extent", np.float64, (3,)),
        ("reach", np.float64),  # radius of the sphere around `centre` that holds the solid
        ("colour", np.float64, (3,)),  # linear light
        ("second", np.float64, (3,)),  # the other colour of its texture
        ("cells", np.float64),  # stripes, checks or dots over its height
        ("phase", np.float64),  # shifts its noise, so that no two solids share their grain
    ],
    align=True,
)

# NaN and infinity keep their meaning, because a ray that misses goes infinitely far. Kernels must not call each other
# in circles: Numba loads such ones from its cache broken.
kernel = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"nsz", "arcp", "contract", "afn"})

_BEVEL = 0.09  # width of the shaded bevel, as a part of the smallest half extent
_NEAR = 1e-4  # metres; rays start this far from the surface they leave


# ---------------------------------------------------------------------------------------------------- vectors as tuples
@kernel
def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
def along(a, t, b):
    """a + t b."""
    return (a[0] + t * b[0], a[1] + t * b[1], a[2] + t * b[2])


@kernel
def hypot(x, y):
    """The hypotenuse; metres cannot overflow, so the careful one of `math` is not worth its time."""
    return math.sqrt(x * x + y * y)


@kernel
def unit(a):
    s = 1.0 / math.sqrt(dot(a, a))
    return (a[0] * s, a[1] * s, a[2] * s)


@kernel
def to_local(solid, v):
    """Turn a world direction into the solid's frame."""
    r = solid.rotation
    return (
        r[0, 0] * v[0] + r[1, 0] * v[1] + r[2, 0] * v[2],
        r[0, 1] * v[0] + r[1, 1] * v[1] + r[2, 1] * v[2],
        r[0, 2] * v[0] + r[1, 2] * v[1] + r[2, 2] * v[2],
    )


@kernel
def to_world(solid, v):
    """Turn a direction of the solid's frame into the world."""
    r = solid.rotation
    return (
        r[0, 0] * v[0] + r[0, 1] * v[1] + r[0, 2] * v[2],
        r[1, 0] * v[0] + r[1, 1] * v[1] + r[1, 2] * v[2],
        r[2, 0] * v[0] + r[2, 1] * v[1] + r[2, 2] * v[2],
    )


@kernel
def local_point(solid, p):
    return to_local(solid, (p[0] - solid.centre[0], p[1] - solid.centre[1], p[2] - solid.centre[2]))


# ------------------------------------------------------------------------------------------------------- ray and solids
@kernel
def nearest(solids, origin, ray, skip):
    """Return (distance, index) of the first solid that a unit ray meets; (inf, -1) if none. `skip` is left out."""
    best, which = math.inf, -1
    for i in range(len(solids)):
        if i != skip:
            t = hit(solids[i], origin, ray)
            if t < best:
                best, which = t, i
    return best, which


@kernel
def hit(solid, origin, ray):
    """Return how far along a unit ray, in metres, it first meets the solid from outside; inf if it misses."""
    c = solid.centre
    to = (c[0] - origin[0], c[1] - origin[1], c[2] - origin[2])
    middle = dot(to, ray)
    miss = dot(to, to) - middle * middle
    reach = solid.reach
    if miss > reach * reach or middle < -reach:
        return math.inf
    if solid.shape == SPHERE:
        t = middle - math.sqrt(reach * reach - miss)
        return t if t > _NEAR else math.inf
    o = local_point(solid, origin)
    d = to_local(solid, ray)
    e = solid.extent
    if solid.shape == CUBE:
        return _hit_cube(o, d, e[0], e[1], e[2])
    if solid.shape == CYLINDER:
        return _hit_cylinder(o, d, e[0], e[2])
    if solid.shape == CONE:
        return _hit_cone(o, d, e[0], e[2])
    half = math.sqrt(reach * reach - miss)
    return _hit_torus(o, d, e[0], e[1], max(middle - half, _NEAR), middle + half)


@kernel
def _slab(o, d, h):
    """Return the part of a ray between the planes -h and h of one axis."""
    inverse = 1.0 / d if abs(d) > 1e-12 else 1e12
    a, b = (-h - o) * inverse, (h - o) * inverse
    return min(a, b), max(a, b)


@kernel
def _hit_cube(o, d, hx, hy, hz):
    ax, bx = _slab(o[0], d[0], hx)
    ay, by = _slab(o[1], d[1], hy)
    az, bz = _slab(o[2], d[2], hz)
    t = max(ax, ay, az)
    return t if t <= min(bx, by, bz) and t > _NEAR else math.inf


@kernel
def _hit_cylinder(o, d, r, h):
    a = d[0] * d[0] + d[1] * d[1]
    b = o[0] * d[0] + o[1] * d[1]
    c = o[0] * o[0] + o[1] * o[1] - r * r
    enter, leave = -math.inf, math.inf
    if a > 1e-12:
        disc = b * b - a * c
        if disc < 0.0:
            return math.inf
        root = math.sqrt(disc)
        enter, leave = (-b - root) / a, (-b + root) / a
    elif c > 0.0:
        return math.inf
    az, bz = _slab(o[2], d[2], h)
    t = max(enter, az)
    return t if t <= min(leave, bz) and t > _NEAR else math.inf


@kernel
def _hit_cone(o, d, r, h):
    best = math.inf
    k = r / (2.0 * h)
    k2 = k * k
    w = h - o[2]  # below the apex
    a = d[0] * d[0] + d[1] * d[1] - k2 * d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + k2 * w * d[2]
    c = o[0] * o[0] + o[1] * o[1] - k2 * w * w
    disc = b * b - a * c
    if disc >= 0.0:
        root = math.sqrt(disc)
        q = -(b + root) if b > 0.0 else root - b
        for t in (q / a, c / q):  # both stay exact where a is near zero
            if t > _NEAR and t < best and abs(o[2] + t * d[2]) <= h:
                best = t
    if abs(d[2]) > 1e-12:
        t = (-h - o[2]) / d[2]
        x, y = o[0] + t * d[0], o[1] + t * d[1]
        if t > _NEAR and t < best and x * x + y * y <= r * r:
            best = t
    return best


@kernel
def _hit_torus(o, d, ring, tube, enter, leave):
    az, bz = _slab(o[2], d[2], tube)
    t, leave = max(enter, az), min(leave, bz)
    for _ in range(96):
        if t > leave:
            return math.inf
        p = along(o, t, d)
        gap = hypot(hypot(p[0], p[1]) - ring, p[2]) - tube
        if gap < 1e-6:
            return t
        t += gap
    return math.inf


# ------------------------------------------------------------------------------------------------- distance and normals
@kernel
def distance(solid, p):
    """Return the signed distance in metres from a world point to the solid's surface, negative inside."""
    q = local_point(solid, p)
    e = solid.extent
    if solid.shape == SPHERE:
        return math.sqrt(dot(q, q)) - e[0]
    if solid.shape == CUBE:
        x, y, z = abs(q[0]) - e[0], abs(q[1]) - e[1], abs(q[2]) - e[2]
        out = math.sqrt(max(x, 0.0) ** 2 + max(y, 0.0) ** 2 + max(z, 0.0) ** 2)
        return out + min(max(x, y, z), 0.0)
    rho = hypot(q[0], q[1])
    if solid.shape == TORUS:
        return hypot(rho - e[0], q[2]) - e[1]
    if solid.shape == CYLINDER:
        x, z = rho - e[0], abs(q[2]) - e[2]
        return hypot(max(x, 0.0), max(z, 0.0)) + min(max(x, z), 0.0)
    return _distance_cone(rho, q[2], e[0], e[2])


@kernel
def _distance_cone(rho, z, r, h):
    base = hypot(max(rho - r, 0.0), z + h)  # to the disc
    s = min(max((2.0 * h * (h - z) + r * rho) / (4.0 * h * h + r * r), 0.0), 1.0)  # along the side, from the apex
    side = hypot(rho - s * r, z - h + 2.0 * h * s)
    inside = z > -h and rho * 2.0 * h < r * (h - z)
    gap = min(base, side)
    return -gap if inside else gap


@kernel
def normal(solid, q):
    """Return the local unit normal at local surface point q; edges get a bevel, in the shading only."""
    e = solid.extent
    if solid.shape == SPHERE:
        return unit(q)
    rho = max(hypot(q[0], q[1]), 1e-9)
    if solid.shape == TORUS:
        k = 1.0 - e[0] / rho
        return unit((q[0] * k, q[1] * k, q[2]))
    width = 1.0 / (_BEVEL * min(e[0], e[1], e[2]))
    if solid.shape == CUBE:  # each axis counts fully on its own face, and fades with the distance from that face
        x = max(1.0 - (e[0] - abs(q[0])) * width, 0.0) ** 2
        y = max(1.0 - (e[1] - abs(q[1])) * width, 0.0) ** 2
        z = max(1.0 - (e[2] - abs(q[2])) * width, 0.0) ** 2
        return unit((math.copysign(x, q[0]), math.copysign(y, q[1]), math.copysign(z, q[2])))
    if solid.shape == CYLINDER:
        side = max(1.0 - (e[0] - rho) * width, 0.0) ** 2
        cap = max(1.0 - (e[2] - abs(q[2])) * width, 0.0) ** 2
        return unit((side * q[0] / rho, side * q[1] / rho, math.copysign(cap, q[2])))
    slope = 2.0 * e[2] / hypot(2.0 * e[2], e[0])  # cone: cosine of the side's tilt
    inward = (e[0] * (e[2] - q[2]) / (2.0 * e[2]) - rho) * slope
    side = max(1.0 - inward * width, 0.0) ** 2
    cap = max(1.0 - (q[2] + e[2]) * width, 0.0) ** 2
    rise = side * slope * e[0] / (2.0 * e[2])
    return unit((side * slope * q[0] / rho, side * slope * q[1] / rho, rise - cap))


# ------------------------------------------------------------------------------------------------------ whole solids
def reach(shape: int, extent: npt.ArrayLike) -> float:
    """Return the radius in metres of the sphere around a solid's origin that holds it."""
    a, b, c = np.asarray(extent, float)
    return float({CUBE: math.hypot(a, b, c), SPHERE: a, TORUS: a + b}.get(shape, math.hypot(a, c)))


def span(solid: np.void, axes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a solid's exact (low, high) along unit world axes [A,3], from its centre: [A,2], metres."""
    d = axes @ solid["rotation"]  # (A, 3) the axes in the local frame
    a, b, c = solid["extent"]
    around = np.hypot(d[:, 0], d[:, 1])
    if solid["shape"] == CUBE:
        high = np.abs(d) @ np.array([a, b, c])
    elif solid["shape"] == SPHERE:
        high = np.full(len(d), a)
    elif solid["shape"] == CYLINDER:
        high = a * around + c * np.abs(d[:, 2])
    elif solid["shape"] == TORUS:
        high = a * around + b
    else:  # the cone is the hull of its apex and its base disc
        high = np.maximum(c * d[:, 2], a * around - c * d[:, 2])
        low = np.minimum(c * d[:, 2], -a * around - c * d[:, 2])
        return np.stack([low, high], 1)
    return np.stack([-high, high], 1)


def mesh(solid: np.void, detail: int = 32) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return a closed mesh in the local frame: vertices [V,3] metres and faces [F,3], counter-clockwise from outside.

    `detail` is the number of points around the axis; round vertices lie on the surface.
    """
    a, b, c = (float(v) for v in solid["extent"])
    shape = int(solid["shape"])
    if shape == CUBE:
        corners = np.array([[x, y, z] for x in (-a, a) for y in (-b, b) for z in (-c, c)], np.float32)
        quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
        return corners, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    half = detail // 2
    if shape == TORUS:
        tube = np.arange(half) * (2 * np.pi / half)
        profile = np.stack([a + b * np.cos(tube), b * np.sin(tube)], 1)
    elif shape == SPHERE:
        lat = np.linspace(-np.pi / 2, np.pi / 2, half + 1)
        profile = np.stack([a * np.cos(lat), a * np.sin(lat)], 1)
    elif shape == CYLINDER:
        profile = np.array([[0, -c], [a, -c], [a, c], [0, c]])
    else:
        profile = np.array([[0, -c], [a, -c], [0, c]])
    return _revolve(profile, detail, closed=shape == TORUS)


def _revolve(profile: npt.NDArray[np.float64], around: int, closed: bool) -> tuple[npt.NDArray, npt.NDArray]:
    """Turn a profile [P,2] of (radius, z), walked upwards, about z; without `closed` its two ends lie on the axis."""
    turn = np.arange(around) * (2 * np.pi / around)
    rings = profile if closed else profile[1:-1]
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    ring_points = [np.column_stack([r * circle, np.full(around, z)]) for r, z in rings]
    now, step = np.arange(around), (np.arange(around) + 1) % around
    faces = []
    for k in range(len(rings) if closed else len(rings) - 1):
        low, high = k * around, (k + 1) % len(rings) * around
        faces += [np.stack([low + now, low + step, high + step], 1), np.stack([low + now, high + step, high + now], 1)]
    if not closed:
        base = len(rings) * around
        ring_points.append(np.array([[0, 0, profile[0, 1]], [0, 0, profile[-1, 1]]]))
        last = (len(rings) - 1) * around
        faces += [np.stack([np.full(around, base), step, now], 1)]
        faces += [np.stack([np.full(around, base + 1), last + now, last + step], 1)]
    return np.concatenate(ring_points).astype(np.float32), np.concatenate(faces).astype(np.int64)
