"""The training loop: one function, read top to bottom.

A run is a folder: run.json (everything to repeat it), log.jsonl (a line a step or evaluation), last.safetensors and
best.safetensors (averaged weights, ready for prediction), state/ (to resume). The last good files survive a kill or a
full disk; Ctrl-C saves the state first; a resumed run equals one that never stopped, bit for bit on a CPU.
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from videre import __version__
from videre.data.dataset import Dataset
from videre.engine.device import choose_device
from videre.errors import ConfigError, DataError
from videre.models import model_name
from videre.models.base import Model
from videre.models.checkpoint import save_checkpoint, write_atomic
from videre.structures import ImageBatch, Scene
from videre.train.optimizer import Average, choose_trained, gradient_norm, make_optimizer, set_rate
from videre.train.processes import joined, largest, mean
from videre.train.progress import Progress
from videre.train.recipe import Recipe
from videre.train.samples import Sample, TrainingSamples, names
from videre.train.state import restore_state, save_state

Evaluate = Callable[[Model], dict[str, float]]
"""Metrics of a model on validation data; the first is the one that `best` follows."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training left: its folder, the last metrics, and whether it came to its end."""

    folder: Path
    metrics: dict[str, float]
    finished: bool


def train(
    model: Model,
    data: Dataset,
    recipe: Recipe | None = None,
    out: str | Path = "runs/train",
    *,
    evaluate: Evaluate | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: str = "auto",
    provenance: dict[str, Any] | None = None,
) -> Run:
    """Train a model; it ends with the averaged weights, in eval mode.

    Args:
        model: with a schema that names the data's classes. data: with the truths that the model `needs`.
        recipe: how; None: the defaults. out: the run's folder; must be new or empty unless `resume`.
        evaluate: metrics on validation data; the best by its first number is kept as best.safetensors.
        resume: go on from the folder's state. progress: "auto", "plain", "none".
        provenance: goes into run.json and the checkpoints (command, data, weights).

    Raises:
        DataError: the data lacks what the model needs; or a loss is not finite (the batch is saved).
        ConfigError: the folder holds another run, or there is nothing to resume.
    """
    recipe = recipe or Recipe()
    out = Path(out)
    model.require(data.fields, data.title)
    with joined() as (rank, world):
        return _train(
            model,
            data,
            recipe,
            out,
            evaluate,
            resume,
            device,
            progress if rank == 0 else "none",
            provenance or {},
            rank,
            world,
        )


