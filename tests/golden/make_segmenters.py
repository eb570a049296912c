"""Golden logits of torchvision's segmenters, with weights and pictures filled by `rule_classifiers.py`.

Run in the peers' environment: ./run peers && .venv-peers/bin/python tests/golden/make_segmenters.py
Writes segmenters.npz beside this file: every sixth pixel of the logits, of the head that predicts and of the auxiliary one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rule_classifiers as rule
import torch
from torchvision.models import segmentation

NETS = ("fcn_resnet50", "deeplabv3_resnet50")
CLASSES, SIZE, STEP = 21, (67, 99), 6


@torch.inference_mode()
def main() -> None:
    golden: dict[str, np.ndarray] = {}
    for name in NETS:
        net = getattr(segmentation, name)(
            weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True
        ).eval()
        state = net.state_dict()
        net.load_state_dict({n: torch.from_numpy(rule.fill(n, tuple(v.shape))) for n, v in state.items()})
        for head, logits in net(torch.from_numpy(rule.pictures(SIZE))).items():
            golden[f"{name} {head}"] = logits[:, :, ::STEP, ::STEP].numpy()
            spread, apart = logits.std((1, 2, 3)).tolist(), (logits[0] - logits[1]).std().item()
            print(f"{name} {head}: spread {spread[0]:.2f} and {spread[1]:.2f}, between the pictures {apart:.2f}")
            assert all(0.1 < s < 10 for s in (*spread, apart))
    np.savez_compressed(Path(__file__).with_name("segmenters.npz"), **golden)


if __name__ == "__main__":
    main()
