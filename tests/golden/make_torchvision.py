"""Golden numbers of torchvision's Faster, Mask and Keypoint R-CNN with weights and inputs filled by `rule.py`.

Run in the peers' environment: ./run peers && .venv-peers/bin/python tests/golden/make_torchvision.py
Writes torchvision_<model>.npz beside this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rule
import torch
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

KINDS = {"fasterrcnn": FasterRCNN, "maskrcnn": MaskRCNN, "keypointrcnn": KeypointRCNN}


def build(name: str) -> torch.nn.Module:
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    classes = 2 if name == "keypointrcnn" else rule.CLASSES + 1
    everything = {"rpn_batch_size_per_image": 10**6, "box_batch_size_per_image": 10**6}
    model = KINDS[name](backbone, classes, min_size=rule.SHORT, max_size=rule.LONG, **everything)
    state = {n: torch.from_numpy(rule.fill(n, tuple(v.shape), name)) for n, v in model.state_dict().items()}
    model.load_state_dict(state)
    return model


def main() -> None:
    torch.manual_seed(0)
    image = torch.from_numpy(rule.picture()).permute(2, 0, 1)
    true = rule.truth()
    for name in KINDS:
        model = build(name).eval()
        shapes = {n: (*v.shape, 0, 0, 0, 0)[:4] for n, v in model.state_dict().items()}
        golden: dict[str, np.ndarray] = {
            "tensor_names": np.array(list(shapes)),
            "tensor_shapes": np.array(list(shapes.values())),
        }
        captured: dict[str, object] = {}
        model.backbone.register_forward_hook(lambda m, i, o: captured.__setitem__("features", o))  # noqa: B023
        model.rpn.register_forward_hook(lambda m, i, o: captured.__setitem__("proposals", o[0]))  # noqa: B023
        model.roi_heads.box_predictor.register_forward_hook(lambda m, i, o: captured.__setitem__("logits", o[0]))  # noqa: B023
        with torch.inference_mode():
            found = model([image])[0]
        for level, value in captured["features"].items():
            golden[f"features_{level}"] = value[0, ::37, ::5, ::5].numpy()
        golden["proposals"] = captured["proposals"][0].numpy()
        golden |= {k: found[k].numpy() for k in ("boxes", "scores", "labels")}
        if "masks" in found:
            golden["masks"] = np.packbits((found["masks"][:, 0] >= 0.5).numpy())
        if "keypoints" in found:
            golden["keypoints"] = found["keypoints"][:, :, :2].numpy()
        logits = captured["logits"]
        print(
            name,
            "detections",
            len(found["scores"]),
            "logits spread",
            logits[:, 1:].std().item(),
            "max",
            logits.abs().max().item(),
            "features",
            [round(v.std().item(), 3) for v in captured["features"].values()],
        )

        # losses at the picture's own size: torchvision's resize of masks (nearest, corner to corner) moves them by a
        # fraction of a pixel, ours does not
        model.train()
        model.transform.min_size, model.transform.max_size = (rule.SIZE[0],), rule.SIZE[1]
        target = {
            "boxes": torch.from_numpy(true["boxes"]),
            "labels": torch.from_numpy(true["labels"]) + 1
            if name != "keypointrcnn"
            else torch.ones(6, dtype=torch.int64),
            "masks": torch.from_numpy(true["bitmaps"].astype(np.uint8)),
            "keypoints": torch.from_numpy(true["keypoints"]),
        }
        with torch.no_grad():
            losses = model([image], [target])
        golden |= {k: v.numpy() for k, v in losses.items()}
        print({k: round(v.item(), 5) for k, v in losses.items()})
        np.savez_compressed(Path(__file__).with_name(f"torchvision_{name}.npz"), **golden)


if __name__ == "__main__":
    main()
