"""Our backbones with a last layer against torchvision's classifiers of the same weights and pictures: logits to 1e-4.

`make_classifiers.py` made the numbers in the peers' environment. Weights are filled by the names that tensors have in
published files, so equal logits also mean equal names.
"""

from pathlib import Path

import numpy as np
import pytest
import rule_classifiers as rule
import torch
import torch.nn.functional as F

from videre.backbones import VECTOR, make_backbone

GOLDEN = np.load(Path(__file__).with_name("classifiers.npz"))


@pytest.mark.parametrize("case", list(rule.CASES))
@torch.inference_mode()
def test_logits_are_those_of_the_published_net(case):
    name, options, sizes = rule.CASES[case]
    with torch.device("meta"):  # its random weights would take longer than the test
        net = make_backbone(name, vector=True, **options).eval()
    net.to_empty(device="cpu")
    published = {f"top.{ours}": theirs for theirs, ours in net.TOP.items()}
    shapes = {f"{net.LOGITS}.weight": (rule.CLASSES, net.width), f"{net.LOGITS}.bias": (rule.CLASSES,)}
    for full, value in net.state_dict().items():
        layer, _, tensor = full.rpartition(".")
        shapes[f"{published.get(layer, layer)}.{tensor}"] = tuple(value.shape)
    tensors = {n: torch.from_numpy(rule.fill(n, shape)) for n, shape in shapes.items()}
    assert net.load_weights(tensors) == [f"{net.LOGITS}.bias", f"{net.LOGITS}.weight"]
    for size in sizes:
        vector = net(torch.from_numpy(rule.pictures(size)))[VECTOR]
        logits = F.linear(vector, tensors[f"{net.LOGITS}.weight"], tensors[f"{net.LOGITS}.bias"])
        golden = GOLDEN[rule.key(case, size)]
        np.testing.assert_allclose(logits.numpy(), golden, rtol=1e-4, atol=1e-4 * golden.std())
