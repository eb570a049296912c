"""Region proposal network: at every cell of every level, for each anchor, is there a thing, and where exactly.

Ren et al., Faster R-CNN, 2015, section 3.1. An anchor that no true box touches is never made positive by the best-match rule
(torchvision lets a true box with overlap 0 everywhere claim all such anchors).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.layers.anchors import Anchors
from videre.layers.conv import ConvReLU
from videre.layers.losses import mean_count, smooth_l1
from videre.layers.matcher import assign, ignore_covered, sample
from videre.layers.roi_targets import BoxTarget
from videre.ops.boxes import box_iou, clip_boxes, decode_boxes, encode_boxes
from videre.ops.nms import nms
from videre.structures import ImageBatch


class RPN(nn.Module):
    """Region proposal network: at every cell of every level, for each anchor, is there a thing, and where exactly.

    Args:
        width: channels of the maps. anchors: laid over the levels.
        pre_nms, post_nms: (training, prediction) counts kept, before NMS a level, after it a picture.
    """

    def __init__(
        self,
        width: int,
        anchors: Anchors,
        *,
        pre_nms: Sequence[int],
        post_nms: Sequence[int],
        nms_threshold: float,
        batch: int,
        positive: float,
    ) -> None:
        super().__init__()
        self.anchors = anchors
        self.pre_nms, self.post_nms, self.nms_threshold = pre_nms, post_nms, nms_threshold
        self.batch, self.positive = batch, positive
        per_cell = anchors.per_cell[0]
        self.conv = ConvReLU(width, width, 3, padding=1)
        self.objectness = nn.Conv2d(width, per_cell, 1)
        self.deltas = nn.Conv2d(width, per_cell * 4, 1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Per level the objectness logits [B, H * W * A] and box deltas [B, H * W * A, 4]."""
        logits, deltas = [], []
        for x in features:
            hidden = self.conv(x)
            logits.append(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1))
            deltas.append(self.deltas(hidden).permute(0, 2, 3, 1).reshape(len(x), -1, 4))  # (B, H, W, A * 4) -> boxes
        return logits, deltas

    def propose(self, features: Sequence[Tensor], batch: ImageBatch) -> list[Tensor]:
        """Proposals [P, 4] of each picture, best first."""
        return [boxes for boxes, _ in self.scored(features, batch)]

    def scored(self, features: Sequence[Tensor], batch: ImageBatch) -> list[tuple[Tensor, Tensor]]:
        """Proposals [P, 4] of each picture and their objectness [P], best first."""
        logits, deltas = self(features)
        return self.select(logits, deltas, self.anchors_of(features, batch), batch)

    def anchors_of(self, features: Sequence[Tensor], batch: ImageBatch) -> list[Tensor]:
        """Anchors of each level for this batch."""
        grids = [(x.shape[2], x.shape[3]) for x in features]
        return self.anchors(tuple(batch.image.shape[2:]), grids, features[0].device)

    @torch.no_grad()
    def select(
        self, logits: list[Tensor], deltas: list[Tensor], anchors: list[Tensor], batch: ImageBatch
    ) -> list[tuple[Tensor, Tensor]]:
        """The best anchors of each level, moved by their deltas, clipped to the picture, thinned by NMS per level; and their
        objectness, a probability."""
        before, after = (n[0 if self.training else 1] for n in (self.pre_nms, self.post_nms))
        proposals = []
        for i, size in enumerate(batch.sizes):
            scores, boxes, levels = [], [], []
            for level, anchor in enumerate(anchors):
                score, index = logits[level][i].topk(torch.sym_min(before, anchor.shape[0]))
                scores.append(score.float())
                boxes.append(decode_boxes(deltas[level][i, index].float(), anchor[index]))
                levels.append(torch.full_like(index, level))
            score, box, level_of = torch.cat(scores), clip_boxes(torch.cat(boxes), size), torch.cat(levels)
            large = ((box[:, 2:] - box[:, :2]) >= 1e-3).all(dim=1)
            score, box, level_of = score[large], box[large], level_of[large]
            keep = nms(box, score, self.nms_threshold, level_of)[:after]
            proposals.append((box[keep], score[keep].sigmoid()))
        return proposals

    def match(self, anchors: Tensor, target: BoxTarget) -> Tensor:
        """The true box [N] of each anchor: positive from an overlap of .7 and the best of each thing, negative below .3."""
        matched = assign(box_iou(target.boxes, anchors), low=0.3, high=0.7, keep_best=True)
        return ignore_covered(matched, anchors, target.ignored)

    def losses(
        self,
        features: Sequence[Tensor],
        batch: ImageBatch,
        targets: Sequence[BoxTarget],
        generators: list[torch.Generator],
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Objectness and box losses on sampled anchors; and the proposals, through which no gradient flows."""
        logits, deltas = self(features)
        anchors = self.anchors_of(features, batch)
        proposals = [boxes for boxes, _ in self.select(logits, deltas, anchors, batch)]
        all_logits, all_deltas, all_anchors = torch.cat(logits, 1), torch.cat(deltas, 1), torch.cat(anchors)
        objectness, box = all_logits.sum() * 0, all_deltas.sum() * 0
        count = 0
        for i, target in enumerate(targets):
            matched = self.match(all_anchors, target)
            positive, negative = sample(matched, self.batch, self.positive, generators[i])
            chosen = torch.cat([positive, negative])
            is_thing = (matched[chosen] >= 0).to(all_logits.dtype)
            objectness = objectness + F.binary_cross_entropy_with_logits(
                all_logits[i, chosen], is_thing, reduction="sum"
            )
            goal = encode_boxes(target.boxes[matched[positive]], all_anchors[positive])
            box = box + smooth_l1(all_deltas[i, positive], goal)
            count += len(chosen)
        total = mean_count(count, all_logits)
        return {"rpn_objectness": objectness / total, "rpn_box": box / total}, proposals
