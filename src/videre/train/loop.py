"""The training loop: one function, read top to bottom.

A run is a folder (see `RunFolder`). Its last good files survive a kill or a full disk; Ctrl-C ends the step and saves
the state; a resumed run equals one that never stopped, bit for bit on a CPU.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from videre import __version__
from videre.data.dataset import Dataset
from videre.engine.device import choose_device, describe_processor
from videre.engine.plan import Plan
from videre.engine.training import planned
from videre.errors import ConfigError, DataError
from videre.models import model_name
from videre.models.base import Model
from videre.structures import ImageBatch, Scene
from videre.train.folder import RunFolder, averaged, plan_of, recorded
from videre.train.interrupt import Interrupt
from videre.train.optimizer import Average, choose_trained, gradient_norm, make_optimizer, set_rate
from videre.train.processes import any_of, from_first, joined, largest, mean
from videre.train.progress import Progress
from videre.train.recipe import Recipe
from videre.train.samples import Sample, TrainingSamples, names

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
    plan: Plan | None = None,
) -> Run:
    """Train a model; it ends with the averaged weights, in eval mode.

    Args:
        model: with a schema that names the data's classes. data: with the truths that the model `needs`.
        recipe: how; None: the defaults. out: the run's folder; must be new or empty unless `resume`.
        evaluate: metrics on validation data; the best by its first number is kept as best.safetensors.
        resume: go on from the folder's state. progress: "auto", "plain", "none".
        provenance: goes into run.json and the checkpoints (command, data, weights).
        plan: which algorithm each convolution runs, see `planned`; None: what was found on this machine before, or in
            the run that is resumed. One process alone follows a plan, several run torch's own convolutions.

    Raises:
        DataError: the data lacks what the model needs; or a loss is not finite (the batch is saved).
        ConfigError: the folder holds another run, or there is nothing to resume.
    """
    recipe = recipe or Recipe()
    out = Path(out)
    model.require(data.fields, data.title)
    with joined(device) as (rank, world):
        shown = progress if rank == 0 else "none"
        return _train(model, data, recipe, out, evaluate, resume, device, shown, provenance or {}, plan, rank, world)


def _train(
    model: Model, data: Dataset, recipe: Recipe, out: Path, evaluate: Evaluate | None, resume: bool, device_name: str,
    progress_mode: str, provenance: dict[str, Any], plan: Plan | None, rank: int, world: int,
) -> Run:  # fmt: skip
    if recipe.batch % world:
        raise ConfigError(f"a batch of {recipe.batch} cannot be shared by {world} processes; make it a multiple")
    device = choose_device(device_name)
    if world > 1 and device.type == "cpu" and any(isinstance(m, nn.SyncBatchNorm) for m in model.modules()):
        raise ConfigError(
            "norm=sync works between processes on GPUs only; take norm=group, which needs no other pictures"
        )
    before = recorded(out) if resume else {}
    plan = plan or plan_of(before) or Plan.here()
    if recipe.precision == "auto":
        recipe = recipe.replace(
            precision=from_first(before["recipe"]["precision"] if before else plan.precision(device))
        )
    torch.manual_seed(recipe.seed)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    lines = choose_trained(model, recipe)
    samples = TrainingSamples(data, model.preprocess, recipe)
    steps, per_epoch = samples.steps, max(1, round(len(samples.data) / recipe.batch))
    optimizer = make_optimizer(model, recipe)
    trained = [p for p in model.parameters() if p.requires_grad]
    average = Average(model, recipe.ema) if recipe.ema else None
    numbers: dict[str, Any] = {"step": 0, "seconds": 0.0, "best": -math.inf, "stale": 0, "metrics": {}}
    folder = RunFolder(out, _record(model, data, recipe, steps, provenance) if rank == 0 else {}, writes=rank == 0)
    if resume:
        numbers |= folder.resume(model, average, optimizer)
    else:
        folder.begin()
    wrapper: nn.Module = LossModule(model)
    if world > 1:
        wrapper = DistributedDataParallel(wrapper)
    first, ends_epoch = numbers["step"], False
    started, saved = time.monotonic() - numbers["seconds"], time.monotonic()

    with (
        Interrupt(repeats=world == 1) as interrupt,
        Progress(steps, first, progress_mode) as bar,
        contextlib.closing(samples.batches(first, steps, rank, world)) as groups,
    ):
        for line in [f"resumed at step {first} of {steps}"] if resume else lines:
            bar.say(line)
        model.train()
        for step, group in enumerate(groups, start=first):
            if recipe.patience and numbers["stale"] >= recipe.patience:
                bar.say(f"no gain in {recipe.patience} evaluations: stopped early")
                break
            set_rate(optimizer, recipe.rate(step, steps))
            batch = ImageBatch.cat([b for _, b, _ in group], largest(_size(group), device)).to(device)
            short = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
            with short, planned(plan if world == 1 else None):
                parts = wrapper(batch, [scene for _, _, scene in group])
            loss = torch.stack(list(parts.values())).sum()
            broken, stop = any_of((not bool(torch.isfinite(loss)), interrupt.asked), device)
            if broken:
                raise _not_finite(folder, "loss", step, group, batch, parts)
            folder.keep_plan(plan)  # before its choices have changed anything that a resumed run must repeat
            (loss / recipe.accumulate).backward()
            entry = {"step": step + 1, **_shown(mean(parts)), "lr": optimizer.param_groups[0]["lr"]}
            updates = (step + 1) % recipe.accumulate == 0 or step + 1 == steps
            if updates:
                norm = gradient_norm(trained, recipe.clip)
                if not bool(torch.isfinite(norm)):
                    raise _not_finite(folder, "gradient", step, group, batch, parts)
                entry["norm"] = float(norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                if average is not None:
                    average.update(model, step)
            numbers |= {"step": step + 1, "seconds": time.monotonic() - started}
            folder.log(entry | {"seconds": round(numbers["seconds"], 2)})
            bar.step(step + 1, entry["loss"], entry["lr"])

            # the gradients of a half-done accumulation are in no file: all that follows waits for the update
            ends_epoch = ends_epoch or (step + 1) % (per_epoch * recipe.evaluate_every) == 0 or step + 1 == steps
            if not updates:
                continue
            if evaluate is not None and ends_epoch:
                numbers |= from_first(_evaluate(evaluate, model, average, folder, numbers, bar) if rank == 0 else {})
            if ends_epoch or stop or time.monotonic() - saved > recipe.save_minutes * 60:
                folder.keep(model, average, optimizer, numbers)
                saved, ends_epoch = time.monotonic(), False
            if stop and step + 1 < steps:
                bar.say(f"stopped at step {step + 1} of {steps}, the state is saved; go on with --resume")
                return Run(out, numbers["metrics"], finished=False)
        seen, minutes = numbers["step"] * recipe.batch, numbers["seconds"] / 60
        bar.say(f"trained {numbers['step']} steps, {seen} pictures, in {minutes:.1f} minutes: {out}")
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


def _shown(parts: dict[str, float]) -> dict[str, float]:
    return {"loss": sum(parts.values()), **parts}


def _evaluate(
    evaluate: Evaluate, model: Model, average: Average | None, folder: RunFolder, numbers: dict[str, Any], bar: Progress
) -> dict[str, Any]:
    """Metrics of the averaged weights; the best ones are kept. Returns the numbers that change."""
    with averaged(model, average):
        metrics = evaluate(model.eval())
    model.train()
    value = next(iter(metrics.values()), math.nan)
    value = -1.0 if math.isnan(value) else value  # no truth to compare with, or no prediction: worse than any number
    metrics = {name: number for name, number in metrics.items() if not math.isnan(number)}  # JSON has no NaN
    better = value > numbers["best"]
    changed = {"metrics": metrics, "stale": 0 if better else numbers["stale"] + 1, "best": max(value, numbers["best"])}
    if better:
        folder.keep_weights("best", model, average, numbers | changed)
    folder.log({"step": numbers["step"], "metrics": metrics})
    listed = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    bar.say(f"step {numbers['step']}  {listed}" + ("  (best)" if better else ""))
    return changed


def _record(model: Model, data: Dataset, recipe: Recipe, steps: int, provenance: dict[str, Any]) -> dict[str, Any]:
    """Everything to repeat the run, plain JSON."""
    return {
        "videre": __version__,
        "torch": torch.__version__,
        "processor": describe_processor(),
        "model": model_name(model),
        "config": model.config,
        "preprocess": model.preprocess.to_json(),
        "recipe": recipe.to_json(),
        "steps": steps,
        "data": {"title": data.title, "pictures": len(data), "hash": data.content_hash()},
        **provenance,
    }


def _not_finite(
    folder: RunFolder, what: str, step: int, group: list[Sample], batch: ImageBatch, parts: dict[str, Tensor]
) -> DataError:
    losses = ", ".join(f"{name} {value.item():.4g}" for name, value in parts.items())
    saved = folder.keep_batch(step + 1, names(group), batch, parts)
    return DataError(
        f"step {step + 1}: the {what} is not finite ({losses}) on {', '.join(names(group))}; the batch is saved as "
        f"{saved}. Look at these pictures with `videre data check`, or lower lr"
    )
