"""Features of pictures: what a pretrained net sees in them, at every stage, computed once and kept by content.

net = FeatureNet.of("mobilenet_v2_imagenet_fp16.safetensors")
features = extract(net, data)
features["top"]                                # float32 [N, 1280]: what a classifier's last layer reads
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videre.backbones import VECTOR, Backbone, make_backbone
from videre.data.dataset import Dataset
from videre.data.hashes import hash_file
from videre.engine.device import choose_device
from videre.engine.fuse import make_fast
from videre.engine.loading import load
from videre.engine.plan import Plan
from videre.errors import ConfigError, WeightsError
from videre.files import cache_folder, write_atomic
from videre.images.prepare import prepare
from videre.models.base import Model, Outputs
from videre.models.checkpoint import Checkpoint
from videre.structures import ImageBatch, Preprocess, Schema
from videre.zoo.weights import find_weights

WHOLE = Preprocess(short_side=256, long_side=None, centre_crop=(224, 224), divisor=1)
"""As classifiers look at pictures."""
TOP = "top"
"""The name of the last features: what the published classifier's last layer reads."""
LEAST_NUMBERS = 256
"""Maps of few channels are pooled to 2x2 or 4x4 places instead of one, so that each stage gives at least so many."""
BATCH = 16

Features = dict[str, np.ndarray]
"""By stage ("stride 4" … "stride 32", "top"), coarsest last: float32 [N, D]."""


class FeatureNet(Model):
    """A backbone whose stages are pooled to vectors.

    Args:
        backbone: with `top`. name: of it. preprocess: as its weights want pictures. digest: names the weights. card: what they are,
            in words.
    """

    mixes_formats = True

    def __init__(self, backbone: Backbone, name: str, preprocess: Preprocess, digest: str, card: str) -> None:
        super().__init__(Schema(), preprocess)
        self.backbone, self.name, self.digest, self.card = backbone, name, digest, card
        # where the classifier reads the mean of the last map, that map says nothing more
        means = backbone.width == backbone.channels[max(backbone.channels)]
        self.strides = tuple(backbone.channels)[: -1 if means else None]

    @classmethod
    def of(cls, source: str | Path, preprocess: dict[str, object] | None = None) -> FeatureNet:
        """From backbone weights or a checkpoint of any system, by file or name (see `find_weights`).

        Args:
            preprocess: fields that are to be other than usual: `size`, `short_side`, `centre_crop`.
        """
        found = find_weights(source)
        if isinstance(found, Checkpoint):
            return cls._of_checkpoint(found, str(source), preprocess or {})
        card, tensors = found
        backbone = make_backbone(card.backbone, vector=True, **dict(card.options))
        backbone.load_weights(tensors)
        prepared = WHOLE.replace(channels=card.channels, mean=card.mean, std=card.std, **(preprocess or {}))
        words = f"{card.name}; {card.licence}; trained on {card.data}"
        return cls(backbone.eval(), card.backbone, prepared, card.sha256, words)

    @classmethod
    def _of_checkpoint(cls, found: Checkpoint, source: str, preprocess: dict[str, object]) -> FeatureNet:
        model = found.build()
        backbone = next((m for m in model.modules() if isinstance(m, Backbone)), None)
        if backbone is None:
            raise WeightsError(f"{source}: a {found.model} has no backbone to take features of")
        if backbone.top is None:  # of a detector; its own backbone was built without
            name, options = backbone.made
            fitting = {k: v for k, v in options.items() if k in ("norm", "multiplier", "padding", "channels")}
            whole = make_backbone(name, vector=True, **fitting)
            whole.load_weights(backbone.state_dict())
            backbone = whole
        digest = hashlib.sha256()
        for name, value in backbone.state_dict().items():
            digest.update(name.encode() + value.numpy().tobytes())
        base = (
            found.preprocess
            if "labels" in model.gives
            else WHOLE.replace(channels=found.preprocess.channels, mean=found.preprocess.mean, std=found.preprocess.std)
        )
        return cls(
            backbone.eval(),
            backbone.made[0],
            base.replace(**preprocess),
            digest.hexdigest(),
            f"{source} ({found.model})",
        )

    def forward(self, batch: ImageBatch) -> Outputs:
        """Features by stage, [B, D]."""
        maps = self.backbone(batch.image)
        return {**{f"stride {s}": pool(maps[s]) for s in self.strides}, TOP: maps[VECTOR].float()}


def pool(maps: Tensor) -> Tensor:
    """Maps [B, C, H, W] to means over the whole, or over 2x2 or 4x4 parts where C is small: [B, C * parts]."""
    side = next((s for s in (1, 2, 4) if maps.shape[1] * s * s >= LEAST_NUMBERS), 4)
    return F.adaptive_avg_pool2d(maps.float(), side).flatten(1)


def extract(
    net: FeatureNet,
    data: Dataset,
    device: str = "auto",
    engine: str = "auto",
    plan: Plan | None = None,
    tick: Callable[[int], None] | None = None,
    keep: bool = True,
) -> Features:
    """The features of every picture of a data set, in its order.

    They are kept in the cache under the content of the pictures, the weights and the preprocessing: whoever asks again
    for the same gets them from there.

    Args:
        tick: called with the number of pictures done. keep: look in the cache and write to it.

    Raises:
        DataError: a picture cannot be read. ConfigError: there is none.
    """
    if not len(data):
        raise ConfigError(f"{data.title}: there is no picture to take features of")
    pictures = hashlib.sha256("".join(_content(data, i) for i in range(len(data))).encode()).hexdigest()
    key = json.dumps([pictures, net.digest, net.preprocess.to_json(), engine])
    path = cache_folder() / "features" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
    if keep and path.exists():
        with np.load(path) as file:
            return dict(file)
    features = _extract(net, data, choose_device(device), engine, plan or Plan.here(), tick)
    if keep:
        buffer = io.BytesIO()
        np.savez(buffer, **features)  # type: ignore[arg-type]
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
            write_atomic(path, buffer.getvalue())
    return features


@torch.inference_mode()
def _extract(
    net: FeatureNet, data: Dataset, device: torch.device, engine: str, plan: Plan, tick: Callable[[int], None] | None
) -> Features:
    running = make_fast(net.to(device).to(memory_format=torch.channels_last), engine, plan, device)  # type: ignore[call-overload]
    parts: list[Outputs] = []
    waiting: list[ImageBatch] = []
    done = 0

    def run() -> None:
        nonlocal done
        if waiting:
            parts.append({name: value.cpu() for name, value in running(ImageBatch.cat(waiting).to(device)).items()})
            done += len(waiting)
            waiting.clear()
            if tick is not None:
                tick(done)

    one = lambda i: prepare(data.picture(i), net.preprocess)
    for prepared in load(range(len(data)), one, 2, data.where, ahead=BATCH):
        if waiting and waiting[-1].image.shape != prepared.image.shape:
            run()
        waiting.append(prepared)
        if len(waiting) == BATCH:
            run()
    run()
    plan.save()
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def _content(data: Dataset, i: int) -> str:
    """The bytes of a picture in short; of a rendered one its pixels."""
    path = data.path(i)
    return hash_file(path) if path is not None else hashlib.sha256(data.picture(i).tobytes()).hexdigest()


def stage_names(features: Features) -> Sequence[str]:
    """The stages, finest first, `TOP` last."""
    return [*(name for name in features if name != TOP), TOP]
