"""What makes a window look like it holds a thing: four cues of Alexe, Deselaers and Ferrari.

Measuring the Objectness of Image Windows, PAMI 2012: multi-scale saliency (MS), colour contrast (CC), edge density (ED) and superpixels
straddling (SS), each from integral images, for any number of windows at once. The fifth, where windows lie and how large they are, is
left out: it is the data set's habit, not the picture's.

    cues = objectness_cues(picture, boxes)        # [N, 4]
"""

from __future__ import annotations

import cv2
import numpy as np

from videre.ops.graph_segmentation import graph_segmentation

CUES = ("MS", "CC", "ED", "SS")
SCALES = (16, 24, 32, 48, 64)
"""Sides that the picture is resized to for saliency."""
SALIENT = 2.0
"""Times the mean of a map, from which a place is salient."""
RING = 2.0
"""Area of the window and the ring around it by that of the window (CC), and of the window by its inner part (ED)."""
BINS = (4, 8, 8)
"""Of L, a and b in colour histograms."""
HALF, QUARTER = 2, 4
"""Pixels a step of the integral images of colours, and of regions."""


def objectness_cues(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Of windows the four cues, larger where there rather is a thing.

    Args:
        picture: (H, W, 3) uint8 RGB. boxes: (N, 4) xyxy, pixels, within the picture.
    Returns:
        (N, 4) float32, columns as in CUES: MS of no fixed range, CC and SS within 0 and 1, ED edge pixels a pixel of the outline.
    Raises:
        ValueError: no such picture or boxes.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise ValueError(f"objectness_cues: picture is {picture.dtype} {picture.shape}, expected uint8 (H, W, 3)")
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise ValueError(f"objectness_cues: boxes are {boxes.shape}, expected finite numbers (N, 4)")
    cues = [_saliency(picture, boxes), _contrast(picture, boxes), _edges(picture, boxes), _straddling(picture, boxes)]
    return np.stack(cues, 1).astype(np.float32)


def _saliency(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Spectral residual (Hou & Zhang, 2007) at each scale: how much salience a window has, times how much of it is salient."""
    height, width = picture.shape[:2]
    total = np.zeros(len(boxes))
    for side in SCALES:
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.float64)
        spectrum = np.fft.fft2(small, axes=(0, 1))
        amplitude = np.log(np.abs(spectrum) + 1e-9)
        residual = amplitude - cv2.blur(amplitude, (3, 3), borderType=cv2.BORDER_REPLICATE)
        back = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)), axes=(0, 1))) ** 2
        salience = cv2.GaussianBlur(back.sum(2), (0, 0), side / 25)
        salience /= max(salience.mean(), 1e-12)
        salient = salience > SALIENT
        scale = np.array([side / width, side / height] * 2)
        inside = boxes * scale
        amount, count = (_sums(plane[..., None], inside)[:, 0] for plane in (salience * salient, salient.astype(float)))
        area = np.maximum(_area(inside), 1e-9)
        total += amount / side**2 * count / area
    return total


def _contrast(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Chi-squared distance of the colours in a window and in the ring around it, half of it: 0 to 1."""
    lab = cv2.cvtColor(picture[::HALF, ::HALF], cv2.COLOR_RGB2LAB).astype(np.int64)
    ids = np.zeros(lab.shape[:2], np.int64)
    for channel, bins in enumerate(BINS):
        ids = ids * bins + lab[..., channel] * bins // 256
    used, ids = np.unique(ids, return_inverse=True)
    planes = np.eye(len(used), dtype=np.float32)[ids.reshape(lab.shape[:2])]
    grown = _scaled(boxes, np.sqrt(RING))
    inner, outer = (_sums(planes, b / HALF) for b in (boxes, grown))
    ring = outer - inner
    share = lambda counts: counts / np.maximum(counts.sum(1, keepdims=True), 1e-9)
    a, b = share(inner), share(np.maximum(ring, 0))
    return ((a - b) ** 2 / np.maximum(a + b, 1e-12)).sum(1) / 2


def _edges(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Edge pixels in the outer part of a window, by the length of its outline."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    edges = (cv2.Canny(grey, 50, 150) > 0).astype(np.float32)[..., None]
    count = _sums(edges, boxes)[:, 0] - _sums(edges, _scaled(boxes, 1 / np.sqrt(RING)))[:, 0]
    outline = 2 * (boxes[:, 2:] - boxes[:, :2]).sum(1)
    return count / np.maximum(outline, 1e-9)


def _straddling(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """1 less the share of a window that belongs to regions which lie partly outside."""
    regions = graph_segmentation(picture, 150.0, min_size=max(20, picture.shape[0] * picture.shape[1] // 2000))
    small = regions[::QUARTER, ::QUARTER]
    used, small_ids = np.unique(small, return_inverse=True)
    planes = np.eye(len(used), dtype=np.float32)[small_ids.reshape(small.shape)]
    inside = _sums(planes, boxes / QUARTER)
    outside = planes.sum((0, 1)) - inside
    area = np.maximum(inside.sum(1), 1e-9)
    return 1 - np.minimum(inside, np.maximum(outside, 0)).sum(1) / area


def _sums(planes: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Sums (N, C) of planes (H, W, C) over boxes (N, 4), whose sides are rounded to whole places and lie within the planes."""
    height, width, channels = planes.shape
    table = np.zeros((height + 1, width + 1, channels), np.float64)
    np.cumsum(np.cumsum(planes, 0, dtype=np.float64), 1, out=table[1:, 1:])
    x1, y1, x2, y2 = np.rint(boxes).astype(int).T
    x1, x2 = np.clip(x1, 0, width), np.clip(x2, 0, width)
    y1, y2 = np.clip(y1, 0, height), np.clip(y2, 0, height)
    return table[y2, x2] - table[y1, x2] - table[y2, x1] + table[y1, x1]


def _scaled(boxes: np.ndarray, factor: float) -> np.ndarray:
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    return np.concatenate([middle - half, middle + half], 1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)
