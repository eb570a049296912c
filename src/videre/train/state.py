"""The state of a training, so complete that a resumed run equals one that never stopped.

One safetensors file: weights, averaged weights, optimiser, random state; numbers in its header. No pickle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videre.errors import WeightsError
from videre.models.base import Model
from videre.tensors import read_tensors, write_tensors
from videre.train.optimizer import Average


def save_state(
    path: Path, model: Model, average: Average | None, optimizer: torch.optim.Optimizer, numbers: dict[str, Any]
) -> None:
    """Write everything that the next step depends on; `numbers` is JSON (step, best so far, …)."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average/{name}": value for name, value in average.values.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer/{index}/{key}": torch.as_tensor(value) for key, value in state.items() if value is not None
        }
    tensors["random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    write_tensors(path, tensors, {"state": json.dumps(numbers)})


def restore_state(
    path: Path, model: Model, average: Average | None, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put a saved state back; returns its numbers. Raises WeightsError when it does not belong to this training."""
    tensors, metadata = read_tensors(path)
    if "state" not in metadata:
        raise WeightsError(f"{path}: not the state of a training")
    try:
        model.load_state_dict(_part(tensors, "model/"))
    except RuntimeError as error:
        raise WeightsError(f"{path}: the state belongs to another model ({str(error).splitlines()[0]})") from error
    if average is not None:
        for name, value in _part(tensors, "average/").items():
            average.values[name].copy_(value)
    saved: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer/").items():
        index, _, key = name.partition("/")
        saved.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, values in optimizer.state.items():
        for key, value in values.items():  # in the parameter's memory layout, as the optimiser made them
            if value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter).copy_(value)
    torch.set_rng_state(tensors["random"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
    return json.loads(metadata["state"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
