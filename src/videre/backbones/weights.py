"""Published backbone weights: where they are, what they were trained on, and all that must travel with them.

A weight file is only right together with its padding, its norm and its normalisation; a card holds them. A file given
by path is known by its SHA-256, so a renamed copy is still recognised.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from videre.backbones.download import download, unpickle
from videre.errors import ConfigError, WeightsError
from videre.files import cache_folder
from videre.structures.preprocess import IMAGENET_MEAN, IMAGENET_STD
from videre.tensors import read_tensors, write_tensors


@dataclasses.dataclass(frozen=True)
class BackboneWeights:
    """A card: one published file of backbone weights.

    Args:
        name: how it is asked for. backbone: name in `videre.backbones`.
        sha256: of the file, or its first digits. url: where it is published; "" when it must be given by path.
        licence: of the weights. data: what they were trained on. top1: published ImageNet top-1 accuracy.
        mean, std: the normalisation they expect, of pictures in [0, 1]. options: constructor arguments they need.
        channels: their order, "rgb" or "bgr"; mean and std are in it.
        background: rows of the file's last layer before the first class. side: of the pictures they were trained on.
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
    channels: str = "rgb"
    background: int = 0
    side: int = 224


PublishedWeights = tuple[BackboneWeights, dict[str, Tensor]]
"""The card and the tensors of a backbone's published weights."""


def _torchvision(
    backbone: str, digits: str, top1: float, version: int = 1, norm: str = "frozen", file: str = ""
) -> BackboneWeights:
    return BackboneWeights(
        f"torchvision/{backbone}-v{version}",
        backbone,
        digits,
        f"https://download.pytorch.org/models/{file or backbone}-{digits}.pth",
        "BSD-3-Clause",
        "ImageNet-1k",
        top1,
        options=(("norm", norm),),
    )


BACKBONE_WEIGHTS = (
    _torchvision("alexnet", "7be5be79", 56.522, norm="none", file="alexnet-owt"),
    _torchvision("vgg11", "8a719046", 69.020, norm="none"),
    _torchvision("vgg13", "19584684", 69.928, norm="none"),
    _torchvision("vgg16", "397923af", 71.592, norm="none"),
    _torchvision("vgg19", "dcbb9e9d", 72.376, norm="none"),
    _torchvision("vgg11_bn", "6002323d", 70.370),
    _torchvision("vgg13_bn", "abd245e5", 71.586),
    _torchvision("vgg16_bn", "6c64b313", 73.360),
    _torchvision("vgg19_bn", "c79401a0", 74.218),
    _torchvision("resnet18", "f37072fd", 69.758),
    _torchvision("resnet34", "b627a593", 73.314),
    _torchvision("resnet50", "0676ba61", 76.130),
    _torchvision("resnet50", "11ad3fa6", 80.858, 2),
    _torchvision("resnet101", "63fe2227", 77.374),
    _torchvision("resnet101", "cd907fc2", 81.886, 2),
    _torchvision("resnet152", "394f9c45", 78.312),
    _torchvision("resnet152", "f82ba261", 82.284, 2),
    _torchvision("mobilenet_v2", "b0353104", 71.878),
    _torchvision("mobilenet_v2", "7ebf99e0", 72.154, 2),
    # google-coral/test_data @ 104342d, tf2_mobilenet_v2_1.0_224_ptq.tflite, dequantised: batch norm folded in, SAME
    BackboneWeights(
        "coral/mobilenet_v2",
        "mobilenet_v2",
        "1886cef4c9a9cedee1272b2b525c6b39a9f9b8a2789535380604ab3c1da84512",
        "",
        "Apache-2.0",
        "ImageNet-1k",
        None,
        (0.5, 0.5, 0.5),
        (0.5, 0.5, 0.5),
        (("norm", "none"), ("padding", "same")),
        background=1,
    ),
    # torchvision's net maps ImageNet's normalisation back to [-1, 1], with which Google trained
    BackboneWeights(
        "torchvision/inception_v3-v1",
        "inception_v3",
        "0cc3c7bd",
        "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
        "BSD-3-Clause",
        "ImageNet-1k",
        77.294,
        (0.5, 0.5, 0.5),
        (0.5, 0.5, 0.5),
        (("norm", "frozen"), ("padding", "valid")),
        side=299,
    ),
    BackboneWeights(
        "cadene/inception_resnet_v2",
        "inception_resnet_v2",
        "520b38e4",
        "http://data.lip6.fr/cadene/pretrainedmodels/inceptionresnetv2-520b38e4.pth",
        "BSD-3-Clause",
        "ImageNet-1k",
        80.170,
        (0.5, 0.5, 0.5),
        (0.5, 0.5, 0.5),
        (("norm", "frozen"), ("padding", "valid")),
        background=1,
        side=299,
    ),
    BackboneWeights(
        "cadene/bn_inception",
        "bn_inception",
        "52deb4733",
        "http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth",
        "BSD-3-Clause",
        "ImageNet-1k",
        73.524,
        (104 / 255, 117 / 255, 128 / 255),
        (1 / 255, 1 / 255, 1 / 255),
        channels="bgr",
    ),
)
"""Sources: torchvision's weight enums and Cadene/pretrained-models.pytorch (names, accuracies); the publishers' cards."""


