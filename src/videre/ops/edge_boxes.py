"""Edge Boxes: a box is likely to hold an object if many contours lie wholly inside it and few cross its border.

Zitnick and Dollár, Edge Boxes: Locating Object Proposals from Edges, ECCV 2014. Edge pixels of like orientation are
joined to groups (section 3.1), groups that continue one another have affinity, and a box is scored by the groups that
no path of affinities ties to its border (3.2). Windows of all positions, scales and shapes are scored, the good ones
refined, the best of those that overlap kept (3.3). Order of scanning, arithmetic and thresholds are those of OpenCV's
`ximgproc.createEdgeBoxes`, which follows the authors' code rather than the paper where the two differ: a group counts
as inside if its last pixel is, what fills the middle of a box is subtracted whole, and w and h are halved as integers.

    edges = gradient_edges(picture)  # or those of a net
    orientation = edge_orientation(edges)
    boxes, scores = edge_boxes(edge_nms(edges, orientation), orientation)
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ._numba import serial

FAINTEST = np.float32(0.05)
"""Paths of affinity below this tie nothing to a border."""
REACH = 2
"""Pixels between groups that can have affinity."""
FINEST = 2
"""Pixels: a refinement whose steps are no larger ends."""


def edge_boxes(
    edges: Tensor,
    orientation: Tensor,
    *,
    alpha: float = 0.65,
    beta: float = 0.75,
    eta: float = 1.0,
    min_score: float = 0.01,
    max_boxes: int = 10000,
    edge_min_mag: float = 0.1,
    edge_merge_thr: float = 0.5,
    cluster_min_mag: float = 0.5,
    max_aspect: float = 3.0,
    min_area: float = 1000.0,
    gamma: float = 2.0,
    kappa: float = 1.5,
) -> tuple[Tensor, Tensor]:
    """Propose boxes that hold objects.

    Args:
        edges: (H, W) strength of edges, 0 .. 1, thinned (`edge_nms`).
        orientation: (H, W) radians, of the normal of the edge, counted from x towards y, modulo pi.
        alpha: IoU of neighbouring windows, in (0, 1): larger is denser and slower.
        beta: IoU above which the lesser of two boxes is dropped, in (0, 1] (OpenCV drops and limits nothing above .99).
        eta: in (0, 1]; while beta is above .5 each box that stays multiplies it by eta.
        min_score: boxes below it are dropped.
        max_boxes: the most that are returned.
        edge_min_mag: edges no stronger are ignored.
        edge_merge_thr: a group grows until its turns sum to this, in units of pi.
        cluster_min_mag: groups of no more strength are joined to their neighbours.
        max_aspect: of windows, longer over shorter side.
        min_area: square pixels, of the smallest window.
        gamma: sharpens affinities.
        kappa: by how much scores fall with size.
    Returns:
        (P, 4) float32 boxes xyxy, pixels, and (P) float32 scores, falling.
    Raises:
        ValueError: maps that are not (H, W) of one size, or not finite; a setting outside its range.
    Convention: the border of a box runs along middles of pixels, so that nothing favours a side: its coordinates are
        halves. OpenCV's rectangles count pixels from 1; theirs at (x, y) of width w is ours from x - .5 to x - .5 + w.
    """
    strength, angle = _checked("edge_boxes", edges, orientation)
    _check_settings(alpha, beta, eta, max_boxes, max_aspect, min_area, gamma)
    ids, count = _group_kernel(strength, angle, edge_min_mag, edge_merge_thr, cluster_min_mag)
    groups = _groups(strength, angle, ids, count, edge_min_mag, gamma)
    norm = _norms(sum(strength.shape), kappa)
    windows = _windows(strength.shape, alpha, max_aspect, min_area)
    shrink = (1 - alpha) / (1 + alpha)
    boxes, scores = _sweep_kernel(windows, groups, norm, np.float32(min_score), np.float32(shrink))
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    keep = _keep_kernel(boxes, np.float32(beta), np.float32(eta), max_boxes)
    boxes = boxes[keep].astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    boxes += np.float32(0.5)  # the middles of pixels
    return torch.from_numpy(boxes), torch.from_numpy(scores[keep])


def edge_nms(edges: Tensor, orientation: Tensor, radius: int = 2) -> Tensor:
    """Thin edges: what is weaker than a place within `radius` pixels across the edge becomes 0.

    Args:
        edges: (H, W) strength of edges.
        orientation: (H, W) radians, of the normal, counted from x towards y.
        radius: whole pixels along the normal, to both sides; between pixels strength is interpolated bilinearly.
    Returns:
        (H, W) float32.
    Raises:
        ValueError: maps that are not (H, W) of one size, or not finite; a negative radius.
    """
    strength, angle = _checked("edge_nms", edges, orientation)
    if radius < 0:
        raise ValueError(f"edge_nms: radius is {radius}, expected at least 0")
    return torch.from_numpy(_thin_kernel(strength, np.cos(angle), np.sin(angle), radius))


def edge_orientation(edges: Tensor, sigma: float = 2.0) -> Tensor:
    """Orientation of the normal of each edge: where the smoothed map curves down most.

    Args:
        edges: (H, W) strength of edges.
        sigma: pixels, of the Gaussian.
    Returns:
        (H, W) float32 radians in [0, pi), counted from x towards y.
    Raises:
        ValueError: a map that is not (H, W), or not finite.
    """
    (strength,) = _checked("edge_orientation", edges)
    xx, yy, xy = (gaussian_filter(strength, sigma, order, mode="nearest") for order in ((0, 2), (2, 0), (1, 1)))
    # The Hessian's eigenvector of the larger eigenvalue lies along a ridge, the other across it.
    across = (np.arctan2(2 * xy, xx - yy) / 2 + math.pi / 2) % math.pi
    return torch.from_numpy(across.astype(np.float32))


def gradient_edges(picture: np.ndarray | Tensor, sigma: float = 1.5) -> Tensor:
    """Edges without a net: the largest gradient of a colour channel, smoothed.

    Args:
        picture: (H, W, 3) uint8.
        sigma: pixels, of the Gaussian whose derivatives are taken.
    Returns:
        (H, W) float32 in 0 .. 1, where 1 is what one pixel in a hundred reaches; not yet thin.
    Raises:
        ValueError: a picture that is not (H, W, 3) uint8.
    """
    pixels = np.asarray(picture)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"gradient_edges: picture is {pixels.dtype} {pixels.shape}, expected uint8 (H, W, 3)")
    channels = pixels.astype(np.float32)
    down, across = (gaussian_filter(channels, (sigma, sigma, 0), (*d, 0), mode="nearest") for d in ((1, 0), (0, 1)))
    strength = np.hypot(down, across).max(2)
    strong = np.quantile(strength, 0.99)
    return torch.from_numpy((strength / max(strong, 1e-6)).clip(0, 1).astype(np.float32))


def _checked(name: str, *maps: Tensor) -> list[np.ndarray]:
    arrays = [np.ascontiguousarray(torch.as_tensor(m).detach().cpu().numpy(), np.float32) for m in maps]
    if any(a.ndim != 2 or a.shape != arrays[0].shape for a in arrays):
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise ValueError(f"{name}: maps of shape {shapes}, expected (H, W), all of one size")
    for a in arrays:
        if not np.isfinite(a).all():
            y, x = np.argwhere(~np.isfinite(a))[0]
            raise ValueError(f"{name}: {a[y, x]} at row {y}, column {x}; edges and orientations must be finite")
    return arrays


def _check_settings(
    alpha: float, beta: float, eta: float, max_boxes: int, max_aspect: float, min_area: float, gamma: float
) -> None:
    for name, value, fits, expected in (
        ("alpha", alpha, 0 < alpha < 1, "in (0, 1)"),
        ("beta", beta, 0 < beta <= 1, "in (0, 1]"),
        ("eta", eta, 0 < eta <= 1, "in (0, 1]"),
        ("max_boxes", max_boxes, max_boxes >= 0, "at least 0"),
        ("max_aspect", max_aspect, 1 <= max_aspect < math.inf, "at least 1"),
        ("min_area", min_area, 1 <= min_area < math.inf, "at least 1"),
        ("gamma", gamma, 0 <= gamma < math.inf, "at least 0"),
    ):
        if not fits:
            raise ValueError(f"edge_boxes: {name} is {value}, expected a number {expected}")


def _windows(size: tuple[int, int], alpha: float, max_aspect: float, min_area: float) -> np.ndarray:
    """(S, 4) int64 widths, heights and steps in x and y of the windows: neighbours in position, scale or shape overlap
    with an IoU of alpha."""
    smallest = math.sqrt(min_area)
    scale_step, shape_step = math.sqrt(1 / alpha), (1 + alpha) / (2 * alpha)
    shrink = (1 - alpha) / (1 + alpha)
    scales = max(math.ceil(math.log(max(*size, 1) / smallest) / math.log(scale_step)), 0)
    shapes = int(math.log(max_aspect) / math.log(shape_step**2))
    table = []
    for scale in range(scales):
        for shape in range(-shapes, shapes + 1):
            width = int(smallest * scale_step**scale * shape_step**shape)
            height = int(smallest * scale_step**scale / shape_step**shape)
            table.append((width, height, max(2, int(width * shrink)), max(2, int(height * shrink))))
    return np.array(table, np.int64).reshape(-1, 4)


def _norms(longest: int, kappa: float) -> np.ndarray:
    """What a score is multiplied by, at half the width plus half the height."""
    with np.errstate(divide="ignore"):
        inverse = 1 / np.arange(longest + 1, dtype=np.float32)
    return (inverse.astype(np.float64) ** float(np.float32(kappa))).astype(np.float32)


class _Groups(NamedTuple):
    """Groups of edge pixels, numbered from 1; 0 stands for none."""

    mass: np.ndarray  # (G) summed strength
    x: np.ndarray  # (G) column of the pixel that says where the group is
    y: np.ndarray  # (G) its row
    first: np.ndarray  # (G + 1) where a group's neighbours begin
    neighbour: np.ndarray  # (A) groups
    affinity: np.ndarray  # (A) in (0, 1]
    row_run: np.ndarray  # (H, W) number of the run of one id, along rows, that a pixel belongs to
    row_id: np.ndarray  # its id
    column_run: np.ndarray  # (W, H) the same along columns
    column_id: np.ndarray
    inside: np.ndarray  # (H + 1, W + 1) sums of mass above and left of a corner, each group at its x, y
    strength: np.ndarray  # (H + 1, W + 1) the same of edge strength, pixel by pixel


def _groups(
    strength: np.ndarray, angle: np.ndarray, ids: np.ndarray, count: int, faintest: float, gamma: float
) -> _Groups:
    mass, mean_x, mean_y, normal, x, y = _describe_kernel(strength, angle, ids, count)
    first, neighbour, affinity = _affinity_kernel(ids, mean_x, mean_y, normal, np.float32(gamma))
    at = np.zeros_like(strength)
    at[y[1:], x[1:]] = mass[1:]
    edges = np.zeros_like(strength)
    inner = strength[1:-1, 1:-1]
    edges[1:-1, 1:-1] = np.where(inner > np.float32(faintest), inner, 0)  # no middle of a box reaches the border
    row_run, row_id = _runs_kernel(ids)
    column_run, column_id = _runs_kernel(np.ascontiguousarray(ids.T))
    runs = row_run, row_id, column_run, column_id
    return _Groups(mass, x, y, first, neighbour, affinity, *runs, _integral_kernel(at), _integral_kernel(edges))


@serial
def _group_kernel(strength, angle, faintest, most_turn, least_mass):
    """Group of each pixel, (H, W) int32: 0 is none, and the number of groups, the none included."""
    height, width = strength.shape
    ids = np.zeros((height, width), np.int32)  # -1: no edge; 0: not yet in a group
    for y in range(height):
        for x in range(width):
            border = y == 0 or x == 0 or y == height - 1 or x == width - 1
            ids[y, x] = -1 if border or strength[y, x] <= np.float32(faintest) else 0

    # From each free pixel on, the group takes the neighbour that turns least, of all that it has met.
    count = 1
    seen = np.zeros((height, width), np.int32)
    turns, xs, ys = np.empty(ids.size, np.float32), np.empty(ids.size, np.int32), np.empty(ids.size, np.int32)
    for x0 in range(1, width - 1):
        for y0 in range(1, height - 1):
            if ids[y0, x0] != 0:
                continue
            x, y, turned, met = x0, y0, np.float32(0), 0
            while turned < most_turn:
                ids[y, x] = count
                for v in range(x - 1, x + 2):
                    for u in range(y - 1, y + 2):
                        if ids[u, v] == 0 and seen[u, v] != count:
                            seen[u, v] = count
                            turns[met], xs[met], ys[met] = _turn(angle[u, v], angle[y, x]), v, u
                            met += 1
                best = -1
                for i in range(met):
                    if turns[i] < 2 and (best < 0 or turns[i] < turns[best]):
                        best = i
                if best < 0:
                    break
                turned += turns[best]
                turns[best] = 2  # taken
                x, y = xs[best], ys[best]
            count += 1

    # Pixels of groups that are too weak are free again, and join the neighbour of the closest orientation.
    mass = np.zeros(count, np.float32)
    for x in range(1, width - 1):
        for y in range(1, height - 1):
            if ids[y, x] > 0:
                mass[ids[y, x]] += strength[y, x]
    for x in range(1, width - 1):
        for y in range(1, height - 1):
            if ids[y, x] > 0 and mass[ids[y, x]] <= least_mass:
                ids[y, x] = 0
    joined = True
    while joined:
        joined = False
        for x in range(1, width - 1):
            for y in range(1, height - 1):
                if ids[y, x] != 0:
                    continue
                least, best = np.float32(2), 0
                for v in range(x - 1, x + 2):
                    for u in range(y - 1, y + 2):
                        if ids[u, v] > 0:
                            turn = _turn(angle[u, v], angle[y, x])
                            if turn < least:
                                least, best = turn, ids[u, v]
                ids[y, x] = best
                joined |= best > 0

    number = np.zeros(count, np.int32)
    for x in range(1, width - 1):
        for y in range(1, height - 1):
            if ids[y, x] > 0:
                number[ids[y, x]] = 1
    used = 1
    for i in range(1, count):
        if number[i]:
            number[i] = used
            used += 1
    for y in range(height):
        for x in range(width):
            ids[y, x] = number[ids[y, x]] if ids[y, x] > 0 else 0
    return ids, used


@serial
def _turn(a, b):
    """Between two orientations, in units of pi: 0 .. .5."""
    turn = abs(a - b) / np.float32(math.pi)
    return np.float32(1) - turn if turn > np.float32(0.5) else turn


@serial
def _describe_kernel(strength, angle, ids, count):
    """Of each group: mass, mean place, orientation of the normal, and its last pixel."""
    height, width = ids.shape
    mass, mean_x, mean_y, cosine, sine = np.zeros((5, count), np.float32)
    xs, ys = np.zeros((2, count), np.int32)
    for x in range(1, width - 1):
        for y in range(1, height - 1):
            i, m = ids[y, x], strength[y, x]
            if i > 0:
                mass[i] += m
                cosine[i] += m * np.cos(np.float32(2) * angle[y, x])
                sine[i] += m * np.sin(np.float32(2) * angle[y, x])
                mean_x[i] += m * np.float32(x)
                mean_y[i] += m * np.float32(y)
                xs[i], ys[i] = x, y
    normal = np.zeros(count, np.float32)
    for i in range(1, count):
        mean_x[i] /= mass[i]
        mean_y[i] /= mass[i]
        normal[i] = np.arctan2(sine[i] / mass[i], cosine[i] / mass[i]) / np.float32(2)  # double angles: modulo pi
    return mass, mean_x, mean_y, normal, xs, ys


@serial
def _affinity_kernel(ids, mean_x, mean_y, normal, gamma):
    """Affinities of groups within REACH, as first (G + 1), neighbour (A) and affinity (A)."""
    height, width = ids.shape
    groups = mean_x.shape[0]
    known = set([(0, 0)])  # the item tells the type
    pairs = [(0, 0)]
    for x in range(REACH, width - REACH):
        for y in range(REACH, height - REACH):
            a = int(ids[y, x])
            if a > 0:
                for v in range(x - REACH, x + REACH + 1):
                    for u in range(y - REACH, y + REACH + 1):
                        b = int(ids[u, v])
                        if b > a and (a, b) not in known:
                            known.add((a, b))
                            pairs.append((a, b))
    ties = np.empty(len(pairs), np.float32)
    first = np.zeros(groups + 1, np.int64)
    for i, (a, b) in enumerate(pairs):
        line = np.arctan2(mean_y[a] - mean_y[b], mean_x[a] - mean_x[b]) + np.float32(math.pi / 2)
        ties[i] = abs(np.cos(normal[a] - line) * np.cos(normal[b] - line)) ** gamma
        if i > 0 and ties[i] >= FAINTEST:
            first[a + 1] += 1
            first[b + 1] += 1
    for i in range(groups):
        first[i + 1] += first[i]
    fill = first.copy()
    neighbour, affinity = np.empty(first[groups], np.int32), np.empty(first[groups], np.float32)
    for i, (a, b) in enumerate(pairs):
        if i > 0 and ties[i] >= FAINTEST:
            neighbour[fill[a]], affinity[fill[a]] = b, ties[i]
            neighbour[fill[b]], affinity[fill[b]] = a, ties[i]
            fill[a] += 1
            fill[b] += 1
    return first, neighbour, affinity


@serial
def _runs_kernel(ids):
    """Runs of equal ids along the rows, the first of each row of no group: run of each pixel, and id of each run."""
    height, width = ids.shape
    run, of = np.empty((height, width), np.int32), np.empty(height * (width + 1), np.int32)
    runs = -1
    for y in range(height):
        last = -1
        for x in range(width):
            if ids[y, x] != last:
                last = ids[y, x]
                runs += 1
                of[runs] = last
            run[y, x] = runs
    return run, of[: runs + 1]


@serial
def _integral_kernel(values):
    """(H + 1, W + 1) sums of all above and left of each corner."""
    height, width = values.shape
    sums = np.zeros((height + 1, width + 1), np.float32)
    for y in range(height):
        for x in range(width):
            sums[y + 1, x + 1] = values[y, x] + sums[y + 1, x] + sums[y, x + 1] - sums[y, x]
    return sums


@serial
def _box_sum(sums, x0, y0, x1, y1):
    """Of pixels, the last column and row included."""
    return sums[y0, x0] + sums[y1 + 1, x1 + 1] - sums[y0, x1 + 1] - sums[y1 + 1, x0]


@serial
def _sweep_kernel(windows, groups, norm, least, shrink):
    """Score all windows and refine those worth it: (P, 4) int32 x, y, width, height and (P) scores above 0."""
    height, width = groups.row_run.shape
    total = 0
    for s in range(windows.shape[0]):
        w, h, step_x, step_y = windows[s]
        total += len(range(0, width - w + step_x, step_x)) * len(range(0, height - h + step_y, step_y))
    boxes, scores = np.empty((total, 4), np.int32), np.empty(total, np.float32)
    count = groups.mass.shape[0]
    done, slot, met = np.zeros(count, np.int64), np.empty(count, np.int32), np.empty(count, np.int32)
    tie = np.empty(count, np.float32)
    work = (done, slot, met, tie)
    kept = 0
    for s in range(windows.shape[0]):
        w, h, step_x, step_y = windows[s]
        for x in range(0, width - w + step_x, step_x):
            for y in range(0, height - h + step_y, step_y):
                box, score = _score((x, y, w, h), groups, norm, least, work)
                if score > 0:
                    boxes[kept], scores[kept] = _refine(box, score, groups, norm, shrink, work)
                    kept += 1
    return boxes[:kept], scores[:kept]


@serial
def _score(box, groups, norm, least, work):
    """The box, clipped, and its score, or 0 where that is below `least`."""
    done, slot, met, tie = work
    height, width = groups.row_run.shape
    x0, y0 = min(max(box[0], 0), width - 1), min(max(box[1], 0), height - 1)
    x1, y1 = min(max(box[0] + box[2], 0), width - 1), min(max(box[1] + box[3], 0), height - 1)
    clipped = (x0, y0, x1 - x0, y1 - y0)
    w, h = (x1 - x0) // 2, (y1 - y0) // 2
    x, y = x0 + w // 2, y0 + h // 2
    scale = norm[w + h]
    value = _box_sum(groups.inside, x0, y0, x1, y1) - _box_sum(groups.strength, x, y, x + w, y + h)
    if value * scale < least:
        return clipped, np.float32(0)  # the rest only takes away

    # The groups that cross the border.
    done[0] += 1  # of no group: counts the calls
    call, n = done[0], 0
    for side in range(4):
        if side < 2:
            row = y1 if side else y0
            begin, end, ids = groups.row_run[row, x0], groups.row_run[row, x1], groups.row_id
        else:
            column = x1 if side == 3 else x0
            begin, end, ids = groups.column_run[column, y0], groups.column_run[column, y1], groups.column_id
        for run in range(begin, end + 1):
            i = ids[run]
            if i > 0 and done[i] != call:
                done[i], slot[i], met[n], tie[n] = call, n, i, 1
                n += 1
                if x0 <= groups.x[i] <= x1 and y0 <= groups.y[i] <= y1:
                    value -= groups.mass[i]
    if value * scale < least:
        return clipped, np.float32(0)

    # Those inside that are tied to them, by the strongest path.
    k, crossing, left = 0, n, float(value)
    hopeless = least / scale - 1e-4 * value  # with room for rounding
    while k < n:
        i, w, back = met[k], tie[k], k + 1
        for a in range(groups.first[i], groups.first[i + 1]):
            path, j = w * groups.affinity[a], groups.neighbour[a]
            if path < FAINTEST:
                continue
            if done[j] == call:
                if path > tie[slot[j]]:
                    left -= (path - tie[slot[j]]) * groups.mass[j]
                    tie[slot[j]] = path
                    back = min(back, slot[j])
            elif x0 <= groups.x[j] <= x1 and y0 <= groups.y[j] <= y1:
                done[j], slot[j], met[n], tie[n] = call, n, j, path
                left -= path * groups.mass[j]
                n += 1
        if left < hopeless:
            return clipped, np.float32(0)
        k = back
    for k in range(crossing, n):
        value -= tie[k] * groups.mass[met[k]]
    value *= scale
    return clipped, value if value >= least else np.float32(0)


@serial
def _refine(box, score, groups, norm, shrink, work):
    """Move one side at a time, outwards or inwards, by steps that halve."""
    step_x, step_y = int(box[2] * shrink), int(box[3] * shrink)
    while True:
        step_x, step_y = step_x // 2, step_y // 2
        if step_x <= FINEST and step_y <= FINEST:
            return box, score
        step_x, step_y = max(step_x, 1), max(step_y, 1)
        for side in range(4):
            for way in (1, -1):
                x, y, w, h = box
                if side == 0:
                    y, h = y - way * step_y, h + way * step_y
                elif side == 1:
                    h += way * step_y
                elif side == 2:
                    x, w = x - way * step_x, w + way * step_x
                else:
                    w += way * step_x
                other, value = _score((x, y, w, h), groups, norm, score, work)
                if value > score:
                    box, score = other, value
                    break


@serial
def _keep_kernel(boxes, threshold, eta, most):
    """Indices of the boxes that stay, of boxes (P, 4) x, y, width, height, best first.

    Two boxes of IoU above t differ in width, and in height, by less than a factor of 1 / t, so only cells beside the
    own one of a grid over the logarithms of both can hold a box that matters.
    """
    lowest = threshold if eta == 1 else min(threshold, eta / 2)
    step = max(-math.log(lowest), 0.1)
    sides = int(math.log(max(boxes[:, 2:].max(), 1)) / step) + 1 if boxes.size else 1
    head = np.full((sides + 2, sides + 2), -1, np.int64)
    before, keep = np.empty((2, min(boxes.shape[0], most)), np.int64)
    kept = 0
    for i in range(boxes.shape[0]):
        if kept == most:
            break
        x, y, w, h = boxes[i]
        a, b = int(math.log(max(w, 1)) / step) + 1, int(math.log(max(h, 1)) / step) + 1
        stays = True
        for cell in range(9):
            k = head[a - 1 + cell // 3, b - 1 + cell % 3]
            while stays and k >= 0:
                u, v, wide, high = boxes[keep[k]]
                both = max(min(x + w, u + wide) - max(x, u), 0) * max(min(y + h, v + high) - max(y, v), 0)
                stays = not np.float32(both) / np.float32(w * h + wide * high - both) > threshold
                k = before[k]
        if stays:
            keep[kept], before[kept], head[a, b] = i, head[a, b], kept
            kept += 1
            if eta < 1 and threshold > np.float32(0.5):
                threshold *= eta
    return keep[:kept]


@serial
def _thin_kernel(strength, cosine, sine, radius):
    height, width = strength.shape
    out = strength.copy()
    for y in range(height):
        for x in range(width):
            for d in range(-radius, radius + 1):
                if d != 0 and out[y, x] > 0:
                    u = min(max(x + d * cosine[y, x], 0.0), width - 1.0)
                    v = min(max(y + d * sine[y, x], 0.0), height - 1.0)
                    i, j = min(int(v), height - 2), min(int(u), width - 2)
                    p, q = v - i, u - j
                    top = (1 - q) * strength[i, j] + q * strength[i, j + 1]
                    bottom = (1 - q) * strength[i + 1, j] + q * strength[i + 1, j + 1]
                    if strength[y, x] < (1 - p) * top + p * bottom:
                        out[y, x] = 0
    return out
