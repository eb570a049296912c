"""Losses of dense classification: cross-entropy, focal, online hard pixels, dice, boundary; summed by a line of words.

Where classes overlap each is a question of its own, yes or no, and the same losses are asked of each.

loss = PixelLoss("cross_entropy + 0.5 dice", categories, {})
parts = loss(logits, target)                  # {"cross_entropy": ..., "dice": ...}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.errors import ConfigError
from videre.layers.losses import mean_count
from videre.structures.categories import Categories
from videre.structures.scene import VOID

GAMMA = 2.0
"""Of the focal loss (Lin et al., Focal Loss for Dense Object Detection, 2017)."""
HARD = 0.7
"""Pixels whose true class has a smaller probability are hard (Shrivastava et al., Online Hard Example Mining, 2016)."""
LEAST_HARD = 1 / 16
"""Share of the pixels that count as hard at least."""
SMOOTH = 1.0
"""Added above and below dice, so that a class that is nowhere costs nothing."""
BOUNDARY = 5.0
"""By how much more than others the boundary loss weighs a pixel on a contour."""
SPREAD = 1.5
"""Pixels from it over which that falls off."""


def cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean over the pixels that are not void, each with its class's weight.

    Args:
        logits: float32 [B, K, H, W]. target: int64 [B, H, W], 255 void. weights: [K].
    """
    each = F.cross_entropy(logits, target, weights, ignore_index=VOID, reduction="none")
    return each.sum() / mean_count(float(_weight_of(target, weights).sum()), logits)


