"""DeconvNet: a VGG down to one place, its mirror image up again, run on proposals and pasted together.

Noh, Hong and Han, Learning Deconvolution Network for Semantic Segmentation, 2015; constants of the release
(HyeonwooNoh/DeconvNet). Trained in two stages: first on crops with one object in the middle, then on crops of all kinds.

    model = DeconvNet(Schema(pixels=VOC_PIXELS), crops="both")
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.errors import ConfigError
from videre.layers.conv import initialise
from videre.layers.norm import make_norm
from videre.models.base import Outputs, picture_generators
from videre.models.segment.segmenter import LOGITS, Segmenter, resize_logits
from videre.models.segment.segnet import UNPOOLS, convolutions, make_vgg, unpool_by
from videre.models.stages import Descent, Stage
from videre.structures import ImageBatch, Preprocess, Schema
from videre.structures.scene import VOID

SIDE = 224
"""Of a crop: pool 5 leaves 7x7 of it."""
ENLARGED = 1.2
"""Object boxes in the first stage."""
LEAST_SIDE = 112
"""Proposals with a shorter side are left out, as in the release; of pictures of its size."""
GRIDS = (1, 2, 3)
"""Without proposals: so many windows a side, overlapping by half."""
BACKGROUND = "background"


class DeconvNet(Segmenter):
    """A VGG with its fully connected layers, and its mirror image.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`.
        backbone: a VGG. norm, multiplier: of the backbone and of the decoder. hidden: of the fully connected layers.
        unpool: see `SegNet`.
        crops: what a training step shows of each picture: "objects": the box of a connected piece of one class, enlarged
            by 1.2, everything else background where there is such a class; "proposals": a random window that shares half
            with such a box; "both": a stage of each, as published; "none": the whole picture.
    """

    accepts = frozenset({"proposals"})

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "vgg16_bn",
        norm: str = "batch",
        multiplier: float = 1.0,
        hidden: int = 4096,
        unpool: str = "places",
        crops: str = "proposals",
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess, loss, class_weights)
        for name, value, known in (
            ("unpool", unpool, UNPOOLS),
            ("crops", crops, ("both", "objects", "proposals", "none")),
        ):
            if value not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}; found {value!r}")
        if schema.overlap and crops != "none":
            raise ConfigError(f"crops={crops} are boxes of classes that exclude each other; set crops=none")
        self.unpool, self.crops = unpool, crops
        self.backbone = make_vgg(backbone, norm, multiplier, len(self.preprocess.mean), type(self).__name__)
        blocks = convolutions(self.backbone)
        width = blocks[-1][-1]
        self.hidden = nn.Sequential(
            nn.Conv2d(width, hidden, 7),
            make_norm(norm, hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            make_norm(norm, hidden),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden, width, 7),
            make_norm(norm, width),
            nn.ReLU(),
        )
        self.decoder = nn.ModuleList()
        for place in reversed(range(len(blocks))):
            outs = [*blocks[place][:-1], blocks[place - 1][-1] if place else width]
            layers: list[nn.Module] = []
            before = blocks[place][-1]
            for out in outs if place else blocks[0]:
                layers += [nn.ConvTranspose2d(before, out, 3, padding=1), make_norm(norm, out), nn.ReLU()]
                before = out
            self.decoder.append(nn.Sequential(*layers))
        self.logits = nn.Conv2d(blocks[0][-1], self.classes, 1)
        initialise(self.hidden, "fan_in")
        initialise(self.decoder, "fan_in")

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        """Crops [B, C, 224, 224] to logits of the same size."""
        *before, x = self.backbone(image).values()
        x = self.hidden(x)
        for block, pooled in zip(self.decoder, reversed(before)):
            x = block(unpool_by(self.unpool, x, pooled))
        return {LOGITS: self.logits(x)}

    def forward(self, batch: ImageBatch) -> Outputs:
        """ "logits" [B, K, H, W]: of each pixel the largest over the windows that hold it, below all others outside.

        Windows are the proposals that are given, and overlapping ones of three sizes without.
        """
        image = batch.image
        merged = []
        for row, size in enumerate(batch.sizes):
            scores = image.new_full((self.classes, *image.shape[2:]), -torch.inf)
            for x1, y1, x2, y2 in windows(size, batch.given[row].proposals if batch.given else None):
                crop = resize_logits(image[row : row + 1, :, y1:y2, x1:x2], (SIDE, SIDE))
                found = resize_logits(self.heads(crop)[LOGITS].float(), (y2 - y1, x2 - x1))[0].to(scores)
                scores[:, y1:y2, x1:x2] = torch.maximum(scores[:, y1:y2, x1:x2], found)
            merged.append(scores.clamp(min=-1e4))
        return {LOGITS: torch.stack(merged)}

    def stages(self) -> Sequence[Stage]:
        """First crops with one object in the middle, then crops of all kinds, as published; or one of them alone."""
        if self.crops == "both":
            return tuple(
                Descent(crops, losses=partial(self._losses, crops=crops)) for crops in ("objects", "proposals")
            )
        return (Descent(),)

    def losses(self, batch: ImageBatch, targets: Sequence[Tensor]) -> dict[str, Tensor]:
        """As every segmenter's, of one crop a picture."""
        return self._losses(batch, targets, "proposals" if self.crops == "both" else self.crops)

    def _losses(self, batch: ImageBatch, targets: Sequence[Tensor], crops: str) -> dict[str, Tensor]:
        target = self.stack(targets, batch)
        shown, classes = [], []
        for row, generator in enumerate(picture_generators(batch)):
            (x1, y1, x2, y2), seen = self._choose(crops, target[row], batch.sizes[row], generator)
            shown.append(resize_logits(batch.image[row : row + 1, :, y1:y2, x1:x2], (SIDE, SIDE)))
            cut = seen[..., y1:y2, x1:x2].float().reshape(1, -1, y2 - y1, x2 - x1)
            classes.append(F.interpolate(cut, (SIDE, SIDE), mode="nearest").long())
        truth = torch.cat(classes) if self.schema.overlap else torch.cat(classes)[:, 0]
        return self.loss(self.heads(torch.cat(shown))[LOGITS].float(), truth)

    def _choose(
        self, crops: str, target: Tensor, size: tuple[int, int], generator: torch.Generator
    ) -> tuple[tuple[int, int, int, int], Tensor]:
        """The window of a picture that a step shows, and the classes that it shall tell there."""
        whole = (0, 0, size[1], size[0])
        if crops == "none":
            return whole, target
        names = list(self.schema.pixels or ())
        background = names.index(BACKGROUND) if BACKGROUND in names else None
        piece = pick_piece(target[: size[0], : size[1]], background, generator)
        if piece is None:
            return whole, target
        box, label, mask = piece
        if crops == "objects":
            if background is not None:
                alone = torch.full_like(target, background)
                alone[: size[0], : size[1]][mask] = label
                target = torch.where(target == VOID, VOID, alone)
            return enlarge(box, ENLARGED, size), target
        return shifted(box, size, generator), target


def pick_piece(
    target: Tensor, background: int | None, generator: torch.Generator
) -> tuple[tuple[int, int, int, int], int, Tensor] | None:
    """A random connected piece of a random class: its box (x1, y1, x2, y2), label and mask; None where all is void."""
    from scipy.ndimage import find_objects, label

    classes = [int(k) for k in target.unique() if k not in (VOID, background)]
    if not classes:
        return None
    chosen = classes[int(torch.randint(len(classes), (1,), generator=generator))]
    pieces, count = label(target.cpu().numpy() == chosen)
    number = int(torch.randint(count, (1,), generator=generator))
    rows, columns = find_objects(pieces)[number]
    mask = torch.from_numpy(pieces == number + 1).to(target.device)
    return (columns.start, rows.start, columns.stop, rows.stop), chosen, mask


def enlarge(box: tuple[int, int, int, int], factor: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box about its centre, within a picture of `size` (height, width), at least 16 pixels a side where there are."""
    sides = []
    for low, high, side in ((box[0], box[2], size[1]), (box[1], box[3], size[0])):
        length = min(side, max(16, round((high - low) * factor)))
        start = min(max(0, round((low + high - length) / 2)), side - length)
        sides.append((start, start + length))
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


def shifted(
    box: tuple[int, int, int, int], size: tuple[int, int], generator: torch.Generator
) -> tuple[int, int, int, int]:
    """A random window that shares at least half with a box: what a proposal of it looks like."""
    for _ in range(20):
        draw = torch.rand(3, generator=generator).tolist()
        wider = enlarge(box, 0.8 + 1.2 * draw[0], size)
        width, height = wider[2] - wider[0], wider[3] - wider[1]
        x1 = min(max(0, wider[0] + round((draw[1] - 0.5) * width / 2)), size[1] - width)
        y1 = min(max(0, wider[1] + round((draw[2] - 0.5) * height / 2)), size[0] - height)
        window = (x1, y1, x1 + width, y1 + height)
        if _iou(box, window) >= 0.5:
            return window
    return enlarge(box, ENLARGED, size)


def windows(size: tuple[int, int], proposals: Tensor | None) -> list[tuple[int, int, int, int]]:
    """Whole pixels (x1, y1, x2, y2) of what is run: the picture, and the proposals or overlapping windows."""
    height, width = size
    whole = (0, 0, width, height)
    if proposals is not None:
        boxes = [tuple(round(v) for v in box) for box in proposals.tolist()]
        inside = [(max(0, a), max(0, b), min(width, c), min(height, d)) for a, b, c, d in boxes]
        least = min(LEAST_SIDE, height, width)
        return [whole, *(w for w in inside if min(w[2] - w[0], w[3] - w[1]) >= least)]
    found = []
    for count in GRIDS:
        spans = []
        for side in (width, height):
            length = min(side, -(-2 * side // (count + 1)))
            starts = [round(i * (side - length) / max(1, count - 1)) for i in range(count)]
            spans.append([(start, start + length) for start in starts])
        found += [(x1, y1, x2, y2) for (y1, y2), (x1, x2) in itertools.product(spans[1], spans[0])]
    return list(dict.fromkeys(found))


def _iou(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, across) * max(0, down)
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    return shared / max(1, area(a) + area(b) - shared)
