"""Checkpoints: one safetensors file that rebuilds a model, and says where it came from.

The header holds the model's name, config, schema, preprocess, thresholds and provenance; the tensors are named as in
`state_dict`. An interrupted save leaves the old file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videre.errors import DataError, WeightsError
from videre.models import find_model, model_name
from videre.models.base import Model
from videre.structures import Preprocess, Schema, Tokenizer
from videre.tensors import read_tensors, write_tensors
from videre.version import __version__

KEY = "videre"
"""The header entry that marks a checkpoint of ours."""
TOKENIZER = "schema.tokenizer"
"""The tensor that holds the schema's tokenizer: its table is too large for a header."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a file holds, read without building the model."""

    model: str
    config: dict[str, Any]
    schema: Schema
    preprocess: Preprocess
    thresholds: dict[str, float]
    provenance: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, model: Model, provenance: Mapping[str, Any]) -> Checkpoint:
        """What a file of this model would hold."""
        return cls(
            model_name(model),
            model.config,
            model.schema,
            model.preprocess,
            model.thresholds,
            dict(provenance),
            model.state_dict(),
        )

    def build(self) -> Model:
        """The model with its weights, in eval mode."""
        model = find_model(self.model)(self.schema, self.preprocess, **self.config)  # type: ignore[arg-type, call-arg]
        own = model.state_dict()
        if set(own) != set(self.tensors):
            odd = sorted(set(own) ^ set(self.tensors))
            raise WeightsError(f"the checkpoint and {self.model} differ in {len(odd)} tensors, first {odd[0]}")
        for name, value in own.items():
            if self.tensors[name].shape != value.shape:
                raise WeightsError(
                    f"{name} is {tuple(self.tensors[name].shape)} in the checkpoint, "
                    f"{tuple(value.shape)} in {self.model}"
                )
        model.load_state_dict({name: self.tensors[name].to(own[name].dtype) for name in own})
        model.thresholds = dict(self.thresholds)
        return model.eval()


def save_checkpoint(
    model: Model, path: str | Path, provenance: Mapping[str, Any] | None = None, half: bool = False
) -> None:
    """Write a model; `half` stores float tensors in 16 bits, half the size."""
    header = {
        "version": __version__,
        "model": model_name(model),
        "config": model.config,
        "schema": model.schema.to_json(tables=False),
        "preprocess": model.preprocess.to_json(),
        "thresholds": model.thresholds,
        "provenance": dict(provenance or {}),
    }
    tensors = model.state_dict()
    if half:
        tensors = {name: t.half() if t.dtype == torch.float32 else t for name, t in tensors.items()}
    if model.schema.tokenizer is not None:
        tensors = {**tensors, TOKENIZER: model.schema.tokenizer.to_tensor()}
    write_tensors(path, tensors, {KEY: json.dumps(header)})


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file written by `save_checkpoint`.

    Raises WeightsError when it is missing, damaged, or not a checkpoint of ours.
    """
    tensors, metadata = read_tensors(path)
    if KEY not in metadata:
        raise WeightsError(
            f"{path}: holds tensors but no model; give it as --from to start a training with its weights"
        )
    try:
        header = json.loads(metadata[KEY])
        schema = Schema.from_json(header["schema"])
        if TOKENIZER in tensors:
            schema = schema.replace(tokenizer=Tokenizer.from_tensor(tensors.pop(TOKENIZER)))
        return Checkpoint(
            header["model"],
            header["config"],
            schema,
            Preprocess.from_json(header["preprocess"]),
            header["thresholds"],
            header["provenance"],
            tensors,
        )
    except (json.JSONDecodeError, KeyError, TypeError, DataError) as error:
        raise WeightsError(f"{path}: its header cannot be read, perhaps a newer videre wrote it ({error!r})") from error


def amend(path: str | Path, thresholds: Mapping[str, float], changed: Mapping[str, Tensor] | None = None) -> None:
    """Store other thresholds, and other values of some tensors, in a file written by `save_checkpoint`; all else stays."""
    tensors, metadata = read_tensors(path)
    header = json.loads(metadata[KEY]) | {"thresholds": dict(thresholds)}
    write_tensors(path, {**tensors, **(changed or {})}, {KEY: json.dumps(header)})


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What a model took from a file: names of tensors loaded whole, loaded by class name, reset, and left over."""

    loaded: list[str]
    by_name: dict[str, list[str]]
    reset: list[str]
    unused: list[str]

    def __str__(self) -> str:
        lines = [f"loaded {len(self.loaded)} tensors"]
        lines += [f"{name}: rows copied for {', '.join(kept) or 'no class'}" for name, kept in self.by_name.items()]
        lines += [f"reset to random: {', '.join(self.reset)}"] if self.reset else []
        lines += [f"in the file but not used: {', '.join(self.unused)}"] if self.unused else []
        return "\n".join(lines)


def transfer(model: Model, source: Checkpoint) -> Transfer:
    """Fill a model from another's checkpoint: equal tensors whole, the heads' rows by class or keypoint name."""
    own = model.state_dict()
    axes = model.named_rows()
    theirs = _rehoused(source, model)
    loaded, by_name, reset, new = [], {}, [], {}
    for name, value in own.items():
        old = theirs.get(name)
        if old is None:
            reset.append(name)
        elif name in axes and axes[name].names(model.schema) != axes[name].names(source.schema):
            new[name], by_name[name] = axes[name].copy(old, value, source.schema, model.schema)
        elif old.shape == value.shape:
            new[name] = old.to(value.dtype)
            loaded.append(name)
        else:
            reset.append(name)
    model.load_state_dict(new, strict=False)
    return Transfer(loaded, by_name, reset, sorted(set(theirs) - set(own)))


def _rehoused(source: Checkpoint, model: Model) -> dict[str, Tensor]:
    """Tensors under the names that they have in another system: the one lies inside the other, or the same inside both."""
    there, here = (
        {system: f"{part}." for part, system in inner.items()} | {name: ""}
        for name, inner in (
            (source.model, find_model(source.model).inner_systems),
            (model_name(model), model.inner_systems),
        )
    )
    tensors = dict(source.tensors)
    for system in there.keys() & here.keys():
        old, new = there[system], here[system]
        if old != new:
            tensors = {
                new + name.removeprefix(old) if name.startswith(old) else name: value for name, value in tensors.items()
            }
    return tensors
