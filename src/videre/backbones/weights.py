"""Published backbone weights: where they are, what they were trained on, and all that must travel with them.

A weight file is only right together with its padding, its norm and its normalisation; a card holds them. A file given
by path is known by its SHA-256, so a renamed copy is still recognised.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from videre.backbones.download import cache_folder, download, unpickle
from videre.errors import WeightsError
from videre.files import write_atomic
from videre.structures.preprocess import IMAGENET_MEAN, IMAGENET_STD


@dataclasses.dataclass(frozen=True)
class BackboneWeights:
    """A card: one published file of backbone weights.

    Args:
        name: how it is asked for. backbone: name in `videre.backbones`.
        sha256: of the file, or its first digits. url: where it is published; "" when it must be given by path.
        licence: of the weights. data: what they were trained on. top1: published ImageNet top-1 accuracy.
        mean, std: the normalisation they expect, of pictures in [0, 1]. options: constructor arguments they need.
    """

    name: str
    backbone: str
    sha256: str
    url: str
    licence: str
    data: str
    top1: float | None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    options: tuple[tuple[str, Any], ...] = (("norm", "frozen"),)


def _resnet(depth: int, digits: str, top1: float, version: int) -> BackboneWeights:
    return BackboneWeights(
        f"torchvision/resnet{depth}-v{version}", f"resnet{depth}", digits,
        f"https://download.pytorch.org/models/resnet{depth}-{digits}.pth", "BSD-3-Clause", "ImageNet-1k", top1,
    )  # fmt: skip


BACKBONE_WEIGHTS = (
    _resnet(18, "f37072fd", 69.758, 1),
    _resnet(34, "b627a593", 73.314, 1),
    _resnet(50, "0676ba61", 76.130, 1),
    _resnet(50, "11ad3fa6", 80.858, 2),
    _resnet(101, "63fe2227", 77.374, 1),
    _resnet(101, "cd907fc2", 81.886, 2),
    _resnet(152, "394f9c45", 78.312, 1),
    _resnet(152, "f82ba261", 82.284, 2),
    BackboneWeights(
        "torchvision/mobilenet_v2-v1", "mobilenet_v2", "b0353104",
        "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth", "BSD-3-Clause", "ImageNet-1k", 71.878,
    ),
    # google-coral/test_data @ 104342d, tf2_mobilenet_v2_1.0_224_ptq.tflite, dequantised: batch norm folded in, SAME
    BackboneWeights(
        "coral/mobilenet_v2", "mobilenet_v2", "1886cef4c9a9cedee1272b2b525c6b39a9f9b8a2789535380604ab3c1da84512", "",
        "Apache-2.0", "ImageNet-1k", None, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (("norm", "none"), ("padding", "same")),
    ),
)  # fmt: skip
"""Sources: torchvision's weight enums (names, accuracies); the publishers' model cards."""


def fetch_backbone(card: BackboneWeights, cache: Path | None = None) -> dict[str, Tensor]:
    """The tensors of published weights, downloaded once and kept as safetensors."""
    copy = (cache or cache_folder()) / f"{card.name.replace('/', '-')}-{card.sha256[:8]}.safetensors"
    if copy.exists():
        return load_file(copy)
    tensors = unpickle(download(card.url), card.sha256, card.url)
    write_atomic(copy, save({name: value.contiguous() for name, value in tensors.items()}))
    return tensors


def recognise_weights(path: str | Path, tensors: dict[str, Tensor]) -> BackboneWeights:
    """The card of a weight file, by its hash or else by its tensors.

    A file that no card knows is taken as torchvision's kind (half padding, ImageNet normalisation) when it holds the
    tensors of a backbone with batch norm. Raises WeightsError when its kind cannot be told.
    """
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    for card in BACKBONE_WEIGHTS:
        if digest.startswith(card.sha256):
            return card
    backbone = {"features.18.1.running_mean": "mobilenet_v2", "bn1.running_mean": ""}
    found = next((name for key, name in backbone.items() if key in tensors), None)
    if found == "":
        blocks = sum(name.endswith("conv1.weight") and name.startswith("layer") for name in tensors)
        bottleneck = "layer1.0.conv3.weight" in tensors
        depths = {(8, False): 18, (16, False): 34, (16, True): 50, (33, True): 101, (50, True): 152}
        depth = depths.get((blocks, bottleneck))
        found = f"resnet{depth}" if depth else None
    if found is None:
        raise WeightsError(
            f"{path}: not a file that videre knows (sha256 {digest[:12]}…): it holds neither a videre checkpoint nor "
            "ResNet or MobileNetV2 tensors with batch norm; weights with folded norms must be in the table of cards, "
            "because padding and normalisation cannot be read off them"
        )
    return BackboneWeights(str(path), found, digest, "", "unknown", "unknown", None)
