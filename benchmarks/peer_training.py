"""torchvision's Faster or Mask R-CNN trained on a COCO folder: the yardstick beside our own trainings.

Needs the peers' environment and a data set that `videre data convert DATA coco FOLDER` wrote:

    ./run peers
    .venv-peers/bin/python benchmarks/peer_training.py FOLDER --masks --weights mobilenet_v2.safetensors --pictures 2000

As a user of torchvision would: a 256-channel pyramid on MobileNetV2 (batch norm folded into frozen norms, TensorFlow's
padding, as the weights need), all layers trained, AdamW, flips, cosine. Prints COCO AP at 100 and 300 detections.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import encode
from safetensors.torch import load_file
from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign


def mobilenet(path: str) -> nn.Module:
    """MobileNetV2's features with folded weights: frozen norms carry the biases, strided layers pad after."""
    features = torchvision.models.mobilenet_v2(weights=None, norm_layer=FrozenBatchNorm2d).features
    tensors = load_file(path)
    for name, module in list(features.named_modules()):
        if isinstance(module, FrozenBatchNorm2d):
            module.running_var.fill_(1 - module.eps)
        if not isinstance(module, nn.Conv2d):
            continue
        stem, _, place = f"features.{name}".rpartition(".")
        # the file names a convolution with its norm by their place: conv.0.0 holds both, conv.2 is followed by conv.3
        parent = features.get_submodule(name.rpartition(".")[0])
        norm = parent[int(place) + 1]
        module.weight.data.copy_(tensors[f"{stem}.{place}.weight"].float())
        norm.bias.copy_(tensors[f"{stem}.{place}.bias"])
        if module.stride[0] == 2:
            module.padding = (0, 0)
            parent[int(place)] = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), module)
    return features


def build(classes: int, masks: bool, weights: str, size: int, longest: int, detections: int) -> nn.Module:
    backbone = BackboneWithFPN(mobilenet(weights), {"3": "0", "6": "1", "13": "2", "18": "3"}, [24, 32, 96, 1280], 256)
    settings = {
        "rpn_anchor_generator": AnchorGenerator(
            tuple((s,) for s in ((16, 32, 64, 128, 256) if masks else (32, 64, 128, 256, 512))), ((0.5, 1.0, 2.0),) * 5
        ),
        "min_size": size,
        "max_size": longest,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "box_detections_per_img": detections,
        "box_roi_pool": MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2),
    }
    if not masks:
        return FasterRCNN(backbone, classes + 1, **settings)
    return MaskRCNN(backbone, classes + 1, mask_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2), **settings)


def sample(coco: COCO, folder: Path, image_id: int, flip: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    info = coco.loadImgs(image_id)[0]
    picture = cv2.imread(str(folder / info["file_name"]), cv2.IMREAD_COLOR)[:, :, ::-1]
    annotations = coco.loadAnns(coco.getAnnIds(image_id))
    boxes = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    keep = (boxes[:, 2:] > boxes[:, :2]).all(1)
    labels = np.array([a["category_id"] for a in annotations], np.int64)
    masks = [coco.annToMask(a) for a, k in zip(annotations, keep) if k and a.get("segmentation")]
    stacked = np.stack(masks) if masks else np.zeros((0, *picture.shape[:2]), np.uint8)
    boxes, labels = boxes[keep], labels[keep]
    if flip:
        picture, stacked = picture[:, ::-1], stacked[:, :, ::-1]
        boxes = boxes.copy()
        boxes[:, [0, 2]] = picture.shape[1] - boxes[:, [2, 0]]
    image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).float() / 255
    target = {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)}
    return image, target | {"masks": torch.from_numpy(np.ascontiguousarray(stacked))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--masks", action="store_true")
    parser.add_argument("--train", default="train")
    parser.add_argument("--test", default="test")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--longest", type=int, default=427)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--backbone-lr", type=float, default=1.0, help="factor on the rate of MobileNetV2")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    coco = COCO(str(args.folder / "annotations" / f"instances_{args.train}.json"))
    ids = sorted(coco.getImgIds())
    model = build(len(coco.getCatIds()), args.masks, args.weights, args.size, args.longest, 300 if args.masks else 100)
    model.train()
    body = set(model.backbone.body.parameters())
    rest = [p for p in model.parameters() if p.requires_grad and p not in body]
    groups = [{"params": list(body), "scale": args.backbone_lr}, {"params": rest, "scale": 1.0}]
    optimizer = torch.optim.AdamW(groups, args.lr, weight_decay=0.01)
    steps, began, order = math.ceil(args.pictures / args.batch), time.monotonic(), []
    for step in range(steps):
        factor = min(1.0, (step + 1) / (0.05 * steps)) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * factor * group["scale"]
        while len(order) < args.batch:
            order += rng.permutation(ids).tolist()
        chosen, order = order[: args.batch], order[args.batch :]
        pairs = [sample(coco, args.folder / args.train, i, bool(rng.random() < 0.5)) for i in chosen]
        losses = model([p[0] for p in pairs], [p[1] for p in pairs])
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        if step % 25 == 0 or step + 1 == steps:
            print(
                f"step {step + 1}/{steps} loss {loss.item():.3f} {(time.monotonic() - began) / 60:.1f} min", flush=True
            )

    model.eval()
    coco = COCO(str(args.folder / "annotations" / f"instances_{args.test}.json"))
    results = []
    with torch.inference_mode():
        for image_id in sorted(coco.getImgIds()):
            found = model([sample(coco, args.folder / args.test, image_id, False)[0]])[0]
            for n in range(len(found["scores"])):
                x1, y1, x2, y2 = found["boxes"][n].tolist()
                row = {
                    "image_id": image_id,
                    "category_id": int(found["labels"][n]),
                    "score": float(found["scores"][n]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                }
                if args.masks:
                    row["segmentation"] = encode(
                        np.asfortranarray((found["masks"][n, 0] >= 0.5).numpy().astype(np.uint8))
                    )
                results.append(row)
    for kind in ["bbox", "segm"] if args.masks else ["bbox"]:
        for limit in [100, 300] if args.masks else [100]:
            judge = COCOeval(coco, coco.loadRes([dict(r) for r in results]), kind)
            judge.params.maxDets = [1, 10, limit]
            judge.evaluate()
            judge.accumulate()
            precision = judge.eval["precision"][:, :, :, 0, 2]
            mean = lambda p: p[p > -1].mean()
            print(
                f"{kind} at {limit} detections: AP {mean(precision):.3f} AP50 {mean(precision[0]):.3f} AP75 {mean(precision[5]):.3f}"
            )


if __name__ == "__main__":
    main()
