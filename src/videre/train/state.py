"""The state of a training, so complete that a resumed run equals one that never stopped.

One safetensors file: weights, averaged weights, optimizer, what a fit has gathered, random states; the status in its header.
No pickle.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videre.errors import WeightsError
from videre.models.base import Model
from videre.tensors import read_tensors, write_tensors
from videre.train.optimizer import Average
from videre.train.processes import from_all, rank


@dataclasses.dataclass
class Status:
    """How far a training is.

    Args:
        step: steps done, over all stages. seconds: that took. best: the largest first metric of the stage; stale:
            evaluations since. metrics: the last ones. stage: its number. passes: of a fit that are done.
        left_out: pictures that cannot be used, by name, with the reasons.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    stale: int = 0
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    stage: int = 0
    passes: int = 0
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Trained:
    """What a training changes.

    Args:
        model: its weights. average: their exponential moving average (EMA). optimizer: of a descent.
        gathered: what a fit has gathered.
    """

    model: Model
    average: Average | None = None
    optimizer: torch.optim.Optimizer | None = None
    gathered: dict[str, Tensor] = dataclasses.field(default_factory=dict)


def save_state(path: Path, trained: Trained, status: Status, writes: bool = True) -> None:
    """Write everything that the next step depends on. All processes call it, since each has a random state of its own; the
    one that `writes` writes."""
    randoms = from_all({"": torch.get_rng_state()} | _cuda_state())
    if not writes:
        return
    tensors = {f"model/{name}": value for name, value in trained.model.state_dict().items()}
    if trained.average is not None:
        tensors |= {f"average/{name}": value for name, value in trained.average.values.items()}
    for index, state in trained.optimizer.state_dict()["state"].items() if trained.optimizer is not None else ():
        tensors |= {
            f"optimizer/{index}/{key}": torch.as_tensor(value) for key, value in state.items() if value is not None
        }
    tensors |= {f"gathered/{name}": value for name, value in trained.gathered.items()}
    for process, states in enumerate(randoms):
        tensors |= {_random_name(kind, process): value for kind, value in states.items()}
    write_tensors(path, tensors, {"state": json.dumps(dataclasses.asdict(status))})


def restore_state(path: Path, trained: Trained) -> Status:
    """Put as much of a saved state back as there is room for in `trained`; how far the training is.

    Raises WeightsError when it does not belong to this training.
    """
    tensors, metadata = read_tensors(path)
    if "state" not in metadata:
        raise WeightsError(f"{path}: not the state of a training")
    try:
        trained.model.load_state_dict(_part(tensors, "model/"))
    except RuntimeError as error:
        raise WeightsError(f"{path}: the state belongs to another model ({str(error).splitlines()[0]})") from error
    if trained.average is not None:
        for name, value in _part(tensors, "average/").items():
            trained.average.values[name].copy_(value)
    if trained.optimizer is not None:
        _restore_optimizer(trained.optimizer, _part(tensors, "optimizer/"))
    trained.gathered = _part(tensors, "gathered/")
    for kind, put in (("", torch.set_rng_state), ("cuda", torch.cuda.set_rng_state)):
        value = tensors.get(_random_name(kind, rank()), tensors.get(_random_name(kind, 0)))
        if value is not None and (not kind or torch.cuda.is_available()):
            put(value)
    return Status(**json.loads(metadata["state"]))


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    saved: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        saved.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, values in optimizer.state.items():
        for key, value in values.items():  # in the parameter's memory layout, as the optimizer made them
            if value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter).copy_(value)


def _cuda_state() -> dict[str, Tensor]:
    return {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}


def _random_name(kind: str, process: int) -> str:
    return "/".join(filter(None, ("random", kind, str(process) if process else "")))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
