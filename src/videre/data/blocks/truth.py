"""Every truth about one picture of the blocks world, as numpy arrays.

What is measured where:

- Masks, segmentation and depth are exact at pixel centres; a box is the tight half-open extent of the visible mask.
- A solid with fewer than `min_pixels` visible pixels is not labelled; its pixels are void (255) in the segmentation.
- Pixel classes are the five shapes, then ground and backdrop (the studio's wall, which is a real surface with a depth).
- 3D boxes stand upright in the world and fit tightly. Their x axis is the front, y is down, z completes them: the front
  is a lying cone's apex; where a solid looks the same after a turn, its front is the side that faces the camera most
  (a cube's within 45 degrees, a lying cylinder's or a standing torus' within 90, anything round exactly).
- Keypoints are the box's corners, named as seen when its front is looked at, and the middles of its top and base:
  0 outside the picture, 1 hidden by any surface, its own solid's included, 2 in plain view (also in mid-air).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from videre.data.blocks.raytrace import BACKDROP, GROUND
from videre.data.blocks.solids import CONE, CUBE, CYLINDER, SHAPES, TORUS, kernel, mesh, nearest, span
from videre.data.blocks.words import ATTRIBUTES, Looks, picture_captions, questions, region_captions, relate
from videre.data.blocks.world import LYING, UPRIGHT, World, gaps, intervals

PIXELS = (*SHAPES, "ground", "backdrop")
VOID = 255

KEYPOINTS = (
    "left front base",
    "right front base",
    "left back base",
    "right back base",
    "left front top",
    "right front top",
    "left back top",
    "right back top",
    "middle of base",
    "middle of top",
)
KEYPOINT_EDGES = (
    (0, 1),
    (2, 3),
    (4, 5),
    (6, 7),
    (0, 2),
    (1, 3),
    (4, 6),
    (5, 7),
    (0, 4),
    (1, 5),
    (2, 6),
    (3, 7),
    (8, 9),
)
KEYPOINT_FLIPS = ((0, 1), (2, 3), (4, 5), (6, 7))

# each keypoint in half extents of its box (front, down, z); its z points to the right of who looks at the front
_PLACES = np.array([[f, d, s] for d in (1, -1) for f in (1, -1) for s in (-1, 1)] + [[0, 1, 0], [0, -1, 0]], float)


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth about one picture [H,W] with N labelled solids; lengths in metres, angles in radians, camera frame x
    right, y down, z forward, continuous pixels.

    Args:
        tracks: int64 [N], which solid of the world it is: the same in all frames of a clip.
        labels: int64 [N] of `SHAPES`. attributes: bool [N,A] of `words.ATTRIBUTES`.
        boxes: float32 [N,4] xyxy. ids: int16 [H,W], index of the labelled solid, -1 elsewhere.
        shown: float32 [N], part of the silhouette inside the picture that is not hidden.
        segmentation: uint8 [H,W] of `PIXELS`, 255 void. depth: float32 [H,W] along z.
        keypoints: float32 [N,10,2]. visibility: uint8 [N,10].
        captions, questions, answers: about the picture. region_captions: one per solid.
        relations: int64 [R,3] subject, index of `words.PREDICATES`, object.
        centers3d, sizes3d: float64 [N,3]. rotations3d: float64 [N,3,3] box to camera. yaw: float64 [N], the angle of
            the box's front about the vertical, 0 to the camera's right, pi/2 towards it.
        intrinsics [3,3], rotation [3,3], translation [3]: K, and world (z up) to camera.
        world: what the picture was made from, only the labelled solids.
    """

    tracks: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    attributes: npt.NDArray[np.bool_]
    boxes: npt.NDArray[np.float32]
    ids: npt.NDArray[np.int16]
    shown: npt.NDArray[np.float32]
    segmentation: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    keypoints: npt.NDArray[np.float32]
    visibility: npt.NDArray[np.uint8]
    captions: tuple[str, ...]
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    region_captions: tuple[str, ...]
    relations: npt.NDArray[np.int64]
    centers3d: npt.NDArray[np.float64]
    sizes3d: npt.NDArray[np.float64]
    rotations3d: npt.NDArray[np.float64]
    yaw: npt.NDArray[np.float64]
    intrinsics: npt.NDArray[np.float64]
    rotation: npt.NDArray[np.float64]
    translation: npt.NDArray[np.float64]
    looks: tuple[Looks, ...]
    world: World

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """The visible masks, bool [N,H,W]."""
        return self.ids == np.arange(len(self))[:, None, None]

    @cached_property
    def meshes(self) -> tuple[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]], ...]:
        """For each solid its vertices [V,3] in the camera frame and faces [F,3]; made when first asked for."""
        found = []
        for solid in self.world.solids:
            vertices, faces = mesh(solid)
            placed = vertices @ solid["rotation"].T + solid["centre"]
            found.append(((placed @ self.rotation.T + self.translation).astype(np.float32), faces))
        return tuple(found)


