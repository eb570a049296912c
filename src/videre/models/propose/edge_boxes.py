"""Edge Boxes as a system: boxes that enclose whole contours, wherever the contours come from.

Zitnick & Dollár, Edge Boxes: Locating Object Proposals from Edges, 2014; the method is `ops.edge_boxes`. Edges here are gradients,
smoothed and thinned, where the paper has a learned detector: its recall is lower for it. `edge-hed` takes them from a net.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from videre.models.propose.method import ProposalMethod
from videre.ops.edge_boxes import edge_boxes, edge_nms, edge_orientation, gradient_edges
from videre.structures import Preprocess, Schema


class EdgeBoxes(ProposalMethod):
    """Proposals that enclose whole contours.

    Args:
        schema, preprocess: of no consequence; the picture is seen in its own size.
        alpha, beta: overlap of neighbouring windows, and of the boxes that are kept. eta: factor of beta after each box.
        min_score, max_boxes: of what is kept. min_area: pixels of the smallest window.
    """

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        alpha: float = 0.65,
        beta: float = 0.75,
        eta: float = 1.0,
        min_score: float = 0.01,
        max_boxes: int = 2000,
        min_area: float = 400.0,
    ) -> None:
        super().__init__(schema, preprocess)
        self.settings = {
            "alpha": alpha,
            "beta": beta,
            "eta": eta,
            "min_score": min_score,
            "max_boxes": max_boxes,
            "min_area": min_area,
        }

    def edges(self, picture: np.ndarray) -> Tensor:
        """Of a picture uint8 [H, W, 3] RGB how strong an edge each pixel is, [H, W] of 0 .. 1, not yet thin."""
        return gradient_edges(picture)

    def find(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `ops.edge_boxes`."""
        return self.enclose(self.edges(picture))

    def enclose(self, edges: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """From edges [H, W], not yet thin, to boxes [P, 4] and scores [P], the best first."""
        orientation = edge_orientation(edges)
        boxes, scores = edge_boxes(edge_nms(edges, orientation), orientation, **self.settings)  # type: ignore[arg-type]
        return boxes.numpy(), scores.numpy()
