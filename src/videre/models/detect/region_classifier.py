"""What R-CNN and SPPnet share: features of given proposals, a softmax that fine-tunes them, then SVMs and a regression solved on them.

Girshick et al., Rich feature hierarchies for accurate object detection and semantic segmentation, 2014. The two differ in how they
look at a region (`look`): a net for each, or one for the picture. A training has four stages: the net is fine-tuned to tell the
classes and background apart; the mean length of its features is found; a linear SVM a class is solved on them, once more with
hard negatives; and a ridge regression for each class that moves its boxes. Background is the last column of the softmax, and no
class of the SVMs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.errors import ConfigError
from videre.layers.assignments import Assignment
from videre.layers.box_head import as_scenes
from videre.layers.feature_cache import FeatureCache, content_key
from videre.layers.losses import mean_count
from videre.layers.region_svm import RegionSVM, State
from videre.layers.roi_targets import BoxTarget, Samples, best_proposals, match_proposals, sample_proposals, to_rois
from videre.models.base import Model, Outputs, Rows, picture_generators
from videre.models.detect.ranges import check_ranges
from videre.models.stages import Descent, Fit, Stage
from videre.ops.boxes import box_iou, clip_boxes
from videre.ops.nms import nms
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits

APART = 0.3
"""Overlap with a class's true boxes below which a window is a negative of its SVM."""
NEAR = 0.6
"""Overlap with a true box from which a window teaches the regression."""
NEAREST = 10
"""Windows a true box that teach it, the nearest."""