def fetch_backbone(card: BackboneWeights, cache: Path | None = None) -> dict[str, Tensor]:
    """The tensors of published weights, downloaded once and kept as safetensors."""
    copy = (cache or cache_folder()) / f"{card.name.replace('/', '-')}-{card.sha256[:8]}.safetensors"
    if copy.exists():
        return read_tensors(copy)[0]
    tensors = unpickle(download(card.url), card.sha256, card.url)
    write_tensors(copy, tensors)
    return tensors


def describe_weights(
    name: str,
    net: nn.Module,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    side: int,
    licence: str = "unknown",
    data: str = "unknown",
) -> PublishedWeights:
    """A card for weights that another library fetched, and the tensors.

    Args:
        name: of the backbone, "timm:…" or "hf:…". net: that holds them. mean, std: of three channels in [0, 1].

    Raises ConfigError where the library does not say mean and std: a guess would be wrong silently.
    """
    if mean is None or std is None or len(mean) != 3 or len(std) != 3:
        raise ConfigError(f"{name}: nothing says what mean and std its three channels want, found {mean} and {std}")
    tensors = net.state_dict()
    digest = hashlib.sha256()
    for key, value in tensors.items():
        digest.update(key.encode() + value.numpy().tobytes())
    red_green_blue = lambda values: (float(values[0]), float(values[1]), float(values[2]))
    card = BackboneWeights(
        name, name, digest.hexdigest(), "", licence, data, None, red_green_blue(mean), red_green_blue(std), side=side
    )
    return card, tensors


def recognise_weights(path: str | Path, tensors: dict[str, Tensor]) -> BackboneWeights:
    """The card of a weight file, by its hash or else by its tensors.

    A file that no card knows is taken as torchvision's kind (half padding, ImageNet normalisation) when it holds the
    tensors of a backbone with batch norm, of AlexNet or of VGG. Raises WeightsError when its kind cannot be told.
    """
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    for card in BACKBONE_WEIGHTS:
        if digest.startswith(card.sha256):
            return card
    found = _kind(tensors)
    if found is None:
        raise WeightsError(
            f"{path}: not a file that videre knows (sha256 {digest[:12]}…): it holds neither a videre checkpoint nor "
            "the tensors of AlexNet, a VGG, or a ResNet or MobileNetV2 with batch norm; weights with folded norms must "
            "be in the table of cards, because padding and normalisation cannot be read off them"
        )
    backbone, norm = found
    return BackboneWeights(str(path), backbone, digest, "", "unknown", "unknown", None, options=(("norm", norm),))


def _kind(tensors: dict[str, Tensor]) -> tuple[str, str] | None:
    """The backbone whose tensors these are by torchvision's names, and its norm; None where it cannot be told."""
    if "features.18.1.running_mean" in tensors:
        return "mobilenet_v2", "frozen"
    if "bn1.running_mean" in tensors:
        blocks = sum(name.endswith("conv1.weight") and name.startswith("layer") for name in tensors)
        bottleneck = "layer1.0.conv3.weight" in tensors
        depths = {(8, False): 18, (16, False): 34, (16, True): 50, (33, True): 101, (50, True): 152}
        depth = depths.get((blocks, bottleneck))
        return (f"resnet{depth}", "frozen") if depth else None
    kernels = [tuple(t.shape[2:]) for name, t in tensors.items() if name.startswith("features.") and t.ndim == 4]
    if sorted(kernels) == [(3, 3), (3, 3), (3, 3), (5, 5), (11, 11)]:
        return "alexnet", "none"
    depth = {8: 11, 10: 13, 13: 16, 16: 19}.get(len(kernels)) if set(kernels) == {(3, 3)} else None
    if depth is None:
        return None
    return (f"vgg{depth}_bn", "frozen") if "features.1.running_mean" in tensors else (f"vgg{depth}", "none")
