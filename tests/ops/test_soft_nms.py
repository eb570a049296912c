import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.ops.soft_nms import METHODS, _soft_nms, soft_nms

TWO = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]])
SCORES = torch.tensor([0.9, 0.8, 0.7])


def test_linear_by_hand():
    keep, scores = soft_nms(TWO, SCORES)
    assert keep.tolist() == [0, 2, 1]
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.7, 0.4]))


def test_gaussian_by_hand():
    keep, scores = soft_nms(TWO, SCORES, "gaussian", sigma=0.5)
    assert keep.tolist() == [0, 2, 1]
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.7, 0.8 * math.exp(-0.25 / 0.5)]))


def test_other_classes_and_low_scores():
    assert soft_nms(TWO, SCORES, classes=torch.tensor([0, 1, 0]))[1].tolist() == SCORES.tolist()
    assert soft_nms(TWO, SCORES, min_score=0.5)[0].tolist() == [0, 2]


@settings(max_examples=100)
@given(st.integers(0, 60), st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.booleans(), st.booleans())
def test_kernel_agrees_with_the_reference(n, seed, method, with_classes, on_grid):
    rng = np.random.default_rng(seed)
    corner, size = rng.random((n, 2)) * 40, rng.exponential(20, (n, 2))
    if on_grid:
        corner, size = np.floor(corner / 8), np.floor(size / 8)  # points, ties
    boxes = torch.from_numpy(np.concatenate([corner, corner + size], 1))
    scores = torch.from_numpy(rng.permutation(n) / max(n, 1) if not on_grid else rng.integers(0, 4, n) / 3)
    classes = torch.from_numpy(rng.integers(0, 3, n)) if with_classes else None
    keep, new = soft_nms(boxes, scores, method, classes=classes)
    keep_reference, new_reference = _soft_nms._init_fn(boxes, scores, method == "gaussian", 0.3, 0.5, 1e-3, classes)
    torch.testing.assert_close(new, new_reference, atol=1e-12, rtol=1e-12)
    if method == "linear":  # the two exponentials differ in the last bit, which may swap ties
        assert keep.tolist() == keep_reference.tolist()
    assert (new[1:] <= new[:-1]).all() and keep.unique().numel() == keep.numel()


@pytest.mark.parametrize("n", [0, 7])
def test_opcheck(n):
    args = (torch.rand(n, 4).sort(1).values, torch.rand(n), False, 0.3, 0.5, 1e-3, None)
    torch.library.opcheck(torch.ops.videre.soft_nms.default, args)


def test_float32_and_errors():
    assert soft_nms(TWO, SCORES)[1].dtype == torch.float32
    with pytest.raises(ValueError, match="cubic"):
        soft_nms(TWO, SCORES, "cubic")
    with pytest.raises(ValueError, match="sigma"):
        soft_nms(TWO, SCORES, sigma=0.0)
