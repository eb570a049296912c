"""Heatmaps of keypoints to points: the peak of each map, at the resolution of the box that it lies over.

The rule is detectron2's (Mask R-CNN, ICCV 2017, section 5, says only that each map is a one-hot target): the map is
resized (bicubic) to the box rounded up to whole pixels and its largest value taken; the score is the softmax of the map
at that peak, capped at 1, since the bicubic peak can exceed the map.

    points, scores = decode_keypoints(logits, boxes)
"""

import torch
from torch import Tensor
from torch.nn import functional


@torch.library.custom_op("videre::decode_keypoints", mutates_args=())
def decode_keypoints(maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The peak of each keypoint's map.

    Args:
        maps: float [D, J, S, S] logits. boxes: float [D, 4] xyxy.

    Returns:
        points [D, J, 2] in the boxes' frame, scores [D, J] in [0, 1].
    """
    points = maps.new_zeros((*maps.shape[:2], 2))
    scores = maps.new_zeros(maps.shape[:2])
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    norms = maps.flatten(2).logsumexp(dim=2)
    for i, (side, box) in enumerate(zip(sides, boxes)):
        width, height = (int(n) for n in side.ceil())
        fine = functional.interpolate(maps[i : i + 1], size=(height, width), mode="bicubic", align_corners=False)[0]
        peak, cell = fine.flatten(1).max(dim=1)
        offset = torch.stack([cell % width, cell // width], dim=1) + 0.5
        points[i] = box[:2] + offset * side / torch.tensor([width, height], device=maps.device)
        scores[i] = (peak - norms[i]).exp().clamp(max=1)
    return points, scores


@decode_keypoints.register_fake
def _(maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    return maps.new_empty((*maps.shape[:2], 2)), maps.new_empty(maps.shape[:2])
