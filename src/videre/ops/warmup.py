"""Every kernel called once on small inputs: compiled and cached on disk, so that later runs start at once.

for name, call in warm_up():
    call()
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch

from videre.ops.bing import SPACES, BingFilter, bing
from videre.ops.crop_masks import crop_masks
from videre.ops.decode_keypoints import decode_keypoints
from videre.ops.edge_boxes import edge_boxes, edge_nms
from videre.ops.graph_segmentation import graph_segmentation
from videre.ops.group_regions import describe_regions, group_regions
from videre.ops.nms import nms
from videre.ops.paste_masks import paste_masks, paste_masks_rle
from videre.ops.ps_roi_align import ps_roi_align
from videre.ops.ps_roi_pool import ps_roi_pool
from videre.ops.rasterise import rasterise_polygons, trace_polygons
from videre.ops.rle import (
    rle_area,
    rle_boxes,
    rle_crop,
    rle_decode,
    rle_encode,
    rle_from_crops,
    rle_from_string,
    rle_iou,
    rle_merge,
    rle_to_string,
)
from videre.ops.roi_align import roi_align
from videre.ops.roi_pool import roi_pool
from videre.ops.soft_nms import soft_nms
from videre.ops.winograd import winograd_conv2d, winograd_weight

SIZE = (16, 16)


def warm_up() -> Iterator[tuple[str, Callable[[], object]]]:
    """(name, call) of every kernel of the operators, forward and backward, in the types that models use."""
    boxes = torch.tensor([[1.0, 1, 9, 9], [2, 2, 10, 12], [8, 3, 15, 14]])
    scores, classes = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 0, 1])
    yield "nms", lambda: (nms(boxes, scores, 0.5), nms(boxes, scores, 0.5, classes))
    yield "soft nms", lambda: soft_nms(boxes, scores)
    rois = torch.cat([torch.zeros(3, 1), boxes], dim=1)
    yield "roi align", functools.partial(_pool, lambda x: roi_align(x, rois, (3, 3), 1.0, 2))
    yield "roi pool", functools.partial(_pool, lambda x: roi_pool(x, rois, (3, 3), 1.0))
    yield "position-sensitive RoI align", functools.partial(_pool, lambda x: ps_roi_align(x, rois, 2, 1.0, 2))
    yield "position-sensitive RoI pool", functools.partial(_pool, lambda x: ps_roi_pool(x, rois, 2, 1.0))
    maps, kernel = torch.ones(1, 8, *SIZE), torch.ones(8, 8, 3, 3)
    yield "winograd", lambda: [winograd_conv2d(maps, winograd_weight(kernel, tile), padding=1) for tile in (2, 4)]
    short = maps.bfloat16(), winograd_weight(kernel, 2).bfloat16()
    yield "winograd in bfloat16", lambda: winograd_conv2d(*short, padding=1)
    probabilities = torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(0))
    yield "paste masks", lambda: (paste_masks(probabilities, boxes, SIZE), paste_masks_rle(probabilities, boxes, SIZE))
    yield "decode keypoints", lambda: decode_keypoints(probabilities[None], boxes[:1])
    square = torch.zeros(1, *SIZE, dtype=torch.uint8)
    square[0, 4:12, 3:9] = 1
    windows = torch.tensor([[0, 0, *SIZE[::-1]]])
    offsets = torch.tensor([0, square.numel()])
    yield "crop masks", lambda: crop_masks(square.flatten(), offsets, windows, SIZE, boxes[:1], torch.tensor([0]), 7)
    yield "run lengths", lambda: _run_lengths(square, offsets, windows)
    edges = torch.ones(64, 64)
    yield "edge boxes", lambda: edge_boxes(edge_nms(edges, edges), edges)
    whole = [
        BingFilter(space, np.ones((8, 8), np.float32), np.array([0]), np.ones((1, 2), np.float32)) for space in SPACES
    ]
    yield "BING", lambda: bing(np.zeros((16, 16, 3), np.uint8), whole)
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    yield "graph segmentation", lambda: graph_segmentation(picture, 50.0, min_size=20)
    yield "group regions", lambda: group_regions(describe_regions(picture, graph_segmentation(picture, 50.0)))
    polygon = np.array([[2.0, 2], [12, 3], [7, 13]])
    yield "polygons", lambda: (rasterise_polygons([polygon], SIZE), trace_polygons(square[0].numpy()))


def _pool(pool: Callable[[torch.Tensor], torch.Tensor]) -> None:
    features = torch.ones(1, 8, *SIZE).contiguous(memory_format=torch.channels_last).requires_grad_()
    pool(features).sum().backward()


def _run_lengths(square: torch.Tensor, offsets: torch.Tensor, windows: torch.Tensor) -> None:
    counts, places = rle_encode(square)
    rle_from_crops(square.flatten(), offsets, windows, SIZE)
    rle_decode(counts, places, SIZE)
    rle_area(counts, places)
    rle_boxes(counts, places, SIZE)
    rle_crop(counts, places, SIZE, windows)
    rle_merge(counts, places)
    rle_iou((counts, places), (counts, places))
    rle_from_string(rle_to_string(counts))
