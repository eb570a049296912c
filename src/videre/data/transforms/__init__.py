"""Transforms of a picture together with everything that its scene says.

A transform is a frozen dataclass, called as `transform(picture, scene, rng, schema) -> (picture, scene)`. All its
randomness comes from `rng`; it goes to JSON and back through `to_json` and `from_json`.
"""

from videre.data.transforms.compose import Compose, OneOf, Sometimes, Transform, from_json, generator, to_json
from videre.data.transforms.geometry import CropTo, IoUCrop, RandomCrop, Resize, ScaleJitter, crop, resize
from videre.data.transforms.mirror import HorizontalFlip, mirror_scene
from videre.data.transforms.mixup import MixUp
from videre.data.transforms.mosaic import Mosaic
from videre.data.transforms.photometric import Blur, ColorJitter, Grey, Invert, Noise
from videre.data.transforms.rotate import Rotate, rotate, rotate_scene
from videre.data.transforms.stain import StainJitter
from videre.data.transforms.turn import QuarterTurns, turn_scene

__all__ = [
    "Blur",
    "ColorJitter",
    "Compose",
    "CropTo",
    "Grey",
    "HorizontalFlip",
    "Invert",
    "IoUCrop",
    "MixUp",
    "Mosaic",
    "Noise",
    "OneOf",
    "QuarterTurns",
    "RandomCrop",
    "Resize",
    "Rotate",
    "ScaleJitter",
    "Sometimes",
    "StainJitter",
    "Transform",
    "crop",
    "from_json",
    "generator",
    "mirror_scene",
    "resize",
    "rotate",
    "rotate_scene",
    "to_json",
    "turn_scene",
]
