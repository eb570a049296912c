"""Losses of dense classification against their formulas, pixel by pixel."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.errors import ConfigError
from videre.layers.pixel_losses import BOUNDARY, GAMMA, HARD, LOSSES, SPREAD, PixelLoss, boundary_weights, parse_losses
from videre.structures import VOID, Categories

CLASSES = Categories.of(["sky", "road", "car"])


def some(seed: int, void: float = 0.2, size: tuple[int, int] = (5, 7)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, *size, generator=generator) * 2
    target = torch.randint(3, (2, *size), generator=generator)
    return logits, target.masked_fill(torch.rand(target.shape, generator=generator) < void, VOID)


def pixels(logits: torch.Tensor, target: torch.Tensor) -> list[tuple[float, int]]:
    """Probability of the true class, and that class, of every pixel that is not void."""
    shares = logits.softmax(1)
    return [
        (float(shares[b, k, y, x]), k)
        for b, plane in enumerate(target.tolist())
        for y, line in enumerate(plane)
        for x, k in enumerate(line)
        if k != VOID
    ]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_each_is_its_formula(seed: int) -> None:
    logits, target = some(seed)
    weights = {"sky": 1.0, "road": 2.0, "car": 0.5}
    listed = list(weights.values())
    found = PixelLoss(" + ".join(LOSSES), CLASSES, weights)(logits, target)
    seen = pixels(logits, target)
    total = sum(listed[k] for _, k in seen)
    assert float(found["cross_entropy"]) == pytest.approx(
        sum(-listed[k] * math.log(p) for p, k in seen) / total, rel=1e-4
    )
    each = [-listed[k] * (1 - p) ** GAMMA * math.log(p) for p, k in seen]
    assert float(found["focal"]) == pytest.approx(sum(each) / total, rel=1e-4)
    hard = [(p, k) for p, k in seen if p <= HARD]
    least = sorted(seen)[: int(len(seen) / 16)]
    hard = hard if len(hard) >= len(least) else least
    wanted = sum(-listed[k] * math.log(p) for p, k in hard) / max(sum(listed[k] for _, k in hard), 1)
    assert float(found["hard_pixels"]) == pytest.approx(wanted, rel=1e-4)
    shares, dice = logits.softmax(1), []
    for k in range(3):
        inside = target != VOID
        shared = float(shares[:, k][inside & (target == k)].sum())
        sums = float(shares[:, k][inside].sum()) + int((target == k).sum())
        dice.append(listed[k] * (1 - (2 * shared + 1) / (sums + 1)))
    assert float(found["dice"]) == pytest.approx(sum(dice) / sum(listed), rel=1e-4)


def test_contours_weigh_more() -> None:
    target = torch.zeros(1, 1, 9, dtype=torch.int64)
    target[0, 0, 4:] = 1
    distances = [3, 2, 1, 0, 0, 1, 2, 3, 4]
    wanted = [1 + BOUNDARY * math.exp(-((d / SPREAD) ** 2) / 2) for d in distances]
    assert boundary_weights(target)[0, 0].tolist() == pytest.approx(wanted)
    target[0, 0, 4:] = VOID  # nothing is known of what begins there
    assert boundary_weights(target)[0, 0].tolist() == [1.0] * 9
    logits = torch.zeros(1, 3, 1, 9)
    logits[0, 1, 0, 0] = 3.0  # an error far from the contour
    far = PixelLoss("boundary", CLASSES, {})(logits, torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 1, 1]]]))
    near = PixelLoss("boundary", CLASSES, {})(logits.roll(3, 3), torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 1, 1]]]))
    assert float(near["boundary"]) > float(far["boundary"])


@pytest.mark.parametrize("name", LOSSES)
def test_void_and_perfection_cost_nothing_and_gradients_are_finite(name: str) -> None:
    loss = PixelLoss(name, CLASSES, {})
    logits, target = some(3)
    void = torch.full_like(target, VOID)
    assert float(loss(logits, void)[name]) == 0
    truth = torch.nn.functional.one_hot(target.where(target != VOID, 0), 3).movedim(-1, 1).float() * 60
    assert float(loss(truth, target)[name]) < 1e-3
    for scale in (1.0, 1000.0):
        leaf = (logits * scale).requires_grad_()
        sum(loss(leaf, target).values()).backward()
        assert leaf.grad is not None and leaf.grad.isfinite().all()
        assert not leaf.grad.movedim(1, -1)[target == VOID].any()


def test_words_are_read_and_refused() -> None:
    assert parse_losses("cross_entropy + 0.5 dice+2*focal") == {"cross_entropy": 1.0, "dice": 0.5, "focal": 2.0}
    logits, target = some(1)
    both = PixelLoss("cross_entropy + 0.5 dice", CLASSES, {})(logits, target)
    assert float(both["dice"]) == pytest.approx(0.5 * float(PixelLoss("dice", CLASSES, {})(logits, target)["dice"]))
    with pytest.raises(ConfigError, match="loss: 'lovasz' is none of cross_entropy, focal"):
        parse_losses("cross_entropy + lovasz")
    with pytest.raises(ConfigError, match="class_weights names tree; the classes are sky, road, car"):
        PixelLoss("dice", CLASSES, {"tree": 2.0})
    with pytest.raises(ConfigError, match="at least 0 and not all 0"):
        PixelLoss("dice", CLASSES, {"sky": -1.0})


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_classes_that_overlap_are_questions_of_their_own(seed: int) -> None:
    """torch's binary cross-entropy, and dice of what is present alone; the weighted mean over classes."""
    logits, _ = some(seed)
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(2, logits.shape, generator=generator)
    target = target.masked_fill(torch.rand(target.shape, generator=generator) < 0.2, VOID)
    weights = {"sky": 1.0, "road": 2.0, "car": 0.5}
    found = PixelLoss("cross_entropy + dice + focal", CLASSES, weights, overlap=True)(logits, target)
    entropy, dice, focal = [], [], []
    for k in range(3):
        known = target[:, k] != VOID
        z, t = logits[:, k][known], target[:, k][known].float()
        each = torch.nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none")
        p = z.sigmoid()
        entropy.append(each.mean())
        focal.append(((1 - torch.where(t == 1, p, 1 - p)) ** GAMMA * each).mean())
        dice.append(1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    weigh = lambda values: float(sum(w * v for w, v in zip(weights.values(), values)) / sum(weights.values()))
    assert float(found["cross_entropy"]) == pytest.approx(weigh(entropy), rel=1e-4)
    assert float(found["dice"]) == pytest.approx(weigh(dice), rel=1e-4)
    assert float(found["focal"]) == pytest.approx(weigh(focal), rel=1e-4)
