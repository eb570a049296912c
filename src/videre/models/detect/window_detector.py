"""A detector that looks everywhere: one small net, at every position, size and shape of a window.

The picture is resized once for every size and shape of windows, so that each becomes a square of the net's input; a window that
holds nothing is background, the last class. In the form "crops" every window goes through the net by itself, as detectors did
before 2013. In the form "shared" the net runs over the resized picture as a convolution, so that what windows have in common is
computed once (Sermanet et al., OverFeat, 2014), and its last pooling at every offset, so that windows lie as densely. The answers are
the same to float error: the net has no padding, and so a window sees nothing beyond itself.

    model = WindowDetector(Schema(things=Categories.of(["cell"])))
    losses = model.losses(batch, targets)         # "class", "box"
    scenes = model.postprocess(model(batch), batch)
    model.windows((480, 640))                     # how many that are
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.errors import ConfigError
from videre.layers.assignments import Assignment
from videre.layers.box_head import as_scenes
from videre.layers.conv import initialise
from videre.layers.losses import mean_count
from videre.layers.matcher import NEGATIVE, assign, ignore_covered
from videre.layers.merge_boxes import merge_boxes
from videre.layers.norm import make_norm
from videre.layers.roi_targets import BoxTarget
from videre.models.base import Model, Outputs, Rows, picture_generators
from videre.models.detect.ranges import check_ranges
from videre.ops.boxes import box_iou, clip_boxes, decode_boxes, encode_boxes
from videre.ops.nms import nms
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits

WINDOW = 52
"""Side of the net's input: three times two 3x3 convolutions and a 2x2 pooling leave 3x3 of it."""
STRIDE = 4
"""Pixels of the resized picture between windows: half of what three poolings would leave, see `shared`."""
CHUNK = 512
"""Windows that go through the net at once."""
FORMS = ("shared", "crops")
MERGES = ("nms", "average")
Level = tuple[int, int]
"""Height and width that the picture is resized to."""


