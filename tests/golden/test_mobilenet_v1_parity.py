"""Our MobileNetV1 against timm's, with TensorFlow's padding and with torch's: logits to 1e-4.

`make_mobilenet_v1.py` made the numbers; weights and pictures are filled by `rule_backbones.py`.
"""

from pathlib import Path

import numpy as np
import pytest
import rule_backbones as rule
import torch
import torch.nn.functional as F

from videre.backbones import VECTOR, make_backbone

GOLDEN = np.load(Path(__file__).with_name("mobilenet_v1.npz"))
LAYERS = {"conv_dw": "depthwise.0", "bn1": "depthwise.1", "conv_pw": "pointwise.0", "bn2": "pointwise.1"}


@pytest.mark.parametrize("padding", ["same", "half"])
@torch.inference_mode()
def test_logits_are_those_of_timms_net(padding):
    names, shapes = GOLDEN["names"].tolist(), [tuple(int(n) for n in s if n) for s in GOLDEN["shapes"]]
    pairs = list(dict.fromkeys(name.rsplit(".", 2)[0] for name in names if name.startswith("blocks")))

    def ours(name: str) -> str:
        if not name.startswith("blocks"):
            return name.replace("conv_stem.", "features.0.0.").replace("bn1.", "features.0.1.")
        pair, layer, tensor = name.rsplit(".", 2)
        return f"features.{pairs.index(pair) + 1}.{LAYERS[layer]}.{tensor}"

    tensors = {ours(n): torch.from_numpy(rule.fill(n, s)) for n, s in zip(names, shapes)}
    net = make_backbone("mobilenet_v1", vector=True, padding=padding).eval()
    unused = net.load_weights(tensors)
    assert [n for n in unused if "num_batches" not in n] == [f"{net.LOGITS}.bias", f"{net.LOGITS}.weight"]
    vector = net(torch.from_numpy(rule.pictures(rule.SIZE)))[VECTOR]
    logits = F.linear(vector, tensors[f"{net.LOGITS}.weight"], tensors[f"{net.LOGITS}.bias"])
    golden = GOLDEN[padding]
    np.testing.assert_allclose(logits.numpy(), golden, rtol=1e-4, atol=1e-4 * golden.std())
