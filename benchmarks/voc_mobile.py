"""DeepLabv3 on MobileNetV2 of half width with VOC's classes, on COCO's pictures: `python benchmarks/voc_mobile.py W.safetensors
coco_mini [OUT.safetensors]`.

The weights are TensorFlow's mobile release (deeplabv3_257_mv_gpu, Apache-2.0) under the names of its layers. COCO's masks of
the twenty classes are painted; the rest is background. OUT keeps the model as a checkpoint for `videre predict`.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from videre.data import read, splits
from videre.data.semantic import paint
from videre.evaluate import evaluate
from videre.models.checkpoint import save_checkpoint
from videre.models.segment.dilated import DeepLabV3
from videre.predict import Predictor
from videre.structures import VOC_PIXELS, Preprocess, Scene, Schema

NAMES = {
    "airplane": "aeroplane",
    "dining table": "diningtable",
    "motorcycle": "motorbike",
    "potted plant": "pottedplant",
    "couch": "sofa",
    "tv": "tvmonitor",
}
"""COCO's name: VOC's, where they differ."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="the released tensors, safetensors")
    parser.add_argument("data", type=Path, help="things with masks, of COCO's classes")
    parser.add_argument("out", type=Path, nargs="?", help="keep the model as a checkpoint")
    args = parser.parse_args()
    model = build(load_file(args.weights))
    if args.out is not None:
        save_checkpoint(model, args.out)
    predictor = Predictor(model, engine="fp32")
    predictions, truths = [], []
    for split in splits(args.data) or [None]:
        data = read(args.data, split)
        for i in range(len(data)):
            predictions.append(predictor.predict(data.picture(i)))
            truths.append(as_voc(data.scene(i), list(data.schema.things)))
    print("\n".join(evaluate(predictions, truths, model.schema).lines()))


def build(tensors: dict[str, Tensor]) -> DeepLabV3:
    """The model with the release's tensors, every one used."""
    half = Preprocess(
        size=(257, 257), short_side=None, long_side=None, divisor=1, mean=(0.5,) * 3, std=(0.5,) * 3, antialias=False
    )
    model = DeepLabV3(
        Schema(pixels=VOC_PIXELS),
        half,
        backbone="mobilenet_v2",
        norm="none",
        padding="same",
        multiplier=0.5,
        auxiliary=False,
        head_norm="none",
        rates=[],
        refine=False,
        corners=True,
    ).eval()
    names = {
        "Conv": "backbone.features.0.0",
        "aspp0": "classifier.0.convs.0.0",
        "image_pooling": "classifier.0.convs.1.1",
        "concat_projection": "classifier.0.project.0",
        "logits.semantic": "classifier.1",
    }
    for k in range(17):
        block = f"expanded_conv_{k}" if k else "expanded_conv"
        layers = ["expand", "depthwise", "project"] if k else ["depthwise", "project"]
        for n, layer in enumerate(layers):
            names[f"{block}.{layer}"] = f"backbone.features.{k + 1}.conv.{n}" + ("" if layer == "project" else ".0")
    renamed = {f"{names[name.rsplit('.', 1)[0]]}.{name.rsplit('.', 1)[1]}": value for name, value in tensors.items()}
    joined = renamed["classifier.0.project.0.weight"]
    width = joined.shape[1] // 2
    renamed["classifier.0.project.0.weight"] = torch.cat(
        [joined[:, width:], joined[:, :width]], 1
    )  # there the mean is first
    model.load_state_dict(renamed)
    return model


def as_voc(scene: Scene, coco: list[str]) -> Scene:
    """The classes of VOC that a scene of COCO's things shows."""
    if scene.instances is None or scene.instances.labels is None:
        return Scene(scene.size, segmentation=torch.from_numpy(paint(Scene(scene.size))))
    table = torch.tensor([VOC_PIXELS.names.index(v) if (v := NAMES.get(c, c)) in VOC_PIXELS.names else 0 for c in coco])
    labels = table[scene.instances.labels]
    there = scene.replace(instances=scene.instances.replace(labels=(labels - 1).clamp(min=0))).select(labels > 0)
    return Scene(scene.size, segmentation=torch.from_numpy(paint(there)))


if __name__ == "__main__":
    main()
