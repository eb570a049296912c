"""Golden numbers of timm's MobileNetV1, built as TensorFlow's is (SAME padding, epsilon 1e-3), filled by
`rule_backbones.py`.

Run in the peers' environment: ./run peers && .venv-peers/bin/python tests/golden/make_mobilenet_v1.py
Writes mobilenet_v1.npz beside this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rule_backbones as rule
import timm
import torch


@torch.inference_mode()
def main() -> None:
    golden: dict[str, np.ndarray] = {}
    for padding, pad_type in (("same", "same"), ("half", "")):
        net = timm.create_model("mobilenetv1_100", num_classes=rule.CLASSES, pad_type=pad_type, bn_eps=1e-3).eval()
        state = net.state_dict()
        net.load_state_dict({n: torch.from_numpy(rule.fill(n, tuple(v.shape))) for n, v in state.items()})
        logits = net(torch.from_numpy(rule.pictures(rule.SIZE)))
        spread, apart = logits.std(1), (logits[0] - logits[1]).std()
        print(padding, "spread of logits", spread.tolist(), "between the pictures", apart.item())
        assert all(0.1 < s < 10 for s in (*spread, apart))
        shapes = [(*v.shape, 0, 0, 0, 0)[:4] for v in state.values()]
        golden |= {"names": np.array(list(state)), "shapes": np.array(shapes, np.int16), padding: logits.numpy()}
    assert not np.allclose(golden["same"], golden["half"], atol=0.01)
    np.savez_compressed(Path(__file__).with_name("mobilenet_v1.npz"), **golden)


if __name__ == "__main__":
    main()
