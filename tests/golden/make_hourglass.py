"""Golden heat maps of the authors' PyTorch port of the stacked hourglass, with weights and pictures filled by `rule_classifiers.py`.

Run with a checkout of princeton-vl/pytorch_stacked_hourglass (BSD 3-Clause; made at commit ceedc14), in any environment with
torch: python tests/golden/make_hourglass.py CHECKOUT
Writes hourglass.npz beside this file: every second cell of the maps of both stacks.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rule_classifiers as rule
import torch

JOINTS, SIZE, STEP = 14, (128, 192), 2


@torch.inference_mode()
def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from models.posenet import PoseNet  # type: ignore[import-not-found]

    net = PoseNet(2, 256, JOINTS).eval()
    net.load_state_dict({n: torch.from_numpy(rule.fill(n, tuple(v.shape))) for n, v in net.state_dict().items()})
    maps = net(torch.from_numpy(rule.pictures(SIZE)).permute(0, 2, 3, 1))
    spread, apart = maps.std((1, 2, 3, 4)).tolist(), (maps[0] - maps[1]).std().item()
    print(f"spread {spread[0]:.2f} and {spread[1]:.2f}, between the pictures {apart:.2f}")
    assert all(0.1 < s < 1000 for s in (*spread, apart))
    np.savez_compressed(Path(__file__).with_name("hourglass.npz"), maps=maps[..., ::STEP, ::STEP].numpy())


if __name__ == "__main__":
    main()