class RegionClassifier(Model):
    """Boxes and classes of things among given proposals. A system calls `build` in its constructor, and has `look`."""

    takes = frozenset({"proposals"})
    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})
    tuned: Sequence[str] | None = None
    """Beginnings of the names of the parameters that are fine-tuned; None: all."""

    def __init__(self, schema: Schema, preprocess: Preprocess | None = None) -> None:
        super().__init__(schema, preprocess)
        check_ranges(self.config)
        if schema.things is None:
            raise ConfigError(
                f"{type(self).__name__} finds things: the schema must name their categories (schema.things)"
            )
        self.classes = len(schema.things)

    def build(
        self,
        width: int,
        box_width: int,
        *,
        most: Sequence[int],
        roi_batch: int,
        roi_positive: float,
        c: float,
        ridge: float,
        negatives: int,
        cache_gb: float,
        score_threshold: float,
        nms: float,
        max_detections: int,
    ) -> None:
        """The heads over features of `width` numbers a region, and `box_width` for its box."""
        self.limits = Limits(score_threshold, max_detections)
        self.most, self.roi_batch, self.roi_positive = tuple(most), roi_batch, roi_positive
        self.nms, self.negatives, self.width, self.box_width = nms, negatives, width, box_width
        self.softmax = nn.Linear(width, self.classes + 1)
        nn.init.normal_(self.softmax.weight, std=0.01)
        nn.init.zeros_(self.softmax.bias)
        self.svm = RegionSVM(width, box_width, self.classes, c, ridge)
        self.cache = FeatureCache(cache_gb)

    def look(self, image: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """From pictures [B, C, H, W] and RoIs [R, 5] the features that tell classes [R, width] and boxes [R, box_width]."""
        raise NotImplementedError

    def given(self, batch: ImageBatch) -> list[Tensor]:
        """The best proposals [P, 4] of each picture."""
        return best_proposals(batch, self.most[0 if self.training else 1])

    def forward(self, batch: ImageBatch) -> Outputs:
        """Detections of all pictures, best first a picture: boxes [D, 4], scores, labels, and the picture [D] of each."""
        parts = []
        for i, (boxes, size) in enumerate(zip(self.given(batch), batch.sizes, strict=True)):
            vectors, maps = self.look(batch.image, to_rois(boxes, i))
            scores = self.svm(vectors).sigmoid()
            window, label = (scores > self.limits.score_threshold).nonzero().unbind(1)
            score = scores[window, label]
            keep = nms(boxes[window], score, self.nms, label)[: self.limits.max_detections]  # before boxes are moved
            window, label, score = window[keep], label[keep], score[keep]
            box = clip_boxes(self.svm.move(boxes[window], label, maps[window]), size)
            parts.append((box, score, label, torch.full_like(label, i)))
        boxes, scores, labels, picture = (torch.cat(part) for part in zip(*parts))
        return {"boxes": boxes, "scores": scores, "labels": labels, "picture": picture}

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections in the pixels of the original pictures, clipped to them."""
        return as_scenes(outputs, batch)

    # the first stage --------------------------------------------------------------------------------------------------

    def target(self, truth: Scene) -> BoxTarget:
        """The true boxes that are trained on."""
        return BoxTarget.of(truth)

    def losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """class: of sampled proposals, background among them."""
        targets = [target.to(batch.image.device) for target in targets]
        samples: Samples = sample_proposals(
            self.given(batch), targets, picture_generators(batch), self.classes, self.roi_batch, self.roi_positive
        )
        logits = self.softmax(self.look(batch.image, samples.rois)[0])
        loss = F.cross_entropy(logits.float(), samples.labels, reduction="sum")
        return {"class": loss / mean_count(len(samples.rois), logits)}

    def assignments(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> list[Assignment]:
        """Of the first picture: what the given proposals are fine-tuned on."""
        boxes = torch.cat([self.given(batch)[0], targets[0].boxes])
        matches, (generator, *_) = match_proposals(boxes, targets[0]), picture_generators(batch)
        rule = "positive from IoU .5, else negative"
        return [
            Assignment.of("proposals", boxes, matches, targets[0], generator, self.roi_batch, self.roi_positive, rule)
        ]

    # the stages that are solved -----------------------------------------------------------------------------------------

    def stages(self) -> Sequence[Stage]:
        return (
            Descent("fine-tune", self.tuned, evaluates=False),
            Fit("scale", self._add_norms, self.svm.solve_scale, evaluates=False),
            Fit("svm", self._add_examples, self._solve_svms, passes=2, evaluates=False),
            Fit("boxes", self._add_pairs, self.svm.solve_boxes),
        )

    def _features(self, batch: ImageBatch, i: int, boxes: Tensor) -> dict[str, Tensor]:
        """ "vectors" and "maps" of regions of picture i, from the cache where they are there."""
        image = batch.image[i : i + 1]

        def compute() -> dict[str, Tensor]:
            vectors, maps = self.look(image, to_rois(boxes, 0))
            return {"vectors": vectors, "maps": maps}

        return self.cache.get(content_key(image, boxes), compute)

    def _windows(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """Of each picture the true boxes, then the proposals, and the features of all."""
        given = best_proposals(batch, self.most[0])
        windows = [torch.cat([t.boxes.to(p), p]) for t, p in zip(targets, given, strict=True)]
        return [(boxes, self._features(batch, i, boxes)) for i, boxes in enumerate(windows)]

    def _add_norms(self, state: State, batch: ImageBatch, targets: Sequence[BoxTarget]) -> State:
        for _, found in self._windows(batch, targets):
            state = self.svm.add_norms(state, found["vectors"])
        return state

    def _add_examples(self, state: State, batch: ImageBatch, targets: Sequence[BoxTarget]) -> State:
        """In the first pass true boxes and windows at random, in the second hard negatives."""
        second = "solved" in state
        for (boxes, found), target in zip(self._windows(batch, targets), targets, strict=True):
            count, vectors = len(target.boxes), found["vectors"]
            overlaps = _overlaps(target, boxes[count:].cpu(), self.classes)
            if second:
                chosen = self.svm.hard(vectors[count:], overlaps, APART, self.negatives)
            else:
                state = self.svm.add_positives(state, vectors[:count], target.labels)
                chosen = torch.linspace(0, max(len(overlaps) - 1, 0), min(self.negatives, len(overlaps))).long()
            state = self.svm.add_negatives(state, vectors[count:][chosen], overlaps[chosen])
        return state

    def _solve_svms(self, state: State) -> bool:
        self.svm.solve_svms(state, APART)
        state["solved"] = torch.ones(())
        return True

    def _add_pairs(self, state: State, batch: ImageBatch, targets: Sequence[BoxTarget]) -> State:
        for (boxes, found), target in zip(self._windows(batch, targets), targets, strict=True):
            count = len(target.boxes)
            if not count:
                continue
            windows = boxes[count:].cpu()
            overlap, truth = box_iou(target.boxes, windows).max(0)
            near = [
                of[overlap[of].argsort(descending=True)[:NEAREST]]
                for t in range(count)
                if len(of := ((truth == t) & (overlap > NEAR)).nonzero().flatten())
            ]
            if near:
                of = torch.cat(near)
                maps = found["maps"][count:][of]
                state = self.svm.add_pairs(state, maps, windows[of], target.boxes[truth[of]], target.labels[truth[of]])
        return state

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the softmax, the SVMs and the regression; background is the row after those of the first."""
        names = ("softmax.weight", "softmax.bias", "svm.svm", "svm.boxes", "svm.means")
        return {name: Rows("things") for name in names}


def _overlaps(target: BoxTarget, windows: Tensor, classes: int) -> Tensor:
    """The largest overlap of each window with a true box of each class [P, K]; 1 with what is to be ignored."""
    overlaps = torch.zeros(len(windows), classes)
    if len(target.boxes):
        iou = box_iou(windows, target.boxes)
        for k in target.labels.unique().tolist():
            overlaps[:, k] = iou[:, target.labels == k].amax(1)
    if len(target.ignored):
        overlaps[box_iou(windows, target.ignored).amax(1) >= APART] = 1
    return overlaps
