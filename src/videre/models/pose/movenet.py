"""MoveNet SinglePose: the joints of the person in the middle, from maps of joints and a guess made at the person's centre.

Google, Next-Generation Pose Detection with MoveNet and TensorFlow.js, 2021; layers, order and decoding are those of the released
Lightning (Apache-2.0), whose weights `benchmarks/movenet.py` puts in. The training was not published: losses and truths are
CenterNet's, on whose idea it stands (Zhou, Wang and Krähenbühl, Objects as Points, 2019, sections 3 and 4.2).

    model = MoveNet(Schema(things=Categories.of(["person"]), skeleton=COCO_PERSON), norm="none", padding="same")
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones import make_backbone
from videre.backbones.mobilenet_v2 import MobileNetV2, round_width
from videre.errors import ConfigError
from videre.layers.conv import conv_block, initialise, make_conv
from videre.layers.losses import mean_count
from videre.layers.maps import stack_padded
from videre.layers.upsample import bilinear
from videre.models.base import Model, Outputs, Rows
from videre.models.pose.one_person import as_scene
from videre.structures import ImageBatch, Instances, Preprocess, Scene, Schema

STRIDE = 4
"""Pixels a cell of the maps."""
WIDTHS = {4: 24, 8: 32, 16: 64}
"""Channels of the pyramid by stride, of the released Lightning."""
STRIDES = (*WIDTHS, 32)
"""Of the backbone's maps that are looked at."""
TAPS = {3: 4, 6: 8, 10: 16, 18: 32}
"""Index in MobileNetV2's `features`: the stride at which the released Lightning reads it."""
HEAD = 96
"""Channels inside a head, of the released Lightning."""
NEAR = 1.8
"""Cells: a peak counts 1 / (distance + NEAR). Of the release's decoding, for centres and joints alike."""
PRIOR = 0.1
"""What a map of centres or joints says at first, as CenterNet begins."""
ALPHA, BETA = 2, 4
"""Exponents of the focal loss: of an error, and of the distance to the truth's hill (Objects as Points, eq. 1)."""
OVERLAP = 0.7
"""Least IoU of a box with one whose corners are off by a hill's radius (Law and Deng, CornerNet, 2018; its value CenterNet's)."""