class WindowDetector(Model):
    """Boxes and classes of things by looking at windows of many sizes and shapes.

    Args:
        schema: needs `things`. preprocess: None: short side 320, ImageNet normalisation.
        width: channels of the first two convolutions; twice and four times as many follow. hidden: of the layer before the heads.
        smallest: side of the smallest window, in pixels of the prepared picture. ratio: of each size to the one before.
        aspects: height / width of windows.
        form: "shared" or "crops": how windows are looked at; the answers are the same.
        merge: "nms" within each class, or "average" (OverFeat's).
        windows: sampled a picture in training, a quarter of them positives at most.
        candidates: negatives drawn at random, of which the hardest are trained on.
        score_threshold, nms, max_detections: of detections.
    """

    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})
    usual = Preprocess(short_side=320, long_side=640)

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        width: int = 24,
        hidden: int = 128,
        smallest: float = 32.0,
        ratio: float = 1.5,
        aspects: Sequence[float] = (0.5, 1.0, 2.0),
        form: str = "shared",
        merge: str = "nms",
        windows: int = 64,
        candidates: int = 256,
        score_threshold: float = 0.05,
        nms: float = 0.3,
        max_detections: int = 100,
    ) -> None:
        super().__init__(schema, preprocess)
        check_ranges(self.config)
        if schema.things is None:
            raise ConfigError("window-detector finds things: the schema must name their categories (schema.things)")
        if form not in FORMS or merge not in MERGES:
            raise ConfigError(
                f"form is one of {', '.join(FORMS)} and merge of {', '.join(MERGES)}, found {form!r}, {merge!r}"
            )
        for name, value, least in (
            ("smallest", smallest, 4),
            ("ratio", ratio, 1.05),
            ("windows", windows, 4),
            ("candidates", candidates, 4),
        ):
            if value < least:
                raise ConfigError(f"{name} must be at least {least}, found {value}")
        self.limits = Limits(score_threshold, max_detections)
        self.smallest, self.ratio, self.aspects, self.form, self.merge = smallest, ratio, tuple(aspects), form, merge
        self.sampled, self.candidates, self.nms, self.classes = windows, candidates, nms, len(schema.things)
        channels = [len(self.preprocess.mean), width, 2 * width, 4 * width]
        stages = [_stage(a, b) for a, b in itertools.pairwise(channels)]
        self.before = nn.Sequential(stages[0], nn.MaxPool2d(2), stages[1], nn.MaxPool2d(2), stages[2])  # stride 4
        self.after = nn.Sequential(
            nn.Conv2d(channels[-1], hidden, 3, bias=False), make_norm("batch", hidden), nn.ReLU(), nn.Dropout(0.2)
        )
        initialise(self.before)
        initialise(self.after)
        self.scores = nn.Conv2d(hidden, self.classes + 1, 1)
        self.deltas = nn.Conv2d(hidden, 4, 1)
        for layer in (self.scores, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    # windows ----------------------------------------------------------------------------------------------------------

    def levels(self, size: tuple[int, int]) -> list[Level]:
        """What a picture of (height, width) is resized to for each size and shape of windows that fits it."""
        found, side = list[Level](), self.smallest
        while side <= min(size) or not found:
            for aspect in self.aspects:
                tall, wide = side * math.sqrt(aspect), side / math.sqrt(aspect)
                level = round(size[0] * WINDOW / tall), round(size[1] * WINDOW / wide)
                if min(level) >= WINDOW:
                    found.append(level)
            side *= self.ratio
            if side > max(size):
                break
        return found or [(max(WINDOW, size[0]), max(WINDOW, size[1]))]

    def windows(self, size: tuple[int, int]) -> int:
        """How many windows a prepared picture of (height, width) has."""
        return sum(math.prod(_positions(side) for side in level) for level in self.levels(size))

    def boxes_of(self, level: Level, size: tuple[int, int], device: torch.device) -> Tensor:
        """The windows of a level in row order as boxes [N, 4] of the picture."""
        y, x = (torch.arange(_positions(side), device=device) * STRIDE for side in level)
        corners = torch.stack([x[None, :].expand(len(y), -1), y[:, None].expand(-1, len(x))], 2).reshape(-1, 2).float()
        scale = torch.tensor([size[1] / level[1], size[0] / level[0]], device=device)
        return torch.cat([corners * scale, (corners + WINDOW) * scale], 1)

    def notes(self, truths: Iterable[Scene]) -> list[str]:
        """How many windows a picture has, and what they cost."""
        size = next((self.preprocess.resized(truth.size) for truth in truths), None)
        if size is None:
            return []
        once = sum(math.prod(level) for level in self.levels(size)) / WINDOW**2
        count = self.windows(size)
        return [
            f"{count:,} windows in a picture of {size[1]}x{size[0]} ({len(self.levels(size))} sizes and shapes): looked at one by one "
            f"they are {count / once:.0f} times as much to compute as when they share it"
        ]

    # looking ----------------------------------------------------------------------------------------------------------

    def heads(self, before: Tensor) -> tuple[Tensor, Tensor]:
        """From what comes before the last pooling to logits [B, K + 1, h, w] and deltas [B, 4, h, w] of windows 8 pixels apart."""
        hidden = self.after(F.max_pool2d(before, 2))
        return self.scores(hidden), self.deltas(hidden)

    def crops(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, K + 1] and deltas [N, 4] of all windows of a resized picture [1, C, H, W], each through the net alone."""
        windows = picture.unfold(2, WINDOW, STRIDE).unfold(3, WINDOW, STRIDE)[0].permute(1, 2, 0, 3, 4).flatten(0, 1)
        parts = [self.heads(self.before(some.contiguous())) for some in windows.split(CHUNK)]
        logits, deltas = (torch.cat(part).flatten(1) for part in zip(*parts))
        return logits, deltas

    def shared(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """The same by one pass of the convolutions, with the last pooling at each of its four offsets."""
        before = self.before(picture)
        rows, columns = (_positions(side) for side in picture.shape[2:])
        logits = picture.new_zeros(rows, columns, self.classes + 1)
        deltas = picture.new_zeros(rows, columns, 4)
        for dy, dx in itertools.product(range(min(2, rows)), range(min(2, columns))):
            for found, into in zip(self.heads(before[:, :, dy:, dx:]), (logits, deltas), strict=True):
                into[dy::2, dx::2] = found[0].permute(1, 2, 0)
        return logits.flatten(0, 1), deltas.flatten(0, 1)

    def forward(self, batch: ImageBatch) -> Outputs:
        """Detections of all pictures, best first a picture: boxes [D, 4], scores, labels, and the picture [D] of each."""
        parts = []
        look = self.shared if self.form == "shared" else self.crops
        for i, size in enumerate(batch.sizes):
            picture = batch.image[i : i + 1, :, : size[0], : size[1]]
            boxes, scores, labels = [], [], []
            for level in self.levels(size):
                logits, deltas = look(resized(picture, level))
                probability = logits.float().softmax(1)[:, :-1]
                window, label = (probability > self.limits.score_threshold).nonzero().unbind(1)
                at = self.boxes_of(level, size, picture.device)[window]
                boxes.append(clip_boxes(decode_boxes(deltas[window].float(), at), size))
                scores.append(probability[window, label])
                labels.append(label)
            found = self._merged(torch.cat(boxes), torch.cat(scores), torch.cat(labels))
            parts.append((*found, torch.full_like(found[2], i)))
        all_boxes, all_scores, all_labels, picture_of = (torch.cat(part) for part in zip(*parts))
        return {"boxes": all_boxes, "scores": all_scores, "labels": all_labels, "picture": picture_of}

    def _merged(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        large = ((boxes[:, 2:] - boxes[:, :2]) >= 1e-2).all(1)
        boxes, scores, labels = boxes[large], scores[large], labels[large]
        most = self.limits.max_detections
        if self.merge == "nms":
            keep = nms(boxes, scores, self.nms, labels)[:most]
            return boxes[keep], scores[keep], labels[keep]
        parts = []
        for k in labels.unique().tolist():
            of = labels == k
            merged, confidence = merge_boxes(boxes[of], scores[of])
            parts.append((merged, confidence / (1 + confidence), torch.full((len(merged),), k)))  # within 0 and 1
        if not parts:
            return boxes, scores, labels
        found_boxes, found_scores, found_labels = (torch.cat(part) for part in zip(*parts))
        best = found_scores.argsort(descending=True, stable=True)[:most]
        return found_boxes[best].to(boxes), found_scores[best].to(scores), found_labels[best].to(labels)

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections in the pixels of the original pictures, clipped to them."""
        return as_scenes(outputs, batch)

    # training ---------------------------------------------------------------------------------------------------------

    def target(self, truth: Scene) -> BoxTarget:
        """The true boxes that are trained on."""
        return BoxTarget.of(truth)

    def losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """class: of sampled windows; box: squared distance of the positives' moves."""
        crops, labels, goals = [], [], []
        for i, (target, generator) in enumerate(zip(targets, picture_generators(batch), strict=True)):
            picture = batch.image[i : i + 1, :, : batch.sizes[i][0], : batch.sizes[i][1]]
            some, label, goal = self._sample(picture, batch.sizes[i], target.to(picture.device), generator)
            crops.append(some)
            labels.append(label)
            goals.append(goal)
        rows, label, goal = torch.cat(crops), torch.cat(labels), torch.cat(goals)
        logits, deltas = (found.flatten(1).float() for found in self.heads(self.before(rows)))
        each, negative = F.cross_entropy(logits, label, reduction="none"), label == self.classes
        positives = int((~negative).sum())
        count = min(int(negative.sum()), max(3 * positives, len(targets) * self.sampled // 4))
        hardest = each[negative].topk(count).values if count else each[negative]
        distance = ((deltas - goal)[~negative] ** 2).sum() + deltas.sum() * 0
        return {
            "class": (each[~negative].sum() + hardest.sum()) / mean_count(positives + count, logits),
            "box": distance / mean_count(max(positives, 1), logits),
        }

    @torch.no_grad()
    def _sample(
        self, picture: Tensor, size: tuple[int, int], target: BoxTarget, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Windows of a picture [N, C, 52, 52] with their labels [N] and moves [N, 4]: positives, and candidates for negatives."""
        levels = self.levels(size)
        windows = [self.boxes_of(level, size, picture.device) for level in levels]
        level_of = torch.repeat_interleave(torch.arange(len(levels)), torch.tensor([len(w) for w in windows]))
        boxes = torch.cat(windows)
        matched = _match(boxes, target)
        choose = lambda of, count: of[torch.randperm(len(of), generator=generator)[:count].to(of.device)]
        positive = choose((matched >= 0).nonzero().flatten(), self.sampled // 4)
        negative = choose((matched == NEGATIVE).nonzero().flatten(), self.candidates)
        chosen = torch.cat([positive, negative])
        chosen = chosen[level_of.to(chosen.device)[chosen].argsort(stable=True)]
        rows = []
        for n in level_of[chosen.cpu()].unique().tolist():
            level, first = levels[n], int((level_of < n).sum())
            shown, columns = resized(picture, level), _positions(levels[n][1])
            for place in (chosen[level_of[chosen.cpu()] == n] - first).tolist():
                y, x = divmod(place, columns)
                rows.append(shown[0, :, y * STRIDE : y * STRIDE + WINDOW, x * STRIDE : x * STRIDE + WINDOW])
        true = matched[chosen]
        labels, goals = torch.full_like(true, self.classes), boxes.new_zeros(len(chosen), 4)
        there = true >= 0
        labels[there] = target.labels[true[there]]
        goals[there] = encode_boxes(target.boxes[true[there]], boxes[chosen][there])
        return torch.stack(rows), labels, goals

    def assignments(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> list[Assignment]:
        """Of the first picture: what its windows are trained on."""
        size, (generator, *_) = batch.sizes[0], picture_generators(batch)
        boxes = torch.cat([self.boxes_of(level, size, batch.image.device) for level in self.levels(size)])
        share = self.sampled / 4 / (self.candidates + self.sampled / 4)
        matches, batch_size = _match(boxes, targets[0]), self.candidates + self.sampled // 4
        rule = "positive from IoU .5, and the best of each thing, negative below .4"
        return [Assignment.of("windows", boxes, matches, targets[0], generator, batch_size, share, rule)]

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the scores; background is the row after them."""
        return {"scores.weight": Rows("things"), "scores.bias": Rows("things")}


def _match(boxes: Tensor, target: BoxTarget) -> Tensor:
    """The true box [N] of each window."""
    matched = assign(box_iou(target.boxes, boxes), low=0.4, high=0.5, keep_best=True)
    return ignore_covered(matched, boxes, target.ignored)


def _stage(inputs: int, width: int) -> nn.Sequential:
    """Two 3x3 convolutions without padding."""
    layers: list[nn.Module] = []
    for channels in (inputs, width):
        layers += [nn.Conv2d(channels, width, 3, bias=False), make_norm("batch", width), nn.ReLU()]
    return nn.Sequential(*layers)


def _positions(side: int) -> int:
    """Windows along a side."""
    return (side - WINDOW) // STRIDE + 1


def resized(picture: Tensor, level: Level) -> Tensor:
    """A picture [1, C, H, W] as the windows of a level see it."""
    return F.interpolate(picture, level, mode="bilinear", align_corners=False, antialias=True)
