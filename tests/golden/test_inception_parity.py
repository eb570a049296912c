"""Our Inception families against the nets that their published weights were made for: maps and logits to 1e-4.

`make_inception.py` made the numbers; weights and pictures are filled by `rule_backbones.py`.
"""

from pathlib import Path

import numpy as np
import pytest
import rule_backbones as rule
import torch
import torch.nn.functional as F

from videre.backbones import VECTOR, make_backbone
from videre.backbones.weights import BACKBONE_WEIGHTS

GOLDEN = np.load(Path(__file__).with_name("inception.npz"))


@pytest.mark.parametrize("name", ["inception_v3", "inception_resnet_v2", "bn_inception"])
@torch.inference_mode()
def test_logits_are_those_of_the_published_net(name):
    shapes = [tuple(int(n) for n in shape if n) for shape in GOLDEN[f"{name}.shapes"]]
    tensors = {n: torch.from_numpy(rule.fill(n, s)) for n, s in zip(GOLDEN[f"{name}.names"].tolist(), shapes)}
    card = next(card for card in BACKBONE_WEIGHTS if card.backbone == name)
    net = make_backbone(name, vector=True, **dict(card.options)).eval()
    unused = net.load_weights(tensors)
    assert {n for n in unused if not n.startswith("AuxLogits.") and not n.endswith("num_batches_tracked")} == {
        f"{net.LOGITS}.weight",
        f"{net.LOGITS}.bias",
    }
    maps = net(torch.from_numpy(rule.pictures(rule.BN_SIZE if name == "bn_inception" else rule.SIZE)))
    for stride in net.channels:
        if f"{name}.map{stride}" in GOLDEN:
            agree(maps[stride][:, ::37, ::5, ::5], GOLDEN[f"{name}.map{stride}"])
    logits = F.linear(maps[VECTOR], tensors[f"{net.LOGITS}.weight"], tensors[f"{net.LOGITS}.bias"])
    agree(logits, GOLDEN[f"{name}.logits"])


def agree(found: torch.Tensor, golden: np.ndarray) -> None:
    np.testing.assert_allclose(found.numpy(), golden, rtol=1e-4, atol=1e-4 * golden.std())