class MoveNet(Model):
    """The joints of one person, the most central of those that stand out.

    Args:
        schema: needs `skeleton`. preprocess: None: the long side 192, pixels in [-1, 1].
        backbone: any with maps at strides 4 to 32. norm, padding, multiplier: of the backbone; the release has norm "none" (folded in)
            and padding "same".
        fpn_norm: of the pyramid and the heads; "none" as released.
    """

    needs = frozenset({"keypoints"})
    gives = frozenset({"boxes", "instances.labels", "scores", "keypoints", "keypoint_scores"})
    headline = ("PCK", "PCKh")
    mixes_formats = True
    usual = Preprocess(short_side=None, long_side=192, divisor=32, mean=(0.5,) * 3, std=(0.5,) * 3)

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "mobilenet_v2",
        norm: str = "frozen",
        padding: str | None = None,
        multiplier: float = 1.0,
        fpn_norm: str = "none",
    ) -> None:
        super().__init__(schema, preprocess)
        if schema.skeleton is None:
            raise ConfigError("poses have joints: the schema must name them (schema.skeleton)")
        options: dict[str, Any] = {"norm": norm, "channels": len(self.preprocess.mean)}
        options |= {"multiplier": multiplier} if multiplier != 1 else {}
        options |= {"padding": padding} if padding is not None else {}
        early = backbone == "mobilenet_v2"
        self.backbone = EarlyMobileNetV2(**options) if early else make_backbone(backbone, **options)
        if missing := set(STRIDES) - set(self.backbone.channels):
            raise ConfigError(f"backbone {backbone} has no map at stride {', '.join(map(str, sorted(missing)))}")
        self.pyramid = Pyramid(self.backbone.channels, fpn_norm)
        joints, width = len(schema.skeleton), WIDTHS[STRIDE]
        self.center, self.heatmap = make_head(width, 1, fpn_norm, PRIOR), make_head(width, joints, fpn_norm, PRIOR)
        self.offset, self.regress = make_head(width, 2 * joints, fpn_norm), make_head(width, 2 * joints, fpn_norm)

    def forward(self, batch: ImageBatch) -> Outputs:
        """Maps of a quarter of the batch's resolution: "center" [B, 1, h, w] and "heatmap" [B, J, h, w] in [0, 1]; in cells,
        (y, x) of each joint in turn: "offset" [B, 2J, h, w] from a joint's cell to the joint, "regress" [B, 2J, h, w] from
        the cell of a person's centre to its joints."""
        maps = self.maps(batch.image)
        return maps | {name: maps[name].sigmoid() for name in ("center", "heatmap")}

    def maps(self, image: Tensor) -> Outputs:
        """What the heads say of pictures [B, C, H, W]; centres and joints as logits."""
        features = self.backbone(image)
        x = self.pyramid([features[stride] for stride in STRIDES])
        heads = {"center": self.center, "heatmap": self.heatmap, "offset": self.offset, "regress": self.regress}
        return {name: head(x).float() for name, head in heads.items()}

    def losses(self, batch: ImageBatch, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Focal loss a centre and a joint; mean distance, per axis, of joints from what "offset" and "regress" say."""
        return self.compare(self.maps(batch.image), targets)

    def compare(self, maps: Outputs, targets: Sequence[Target]) -> dict[str, Tensor]:
        """The losses of maps with logits."""
        like, joints = maps["heatmap"], maps["heatmap"].shape[1]
        join = lambda field: torch.cat([getattr(target, field) for target in targets]).to(like.device)
        picture = torch.arange(len(targets)).repeat_interleave(torch.tensor([len(t.joint) for t in targets]))
        picture, joint, points = picture.to(like.device), join("joint"), join("points")
        centers, cells = join("centers"), join("cells")
        at = lambda name, cell: maps[name].unflatten(1, (joints, 2))[picture, joint, :, cell[:, 0], cell[:, 1]]
        hills = stack_padded([target.hills for target in targets], like.shape[2:], 0.0).to(like.device)
        counts = stack_padded([target.counts for target in targets], like.shape[2:], True).to(like.device)
        focal = focal_loss(torch.cat([maps["center"], like], 1), hills, counts)
        # where nobody is, the sum itself, as CenterNet
        people = mean_count(float((hills[:, 0] == 1).sum()), like).clamp(min=1)
        known = mean_count(float(len(joint)), like).clamp(min=1)
        return {
            "center": focal[:, 0].sum() / people,
            "heatmap": focal[:, 1:].sum() / known,
            "regress": F.l1_loss(at("regress", centers), points - centers, reduction="sum") / (2 * known),
            "offset": F.l1_loss(at("offset", cells), points - cells, reduction="sum") / (2 * known),
        }

    @torch.no_grad()
    def target(self, truth: Scene) -> Target:
        """What the maps of a picture should say.

        A person's centre is the mean of its joints, where the released weights have it (CenterNet: the middle of the box).
        Joints that are not labelled count nowhere: in the box of their person their map is not looked at, nor any map in the
        box of those to ignore and of persons without a labelled joint.
        """
        assert self.schema.skeleton is not None
        size = [-(-side // STRIDE) for side in truth.size]
        joints, things, limit = len(self.schema.skeleton), truth.instances, torch.tensor(size)
        if things is None or things.keypoints is None:
            things = Instances(keypoints=torch.zeros(0, joints, 2))
        assert things.keypoints is not None
        points = things.keypoints.flip(2) / STRIDE  # (N, J, 2) y, x
        labelled = torch.ones(points.shape[:2], dtype=torch.bool)
        if things.visibility is not None:
            labelled &= things.visibility > 0
        if things.ignore is not None:
            labelled &= ~things.ignore[:, None]
        low, high = (corner.clamp(min=0).minimum(limit) for corner in extents(things, points, labelled))
        inside = labelled & (points >= 0).all(2) & (points < limit).all(2)

        middles = (points * inside[:, :, None]).sum(1) / inside.sum(1).clamp(min=1)[:, None]
        centers = middles.floor().minimum(limit - 1).long()  # (N, 2); a mean may be rounded up to the limit
        cells = points.floor().clamp(min=0).minimum(limit - 1).long()  # (N, J, 2)
        there = torch.cat([inside.any(1, keepdim=True), inside], 1)  # (N, 1 + J), the centre first
        places = torch.cat([centers[:, None], cells], 1)
        peaks = hills_at(places, hill_radius((high - low).clamp(min=0)), size) * there[:, :, None, None]
        hills = peaks.amax(0) if len(peaks) else peaks.new_zeros(1 + joints, *size)

        rows, columns = (torch.arange(side) for side in size)
        within = lambda axis, cell: (cell >= low[:, axis, None].floor()) & (cell < high[:, axis, None].ceil())
        boxes = within(0, rows)[:, :, None] & within(1, columns)[:, None, :]  # (N, h, w)
        unsaid = ~torch.cat([labelled.any(1, keepdim=True), labelled], 1)
        hidden = (boxes[:, None] & unsaid[:, :, None, None]).any(0)
        person, joint = inside.nonzero(as_tuple=True)
        return Target(hills, ~hidden | (hills == 1), joint, points[inside], centers[person], cells[inside])

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """One person a picture: joints in the pixels of the original, scored by the height of their peaks."""
        scenes = []
        for row, size in enumerate(batch.sizes):
            h, w = (-(-side // STRIDE) for side in size)  # where it is not padded
            maps = {name: outputs[name][row, :, :h, :w].float().cpu() for name in outputs}
            points, scores = read_pose(**maps)
            scenes.append(as_scene(points * STRIDE, scores, batch, row))
        return scenes

    def named_rows(self) -> dict[str, Rows]:
        each = {"heatmap": 1, "offset": 2, "regress": 2}
        return {f"{head}.2.{t}": Rows("skeleton", each=n) for head, n in each.items() for t in ("weight", "bias")}


@dataclasses.dataclass(frozen=True)
class Target:
    """What is true of one picture, in cells; the M joints are those that are labelled and inside.

    Args:
        hills: [1 + J, h, w], over the centres and over each joint; 1 at a peak. counts: bool, where they are compared.
        joint: int64 [M], which it is. points: float [M, 2], y and x. centers, cells: int64 [M, 2], its person's centre, its own.
    """

    hills: Tensor
    counts: Tensor
    joint: Tensor
    points: Tensor
    centers: Tensor
    cells: Tensor


class EarlyMobileNetV2(MobileNetV2):
    """MobileNetV2 whose map at stride 16 is the last of 64 channels, where others take the last of 96."""

    def __init__(self, multiplier: float = 1.0, **options: Any) -> None:
        super().__init__(multiplier=multiplier, **options)
        self.channels[16] = round_width(64 * multiplier, 8)

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        maps = {}
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in TAPS:
                maps[TAPS[i]] = x
        return maps


class Pyramid(nn.Module):
    """The coarsest map doubled thrice; each time the backbone's map of that stride is added, and the sum smoothed.

    Args:
        channels: of the backbone's maps by stride. norm: see `layers.norm`.
    """

    def __init__(self, channels: Mapping[int, int], norm: str) -> None:
        super().__init__()
        widths = sorted(WIDTHS.items(), reverse=True)  # 64, 32, 24
        narrower = [width for _, width in widths[1:]] + [WIDTHS[STRIDE]]
        self.top = nn.Conv2d(channels[STRIDES[-1]], widths[0][1], 1)
        self.lateral = nn.ModuleList(nn.Conv2d(channels[stride], width, 1) for stride, width in widths)
        self.smooth = nn.ModuleList(separable(width, out, norm) for (_, width), out in zip(widths, narrower))
        initialise(self, "fan_in")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Maps at strides 4, 8, 16, 32 to one at stride 4."""
        *finer, last = features
        x = self.top(last)
        for lateral, smooth, beside in zip(self.lateral, self.smooth, reversed(finer)):
            beside = lateral(beside)
            x = smooth(bilinear(x, (beside.shape[2], beside.shape[3])) + beside)
        return x


def separable(channels: int, out: int, norm: str) -> nn.Sequential:
    """3x3 depthwise without activation, 1x1, norm, ReLU."""
    depthwise = make_conv(channels, channels, 3, groups=channels, bias=True)
    return nn.Sequential(depthwise, conv_block(channels, out, 1, norm=norm))


def make_head(channels: int, outputs: int, norm: str, prior: float | None = None) -> nn.Sequential:
    """`separable` to HEAD channels, then 1x1; its sigmoid says `prior` at first, or it says 0 (nearly, as CenterNet begins)."""
    last = nn.Conv2d(HEAD, outputs, 1)
    head = nn.Sequential(*separable(channels, HEAD, norm), last)
    initialise(head, "fan_in")
    nn.init.normal_(last.weight, std=0.001)
    assert last.bias is not None
    nn.init.constant_(last.bias, 0.0 if prior is None else math.log(prior / (1 - prior)))
    return head


def focal_loss(logits: Tensor, hills: Tensor, counts: Tensor) -> Tensor:
    """The loss of every cell (Objects as Points, eq. 1): a cell near a peak is wrong by less; 0 where `counts` is not."""
    share = logits.sigmoid()
    at_peak = (1 - share) ** ALPHA * F.logsigmoid(logits)
    beside = (1 - hills) ** BETA * share**ALPHA * F.logsigmoid(-logits)
    return -torch.where(hills == 1, at_peak, beside) * counts


def hills_at(places: Tensor, radius: Tensor, size: Sequence[int]) -> Tensor:
    """Gaussians [N, P, h, w] over cells [N, P, 2] (y, x), 1 at the peak, nothing beyond a radius [N] of whole cells.

    The spread is a sixth of the hill's width, as CenterNet's.
    """
    apart_y, apart_x = (torch.arange(side) - places[:, :, axis, None] for axis, side in enumerate(size))
    reach = radius[:, None, None]
    spread = (2 * reach + 1) / 6
    line = lambda apart: torch.exp(-apart.square() / (2 * spread**2)) * (apart.abs() <= reach)
    return line(apart_y)[:, :, :, None] * line(apart_x)[:, :, None, :]


def hill_radius(sides: Tensor) -> Tensor:
    """Whole cells by which the corners of boxes of sides [N, 2] may move, the IoU with the box staying above OVERLAP.

    It is least where both move inwards, of the three cases that Law and Deng's code looks at: (h - 2r)(w - 2r) = OVERLAP h w.
    """
    total, area = sides.sum(1), sides.prod(1)
    return ((total - (total.square() - 4 * (1 - OVERLAP) * area).clamp(min=0).sqrt()) / 4).floor()


def extents(things: Instances, points: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest y, x [N, 2] of each person, in cells: of its box, else of its labelled joints."""
    if things.boxes is not None:
        corners = things.boxes.view(-1, 2, 2).flip(2) / STRIDE
        return corners[:, 0], corners[:, 1]
    nowhere = torch.where(labelled[:, :, None], 0.0, torch.inf)
    return (points + nowhere).amin(1), (points - nowhere).amax(1)


def read_pose(center: Tensor, heatmap: Tensor, offset: Tensor, regress: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of one picture, [1, h, w], [J, h, w], [2J, h, w] twice, to points [J, 2] (x, y, in cells, continuous) and scores [J].

    As the release decodes: the centre is the highest peak, the nearer to the middle the better; there "regress" guesses the
    joints; each is the highest peak of its map, the nearer to the guess the better, moved by "offset" inside its cell.
    """
    joints, h, w = heatmap.shape
    grid = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")).float()  # (2, h, w)
    closeness = lambda place: 1 / (torch.linalg.vector_norm(grid - place[..., None, None], dim=-3) + NEAR)
    middle = torch.tensor([h / 2, w / 2])  # of 48 cells index 24: in eight bits these are the release's weights
    best = int((center[0] * closeness(middle)).argmax())
    start = torch.tensor([best // w, best % w])
    guess = start + regress.view(joints, 2, h, w)[:, :, best // w, best % w]  # (J, 2)
    cell = (heatmap * closeness(guess)).flatten(1).argmax(1)
    each, y, x = torch.arange(joints), cell // w, cell % w
    points = torch.stack([x, y], 1) + offset.view(joints, 2, h, w)[each, :, y, x].flip(1)
    return points, heatmap[each, y, x]
