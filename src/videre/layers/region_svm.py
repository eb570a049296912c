"""What R-CNN and SPPnet put on a net's features of regions: a linear SVM a class, and a ridge regression that moves its boxes.

Girshick et al., R-CNN, 2014 (constants are its released code's: see the arguments); He et al., SPPnet, 2014. All of it is
solved, not descended: what is gathered batch by batch is a state of tensors, from which each is solved at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from videre.ops.boxes import decode_boxes, encode_boxes

State = dict[str, Tensor]
NORM = 20.0
"""The mean length that features are scaled to, for which C was chosen."""
BIAS = 10.0
"""The constant feature of a class's bias, which regularisation hardly sees."""
MARGIN = -1.0001
"""A negative above this is hard: it lies within the margin, or on the wrong side."""
POSITIVE_WEIGHT = 2.0
TOLERANCE = 0.1
"""At which liblinear's own program stops, as R-CNN ran it; scikit-learn's default is a thousandth of it, and takes as much longer."""
WHITEN = 1e-3
"""Added to the targets' covariance before its inverse root is taken."""
UNSEEN = -1.0
"""Margin of a class that no true box has: it is never found."""


class RegionSVM(nn.Module):
    """Margins of classes from features [P, F], and better boxes from features [P, D].

    Args:
        width: F. box_width: D. classes: K.
        c: of the SVMs. ridge: of the regression.

    Attributes:
        scale: features are multiplied by it. svm: [K, F + 1]. boxes: [K, 4, D + 1], and means [K, 4] of the targets.
    """

    scale: Tensor
    svm: Tensor
    boxes: Tensor
    means: Tensor

    def __init__(self, width: int, box_width: int, classes: int, c: float = 1e-3, ridge: float = 1000.0) -> None:
        super().__init__()
        self.classes, self.c, self.ridge = classes, c, ridge
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("svm", torch.zeros(classes, width + 1))
        self.register_buffer("boxes", torch.zeros(classes, 4, box_width + 1))
        self.register_buffer("means", torch.zeros(classes, 4))

    def forward(self, features: Tensor) -> Tensor:
        """Margins [P, K]."""
        with torch.autocast(features.device.type, enabled=False):  # a margin near the threshold needs all its digits
            return features.float() * self.scale @ self.svm[:, :-1].T + self.svm[:, -1] * BIAS

    def move(self, boxes: Tensor, labels: Tensor, features: Tensor) -> Tensor:
        """Boxes [P, 4] moved as those of their classes [P] are; features [P, D]."""
        weights = self.boxes[labels]
        deltas = torch.einsum("pd,pkd->pk", features.float(), weights[:, :, :-1]) + weights[:, :, -1]
        return decode_boxes(deltas + self.means[labels], boxes)

    # scale ------------------------------------------------------------------------------------------------------------

    def add_norms(self, state: State, features: Tensor) -> State:
        """Count the lengths of features [P, F]."""
        lengths = features.float().norm(dim=1)
        return {
            "sum": state.get("sum", torch.zeros((), dtype=torch.float64)) + lengths.double().sum().cpu(),
            "count": state.get("count", torch.zeros((), dtype=torch.int64)) + len(lengths),
        }

    def solve_scale(self, state: State) -> None:
        """So that the mean length becomes `NORM`."""
        mean = float(state["sum"]) / max(int(state["count"]), 1)
        self.scale.fill_(NORM / mean if mean > 0 else 1.0)

    # support vector machines ------------------------------------------------------------------------------------------

    def add_positives(self, state: State, features: Tensor, labels: Tensor) -> State:
        """True boxes: features [T, F] and their classes [T]."""
        return _append(state, {"positives": features.half().cpu(), "positive_labels": labels.cpu()})

    def add_negatives(self, state: State, features: Tensor, overlaps: Tensor) -> State:
        """Windows: features [P, F] and the largest overlap of each with a true box of each class [P, K]."""
        return _append(state, {"windows": features.half().cpu(), "overlaps": overlaps.half().cpu()})

    def hard(self, features: Tensor, overlaps: Tensor, apart: float, most: int) -> Tensor:
        """The windows [N] that are negatives of some class and within its margin, the worst `most` of them."""
        margins = self(features).masked_fill(overlaps >= apart, -torch.inf).amax(1)
        worst = margins.argsort(descending=True)[:most]
        return worst[margins[worst] > MARGIN]

    def solve_svms(self, state: State, apart: float) -> list[int]:
        """One class after the other: its true boxes against the windows that overlap none of them by `apart`.

        Returns the classes that have no true boxes, which are never found.
        """
        from sklearn.svm import LinearSVC

        unseen = []
        positives, labels = state.get("positives"), state.get("positive_labels")
        windows, overlaps = state.get("windows"), state.get("overlaps")
        for k in range(self.classes):
            yes = None if positives is None or labels is None else positives[labels == k]
            no = None if windows is None or overlaps is None else windows[overlaps[:, k] < apart]
            if yes is None or not len(yes) or no is None or not len(no):
                self.svm[k] = 0
                self.svm[k, -1] = UNSEEN / BIAS
                unseen += [k] if yes is None or not len(yes) else []
                continue
            rows = torch.cat([yes, no]).float().numpy() * float(self.scale)
            truth = np.repeat([1, 0], [len(yes), len(no)])
            machine = LinearSVC(
                loss="hinge",
                C=self.c,
                intercept_scaling=BIAS,
                class_weight={1: POSITIVE_WEIGHT},
                tol=TOLERANCE,
                random_state=0,
            ).fit(rows, truth)
            self.svm[k, :-1] = torch.from_numpy(machine.coef_[0]).float()
            self.svm[k, -1] = float(machine.intercept_[0]) / BIAS
        return unseen

    # boxes ------------------------------------------------------------------------------------------------------------

    def add_pairs(self, state: State, features: Tensor, boxes: Tensor, truths: Tensor, labels: Tensor) -> State:
        """Windows [P, 4], the true box of each [P, 4] and its class [P]; features [P, D]."""
        goals = encode_boxes(truths, boxes)
        return _append(state, {"rows": features.half().cpu(), "goals": goals.float().cpu(), "of": labels.cpu()})

    def solve_boxes(self, state: State) -> None:
        """Ridge regression of the targets, centred and decorrelated, a class at a time."""
        for k in range(self.classes):
            of = (state["of"] == k).nonzero().flatten() if "of" in state else torch.zeros(0, dtype=torch.int64)
            self.boxes[k], self.means[k] = 0, 0
            if len(of) < 2:
                continue
            x = torch.nn.functional.pad(state["rows"][of].float(), (0, 1), value=1.0)
            goals = state["goals"][of].double()
            means = goals.mean(0)
            centred = goals - means
            covariance = centred.T @ centred / len(of) + WHITEN * torch.eye(4, dtype=torch.float64)
            values, vectors = torch.linalg.eigh(covariance)
            root = vectors @ torch.diag(values.rsqrt()) @ vectors.T
            weights = _ridge(x, (centred @ root).float(), self.ridge)
            self.boxes[k] = (weights.double() @ torch.linalg.inv(root)).T.float()
            self.means[k] = means.float()


def _ridge(x: Tensor, y: Tensor, strength: float) -> Tensor:
    """Weights [D, T] that make x [N, D] into y [N, T]; in the smaller of the two spaces."""
    rows, columns = x.shape
    eye = lambda n: strength * torch.eye(n)
    if rows < columns:
        return x.T @ torch.linalg.solve(x @ x.T + eye(rows), y)
    return torch.linalg.solve(x.T @ x + eye(columns), x.T @ y)


def _append(state: Mapping[str, Tensor], rows: Mapping[str, Tensor]) -> State:
    with torch.autocast("cpu", enabled=False):  # which knows no half precision
        return dict(state) | {n: torch.cat([state[n], new]) if n in state else new for n, new in rows.items()}