def observe(
    world: World,
    who: npt.NDArray[np.int16],
    depth: npt.NDArray[np.float32],
    whole: npt.NDArray[np.int64],
    rng: np.random.Generator,
    min_pixels: int = 12,
) -> Truth:
    """Return the truth about a traced world; `rng` chooses the words only."""
    everything = world.solids  # what is too small for a label still hides things
    seen, boxes = _extents(who, len(world))
    keep = np.flatnonzero(seen >= min_pixels)
    ids, segmentation = _maps(who, keep, world.solids["shape"])
    world = world if len(keep) == len(world) else world.take(keep)
    view = world.view
    rotation = np.array([view.right, view.down, view.forward])
    translation = -rotation @ np.array(view.eye)
    intrinsics = np.array([[view.focal, 0, view.cx], [0, view.focal, view.cy], [0, 0, 1.0]])
    centers, sizes, turns, yaw = _boxes3d(world)
    corners = centers[:, None] + (_PLACES * sizes[:, None] / 2) @ turns.transpose(0, 2, 1)  # (N, 10, 3) world
    keypoints, visibility = np.empty((len(world), 10, 2)), np.empty((len(world), 10), np.uint8)
    _look(everything, view, corners, who.shape, keypoints, visibility)
    looks = looks_of(world)
    relations = relations_of(world)
    asked, answered = questions(looks, rng) if len(looks) else ((), ())
    return Truth(
        tracks=keep,
        labels=world.solids["shape"].astype(np.int64),
        attributes=np.array([one.attributes() for one in looks], bool).reshape(len(looks), len(ATTRIBUTES)),
        boxes=boxes[keep],
        ids=ids,
        shown=(seen[keep] / np.maximum(whole[keep], 1)).astype(np.float32),
        segmentation=segmentation,
        depth=depth,
        keypoints=keypoints.astype(np.float32),
        visibility=visibility,
        captions=picture_captions(looks, relations, rng) if len(looks) else ("an empty floor",),
        questions=asked,
        answers=answered,
        region_captions=region_captions(looks, relations),
        relations=relations,
        centers3d=centers @ rotation.T + translation,
        sizes3d=sizes,
        rotations3d=rotation @ turns,
        yaw=yaw,
        intrinsics=intrinsics,
        rotation=rotation,
        translation=translation,
        looks=looks,
        world=world,
    )


@kernel
def _extents(who, count):
    """Return the pixels of each index, int64 [N], and their half-open extent, float32 [N,4] xyxy."""
    seen = np.zeros(count, np.int64)
    boxes = np.zeros((count, 4), np.float32)
    height, width = who.shape
    for i in range(height):
        for j in range(width):
            k = who[i, j]
            if k < 0:
                continue
            if seen[k] == 0:
                boxes[k, 0], boxes[k, 1] = j, i
            seen[k] += 1
            boxes[k, 0], boxes[k, 2] = min(boxes[k, 0], j), max(boxes[k, 2], j + 1)
            boxes[k, 3] = i + 1
    return seen, boxes


