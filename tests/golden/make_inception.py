"""Golden numbers of torchvision's Inception V3 and of Cadene's Inception-ResNet V2 and BN-Inception, filled by
`rule_backbones.py`.

Run in the peers' environment: ./run peers && .venv-peers/bin/python tests/golden/make_inception.py
Writes inception.npz beside this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rule_backbones as rule
import torch
from pretrainedmodels import bninception, inceptionresnetv2
from torchvision.models import inception_v3

PEERS = {
    "inception_v3": lambda: inception_v3(
        weights=None, num_classes=rule.CLASSES, transform_input=False, init_weights=False
    ),
    "inception_resnet_v2": lambda: inceptionresnetv2(rule.CLASSES, pretrained=None),
    "bn_inception": lambda: bninception(rule.CLASSES, pretrained=None),
}
TAPS = {
    "inception_v3": {4: "Conv2d_4a_3x3", 8: "Mixed_5d", 16: "Mixed_6e", 32: "Mixed_7c"},
    "inception_resnet_v2": {4: "conv2d_4a", 8: "repeat", 16: "repeat_1", 32: "conv2d_7b"},
    "bn_inception": {},  # its units are no modules
}


@torch.inference_mode()
def main() -> None:
    golden: dict[str, np.ndarray] = {}
    for name, make in PEERS.items():
        net = make().eval()
        state = net.state_dict()
        net.load_state_dict({n: torch.from_numpy(rule.fill(n, tuple(v.shape))) for n, v in state.items()})
        shapes = [(*v.shape, 0, 0, 0, 0)[:4] for v in state.values()]
        golden |= {f"{name}.names": np.array(list(state)), f"{name}.shapes": np.array(shapes, np.int16)}
        maps: dict[int, torch.Tensor] = {}
        for stride, layer in TAPS[name].items():
            net.get_submodule(layer).register_forward_hook(lambda m, i, o, s=stride, maps=maps: maps.__setitem__(s, o))
        if name == "inception_resnet_v2":  # its own pool fits 299 alone
            net.avgpool_1a = torch.nn.AdaptiveAvgPool2d(1)
        if name == "bn_inception":
            net.global_pool = torch.nn.AdaptiveAvgPool2d(1)
        logits = net(torch.from_numpy(rule.pictures(rule.BN_SIZE if name == "bn_inception" else rule.SIZE)))
        golden[f"{name}.logits"] = logits.numpy()
        for stride, value in maps.items():
            golden[f"{name}.map{stride}"] = value[:, ::37, ::5, ::5].numpy()
        spread, apart = logits.std(1), (logits[0] - logits[1]).std()
        print(
            name,
            "spread of logits",
            spread.tolist(),
            "between the pictures",
            apart.item(),
            "of maps",
            {s: (round(v.std().item(), 3), tuple(v.shape)) for s, v in maps.items()},
        )
        assert all(0.1 < s < 10 for s in (*spread, apart, *(v.std() for v in maps.values())))
    np.savez_compressed(Path(__file__).with_name("inception.npz"), **golden)


if __name__ == "__main__":
    main()