def _train(
    model: Model, data: Dataset, recipe: Recipe, out: Path, evaluate: Evaluate | None, resume: bool, device_name: str,
    progress_mode: str, provenance: dict[str, Any], rank: int, world: int,
) -> Run:  # fmt: skip
    if recipe.batch % world:
        raise ConfigError(f"a batch of {recipe.batch} cannot be shared by {world} processes; make it a multiple")
    device = choose_device(device_name)
    torch.manual_seed(recipe.seed)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    lines = choose_trained(model, recipe.tune)
    samples = TrainingSamples(data, model.preprocess, recipe)
    steps = recipe.steps(len(data))
    optimizer = make_optimizer(model, recipe)
    average = Average(model, recipe.ema) if recipe.ema else None
    numbers: dict[str, Any] = {"step": 0, "seconds": 0.0, "best": -math.inf, "stale": 0, "metrics": {}}
    state_file = out / "state" / "state.safetensors"
    record = _record(model, data, recipe, steps, provenance)
    if resume:
        numbers |= _resume(out, state_file, record, model, average, optimizer)
    elif rank == 0:
        _start(out, record)

    wrapper: nn.Module = LossModule(model)
    if world > 1:
        wrapper = DistributedDataParallel(wrapper, broadcast_buffers=False)
    per_epoch = max(1, round(len(data) / recipe.batch))
    first, started, saved = numbers["step"], time.monotonic() - numbers["seconds"], time.monotonic()
    trained = [p for p in model.parameters() if p.requires_grad]

    def keep() -> None:
        """Write the state and the weights as they are now."""
        if rank == 0:
            numbers["seconds"] = time.monotonic() - started
            _save_weights(out / "last.safetensors", model, average, record, numbers)
            save_state(state_file, model, average, optimizer, numbers)

    with Progress(steps, first, progress_mode) as bar, (out / "log.jsonl").open("a") as log:
        for line in lines if first == 0 else [f"resumed at step {first} of {steps}"]:
            bar.say(line)
        try:
            model.train()
            for step, group in enumerate(samples.batches(first, steps, rank, world), start=first):
                set_rate(optimizer, recipe.rate(step, steps))
                size = largest(_size(group), device)
                batch = ImageBatch.cat([b for _, b, _ in group], size).to(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                    parts = wrapper(batch, [scene for _, _, scene in group])
                loss = torch.stack(list(parts.values())).sum()
                if not bool(torch.isfinite(loss)):
                    raise _not_finite(out, step, group, batch, parts)
                (loss / recipe.accumulate).backward()
                norm = None
                if (step + 1) % recipe.accumulate == 0 or step + 1 == steps:
                    norm = gradient_norm(trained, recipe.clip)
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                    if average is not None:
                        average.update(model, step)
                numbers["step"] = step + 1
                shown = mean(parts)
                if rank == 0:
                    entry = {
                        "step": step + 1,
                        "loss": sum(shown.values()),
                        **shown,
                        "lr": optimizer.param_groups[0]["lr"],
                    }
                    entry |= {"norm": float(norm)} if norm is not None else {}
                    log.write(json.dumps(entry | {"seconds": round(time.monotonic() - started, 2)}) + "\n")
                    log.flush()
                    bar.step(step + 1, sum(shown.values()), optimizer.param_groups[0]["lr"])

                ends_epoch = (step + 1) % (per_epoch * recipe.evaluate_every) == 0 or step + 1 == steps
                if evaluate is not None and ends_epoch and rank == 0:
                    numbers |= _evaluate(evaluate, model, average, out, record, numbers, bar, log)
                    model.train()
                if (step + 1) % recipe.accumulate == 0 and (
                    ends_epoch or time.monotonic() - saved > recipe.save_minutes * 60
                ):
                    keep()
                    saved = time.monotonic()
                if recipe.patience and numbers["stale"] >= recipe.patience:
                    bar.say(f"no gain in {recipe.patience} evaluations: stopped early")
                    break
        except KeyboardInterrupt:
            # gradients of a half-done accumulation are lost, so the last saved state stands then
            if numbers["step"] % recipe.accumulate == 0:
                keep()
            bar.say(f"stopped at step {numbers['step']} of {steps}; go on with --resume")
            return Run(out, numbers["metrics"], finished=False)
        keep()
        bar.say(
            f"trained {numbers['step']} steps, {numbers['step'] * recipe.batch} pictures, in {(time.monotonic() - started) / 60:.1f} minutes: {out}"
        )
    if average is not None:
        model.load_state_dict(average.values)
    model.eval()
    return Run(out, numbers["metrics"], finished=True)


class LossModule(nn.Module):
    """A model whose forward is its losses: distributed training synchronises only what goes through `forward`."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: ImageBatch, truths: Sequence[Scene]) -> dict[str, Tensor]:
        return self.model.losses(batch, truths)


def _size(group: list[Sample]) -> tuple[int, int]:
    return max(b.image.shape[2] for _, b, _ in group), max(b.image.shape[3] for _, b, _ in group)


def _evaluate(
    evaluate: Evaluate, model: Model, average: Average | None, out: Path, record: dict[str, Any],
    numbers: dict[str, Any], bar: Progress, log: Any,
) -> dict[str, Any]:  # fmt: skip
    """Metrics of the averaged weights; the best ones are kept. Returns the numbers that change."""
    raw = {name: value.clone() for name, value in model.state_dict().items()}
    if average is not None:
        model.load_state_dict(average.values)
    model.eval()
    metrics = evaluate(model)
    model.load_state_dict(raw)
    value = next(iter(metrics.values()), math.nan)
    better = value > numbers["best"]
    changed = {"metrics": metrics, "stale": 0 if better else numbers["stale"] + 1, "best": max(value, numbers["best"])}
    if better:
        _save_weights(out / "best.safetensors", model, average, record, numbers | changed)
    log.write(json.dumps({"step": numbers["step"], "metrics": metrics}) + "\n")
    log.flush()
    bar.say(
        f"step {numbers['step']}  "
        + "  ".join(f"{k} {v:.3f}" for k, v in metrics.items())
        + ("  (best)" if better else "")
    )
    return changed


def _save_weights(
    path: Path, model: Model, average: Average | None, record: dict[str, Any], numbers: dict[str, Any]
) -> None:
    raw = None
    if average is not None:
        raw = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(average.values)
    save_checkpoint(model, path, {**record, "step": numbers["step"], "metrics": numbers["metrics"]})
    if raw is not None:
        model.load_state_dict(raw)


def _record(model: Model, data: Dataset, recipe: Recipe, steps: int, provenance: dict[str, Any]) -> dict[str, Any]:
    return {
        "videre": __version__,
        "torch": torch.__version__,
        "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads",
        "model": model_name(model),
        "config": model.config,
        "preprocess": model.preprocess.to_json(),
        "recipe": recipe.to_json(),
        "steps": steps,
        "data": {"title": data.title, "pictures": len(data), "hash": data.content_hash()},
        **provenance,
    }


def _start(out: Path, record: dict[str, Any]) -> None:
    if (out / "log.jsonl").exists():
        raise ConfigError(f"{out}: there is a run already; go on with --resume, or name another folder with --out")
    write_atomic(out / "run.json", (json.dumps(record, indent=2) + "\n").encode())


def _resume(
    out: Path, state_file: Path, record: dict[str, Any], model: Model, average: Average | None,
    optimizer: torch.optim.Optimizer,
) -> dict[str, Any]:  # fmt: skip
    """Put the saved state back and cut the log to it."""
    if not state_file.exists():
        raise ConfigError(f"{out}: there is no state to resume (state/state.safetensors); start without --resume")
    old = json.loads((out / "run.json").read_text())
    for field in ("model", "config", "recipe", "data"):
        if json.loads(json.dumps(record[field])) != old[field]:
            raise ConfigError(
                f"{out}: the run there has another {field}: {_difference(old[field], record[field])}; resume with the same, or start a new run"
            )
    numbers = restore_state(state_file, model, average, optimizer)
    lines = [line for line in (out / "log.jsonl").read_text().splitlines() if _step_of(line) <= numbers["step"]]
    write_atomic(out / "log.jsonl", "".join(line + "\n" for line in lines).encode())
    return numbers


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return math.inf  # cut off in the middle by the kill


def _difference(old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        return ", ".join(
            f"{k} was {old.get(k)!r}, is {new.get(k)!r}"
            for k in {*old, *new}
            if old.get(k) != json.loads(json.dumps(new.get(k)))
        )
    return f"was {old!r}, is {new!r}"


def _not_finite(out: Path, step: int, group: list[Sample], batch: ImageBatch, parts: dict[str, Tensor]) -> DataError:
    saved = out / f"not-finite-step-{step + 1}.pt"
    torch.save(
        {"image": batch.image, "names": names(group), "losses": {k: v.detach() for k, v in parts.items()}}, saved
    )
    losses = ", ".join(f"{k} {v.item():.4g}" for k, v in parts.items())
    return DataError(
        f"step {step + 1}: the loss is not finite ({losses}) on {', '.join(names(group))}; the batch is saved as {saved}. "
        "Look at these pictures with `videre data check`, or lower lr"
    )
