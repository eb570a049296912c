"""Pose by heat maps: a stacked hourglass draws a small hill over every joint of the one person in a picture.

Newell, Yang and Deng, Stacked Hourglass Networks for Human Pose Estimation, 2016. It stands among the segmenters because it
is one: a value for every pixel, read off at its peak. Several persons in a picture are found by `keypoint-rcnn`.

    model = HourglassPose(Schema(things=Categories.of(["person"]), skeleton=COCO_PERSON), stacks=2)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from videre.errors import ConfigError
from videre.layers.hourglass import StackedHourglass
from videre.layers.losses import mean_count
from videre.layers.maps import stack_padded
from videre.models.base import Model, Outputs, Rows
from videre.models.pose.one_person import as_scene
from videre.structures import ImageBatch, Instances, Preprocess, Scene, Schema

STRIDE = 4
"""Pixels a cell of the heat maps."""
REACH = 3
"""Cells from the peak in which a hill is more than nothing, in units of its spread."""
SHARPER = 0.25
"""Of a cell: a peak moves so far towards the larger of its two neighbours, along each axis."""
PEAK = 100.0
"""Factor on the squared error: a map is nearly all zero, and the mean over its cells a small number."""


class HourglassPose(Model):
    """The joints of one person.

    Args:
        schema: needs `skeleton`. preprocess: None: the long side 256.
        stacks: hourglasses in a row, each with a loss. width: channels inside; 256 as published. norm: "batch" as published.
        sigma: of a hill, in cells; 1 as published.
        loss: "squared" difference to the hills, as published; or "softmax": cross-entropy over the cells of each joint, the
            hill for its truth (after He et al., Mask R-CNN, 2017), which learns from far fewer pictures, see
            docs/segmentation.md.
        flip: while predicting, average with the maps of the mirrored picture.
    """

    needs = frozenset({"keypoints"})
    gives = frozenset({"boxes", "instances.labels", "scores", "keypoints", "keypoint_scores"})
    headline = ("PCK", "PCKh")
    mixes_formats = True
    usual = Preprocess(short_side=None, long_side=256, divisor=64)

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        stacks: int = 2,
        width: int = 256,
        norm: str = "batch",
        sigma: float = 1.0,
        loss: str = "squared",
        flip: bool = True,
    ) -> None:
        super().__init__(schema, preprocess)
        if schema.skeleton is None:
            raise ConfigError("poses have joints: the schema must name them (schema.skeleton)")
        if sigma <= 0:
            raise ConfigError(f"sigma must be positive, found {sigma}")
        if loss not in ("squared", "softmax"):
            raise ConfigError(f"loss must be squared or softmax, found {loss!r}")
        self.loss, self.sigma, self.flip = loss, sigma, flip and schema.skeleton.flip_pairs is not None
        self.net = StackedHourglass(len(schema.skeleton), stacks, width, norm, len(self.preprocess.mean))

    def forward(self, batch: ImageBatch) -> Outputs:
        """ "maps" [B, J, h, w], a quarter of the batch's resolution, about 1 over a joint."""
        maps = self._maps(batch.image)
        if self.flip and not self.training:
            assert self.schema.skeleton is not None
            mirrored = self._maps(batch.image.flip(3)).flip(3)
            maps = (maps + mirrored[:, self.schema.skeleton.flip_order]) / 2
        return {"maps": maps}

    def _maps(self, image: Tensor) -> Tensor:
        maps: Tensor = self.net(image)[-1].float()
        if self.loss == "softmax":  # a sure joint has the hill's share of probability at its peak
            maps = maps.flatten(2).softmax(2).view_as(maps) * (2 * math.pi * self.sigma**2)
        return maps

    def losses(self, batch: ImageBatch, targets: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """ "stack n": the mean over joints (and cells, if squared); a joint that is not labelled counts nowhere."""
        found = self.net(batch.image)
        hills, labelled = zip(*targets, strict=True)
        target = stack_padded(hills, found[0].shape[2:], 0.0).to(found[0])
        weight = torch.stack(labelled).to(found[0])
        count = mean_count(float(weight.sum()), target)
        measure = _squared if self.loss == "squared" else _softmax
        return {f"stack {n}": (measure(maps.float(), target) * weight).sum() / count for n, maps in enumerate(found, 1)}

    def target(self, truth: Scene) -> tuple[Tensor, Tensor]:
        """The heat maps [J, h, w] of a truth in the batch's frame, and bool [J]: which joints are labelled and inside.

        Of several persons the largest counts; where there is none nothing is labelled.
        """
        things, size = truth.instances, [-(-side // STRIDE) for side in truth.size]
        assert self.schema.skeleton is not None
        if things is None or things.keypoints is None or not len(things):
            joints = len(self.schema.skeleton)
            return torch.zeros(joints, *size), torch.zeros(joints, dtype=torch.bool)
        person = int(extents(things).argmax())
        points = things.keypoints[person] / STRIDE
        seen = torch.ones(len(points), dtype=torch.bool) if things.visibility is None else things.visibility[person] > 0
        apart_y, apart_x = (
            torch.arange(int(side)) - points[:, axis, None].floor() for axis, side in ((1, size[0]), (0, size[1]))
        )
        squared = apart_y[:, :, None].square() + apart_x[:, None, :].square()
        hill = torch.exp(-squared / (2 * self.sigma**2))
        reach = REACH * self.sigma
        inside = (points >= 0).all(1) & (points[:, 0] < size[1]) & (points[:, 1] < size[0])
        near = (apart_y.abs() <= reach)[:, :, None] & (apart_x.abs() <= reach)[:, None, :]
        return torch.where(near, hill, 0.0), seen & inside

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """One person a picture: joints in the pixels of the original, scored by the height of their peaks."""
        scenes = []
        for row, size in enumerate(batch.sizes):
            cells = [-(-side // STRIDE) for side in size]
            points, scores = read_peaks(outputs["maps"][row, :, : cells[0], : cells[1]].float().cpu())
            scenes.append(as_scene(points * STRIDE, scores.clamp(0, 1), batch, row))
        return scenes

    def named_rows(self) -> dict[str, Rows]:
        outs = [f"net.outs.{n}.{tensor}" for n in range(len(self.net.outs)) for tensor in ("weight", "bias")]
        merged = [f"net.merge_maps.{n}.weight" for n in range(len(self.net.outs) - 1)]
        return {**dict.fromkeys(outs, Rows("skeleton")), **dict.fromkeys(merged, Rows("skeleton", axis=1))}


def _squared(maps: Tensor, target: Tensor) -> Tensor:
    """The loss [B, J] of maps [B, J, h, w]: squared error, mean over cells."""
    return PEAK * (maps - target).square().mean((2, 3))


def _softmax(maps: Tensor, target: Tensor) -> Tensor:
    """The loss [B, J] of maps [B, J, h, w]: cross-entropy over cells."""
    shares = target.flatten(2) / target.flatten(2).sum(2, keepdim=True).clamp(min=1e-6)
    return -(shares * maps.flatten(2).log_softmax(2)).sum(2)


def extents(things: Instances) -> Tensor:
    """How large each person is: its box, or the extent of its joints."""
    assert things.keypoints is not None
    if things.boxes is not None:
        return (things.boxes[:, 2:] - things.boxes[:, :2]).prod(1)
    return (things.keypoints.amax(1) - things.keypoints.amin(1)).prod(1)


def read_peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Heat maps [J, h, w] to points [J, 2] (x, y, in cells, continuous) and the heights of the peaks [J].

    A peak lies in the middle of its cell, moved by a quarter of one towards the larger neighbour, as published.
    """
    joints, _, width = maps.shape
    scores, places = maps.flatten(1).max(1)
    y, x = places // width, places % width
    padded = torch.nn.functional.pad(maps, (1, 1, 1, 1), value=-torch.inf)
    at = lambda dy, dx: padded[torch.arange(joints), y + 1 + dy, x + 1 + dx]
    towards = lambda more, less: torch.where(more.isfinite() & less.isfinite(), (more - less).sign(), 0.0).nan_to_num()
    points = torch.stack(
        [x + 0.5 + SHARPER * towards(at(0, 1), at(0, -1)), y + 0.5 + SHARPER * towards(at(1, 0), at(-1, 0))], 1
    )
    return points, scores