def _maps(
    who: npt.NDArray[np.int16], keep: npt.NDArray[np.int64], shapes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Return the map of labelled solids and the segmentation; the tables' last two entries are for BACKDROP, GROUND."""
    index = np.full(len(shapes) + 2, -1, np.int16)
    index[keep] = np.arange(len(keep))
    pixel = np.full(len(shapes) + 2, VOID, np.uint8)
    pixel[keep] = shapes[keep]
    pixel[GROUND], pixel[BACKDROP] = PIXELS.index("ground"), PIXELS.index("backdrop")
    return index[who], pixel[who]


@kernel
def _look(solids, view, points, size, places, visibility):
    """Project world points [N,J,3] to places [N,J,2], and test each one's ray against everything in its way."""
    height, width = size
    for i in range(points.shape[0]):
        for j in range(points.shape[1]):
            to = (
                points[i, j, 0] - view.eye[0],
                points[i, j, 1] - view.eye[1],
                points[i, j, 2] - view.eye[2],
            )
            x = to[0] * view.right[0] + to[1] * view.right[1] + to[2] * view.right[2]
            y = to[0] * view.down[0] + to[1] * view.down[1] + to[2] * view.down[2]
            z = max(to[0] * view.forward[0] + to[1] * view.forward[1] + to[2] * view.forward[2], 1e-3)
            u, v = view.focal * x / z + view.cx, view.focal * y / z + view.cy
            places[i, j, 0], places[i, j, 1] = u, v
            if u < 0.0 or u >= width or v < 0.0 or v >= height:
                visibility[i, j] = 0
                continue
            far = math.sqrt(to[0] * to[0] + to[1] * to[1] + to[2] * to[2])
            t, _ = nearest(solids, view.eye, (to[0] / far, to[1] / far, to[2] / far), -1)
            visibility[i, j] = 1 if t < far - 1e-3 or points[i, j, 2] < -1e-6 else 2


def _boxes3d(world: World) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray, npt.NDArray]:
    """Return centers [N,3], sizes [N,3] and axes [N,3,3] (columns front, down, z) in the world, and yaw [N]."""
    count = len(world)
    centers, sizes, turns, yaws = np.empty((count, 3)), np.empty((count, 3)), np.empty((count, 3, 3)), np.empty(count)
    eye = np.array(world.view.eye)
    ahead = math.atan2(world.view.forward[1], world.view.forward[0])
    for i, solid in enumerate(world.solids):
        front = _front(solid, int(world.pose[i]), eye)
        c, s = math.cos(front), math.sin(front)
        turns[i] = np.array([[c, 0, -s], [s, 0, c], [0, -1, 0]])
        low, high = span(solid, turns[i].T).T
        centers[i] = solid["centre"] + turns[i] @ ((low + high) / 2)
        sizes[i] = high - low
        yaws[i] = (front - (ahead - math.pi / 2) + math.pi) % (2 * math.pi) - math.pi
    return centers, sizes, turns, -yaws


def _front(solid: np.void, pose: int, eye: npt.NDArray[np.float64]) -> float:
    """Return the world angle of a solid's front: see the top of this page."""
    rotation = solid["rotation"]
    towards = math.atan2(eye[1] - solid["centre"][1], eye[0] - solid["centre"][0])
    if solid["shape"] == CUBE:
        own, period = math.atan2(rotation[1, 0], rotation[0, 0]), math.pi / 2
    elif (solid["shape"], pose) in ((CYLINDER, LYING), (TORUS, UPRIGHT)):
        own, period = math.atan2(rotation[1, 2], rotation[0, 2]), math.pi
    elif (solid["shape"], pose) == (CONE, LYING):
        return math.atan2(rotation[1, 2], rotation[0, 2])
    else:
        return towards
    return own + period * round((towards - own) / period)


def looks_of(world: World) -> tuple[Looks, ...]:
    """Return the words that belong to each solid of a world."""
    return tuple(
        Looks(int(s["shape"]), int(c), int(s["material"]), int(s["texture"]), int(large), int(pose))
        for s, c, large, pose in zip(world.solids, world.colour, world.large, world.pose)
    )


def relations_of(world: World) -> npt.NDArray[np.int64]:
    """Return how the solids of a world stand to each other: rows (subject, predicate, object), see `words`."""
    if len(world) == 0:
        return np.zeros((0, 3), np.int64)
    view = world.view
    right, ahead = np.array(view.right[:2]), np.array(view.forward[:2])
    middles = world.solids["centre"]
    spans = np.stack([intervals(s) for s in world.solids])
    apart = np.stack([gaps(one, spans) for one in spans])
    to = middles - np.array(view.eye)
    columns = (to @ np.array(view.right)) / (to @ np.array(view.forward))
    places = np.stack([middles[:, :2] @ right, middles[:, :2] @ (ahead / np.linalg.norm(ahead))], 1)
    return relate(places, columns, apart, world.support)
