"""SSD: maps of several sizes each say, for a few default boxes at every cell, which class is there and where exactly.

Liu et al., SSD: Single Shot MultiBox Detector, 2016. Over VGG16 as published: its two fully connected layers as convolutions, the map
of conv4_3 rescaled, and maps that get smaller to a single cell. Over any other backbone its maps of strides 16 and 32, and four that
halve (Howard et al., MobileNets, 2017); `light=True` makes depthwise convolutions of the heads and of what follows the backbone
(Sandler et al., MobileNetV2, 2018, section 6.2). Sizes, thresholds and losses are torchvision's `ssd300_vgg16` and
`ssdlite320_mobilenet_v3_large`, whose weights load by name. Background is the last class column and never a label.

    model = SSD(Schema(things=Categories.of(["cell"])), backbone="mobilenet_v2")
    losses = model.losses(batch, truths)          # "class", "box"
    scenes = model.postprocess(model(batch), batch)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones import backbone_of, find_backbone
from videre.backbones.vgg import VGG
from videre.errors import ConfigError
from videre.layers.assignments import Assignment
from videre.layers.box_head import BOX_WEIGHTS, as_scenes, deployed_boxes
from videre.layers.conv import conv_block, make_conv
from videre.layers.default_boxes import DefaultBoxes
from videre.layers.detections import as_outputs, best_pairs, detections_of
from videre.layers.hard_negatives import hard_negatives
from videre.layers.losses import mean_count, smooth_l1
from videre.layers.matcher import NEGATIVE, assign, claim_best, ignore_covered
from videre.layers.roi_targets import BoxTarget
from videre.models.base import Model, Outputs, Rows
from videre.models.detect.ranges import check_ranges
from videre.ops.boxes import box_iou, decode_boxes, encode_boxes
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits

SCALES = {
    "vgg300": (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
    "vgg512": (0.04, 0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 1.06),
    "others": (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
}
"""Of the default boxes of each map, shares of the picture; the released code's for COCO, and TensorFlow's."""
RATIOS = {
    "vgg300": ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    "vgg512": ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    "others": ((2, 3),) * 6,
}
EXTRAS = {
    "vgg300": ((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)),
    "vgg512": ((256, 512, 3, 2, 1), *((128, 256, 3, 2, 1),) * 3, (128, 256, 4, 1, 1)),
    "others": ((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 2, 1), (64, 128, 3, 2, 1)),
}
"""Of each map after the backbone's: channels inside, channels, kernel, stride, padding."""
LEAST_SIDE = {"vgg300": 257, "vgg512": 481, "others": 1}
"""Pixels a side from which every map has a cell."""
FC_WIDTH = 1024
RESCALED = 20.0
"""Length of the vectors of conv4_3 at first (section 3.1)."""
FAR = 20
"""One thing in so many that fits no default box is worth a note."""
STD = 0.01
"""Of the weights that begin at random over another backbone: its maps are not of one scale, and with Xavier's the hardest negatives, wrong
by far, are all that a short training learns (bccd val, 1,000 pictures: AP .18 for .32)."""


