"""The training loop, read top to bottom: it runs the stages of a model.

A run is a folder (see `RunFolder`). Its last good files survive a kill or a full disk; Ctrl-C and SIGTERM end the step and
save the state; a resumed run equals one that never stopped, bit for bit on a CPU. A picture that cannot be read is left
out, named and counted.
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

from videre.data.dataset import Dataset, unread_in_words
from videre.data.scene_lines import read_scenes
from videre.engine.device import choose_device, describe_processor
from videre.engine.plan import Plan
from videre.errors import ConfigError, DataError
from videre.evaluate.metrics import metrics_for
from videre.evaluate.report import Report
from videre.models import model_name
from videre.models.base import Model
from videre.models.stages import Descent, Fit
from videre.structures import ImageBatch, Scene
from videre.tensors import read_tensors
from videre.train.estimate import within_minutes
from videre.train.finish import Validator, finish
from videre.train.folder import RunFolder, averaged, plan_of, recorded
from videre.train.interrupt import Interrupt
from videre.train.optimizer import Average, choose_trained, make_optimizer, set_rate
from videre.train.processes import any_of, from_all, from_first, joined, largest, mean
from videre.train.progress import Progress
from videre.train.recipe import Recipe
from videre.train.samples import Sample, TrainingSamples, names, stage_recipe, stage_steps
from videre.train.state import Status, Trained, restore_state
from videre.train.step import LossModule, Step, mixed
from videre.version import __version__

Evaluate = Callable[[Model], dict[str, float]]
"""Metrics of a model on validation data; the first is the one that `best` follows."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training left: its folder, the last metrics, whether it came to its end, the report on the validation data that
    it ended with, the pictures that it left out (names and reasons), and the signal that stopped it."""

    folder: Path
    metrics: dict[str, float]
    finished: bool
    report: Report | None = None
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    signal: int | None = None


def train(
    model: Model,
    data: Dataset,
    recipe: Recipe | None = None,
    out: str | Path = "runs/train",
    *,
    validation: Dataset | None = None,
    evaluate: Evaluate | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: str = "auto",
    provenance: dict[str, Any] | None = None,
    plan: Plan | None = None,
    page: bool | None = None,
) -> Run:
    """Train a model; it ends with the averaged weights, in eval mode, calibrated on the validation data.

    Args:
        model: with a schema that names the data's classes. data: with the truths that the model `needs`.
        recipe: how; None: the defaults. out: the run's folder; must be new or empty unless `resume`.
        validation: evaluated on while training, the best by the first metric is kept as best.safetensors; in the end
            thresholds and temperature are chosen on it, and report.html is written.
        evaluate: metrics in place of those of `validation`.
        resume: go on from the folder's state. progress: "auto", "plain", "none".
        provenance: goes into run.json and the checkpoints (command, data, weights).
        plan: which algorithm each convolution runs, see `planned`; None: what was found on this machine before, or in
            the run that is resumed. One process alone follows a plan, several run torch's own convolutions.
        page: whether to write report.html; None: unless `evaluate` is given.

    A picture that cannot be read, or is not of the size that its annotation says, is named on stderr and left out, and so is
    one with a broken truth where the data were read with `skip_broken`; `Run.left_out` has them.

    Raises:
        DataError: the data lacks what the model needs; more than a tenth of the pictures, and at least ten, or all, cannot be
            read; or a loss is not finite (the batch is saved). What was saved before stands.
        ConfigError: the folder holds another run, or there is nothing to resume.
    """
    recipe, out = recipe or Recipe(), Path(out)
    if not model.stages():
        has_weights = next(model.parameters(), None) is not None
        how = "its weights are published ones, see `videre models`" if has_weights else "it needs no weights"
        raise ConfigError(f"{type(model).__name__} is not trained here; {how}: `videre proposals METHOD DATA`")
    model.require(data.fields, data.title)
    together = evaluate is None
    page = together if page is None else page
    if evaluate is None and validation is not None:
        model.require(validation.fields, validation.title)
        if not metrics_for(model.gives, validation.fields):
            raise DataError(
                f"{validation.title}: no metric compares what a {type(model).__name__} gives ({', '.join(sorted(model.gives))}) "
                f"with what is true there ({', '.join(sorted(validation.fields))}); add one to METRICS, or train without "
                "validation data (--val none)"
            )
        evaluate = Validator(validation, device)
    with joined(device) as (rank, world):
        if recipe.minutes is not None and recipe.pictures is None and world > 1:
            raise ConfigError("minutes are measured by one process; give several an exact number of pictures")
        recipe = within_minutes(model, data, recipe, device, plan)
        mode = progress if rank == 0 else "none"
        training = _Training.begin(
            model, data, recipe, out, evaluate, resume, device, provenance or {}, plan, rank, world
        )
        training.together = together
        done = training.run(mode)
    ends = done and rank == 0 and (page or validation is not None)
    counted = evaluate.best if isinstance(evaluate, Validator) else None
    report = finish(out, model, validation, device, page, counted) if ends else None
    status, stopped = training.status, None if done else int(training.interrupt.signal)
    return Run(out, status.metrics, done, report, dict(status.left_out), stopped)


@dataclasses.dataclass
class _Training:
    """A training under way: what every stage needs."""

    model: Model
    data: Dataset
    recipe: Recipe
    folder: RunFolder
    device: torch.device
    plan: Plan
    evaluate: Evaluate | None
    rank: int
    world: int
    resumed: bool
    status: Status
    steps: list[int]
    """Of each stage; a resumed run keeps those that it began with."""
    together: bool = False
    """Whether all processes evaluate, each its part; else the first one alone."""
    notes: list[str] = dataclasses.field(default_factory=list)
    """What is not as it was before a resume."""
    told: set[str] = dataclasses.field(default_factory=set)
    """Names of the pictures left out that the user knows of."""

    @classmethod
    def begin(
        cls,
        model: Model,
        data: Dataset,
        recipe: Recipe,
        out: Path,
        evaluate: Evaluate | None,
        resume: bool,
        device_name: str,
        provenance: dict[str, Any],
        plan: Plan | None,
        rank: int,
        world: int,
    ) -> _Training:
        """Check everything, and make the folder or find the state in it."""
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
        steps = before.get("stage_steps") or stage_steps(model, data, recipe)
        folder = RunFolder(out, _record(model, data, recipe, steps, provenance) if rank == 0 else {}, writes=rank == 0)
        status = Status()
        if resume:
            changed, notes = from_first(folder.resume(data))
            if folder.state.exists():
                status = restore_state(folder.state, Trained(model))
            folder.cut_log(status.step)
            if changed:
                status.left_out = {}  # they may be whole again
                if isinstance(model.stages()[min(status.stage, len(steps) - 1)], Fit):
                    status.passes, status.step = 0, sum(steps[: status.stage])  # it gathers from the first picture on
            folder.note(status.step)
        else:
            folder.begin(data)
            notes = []
        if not status.step:
            folder.keep_start(model)
        return cls(model, data, recipe, folder, device, plan, evaluate, rank, world, resume, status, steps, notes=notes)

    def run(self, mode: str) -> bool:
        """All stages that are not done; whether they came to their end."""
        steps, stages = self.steps, self.model.stages()
        self.started, self.saved = time.monotonic() - self.status.seconds, time.monotonic()
        with (
            Interrupt(repeats=self.world == 1) as self.interrupt,
            Progress(sum(steps), self.status.step, mode) as self.bar,
        ):
            if self.resumed:
                self.bar.say(f"resumed at step {self.status.step} of {sum(steps)}")
                for note in self.notes:
                    self.bar.say(note)
                if self.status.left_out:
                    self.bar.say(f"left out as before: {unread_in_words(self.status.left_out)}")
                self.told = {*self.status.left_out}
            for number, stage in enumerate(stages):
                if number < self.status.stage:
                    continue
                if len(stages) > 1:
                    self.bar.say(f"stage {number + 1} of {len(stages)}: {stage.name}")
                first = sum(steps[:number])
                done = (
                    self._descend(stage, first, steps[number])
                    if isinstance(stage, Descent)
                    else self._fit(stage, first, steps[number])
                )
                if not done:
                    self.bar.say(
                        f"stopped at step {self.status.step} of {sum(steps)}, the state is saved; go on with --resume"
                    )
                    return False
                if number + 1 < len(stages):
                    self.status.best, self.status.stale = -math.inf, 0
                if number + 1 < len(stages) or isinstance(stage, Fit):  # what is solved is not solved again
                    self.status.stage, self.status.step = number + 1, sum(steps[: number + 1])
                    self._keep(Trained(self.model))
            last = stages[-1]
            if not last.evaluates and self.evaluate is not None:
                self._evaluate(Trained(self.model))
                self._keep(Trained(self.model))
            minutes, shown = self.status.seconds / 60, self.status.step * self.recipe.batch
            self.bar.say(
                f"trained {self.status.step} steps, {shown} pictures, in {minutes:.1f} minutes: {self.folder.path}"
            )
            if self.status.left_out:
                self.bar.say(f"left out: {unread_in_words(self.status.left_out)}")
        self.model.eval()
        return True

    # a stage of gradient descent --------------------------------------------------------------------------------------

    def _descend(self, stage: Descent, start: int, steps: int) -> bool:
        """Train from where the status is to step `start + steps`; the model ends with the averaged weights. False where it
        was interrupted."""
        model, device, status = self.model, self.device, self.status
        recipe = stage_recipe(stage, self.recipe)
        lines = choose_trained(model, recipe, stage)
        found = self._found(stage)
        first = status.step - start
        if not first and stage.anew:
            model.load_state_dict(read_tensors(self.folder.start)[0], strict=False)
        samples = TrainingSamples(self.data, model, recipe, stage.target, found, self.status.left_out)
        per_epoch = max(1, round(len(samples.data) / recipe.batch))
        optimizer = make_optimizer(model, recipe)
        trained = Trained(model, Average(model, recipe.ema) if recipe.ema else None, optimizer)
        if self.resumed and first:
            restore_state(self.folder.state, trained)
        else:
            self._begin_stage(lines)
        losses: nn.Module = LossModule(model, stage.losses)
        step_of = Step(
            DistributedDataParallel(losses) if self.world > 1 else losses,
            optimizer,
            [p for p in model.parameters() if p.requires_grad],
            recipe.precision,
            self.plan if self.world == 1 else None,
            recipe.accumulate,
            recipe.clip,
        )
        unread: _Numbers | None = None  # on a GPU numbers are read a step late, so that it need not wait for them
        ends_epoch = False
        model.train()
        with contextlib.closing(samples.batches(first, steps, self.rank, self.world)) as groups:
            for step, group in enumerate(groups, start=first):
                self._leave_out(samples)
                if recipe.patience and status.stale >= recipe.patience:
                    self.bar.say(f"no gain in {recipe.patience} evaluations: stopped early")
                    break
                set_rate(optimizer, recipe.rate(step, steps))
                batch = ImageBatch.cat([b for _, b, _ in group], largest(_size(group), device)).to(device)
                parts = step_of.forward(batch, [target for _, _, target in group])
                updates = (step + 1) % recipe.accumulate == 0 or step + 1 == steps
                rate = optimizer.param_groups[0]["lr"]
                numbers = _Numbers(start + step + 1, group, batch, parts, rate, recipe.lr, stage.name)
                waits = not reads_late(device)
                stop, due = self._agree(numbers if waits else unread)
                self.folder.keep_plan(self.plan)  # before its choices have changed what a resumed run must repeat
                numbers.norm = step_of.backward(parts, updates)
                if waits:
                    self._check_norm(numbers)
                if updates:
                    step_of.update()
                    if trained.average is not None:
                        trained.average.update(model, step)
                status.step, status.seconds = start + step + 1, time.monotonic() - self.started
                if waits:
                    self._log(numbers)
                elif unread is not None:
                    self._check_norm(unread)
                    self._log(unread)
                unread = None if waits else numbers

                # the gradients of a half-done accumulation are in no file: all that follows waits for the update
                ends_epoch = ends_epoch or (step + 1) % (per_epoch * recipe.evaluate_every) == 0 or step + 1 == steps
                if not updates:
                    continue
                if unread is not None and (ends_epoch or stop or due):  # nothing is kept that a broken step has made
                    self._read(unread)
                    unread = None
                if ends_epoch and stage.evaluates:
                    self._evaluate(trained)
                if ends_epoch or stop or due:
                    self._keep(trained)
                    ends_epoch = False
                if stop and step + 1 < steps:
                    return False
        if unread is not None:
            self._read(unread)
        if trained.average is not None:
            model.load_state_dict(trained.average.values)
        return True

    def _found(self, stage: Descent | Fit) -> dict[str, Scene] | None:
        """What the model as it is before the stage finds in every picture, by name: computed once, and kept with the run."""
        if stage.given is None:
            return None
        path = self.folder.path / "state" / f"given-{stage.name}.jsonl"
        if from_first(not path.exists()):  # as the first sees it: another may look when the file is there already
            if self.rank == 0:
                finder = _Finder(self.model, stage.given, self.data, self.recipe, self.device, self.status.left_out)
                self.folder.keep_scenes(path, finder)
                self._leave_out(finder.samples)
            from_first(None)  # the others wait
        return dict(read_scenes(path))

    def _begin_stage(self, lines: list[str]) -> None:
        if not self.resumed:
            for line in lines:
                self.bar.say(line)

    # a stage that is solved -------------------------------------------------------------------------------------------

    def _fit(self, stage: Fit, start: int, steps: int) -> bool:
        """Gather and solve, pass by pass. False where it was interrupted."""
        model, status = self.model.eval(), self.status
        found = self._found(stage)
        samples = TrainingSamples(self.data, model, self.recipe, stage.target, found, status.left_out)
        trained, per_pass = Trained(model), math.ceil(len(samples.data) / self.recipe.batch)
        if self.resumed and status.step > start:
            restore_state(self.folder.state, trained)
        while status.passes < stage.passes:
            begun = status.step - start - status.passes * per_pass
            with torch.no_grad(), contextlib.closing(samples.plain_batches(begun)) as groups:
                for group in groups:
                    self._leave_out(samples)
                    if group:
                        batch = ImageBatch.cat([b for _, b, _ in group]).to(self.device)
                        with mixed(self.device, self.recipe.precision):
                            trained.gathered = stage.add(trained.gathered, batch, [target for _, _, target in group])
                    status.step, status.seconds = status.step + 1, time.monotonic() - self.started
                    self.bar.step(status.step, math.nan, 0.0)
                    stop, due = self._agree(None)
                    if stop or due:
                        self._keep(trained)
                    if stop and status.step < start + steps:
                        return False
            with torch.no_grad():
                again = stage.solve(trained.gathered)
            status.passes += 1
            if not again:
                break
            self._keep(trained)
        status.passes, status.step = 0, start + steps
        self.folder.log({"step": status.step, "stage": stage.name, "solved": True})
        if self.evaluate is not None and stage.evaluates:
            self._evaluate(Trained(model))
        return True

    # what both do -----------------------------------------------------------------------------------------------------

    def _agree(self, numbers: _Numbers | None) -> tuple[bool, bool]:
        """Whether any process was told to stop, and whether a save is due; DataError where a loss is not finite."""
        broken = numbers is not None and not bool(torch.isfinite(numbers.total))
        late = time.monotonic() - self.saved > self.recipe.save_minutes * 60
        broken, stop, due = any_of((broken, self.interrupt.asked, late), self.device)
        if broken and numbers is not None:
            raise numbers.not_finite(self.folder, "loss")
        return stop, due

    def _read(self, numbers: _Numbers) -> None:
        """Check and log a step whose numbers were left on their device."""
        self._agree(numbers)
        self._check_norm(numbers)
        self._log(numbers)

    def _check_norm(self, numbers: _Numbers) -> None:
        if numbers.norm is not None and not bool(torch.isfinite(numbers.norm)):
            raise numbers.not_finite(self.folder, "gradient")

    def _log(self, numbers: _Numbers) -> None:
        """A line in the log, and the bar."""
        several = {"stage": numbers.stage} if len(self.model.stages()) > 1 else {}
        parts = mean(numbers.parts)
        entry: dict[str, Any] = {
            "step": numbers.step,
            **several,
            "loss": sum(parts.values()),
            **parts,
            "lr": numbers.rate,
        }
        entry |= {} if numbers.norm is None else {"norm": float(numbers.norm)}
        self.folder.log(entry | {"seconds": round(self.status.seconds, 2)})
        self.bar.step(numbers.step, entry["loss"], entry["lr"])

    def _leave_out(self, samples: TrainingSamples) -> None:
        """Name the pictures that turned out to be broken since the last time."""
        for name, reason in list(samples.left_out.items()):  # threads go on adding
            self.status.left_out.setdefault(name, reason)
            if name not in self.told and self.rank == 0:
                self.bar.warn(f"videre: {reason}; left out of the training")
            self.told.add(name)

    def _keep(self, trained: Trained) -> None:
        """Save the state, with what all processes have left out."""
        for theirs in from_all(self.status.left_out):
            for name, reason in theirs.items():
                if name not in self.told and self.rank == 0:
                    self.bar.warn(f"videre: {reason}; left out of the training")
                self.status.left_out.setdefault(name, reason)
                self.told.add(name)
        self.status.left_out = dict(sorted(self.status.left_out.items()))
        self.folder.keep(trained, self.status)
        self.saved = time.monotonic()

    def _evaluate(self, trained: Trained) -> None:
        """Metrics of the averaged weights; the best ones are kept."""
        if self.evaluate is None:
            return
        with averaged(trained.model, trained.average):
            takes_part = self.together or self.rank == 0
            metrics = from_first(self.evaluate(trained.model.eval()) if takes_part else {})
        trained.model.train()
        value = next(iter(metrics.values()), math.nan)
        if math.isnan(value):  # no truth to compare with, or no prediction: worse than any number
            value = -1.0
        status = self.status
        status.metrics = {name: number for name, number in metrics.items() if not math.isnan(number)}  # JSON has no NaN
        better = value > status.best
        status.stale, status.best = 0 if better else status.stale + 1, max(value, status.best)
        if better:
            self.folder.keep_weights("best", trained, status)
            if isinstance(self.evaluate, Validator):
                self.evaluate.keep()
        self.folder.log({"step": status.step, "metrics": status.metrics})
        listed = "  ".join(f"{name} {value:.3f}" for name, value in status.metrics.items())
        self.bar.say(f"step {status.step}  {listed}" + ("  (best)" if better else ""))


@dataclasses.dataclass
class _Numbers:
    """What a step says of itself, still on its device."""

    step: int
    group: list[Sample]
    batch: ImageBatch
    parts: dict[str, Tensor]
    rate: float
    base_rate: float
    stage: str
    norm: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """The loss."""
        return torch.stack([part.detach() for part in self.parts.values()]).sum()

    def not_finite(self, folder: RunFolder, what: str) -> DataError:
        """The error that says so; the batch is saved."""
        losses = ", ".join(f"{name} {value.item():.4g}" for name, value in self.parts.items())
        saved = folder.keep_batch(self.step, names(self.group), self.batch, self.parts)
        return DataError(
            f"step {self.step}: the {what} is not finite ({losses}) on {', '.join(names(self.group))}; the batch is saved as "
            f"{saved}. {folder.stands()}: look at these pictures with `videre data check`, or lower the learning rate, and go on "
            f"with --resume, as in --resume -o lr={self.base_rate / 10:g}"
        )


class _Finder:
    """What a model finds in every picture of a training, one after the other; see `Descent.given`."""

    def __init__(
        self,
        model: Model,
        find: Callable[[ImageBatch], Sequence[Scene]],
        data: Dataset,
        recipe: Recipe,
        device: torch.device,
        left_out: dict[str, str],
    ) -> None:
        self.model, self.find, self.device = model, find, device
        self.samples = TrainingSamples(data, model, recipe, target=lambda truth: None, left_out=left_out)

    @torch.no_grad()
    def __iter__(self) -> Any:
        self.model.eval()
        for group in self.samples.plain_batches(0):
            for name, batch, _ in group:  # one by one: what is found must not depend on neighbours
                (scene,) = self.find(batch.to(self.device))
                yield name, scene.to("cpu")


def reads_late(device: torch.device) -> bool:
    """Whether the numbers of a step are read when the next one has begun."""
    return device.type != "cpu"


def _size(group: list[Sample]) -> tuple[int, int]:
    return max(b.image.shape[-2] for _, b, _ in group), max(b.image.shape[-1] for _, b, _ in group)


def _record(
    model: Model, data: Dataset, recipe: Recipe, steps: list[int], provenance: dict[str, Any]
) -> dict[str, Any]:
    """Everything to repeat the run, plain JSON."""
    return {
        "videre": __version__,
        "torch": torch.__version__,
        "processor": describe_processor(),
        "model": model_name(model),
        "config": model.config,
        "preprocess": model.preprocess.to_json(),
        "recipe": recipe.to_json(),
        "steps": sum(steps),
        "stage_steps": steps,
        "data": {"title": data.title, "pictures": len(data), "hash": data.content_hash()},
        **provenance,
    }
