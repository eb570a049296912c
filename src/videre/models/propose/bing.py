"""BING as a system: a linear filter on 8x8 maps of gradients, trained on the boxes of your data.

Cheng et al., BING: Binarized Normed Gradients for Objectness Estimation at 300fps, 2014; the method is `ops.bing`. A training solves
two stages: one SVM tells true boxes from others by their gradients, and for each size of windows another calibrates its scores.

    model = Bing(Schema(things=Categories.of(["cell"])))
    model.fill(read_bing_filters(folder))         # OpenCV's or the authors' trained filters, instead of a training
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from videre.errors import ConfigError
from videre.models.propose.method import ProposalMethod, pixels_of, true_boxes
from videre.models.stages import Fit, Stage
from videre.ops.bing import SIDES, SPACES, BingFilter, bing, stage_one, window_gradients
from videre.ops.boxes import box_iou
from videre.structures import ImageBatch, Preprocess, Scene, Schema

SIZES = len(SIDES) ** 2
NEGATIVES = 50
"""Boxes at random a picture that the filter is trained against."""
HIT = 0.5
"""Overlap with a true box from which a window is one."""
SEEN = 100
"""Windows of a size and picture that its calibration is trained on, the best."""


class Bing(ProposalMethod):
    """Proposals by binarised gradients.

    Args:
        schema: of no consequence. preprocess: of no consequence; the picture is seen in its own size.
        per_size: windows kept of each size in each colour space.

    Attributes:
        filters: [3, 8, 8], of each colour space. calibration: [3, 36, 2], factor and offset of each size; a factor of 0: not
            looked at.
    """

    needs = frozenset({"boxes"})
    filters: Tensor
    calibration: Tensor

    def __init__(self, schema: Schema, preprocess: Preprocess | None = None, *, per_size: int = 250) -> None:
        super().__init__(schema, preprocess)
        if per_size < 1:
            raise ConfigError(f"per_size must be at least 1, found {per_size}")
        self.per_size = per_size
        self.register_buffer("filters", torch.zeros(len(SPACES), 8, 8))
        self.register_buffer("calibration", torch.zeros(len(SPACES), SIZES, 2))

    def fill(self, filters: Sequence[BingFilter]) -> None:
        """Take over trained filters."""
        for one in filters:
            space = SPACES.index(one.space)
            self.filters[space] = torch.from_numpy(one.weights)
            self.calibration[space] = 0
            self.calibration[space, torch.from_numpy(one.sizes)] = torch.from_numpy(one.calibration)

    def find(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `ops.bing`. None before a training."""
        found = []
        for space, weights, calibration in zip(SPACES, self.filters.cpu(), self.calibration.cpu(), strict=True):
            sizes = calibration[:, 0].nonzero().flatten()
            if len(sizes):
                found.append(BingFilter(space, weights.numpy(), sizes.numpy(), calibration[sizes].numpy()))
        if not found:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        boxes, scores = bing(picture, found, self.per_size)
        return boxes.numpy(), scores.numpy()

    def stages(self) -> Sequence[Stage]:
        return Fit("filter", self._add_windows, self._solve_filters, evaluates=False), Fit(
            "sizes", self._add_scores, self._solve_sizes
        )

    def _add_windows(self, state: dict[str, Tensor], batch: ImageBatch, targets: Sequence[Scene]) -> dict[str, Tensor]:
        """Gradients of true boxes and of boxes at random."""
        for i, scene in enumerate(targets):
            pixels, boxes = pixels_of(batch, i), true_boxes(scene).numpy()
            rng = np.random.default_rng(int(pixels[::7, ::7].sum()))  # the same boxes whoever gathers them
            corners = np.sort(rng.random((NEGATIVES, 2, 2)), axis=1).reshape(-1, 4)  # x1, y1, x2, y2
            others = corners * np.tile(pixels.shape[1::-1], 2)
            overlap = box_iou(torch.from_numpy(others).float(), torch.from_numpy(boxes).float())
            others = others[(overlap.amax(1) < HIT).numpy()] if len(boxes) else others
            both = np.concatenate([boxes, others])
            rows = torch.stack([torch.from_numpy(window_gradients(pixels, both, space)) for space in SPACES], 1)
            new = {"rows": rows.to(torch.uint8), "true": torch.arange(len(both)) < len(boxes)}
            state = {name: torch.cat([state[name], value]) if name in state else value for name, value in new.items()}
        return state

    def _solve_filters(self, state: dict[str, Tensor]) -> None:
        from sklearn.svm import LinearSVC

        true = state["true"].numpy()
        if not 0 < true.sum() < len(true):
            raise ConfigError("BING is trained on true boxes against others; there are none of one kind")
        for space in range(len(SPACES)):
            rows = state["rows"][:, space].float().numpy()
            machine = LinearSVC(C=1e-5, class_weight="balanced", max_iter=5000, random_state=0).fit(rows, true)
            self.filters[space] = torch.from_numpy(machine.coef_[0].reshape(8, 8)).float()

    def _add_scores(self, state: dict[str, Tensor], batch: ImageBatch, targets: Sequence[Scene]) -> dict[str, Tensor]:
        """The best windows of each size in each colour space: their scores, and whether they hit."""
        for i, scene in enumerate(targets):
            pixels, truth = pixels_of(batch, i), true_boxes(scene)
            for space, name in enumerate(SPACES):
                for size in range(SIZES):
                    found, scores = stage_one(pixels, self.filters[space].cpu().numpy(), name, size, SEEN)
                    if not len(found):
                        continue
                    overlap = box_iou(torch.from_numpy(found), truth)
                    hit = overlap.amax(1) >= HIT if len(truth) else torch.zeros(len(found), dtype=torch.bool)
                    key = f"{space}-{size}"
                    new = torch.stack([torch.from_numpy(scores), hit.float()], 1)
                    state = state | {key: torch.cat([state[key], new]) if key in state else new}
        return state

    def _solve_sizes(self, state: dict[str, Tensor]) -> None:
        """A logistic of the score for each size; one that no window of hits is not looked at."""
        from sklearn.linear_model import LogisticRegression

        self.calibration.zero_()
        for key, rows in state.items():
            space, size = map(int, key.split("-"))
            scores, hit = rows[:, :1].numpy(), rows[:, 1].numpy() > 0
            if 0 < hit.sum() < len(hit):
                spread = float(scores.std()) or 1.0
                machine = LogisticRegression().fit(scores / spread, hit)
                factor = max(float(machine.coef_[0, 0]) / spread, 1e-6)  # a better window is never worse
                self.calibration[space, size] = torch.tensor([factor, float(machine.intercept_[0])])


def read_trained(folder: str | Path, schema: Schema | None = None) -> Bing:
    """A system with filters that OpenCV's or the authors' code has trained."""
    from videre.ops.bing import read_bing_filters

    model = Bing(schema or Schema())
    model.fill(read_bing_filters(folder))
    return model.eval()
