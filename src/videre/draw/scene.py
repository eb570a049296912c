"""A scene drawn on its picture: boxes, masks, poses, maps, labels that do not cover each other, and words below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from videre.draw.canvas import Canvas
from videre.draw.colors import INK, LEFT, MIDDLE, RIGHT, SOFT, Color, class_color, instance_colors
from videre.draw.outlines import Rings, outlines
from videre.draw.strip import Entry, strip
from videre.draw.text import Label, place_labels
from videre.errors import ShapeError
from videre.images.reading import as_picture
from videre.structures import VOID, Camera, Categories, Instances, Scene, Schema, Skeleton

FONT = 13
"""Pixels, on a canvas of plain size."""
MANY = 60
"""Of so many instances none is named on the picture; the strip below counts them."""
SURE = 0.3
"""Keypoints with a lower score are not drawn."""
ORDINARY = frozenset({"boxes", "masks", "keypoints", "segmentation", "labels", "captions", "answers"})
"""What is drawn when nothing is asked for; relations, depth, 3D boxes and proposals hide too much of the picture."""


def draw_scene(
    picture: Any,
    scene: Scene,
    schema: Schema,
    *,
    threshold: float | Mapping[str, float] | None = None,
    scale: float | None = None,
    show: Collection[str] | None = None,
    colors: Sequence[Color] | None = None,
) -> np.ndarray:
    """Draw a truth or a prediction of any task.

    Args:
        picture: anything that `as_picture` takes: uint8, uint16 or float, any number of channels.
        scene: about that picture, in its pixels. schema: names and colours of its labels.
        threshold: least score, or one per class name; None: everything.
        scale: pixels drawn per pixel of the picture; None: 1, and a larger whole number for small pictures.
        show: fields to draw: ORDINARY, "relations", "proposals", "boxes3d", "depth", "panoptic"; None: the ordinary ones
            that are there (a segmentation only where no masks are).
        colors: one per instance, instead of the classes' colours.

    Returns:
        uint8 [H', W', 3]: the picture, and a strip below it where there is something to say.

    Raises:
        ShapeError: the picture has another size than the scene.
    """
    picture = as_picture(picture)
    check_size(picture, scene)
    scene, kept = above(scene, schema, threshold)
    canvas = Canvas(picture, scale)
    there = fields_drawn(scene, show)
    own = None if colors is None else [colors[i] for i in kept]
    legend, lines = draw_all(canvas, scene, schema, there, own)
    return with_strip(canvas, legend, lines)


def draw_all(
    canvas: Canvas,
    scene: Scene,
    schema: Schema,
    there: frozenset[str],
    colors: Sequence[Color] | None = None,
    dashes: Sequence[float] | None = None,
) -> tuple[list[Entry], list[str]]:
    """Draw the fields `there` on a canvas; returns what belongs below it: the legend and the sentences.

    Args:
        colors, dashes: per instance; a dash of 0 is a whole line.
    """
    legend = _paint_maps(canvas, scene, schema, there)
    things = scene.instances
    if "proposals" in there and scene.proposals is not None:
        for box in scene.proposals[:100].double().numpy():
            canvas.box(box, INK, 1.0, 0.6)
    if things is not None and len(things):
        colors = colors or instance_colors(schema.things, _labels(things), apart="masks" in there)
        shapes = _draw_shapes(canvas, things, there, colors, dashes or [0.0] * len(things))
        if "keypoints" in there:
            _draw_poses(canvas, things, schema.skeleton, colors)
        if "boxes3d" in there and scene.camera is not None:
            _draw_solids(canvas, things, scene.camera, colors)
        if "relations" in there:
            _draw_relations(canvas, scene, schema)
        if there & {"boxes", "masks", "keypoints"}:
            legend += _draw_labels(canvas, things, shapes, schema.things, colors)
    return legend + _picture_labels(scene, schema, there), _sentences(scene, there)


def with_strip(canvas: Canvas, legend: Sequence[Entry] = (), lines: Sequence[str] = ()) -> np.ndarray:
    """The canvas with its words below."""
    return np.concatenate([canvas.pixels, strip(canvas.size[1], canvas.width(FONT), legend, lines)])


def check_size(picture: np.ndarray, scene: Scene) -> None:
    """Raise ShapeError when a scene is about a picture of another size."""
    if picture.shape[:2] != scene.size:
        raise ShapeError(
            f"{scene.name}: the picture is {picture.shape[0]}x{picture.shape[1]} (height x width), the "
            f"scene is about {scene.size[0]}x{scene.size[1]}"
        )


def fields_drawn(scene: Scene, show: Collection[str] | None) -> frozenset[str]:
    """The fields that are there and wanted."""
    there = frozenset(name for name in (ORDINARY if show is None else show) if scene.has(name))
    return there - {"segmentation"} if show is None and "masks" in there else there


def above(scene: Scene, schema: Schema, threshold: float | Mapping[str, float] | None) -> tuple[Scene, Sequence[int]]:
    """Only the instances whose score reaches the threshold, and which they were."""
    things = scene.instances
    if threshold is None or things is None or things.scores is None:
        return scene, range(len(scene))
    if isinstance(threshold, Mapping):
        names = list(schema.things or [])
        least = torch.tensor([threshold.get(names[k], 0.5) if k < len(names) else 0.5 for k in _labels(things)])
    else:
        least = torch.full((len(things),), float(threshold))
    kept = (things.scores >= least).nonzero().flatten()
    return scene.select(kept), kept.tolist()


def frames(things: Instances, shapes: Sequence[Rings] = ()) -> np.ndarray:
    """A box around each instance, from what there is, float [N, 4]; NaN where nothing says where it is."""
    if things.boxes is not None:
        return things.boxes.double().numpy()
    boxes = np.full((len(things), 4), np.nan)
    for n in range(len(things)):
        points = np.concatenate(shapes[n]) if len(shapes) and shapes[n] else None
        if points is None and things.keypoints is not None:
            points = things.keypoints[n].double().numpy()[_seen(things)[n] > 0]
        if points is not None and len(points):
            boxes[n] = (*points.min(0), *points.max(0))
    return boxes


# shapes -----------------------------------------------------------------------------------------------------------------


def _draw_shapes(
    canvas: Canvas, things: Instances, there: frozenset[str], colors: Sequence[Color], dashes: Sequence[float]
) -> list[Rings]:
    """Masks, large ones first so that small ones stay visible, then boxes; returns the masks' outlines.

    Where masks say it better, boxes are thin, and left out when there are many.
    """
    shapes = outlines(things.masks) if things.masks is not None and "masks" in there else []
    boxes = frames(things, shapes)
    order = np.argsort(-_area(boxes), kind="stable").tolist()
    ignored = things.ignore.tolist() if things.ignore is not None else [False] * len(things)
    colors = [SOFT if skip else color for skip, color in zip(ignored, colors)]
    for n in order:
        if ignored[n] and not np.isnan(boxes[n]).any():
            canvas.hatch(shapes[n] if shapes else [_corners(boxes[n])], SOFT, 0.7)
        elif shapes:
            canvas.fill(shapes[n], colors[n], 0.32)
    for n in order if shapes else ():
        for ring in shapes[n]:
            fine = 2.0 if dashes[n] else 1.0 if len(things) > MANY else 1.5
            canvas.line(ring, colors[n], fine, closed=True, dash=dashes[n])
    if things.boxes is not None and "boxes" in there and not (shapes and len(things) > MANY // 3):
        lines, opacity = (1.0, 0.55) if shapes or ("keypoints" in there and len(things) > 1) else (2.0, 1.0)
        for n in order:
            canvas.box(boxes[n], colors[n], lines, opacity, dash=0 if shapes else 5 if ignored[n] else dashes[n])
    return shapes


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.nan_to_num((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _corners(box: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = box
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])


def _draw_labels(
    canvas: Canvas, things: Instances, shapes: list[Rings], names: Categories | None, colors: Sequence[Color]
) -> list[Entry]:
    """Names and scores beside the boxes; the legend that counts the classes when some found no room."""
    boxes = frames(things, shapes) * canvas.scale
    single = names is None or len(names) == 1
    texts = [_texts(things, n, names) for n in range(len(things))]
    scores = things.scores if things.scores is not None else torch.zeros(len(things))
    order = np.lexsort((-_area(boxes), -scores.double().numpy().round(1)))
    wishes = [Label(tuple(boxes[n]), texts[n], int(n)) for n in order if texts[n] and not np.isnan(boxes[n]).any()]
    if len(things) > (MANY // 4 if single else MANY):
        wishes = []
    size = canvas.width(FONT if len(wishes) <= 12 else FONT - 2)
    placed = place_labels(wishes, canvas.size, size, canvas.width(9), canvas.width(2))
    for label in placed:
        ignored = things.ignore is not None and bool(things.ignore[label.owner])
        canvas.tag(label, SOFT if ignored else colors[label.owner])
    counts = Counter(_labels(things))
    if len(placed) == len(things) or things.labels is None or names is None:
        return []
    return [(f"{names[k]}  {count}", None if single else class_color(names, k)) for k, count in sorted(counts.items())]


def _texts(things: Instances, n: int, names: Categories | None) -> tuple[str, ...]:
    """What to write at an instance, the longest first."""
    name = names[int(things.labels[n])] if things.labels is not None and names is not None else ""
    if not name and things.captions is not None:
        name = things.captions[n]
    score = f"{float(things.scores[n]):.2f}" if things.scores is not None else ""
    if things.ignore is not None and bool(things.ignore[n]):
        name = f"{name} (ignored)".strip()
    return tuple(dict.fromkeys(t for t in (f"{name} {score}".strip(), name) if t))


def _labels(things: Instances) -> list[int]:
    return things.labels.tolist() if things.labels is not None else [0] * len(things)


# poses ------------------------------------------------------------------------------------------------------------------


def _draw_poses(canvas: Canvas, things: Instances, skeleton: Skeleton | None, colors: Sequence[Color]) -> None:
    """Limbs in the colours of left, right and middle (of the instance, where the skeleton has no sides), then joints."""
    assert things.keypoints is not None
    points, seen = things.keypoints.double().numpy(), _seen(things)
    boxes = frames(things)
    for n in range(len(things)):
        sides = _sides(skeleton, points.shape[1], colors[n])
        # joints shrink with the person, so that a crowd's stay apart
        extent = np.ptp(points[n][seen[n] > 0], axis=0).max() if (seen[n] > 0).sum() > 1 else np.ptp(boxes[n])
        size = float(np.clip(extent * canvas.scale / canvas.unit / 90, 0.45, 1.0))
        limbs = [(a, b) for a, b in (skeleton.edges if skeleton is not None else ()) if seen[n, a] and seen[n, b]]
        for a, b in limbs:
            canvas.line(points[n, [a, b]], (15, 17, 22), 3 * size + 1.6)
        for a, b in limbs:
            canvas.line(points[n, [a, b]], sides[a] if sides[a] == sides[b] else MIDDLE, 3 * size)
        for j in np.flatnonzero(seen[n]):
            canvas.dot(points[n, j], sides[j], 3.4 * size, hollow=bool(seen[n, j] == 1))


def _seen(things: Instances) -> np.ndarray:
    """0 not there, 1 hidden, 2 seen: uint8 [N, J]."""
    assert things.keypoints is not None
    if things.visibility is not None:
        return things.visibility.numpy()
    if things.keypoint_scores is not None:
        return (things.keypoint_scores >= SURE).numpy().astype(np.uint8) * 2
    return np.full(things.keypoints.shape[:2], 2, np.uint8)


def _sides(skeleton: Skeleton | None, joints: int, own: Color) -> list[Color]:
    if skeleton is None or not skeleton.flip_pairs:
        return [own] * joints
    sides = [MIDDLE] * joints
    for a, b in skeleton.flip_pairs:
        sides[a], sides[b] = LEFT, RIGHT
    return sides


# maps -------------------------------------------------------------------------------------------------------------------


def _paint_maps(canvas: Canvas, scene: Scene, schema: Schema, there: frozenset[str]) -> list[Entry]:
    """Depth, segmentation, panoptic segments; returns the legend of the classes seen."""
    if "depth" in there and scene.depth is not None:
        depth = canvas.fit(scene.depth.float().numpy())
        valid = np.isfinite(depth) & (depth > 0)
        near, far = np.percentile(1 / depth[valid], (2, 98)) if valid.any() else (0.0, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.clip(np.nan_to_num((1 / depth - near) / max(far - near, 1e-9)), 0, 1)
        shades = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
        canvas.paint(np.ascontiguousarray(shades), valid * 0.9)
    if "panoptic" in there and scene.panoptic is not None:
        found, place = np.unique(scene.panoptic.numpy(), return_inverse=True)
        hues = np.array(instance_colors(None, [0] * len(found), apart=True), np.uint8).reshape(-1, 3)
        _paint_classes(canvas, place.reshape(scene.size), hues, (found != 0)[place].reshape(scene.size))
    if "segmentation" in there and scene.segmentation is not None:
        classes, names = scene.segmentation.numpy(), schema.pixels
        if classes.ndim == 3:  # each class over those before it
            counts = (classes == 1).sum((1, 2))
            for k, plane in enumerate(classes == 1):
                _paint_classes(canvas, plane.astype(int), np.array([class_color(names, k)] * 2, np.uint8), plane)
        else:
            counts = np.bincount(classes[classes != VOID], minlength=1)
            hues = np.array([class_color(names, k) for k in range(len(counts))], np.uint8)
            _paint_classes(canvas, np.where(classes != VOID, classes, 0), hues, classes != VOID)
        order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
        return [(names[k] if names and k < len(names) else str(k), class_color(names, k)) for k in order]
    return []


def _paint_classes(canvas: Canvas, classes: np.ndarray, hues: np.ndarray, predicted: np.ndarray) -> None:
    """Translucent areas with strong borders."""
    classes, predicted = canvas.fit(classes.astype(np.int32)), canvas.fit(predicted.astype(np.uint8)) > 0
    border: np.ndarray = np.zeros(classes.shape, np.uint8)
    border[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    border[1:] |= classes[1:] != classes[:-1]
    border = cv2.dilate(border, np.ones((canvas.width(1.5),) * 2, np.uint8))
    canvas.paint(hues[classes], np.where(predicted, np.where(border, 0.9, 0.5), 0))


# what is drawn when asked for -------------------------------------------------------------------------------------------


def _draw_solids(canvas: Canvas, things: Instances, camera: Camera, colors: Sequence[Color]) -> None:
    """The twelve edges of each 3D box; those with an end behind the camera are left out."""
    assert things.boxes3d is not None
    corners = camera.project(things.boxes3d.corners()).double().numpy()  # (N, 8, 2)
    for solid, color in zip(corners, colors):
        for a, b in ((a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit):
            if np.isfinite(solid[[a, b]]).all():
                canvas.line(solid[[a, b]], color, 1.6)


def _draw_relations(canvas: Canvas, scene: Scene, schema: Schema, most: int = 12) -> None:
    """Arrows from subject to object with the predicate on them, the surest ones."""
    relations, things = scene.relations, scene.instances
    assert relations is not None and things is not None
    order = range(len(relations)) if relations.scores is None else relations.scores.argsort(descending=True).tolist()
    boxes = frames(things, outlines(things.masks) if things.boxes is None and things.masks is not None else ())
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    wishes, kept = [], list(order)[:most]
    for r in kept:
        a, b = centres[int(relations.subjects[r])], centres[int(relations.objects[r])]
        if np.isnan([a, b]).any():
            continue
        back = (a - b) / max(float(np.hypot(*(a - b))), 1e-6) * 9 * canvas.unit / canvas.scale
        head = np.array([b + back + back[::-1] * (0.5, -0.5), b, b + back + back[::-1] * (-0.5, 0.5)])
        for color, lines in (((15, 17, 22), 3.4), (INK, 1.8)):
            canvas.line(np.array([a, b]), color, lines)
            canvas.line(head, color, lines)
        middle = (a + b) / 2 * canvas.scale
        name = schema.predicates[int(relations.predicates[r])] if schema.predicates is not None else ""
        wishes += [Label((*middle, *middle), (name,), r)] if name else []
    for label in place_labels(wishes, canvas.size, canvas.width(FONT - 2), canvas.width(9), 0):
        canvas.tag(label, (60, 66, 78))


# words ------------------------------------------------------------------------------------------------------------------


def _picture_labels(scene: Scene, schema: Schema, there: frozenset[str], most: int = 5) -> list[Entry]:
    """The picture's classes, the likeliest first; where things are drawn their names say it already."""
    if "labels" not in there or scene.labels is None or len(scene):
        return []
    names = schema.pictures
    scores = scene.label_scores
    order = range(len(scene.labels)) if scores is None else scores.argsort(descending=True).tolist()
    labels = [(int(scene.labels[i]), "" if scores is None else f"  {float(scores[i]):.2f}") for i in list(order)[:most]]
    return [(f"{names[k] if names is not None else k}{score}", class_color(names, k)) for k, score in labels]


def _sentences(scene: Scene, there: frozenset[str]) -> list[str]:
    lines = list(scene.captions[:3]) if "captions" in there and scene.captions else []
    if "answers" in there and scene.questions and scene.answers and not lines:
        best = [max(weights, key=weights.__getitem__, default="") for weights in scene.answers]
        lines = [f"{q}  {a}" for q, a in list(zip(scene.questions, best, strict=True))[:3]]
    return lines
