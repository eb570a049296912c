"""Golden numbers of torchvision's RetinaNet (both versions), SSD300 and SSDlite with weights and inputs filled by the rules beside.

Run in the peers' environment: ./run peers && .venv-peers/bin/python tests/golden/make_single_stage.py
Writes single_stage.npz beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rule
import rule_single_stage as single
import torch
from torchvision.models import detection


def build(kind: str) -> Any:
    none = {"weights": None, "weights_backbone": None, "num_classes": single.CLASSES + 1}
    make = {
        "retinanet": lambda: detection.retinanet_resnet50_fpn(**none, min_size=rule.SHORT, max_size=rule.LONG),
        "retinanet_v2": lambda: detection.retinanet_resnet50_fpn_v2(**none, min_size=rule.SHORT, max_size=rule.LONG),
        "ssd300": lambda: detection.ssd300_vgg16(**none),
        "ssdlite320": lambda: detection.ssdlite320_mobilenet_v3_large(**none),
    }
    model = make[kind]()
    state = model.state_dict()
    filled = {
        n: torch.from_numpy(single.fill(n, tuple(v.shape), kind)) for n, v in state.items() if v.is_floating_point()
    }
    model.load_state_dict({**state, **filled})
    return model


def main() -> None:
    golden: dict[str, np.ndarray] = {}
    image = torch.from_numpy(rule.picture()).permute(2, 0, 1)
    true = rule.truth()
    target = {"boxes": torch.from_numpy(true["boxes"]), "labels": torch.from_numpy(true["labels"]) + 1}
    for kind in single.KINDS:
        model = build(kind).eval()
        shapes = {n: (*v.shape, 0, 0, 0, 0)[:4] for n, v in model.state_dict().items() if v.is_floating_point()}
        golden |= {f"{kind}/names": np.array(list(shapes)), f"{kind}/shapes": np.array(list(shapes.values()))}
        said: dict[str, torch.Tensor] = {}
        model.head.register_forward_hook(lambda m, i, o, said=said: said.update(o))
        with torch.inference_mode():
            found = model([image])[0]
        golden[f"{kind}/logits"] = said["cls_logits"][0, ::97].numpy()
        golden[f"{kind}/deltas"] = said["bbox_regression"][0, ::97].numpy()
        golden |= {f"{kind}/{k}": found[k][:150].numpy() for k in ("boxes", "scores", "labels")}
        golden[f"{kind}/count"] = np.array(len(found["scores"]))
        # norms stay as they are: losses of the net that predicts
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
        with torch.no_grad():
            losses = model([image], [target])
        golden |= {f"{kind}/{name}": np.array(value.item()) for name, value in losses.items()}
        spread = said["cls_logits"].std().item()
        print(
            kind,
            len(found["scores"]),
            "detections",
            found["scores"][:3].tolist(),
            "spread",
            spread,
            {k: v.item() for k, v in losses.items()},
        )
    np.savez_compressed(Path(__file__).with_name("single_stage.npz"), **golden)


if __name__ == "__main__":
    main()
