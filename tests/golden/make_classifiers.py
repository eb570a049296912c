"""Golden logits of torchvision's classifiers, with weights and pictures filled by `rule_classifiers.py`.

Run in the peers' environment: ./run peers && .venv-peers/bin/python tests/golden/make_classifiers.py
Writes classifiers.npz beside this file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import rule_classifiers as rule
import torch
from torchvision import models

PEERS: dict[str, Callable[..., torch.nn.Module]] = {
    "alexnet": models.alexnet,
    "vgg16": partial(models.vgg16, init_weights=False),
    "vgg11_bn": partial(models.vgg11_bn, init_weights=False),
    "resnet50": models.resnet50,
    "resnet50 at stride 8": partial(models.resnet50, replace_stride_with_dilation=[False, True, True]),
    "resnet101": models.resnet101,
    "mobilenet_v2": models.mobilenet_v2,
    "mobilenet_v3_large": models.mobilenet_v3_large,
}
"""Case of `rule.CASES`: what makes the peer's net, from the number of classes."""


@torch.inference_mode()
def main() -> None:
    golden: dict[str, np.ndarray] = {}
    for case, (_, _, sizes) in rule.CASES.items():
        net = PEERS[case](num_classes=rule.CLASSES).eval()
        state = net.state_dict()
        net.load_state_dict({n: torch.from_numpy(rule.fill(n, tuple(v.shape))) for n, v in state.items()})
        for size in sizes:
            logits = net(torch.from_numpy(rule.pictures(size)))
            golden[rule.key(case, size)] = logits.numpy()
            spread = logits.std(1).tolist()
            apart = (logits[0] - logits[1]).std().item()
            words = f"{spread[0]:.2f} and {spread[1]:.2f}, between the pictures {apart:.2f}"
            print(f"{rule.key(case, size)}: spread of the logits {words}, the greatest {logits.abs().max():.2f}")
            assert all(0.1 < s < 10 for s in (*spread, apart))
    np.savez_compressed(Path(__file__).with_name("classifiers.npz"), **golden)


if __name__ == "__main__":
    main()
