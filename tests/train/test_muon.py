"""Muon: against the singular value decomposition, and against AdamW where it is AdamW."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from videre.train import Recipe
from videre.train.muon import MOMENTUM, SCALE, Muon, orthogonalise
from videre.train.optimizer import hidden_weights, make_optimizer

from .tiny import detector


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (16, 144), (64, 96)])
def test_orthogonalise_keeps_the_singular_vectors_and_evens_out_the_values(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    values = u.T @ orthogonalise(matrix) @ v.T
    off = values - torch.diag(values.diagonal())
    assert off.abs().max() < 1e-9
    assert values.diagonal().min() > 0.6 and values.diagonal().max() < 1.25


def test_a_matrix_without_gradient_stays_and_zero_gradients_are_no_nan() -> None:
    still, zero = nn.Parameter(torch.ones(16, 16)), nn.Parameter(torch.ones(16, 16))
    zero.grad = torch.zeros(16, 16)
    Muon([{"params": [still, zero], "matrix": True, "weight_decay": 0.0}], lr=0.1).step()
    assert torch.equal(still, torch.ones(16, 16)) and torch.equal(zero, torch.ones(16, 16))


def test_the_first_step_of_a_convolution() -> None:
    """From scratch: momentum (1 - m) g, looked ahead by m; a step of SCALE sqrt(N) along its orthogonal form."""
    generator = torch.Generator().manual_seed(1)
    weight, grad = (torch.randn(16, 4, 3, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    p = nn.Parameter(weight.clone())
    p.grad = grad.clone()
    Muon([{"params": [p], "matrix": True, "weight_decay": 0.5}], lr=0.01).step()
    ahead = (1 - MOMENTUM) * grad + MOMENTUM * (1 - MOMENTUM) * grad
    step = orthogonalise(ahead.reshape(16, 36)).reshape(weight.shape)
    torch.testing.assert_close(p.detach(), weight * (1 - 0.005) - 0.01 * SCALE * 6 * step)


def test_what_is_no_matrix_takes_the_steps_of_adamw() -> None:
    start = torch.randn(8, generator=torch.Generator().manual_seed(2))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    muon = Muon([{"params": [ours], "matrix": False, "weight_decay": 0.1}], lr=0.01)
    adamw = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for i in range(3):
        ours.grad, theirs.grad = start * i - 0.5, start * i - 0.5
        muon.step()
        adamw.step()
    assert torch.equal(ours, theirs)


def test_pixels_outputs_and_narrow_layers_are_left_to_adamw() -> None:
    model = detector()
    chosen = hidden_weights(model)
    names = {name for name, p in model.named_parameters() if id(p) in chosen}
    assert {"box_head.body.fc1.weight", "rpn.conv.weight"} <= names
    assert not names & {"backbone.conv1.weight", "box_head.scores.weight", "box_head.deltas.weight"}
    assert not any(name.startswith(("rpn.objectness", "rpn.deltas")) or name.endswith("bias") for name in names)
    groups = make_optimizer(model, Recipe(optimizer="muon")).param_groups
    assert {id(p) for g in groups if g["matrix"] for p in g["params"]} == chosen
    assert sum(len(g["params"]) for g in groups) == sum(1 for p in model.parameters() if p.requires_grad)
