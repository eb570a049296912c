"""Proposals for systems that take them: found once for a picture by a method, and kept in the cache by content.

proposer = Proposer("selective-search")
scene = proposer(picture)                # proposals [P, 4], proposal_scores [P], the best first
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videre.engine.device import choose_device
from videre.errors import ConfigError, WeightsError
from videre.files import cache_folder, read_bytes, write_atomic
from videre.images.prepare import prepare
from videre.layers.feature_cache import content_key
from videre.models import MODELS, find_model
from videre.models.base import Model, arguments
from videre.models.official import OFFICIAL
from videre.models.settings import parse_setting, typed
from videre.structures import Scene, Schema
from videre.version import __version__
from videre.zoo.weights import load_model

FIELDS = frozenset({"proposals", "proposal_scores"})


class Proposer:
    """Finds the proposals of pictures.

    Args:
        method: a system that gives proposals and needs no weights, with settings where they are not its own
            ("selective-search", "selective-search,mode=quality"), or a checkpoint, by its file or name, of one that does, or of
            a detector with a region proposal network. device: of a net.
        keep: whether results are kept in the cache, and looked up there.

    Raises:
        ConfigError: there is no such method or setting, or it gives no proposals.
    """

    def __init__(self, method: str, device: str = "auto", keep: bool = True) -> None:
        self.method, self.keep = method, keep
        system, *settings = re.split(r",(?=\w+=)", method)  # a comma may also stand in a list
        if system in MODELS:
            kind = find_model(system)
            if "proposals" not in kind.gives:
                raise ConfigError(f"{system} gives no proposals of its own; name a checkpoint of it, or {_methods()}")
            self.model: Model = kind(Schema(), **_typed(kind, system, settings)).eval()
            if self.model.stages():
                raise ConfigError(
                    f"{system} finds nothing before it is trained: `videre train {system} DATA`; name its checkpoint"
                )
            if next(self.model.parameters(), None) is not None:
                names = [official.name for official in OFFICIAL if official.model == system]
                raise ConfigError(
                    f"{system} finds nothing without weights; name a checkpoint of it, or {', '.join(names)}"
                )
            weights = ""
        else:
            try:
                self.model = load_model(method).eval().to(choose_device(device))
            except WeightsError as error:
                if Path(method).is_file() or any(official.name == method for official in OFFICIAL):
                    raise
                near = difflib.get_close_matches(method, [*MODELS, *(official.name for official in OFFICIAL)], 1)
                raise ConfigError(
                    f"there is no method {method!r} for proposals, no file or checkpoint of this name"
                    + (f"; did you mean {near[0]}?" if near else ".")
                    + f" There are {_methods()}"
                ) from error
            if "proposals" not in self.model.gives and not hasattr(self.model, "propose"):
                raise ConfigError(f"{method}: a {type(self.model).__name__} finds no proposals; there are {_methods()}")
            weights = content_key(*self.model.state_dict().values()).hex()
        said = [type(self.model).__name__, self.model.config, repr(self.model.preprocess), weights, __version__]
        self._method_key = hashlib.sha256(json.dumps(said, sort_keys=True).encode())

    def __call__(self, picture: np.ndarray) -> Scene:
        """Of a picture uint8 or uint16 [H, W, C]: a scene with proposals in its own pixels, the best first."""
        file = self.file(picture)
        if self.keep and file.is_file():
            return read_kept(file, (picture.shape[0], picture.shape[1]))
        scene = self.find(picture)
        if self.keep:
            data = io.BytesIO()
            boxes, scores = scene.proposals, scene.proposal_scores
            assert boxes is not None
            if scores is None:
                np.savez(data, boxes=boxes.numpy())
            else:
                np.savez(data, boxes=boxes.numpy(), scores=scores.numpy())
            write_atomic(file, data.getvalue())
        return scene

    @torch.inference_mode()
    def find(self, picture: np.ndarray) -> Scene:
        """The same without the cache."""
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        batch = prepare(picture, self.model.preprocess).to(device)
        propose: Any = self.model.predict if "proposals" in self.model.gives else self.model.propose
        return propose(batch)[0].to("cpu").only(FIELDS)

    def file(self, picture: np.ndarray) -> Path:
        """Where the proposals of a picture are kept, by what it shows."""
        key = self._method_key.copy()
        key.update(repr((picture.shape, str(picture.dtype))).encode())
        key.update(np.ascontiguousarray(picture).data)
        name = key.hexdigest()
        return cache_folder() / "proposals" / name[:2] / f"{name}.npz"


def read_kept(file: Path, size: tuple[int, int]) -> Scene:
    """A scene of the proposals in a file of the cache."""
    with np.load(io.BytesIO(read_bytes(file))) as kept:
        fields = {"proposals": torch.from_numpy(kept["boxes"])}
        if "scores" in kept:
            fields["proposal_scores"] = torch.from_numpy(kept["scores"])
    return Scene.unchecked(size=size, **fields)


def _typed(kind: type[Model], system: str, settings: Sequence[str]) -> dict[str, Any]:
    """The settings of a system, ["mode=quality"], of the types that they have."""
    known, found = arguments(kind), dict(parse_setting(setting) for setting in settings)
    for name in found:
        if name not in known:
            raise ConfigError(f"{system} has no setting {name!r}; there are {', '.join(known)}")
    return {name: typed(name, value, known[name].annotation) for name, value in found.items()}


def _methods() -> str:
    return ", ".join(name for name in MODELS if "proposals" in find_model(name).gives)