class SSD(Model):
    """Boxes and classes of things, in one stage, from default boxes on maps of several sizes.

    Args:
        schema: needs `things`. preprocess: None: stretched to 300x300, ImageNet normalisation.
        backbone: "vgg16" (11, 13, 19), or any other that has maps of strides 16 and 32. norm, padding, norm_eps (None: as published),
            multiplier (of its widths): of it.
        options: more of the backbone's own settings ({"tail": 0.5, "expanded": true} of torchvision's MobileNetV3).
        light: depthwise convolutions in the heads and after the backbone.
        extra_norm: of the convolutions after the backbone and in light heads; None: "none" over a plain VGG, else "group".
        head_kernel: of the heads' convolutions; TensorFlow's have 1.
        scales: of the default boxes, one a map and one more, as shares of the picture. ratios: width / height of each map's boxes
            beside 1, every one also upside down. None: the published ones. steps: pixels between them; None: as the maps have cells.
        reduced: the first map has three boxes a cell, and the boxes TensorFlow's order.
        scoring: "softmax" over the classes and background, or "sigmoid" of each (TensorFlow's released nets; prediction alone).
        match: IoU from which a default box is a thing's. negatives: for each that has one so many that have none are trained on.
        score_threshold: least score of the predictions kept. nms: IoU from which the weaker of two detections of a class goes.
        candidates: best of each class that NMS sees. max_detections: most predictions kept a picture.
    """

    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})
    mixes_formats = True
    usual = Preprocess(short_side=None, long_side=None, size=(300, 300), divisor=1)
    recipe: ClassVar[Mapping[str, Any]] = {
        "brightness": 0.2,
        "contrast": 0.3,
        "saturation": 0.3,
        "hue": 0.02,
        "augment": (
            {"name": "Sometimes", "transform": {"name": "ScaleJitter", "low": 0.25, "high": 1.0}, "probability": 0.5},
            {"name": "IoUCrop"},
        ),
    }
    """Smaller on a grey ground, and crops: without them SSD300 has .58 mAP on VOC 2007 for .774 (facts: amdegroot/ssd.pytorch)."""
    recipe_from_weights: ClassVar[Mapping[str, Any]] = {"backbone_lr": 0.2}

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "vgg16",
        norm: str | None = None,
        padding: str = "half",
        norm_eps: float | None = None,
        multiplier: float = 1.0,
        options: dict[str, Any] | None = None,
        light: bool = False,
        extra_norm: str | None = None,
        head_kernel: int = 3,
        scales: Sequence[float] | None = None,
        ratios: Sequence[Sequence[float]] | None = None,
        steps: Sequence[float] | None = None,
        reduced: bool = False,
        scoring: str = "softmax",
        match: float = 0.5,
        negatives: float = 3.0,
        score_threshold: float = 0.01,
        nms: float = 0.45,
        candidates: int = 400,
        max_detections: int = 200,
    ) -> None:
        super().__init__(schema, preprocess)
        check_ranges(self.config)
        self.limits = Limits(score_threshold, max_detections)
        if schema.things is None:
            raise ConfigError("SSD finds things: the schema must name their categories (schema.things)")
        if scoring not in ("softmax", "sigmoid"):
            raise ConfigError(f"scoring must be softmax or sigmoid, found {scoring!r}")
        self.match, self.negatives, self.nms, self.scoring = match, negatives, nms, scoring
        self.candidates = candidates
        vgg = issubclass(find_backbone(backbone), VGG)
        if self.preprocess.size is None and (vgg or steps):
            raise ConfigError(
                "this SSD's maps end in one cell: its pictures are stretched to one size (-o size=[300,300])"
            )
        side = min(self.preprocess.size or (300, 300))
        plan = ("vgg512" if side >= LEAST_SIDE["vgg512"] else "vgg300") if vgg else "others"
        if side < LEAST_SIDE[plan]:
            raise ConfigError(f"SSD over {backbone} needs at least {LEAST_SIDE[plan]} pixels a side, found {side}")
        settings = {
            "channels": len(self.preprocess.mean),
            "norm": norm or ("none" if backbone in ("vgg11", "vgg13", "vgg16", "vgg19") else "frozen"),
            "padding": padding,
            "norm_eps": norm_eps,
            "multiplier": multiplier,
            **(options or {}),
        }
        extra_norm = extra_norm or ("none" if vgg else "group")
        scaled = lambda width: max(8, round(width * multiplier / 8) * 8)
        self.rescale: Rescale | None = None
        self.fc: nn.Module | None = None
        if vgg:
            self.backbone = backbone_of(backbone, last=16, **settings)
            self.strides = (8, 16)
            self.rescale = Rescale(self.backbone.channels[8])
            width = scaled(FC_WIDTH)
            self.fc = nn.Sequential(
                nn.MaxPool2d(3, 1, 1),
                nn.Conv2d(self.backbone.channels[16], width, 3, padding=6, dilation=6),
                nn.ReLU(),
                nn.Conv2d(width, width, 1),
                nn.ReLU(),
            )
            widths = [self.backbone.channels[8], width]
        else:
            self.backbone = backbone_of(backbone, **settings)
            self.strides = (16, 32)
            if missing := set(self.strides) - set(self.backbone.channels):
                raise ConfigError(f"backbone {backbone} has no map at stride {', '.join(map(str, sorted(missing)))}")
            widths = [self.backbone.channels[16], self.backbone.channels[32]]
        extras = []
        for inside, out, kernel, stride, zeros in EXTRAS[plan]:
            inside, out = scaled(inside), scaled(out)
            extras.append(
                extra_layer(widths[-1], inside, out, kernel, stride, zeros, light, extra_norm, padding, norm_eps)
            )
            widths.append(out)
        self.extras = nn.ModuleList(extras)
        scales, ratios = scales or SCALES[plan], ratios or RATIOS[plan]
        if len(scales) != len(widths) + 1 or len(ratios) != len(widths) or (steps and len(steps) != len(widths)):
            raise ConfigError(
                f"{len(widths)} maps need {len(widths) + 1} scales, {len(widths)} lists of ratios and as many steps; found "
                f"{len(scales)}, {len(ratios)}, {len(steps or ratios)}"
            )
        self.boxes = DefaultBoxes(scales, ratios, steps, side, reduced)
        columns = len(schema.things) + 1
        head = partial(head_layer, kernel=head_kernel, light=light, norm=extra_norm, padding=padding, eps=norm_eps)
        self.logits = nn.ModuleList(head(w, n * columns) for w, n in zip(widths, self.boxes.per_cell, strict=True))
        self.deltas = nn.ModuleList(head(w, n * 4) for w, n in zip(widths, self.boxes.per_cell, strict=True))
        for part in (self.fc, self.extras, self.logits, self.deltas):
            for m in part.modules() if part is not None else ():
                if isinstance(m, nn.Conv2d):
                    if vgg:
                        nn.init.xavier_uniform_(m.weight)
                    else:
                        nn.init.normal_(m.weight, std=STD)
                    if m.bias is not None:
                        nn.init.zeros_(m.bias)

    def features(self, image: Tensor) -> list[Tensor]:
        """Pictures [B, C, H, W] to maps, finest first."""
        maps = self.backbone(image)
        fine, x = (maps[stride] for stride in self.strides)
        found = [fine if self.rescale is None else self.rescale(fine), x if self.fc is None else self.fc(x)]
        for layer in self.extras:
            found.append(layer(found[-1]))
        return found

    def look(self, image: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """Logits [B, M, K + 1] and deltas [B, M, 4] of all default boxes, and the sizes of the maps."""
        features = self.features(image)
        things = self.schema.things
        assert things is not None  # checked when the model was made
        cells = lambda x, each: x.permute(0, 2, 3, 1).reshape(
            x.shape[0], -1, each
        )  # (B, A * each, H, W) -> (B, boxes, each)
        logits = torch.cat([cells(head(x), len(things) + 1) for head, x in zip(self.logits, features)], 1)
        deltas = torch.cat([cells(head(x), 4) for head, x in zip(self.deltas, features)], 1)
        return logits, deltas, [(x.shape[2], x.shape[3]) for x in features]

    def default_boxes(self, batch: ImageBatch, grids: Sequence[tuple[int, int]]) -> Tensor:
        """Default boxes [M, 4] in the batch's frame."""
        height, width = batch.image.shape[2:]
        return self.boxes((height, width), grids, batch.image.device)

    def forward(self, batch: ImageBatch) -> Outputs:
        """Detections of all pictures, best first a picture: boxes [D, 4], scores, labels, and the picture [D] of each."""
        logits, deltas, grids = self.look(batch.image)
        defaults = self.default_boxes(batch, grids)
        logits = logits.float()
        scores = (logits.softmax(2) if self.scoring == "softmax" else logits.sigmoid())[:, :, :-1]
        found = []
        for i, size in enumerate(batch.sizes):
            chosen, label, score = best_pairs(scores[i], self.limits.score_threshold, each=self.candidates)
            boxes = decode_boxes(deltas[i, chosen].float(), defaults[chosen], BOX_WEIGHTS)
            found.append(detections_of(boxes, score, label, size, self.nms, self.limits))
        return as_outputs(found)

    def target(self, truth: Scene) -> BoxTarget:
        """The true boxes that are trained on."""
        return BoxTarget.of(truth)

    def matched(self, defaults: Tensor, target: BoxTarget) -> Tensor:
        """The true box [M] of each default box: from the IoU `match` on, and of each thing the one that fits it best."""
        iou = box_iou(target.boxes, defaults)
        matched = claim_best(assign(iou, self.match, self.match), iou)
        return ignore_covered(matched, defaults, target.ignored)

    def losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """Cross-entropy of the default boxes that have a thing and of the hardest that have none, smooth L1 of the former's deltas;
        divided by the number of the former in the batch."""
        if self.scoring != "softmax":
            raise ConfigError("an SSD with scoring=sigmoid is not trained here; scoring=softmax is")
        logits, deltas, grids = self.look(batch.image)
        defaults = self.default_boxes(batch, grids)
        targets = [target.to(defaults.device) for target in targets]
        matched = torch.stack([self.matched(defaults, target) for target in targets])
        positive = matched >= 0
        background = logits.shape[2] - 1
        labels = torch.full_like(matched, background)
        goals = []
        for i, target in enumerate(targets):
            index = matched[i][positive[i]]
            labels[i, positive[i]] = target.labels[index]
            goals.append(encode_boxes(target.boxes[index], defaults[positive[i]], BOX_WEIGHTS))
        entropy = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
        chosen = positive | hard_negatives(entropy, positive, matched == NEGATIVE, self.negatives)
        total = mean_count(int(positive.sum()), logits).clamp(min=1)
        box = smooth_l1(deltas[positive], torch.cat(goals), beta=1.0)
        return {"class": entropy[chosen].sum() / total, "box": box / total}

    def notes(self, truths: Iterable[Scene]) -> list[str]:
        """How many things are too small, large or long for every default box, even one in their very middle."""
        shapes, far, count = torch.cat(self.boxes.shapes), 0, 0
        for truth in truths:
            boxes = BoxTarget.of(truth).boxes
            sides = (boxes[:, 2:] - boxes[:, :2]) / torch.tensor([truth.size[1], truth.size[0]])
            both = torch.minimum(sides[:, None], shapes).prod(2)
            iou = both / (sides.prod(1)[:, None] + shapes.prod(1) - both).clamp(min=1e-12)
            far, count = far + int((iou.amax(1) < self.match).sum()), count + len(boxes)
        if far * FAR < count or not far:
            return []
        return [
            f"{far} of {count} things have a size that no default box has (IoU below {self.match:g} even in their middle); name scales "
            "that fit, shares of the picture: -o scales=[…]"
        ]

    @torch.no_grad()
    def assignments(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> list[Assignment]:
        """Of the first picture: what the default boxes could be trained on; of those that have no thing the hardest are."""
        grids = [(x.shape[2], x.shape[3]) for x in self.features(batch.image)]
        defaults = self.default_boxes(batch, grids)
        rule = f"positive from IoU {self.match:g}, and the best of each thing; {self.negatives:g} times as many negatives, the hardest"
        return [Assignment.whole("default boxes", defaults, self.matched(defaults, targets[0]), targets[0], rule)]

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections in the pixels of the original pictures, clipped to them."""
        return as_scenes(outputs, batch)

    def deployed(self, outputs: Outputs, batch: ImageBatch) -> dict[str, Tensor]:
        """boxes [D, 4], scores [D], labels [D]."""
        return deployed_boxes(outputs, batch)[0]

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the heads, for each default box of a cell; background is the row after them."""
        last = lambda head: f".{len(head) - 1}" if isinstance(head, nn.Sequential) else ""
        return {
            f"logits.{i}{last(head)}.{t}": Rows("things", groups=self.boxes.per_cell[i])
            for i, head in enumerate(self.logits)
            for t in ("weight", "bias")
        }


class Rescale(nn.Module):
    """Vectors along the channels brought to length one, times a learned number of each channel: conv4_3's are longer than the others'
    (Liu et al., ParseNet, 2015)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), RESCALED))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x) * self.weight[:, None, None]


def extra_layer(
    channels: int,
    inside: int,
    out: int,
    kernel: int,
    stride: int,
    zeros: int,
    light: bool,
    norm: str,
    padding: str,
    eps: float | None,
) -> nn.Sequential:
    """From one map to the next smaller one: 1x1, then the convolution that makes it smaller; light: depthwise, and 1x1 again."""
    activation = nn.ReLU if norm == "none" and padding == "half" else nn.ReLU6
    block = partial(conv_block, norm=norm, activation=activation, padding=padding, eps=eps or 1e-5)
    first = block(channels, inside, 1)
    if light:
        return nn.Sequential(first, block(inside, inside, kernel, stride, groups=inside), block(inside, out, 1))
    second = block(inside, out, kernel, stride)
    if padding != "same":
        second[0] = nn.Conv2d(inside, out, kernel, stride, zeros, bias=norm == "none")
    return nn.Sequential(first, second)


def head_layer(
    channels: int, out: int, *, kernel: int, light: bool, norm: str, padding: str, eps: float | None
) -> nn.Module:
    """A convolution; light: a depthwise one, and 1x1."""
    if not light:
        return make_conv(channels, out, kernel, bias=True, padding=padding)
    block = conv_block(
        channels, channels, kernel, groups=channels, norm=norm, activation=nn.ReLU6, padding=padding, eps=eps or 1e-5
    )
    return nn.Sequential(block, nn.Conv2d(channels, out, 1))