def focal(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy, each pixel times (1 - p)^2 of its true class."""
    each = F.cross_entropy(logits, target, ignore_index=VOID, reduction="none")
    weight = _weight_of(target, weights)
    return (weight * (1 - (-each).exp()) ** GAMMA * each).sum() / mean_count(float(weight.sum()), logits)


def hard_pixels(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of the pixels whose true class has a probability below `HARD`, at least of the hardest sixteenth."""
    each = F.cross_entropy(logits, target, ignore_index=VOID, reduction="none")[target != VOID]
    weight = _weight_of(target, weights)[target != VOID]
    least = int(each.numel() * LEAST_HARD)
    limit = -torch.log(torch.tensor(HARD))
    if least and each.numel():
        limit = torch.minimum(limit.to(each), each.detach().kthvalue(each.numel() - least + 1).values)
    chosen = (each.detach() >= limit).float() * weight
    return (each * chosen).sum() / mean_count(float(chosen.sum()), logits)


def dice(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """1 - 2 |P T| / (|P| + |T|), probabilities for sets, sums over the batch; the weighted mean over classes
    (Milletari et al., V-Net, 2016, without the squares)."""
    valid, probabilities = target != VOID, logits.softmax(1)
    label = target.where(valid, 0)
    # sums by gathering: a mask of every class would be passed over memory several times
    right = probabilities.gather(1, label[:, None])[:, 0] * valid
    shared = right.new_zeros(len(weights)).index_add(0, label.flatten(), right.flatten())
    predicted = torch.einsum("bkn,bn->k", probabilities.flatten(2), valid.flatten(1).to(right))
    total = predicted + label[valid].bincount(minlength=len(weights))
    return ((1 - (2 * shared + SMOOTH) / (total + SMOOTH)) * weights).sum() / weights.sum()


def boundary(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy with the weights of `boundary_weights`, the idea of U-Net's weight map (Ronneberger et al., 2015) for
    classes instead of cells."""
    each = F.cross_entropy(logits, target, ignore_index=VOID, reduction="none")
    weight = _weight_of(target, weights) * boundary_weights(target)
    return (each * weight).sum() / mean_count(float(weight.sum()), logits)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "hard_pixels": hard_pixels,
    "dice": dice,
    "boundary": boundary,
}


class PixelLoss(nn.Module):
    """A sum of losses.

    Args:
        words: names of `LOSSES` joined by "+", each with a factor before it where that is not 1.
        classes: of the pixels. class_weights: by name; 1 where absent.
        overlap: whether a pixel may have any number of them: then each is a question of its own, present or absent, and
            the loss is the weighted mean of theirs. Dice looks at what is present alone.

    Raises ConfigError for a loss or a class that does not exist, or weights that are all 0 or below 0.
    """

    weights: Tensor

    def __init__(
        self, words: str, classes: Categories, class_weights: Mapping[str, float], overlap: bool = False
    ) -> None:
        super().__init__()
        self.terms, self.overlap = parse_losses(words), overlap
        unknown = sorted(set(class_weights) - set(classes))
        if unknown:
            raise ConfigError(f"class_weights names {', '.join(unknown)}; the classes are {', '.join(classes)}")
        weights = [float(class_weights.get(name, 1.0)) for name in classes]
        if min(weights) < 0 or not any(weights):
            raise ConfigError(f"class_weights must be at least 0 and not all 0, found {dict(class_weights)}")
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Each loss by name, its factor in it.

        Args:
            logits: float32 [B, K, H, W]. target: int64 [B, H, W], 255 void; with `overlap` [B, K, H, W] of 0, 1 and 255.
        """
        if self.overlap:
            return {name: self._of_each(name, logits, target) * factor for name, factor in self.terms.items()}
        return {name: LOSSES[name](logits, target, self.weights) * factor for name, factor in self.terms.items()}

    def _of_each(self, name: str, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of two classes, absent (logit 0) and present, for every class; their mean."""
        answers = self.weights.new_tensor([0.0 if name == "dice" else 1.0, 1.0])
        pairs = zip(logits.unbind(1), target.unbind(1))
        each = [LOSSES[name](torch.stack([torch.zeros_like(z), z], 1), truth, answers) for z, truth in pairs]
        return (torch.stack(each) * self.weights).sum() / self.weights.sum()


def parse_losses(words: str) -> dict[str, float]:
    """ "cross_entropy + 0.5 dice" as factors by name; ConfigError for anything else."""
    terms: dict[str, float] = {}
    for term in words.split("+"):
        found = re.fullmatch(r"\s*(?:([0-9.eE-]+)\s*\*?\s*)?([a-z_]+)\s*", term)
        name = found[2] if found else term.strip()
        if found is None or name not in LOSSES:
            raise ConfigError(
                f"loss: {name!r} is none of {', '.join(LOSSES)}; several are joined by +, with factors as in "
                "'cross_entropy + 0.5 dice'"
            )
        terms[name] = terms.get(name, 0.0) + float(found[1] or 1)
    return terms


def boundary_weights(target: Tensor) -> Tensor:
    """1 + `BOUNDARY` exp(-d^2 / (2 `SPREAD`^2)), [B, H, W], d the distance in pixels to the nearest one that has a
    neighbour (of four) of another class; a border to void is none."""
    from scipy.ndimage import distance_transform_edt

    weights = np.ones(target.shape, np.float32)
    for row, classes in enumerate(target.cpu().numpy()):
        edge = np.zeros(classes.shape, bool)
        for axis in (0, 1):
            first = np.take(classes, range(classes.shape[axis] - 1), axis)
            second = np.take(classes, range(1, classes.shape[axis]), axis)
            differ = (first != second) & (first != VOID) & (second != VOID)
            pad = [(0, 0), (0, 0)]
            pad[axis] = (0, 1)
            edge |= np.pad(differ, pad)
            pad[axis] = (1, 0)
            edge |= np.pad(differ, pad)
        if edge.any():
            distance = distance_transform_edt(~edge)
            weights[row] += BOUNDARY * np.exp(-((distance / SPREAD) ** 2) / 2)
    return torch.from_numpy(weights).to(target.device)


def _weight_of(target: Tensor, weights: Tensor) -> Tensor:
    """The weight of each pixel [B, H, W]: of its class, 0 where it is void."""
    return torch.where(target == VOID, 0.0, weights[target.where(target != VOID, 0)])
