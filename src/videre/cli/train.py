"""videre train MODEL DATA: from a data set to a trained model."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from videre.cli.options import Device, Format, PlanFile, Proposals, Quiet, SkipBroken, parse_settings


def train(
    model: Annotated[str, typer.Argument(help="A system (see `videre models`), or your own: module:Class.")],
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="The data set: a folder or an annotation file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder.  [default: runs/MODEL-DATA]")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Its name (see `videre models`), timm:NAME or hf:NAME.  [default: that of --from, else the system's own]"
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Start from a checkpoint or backbone weights: a file, a name of `videre models`, timm:NAME, hf:NAME.  "
            "[default: weights start at random]",
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(help="What trains: top, few, many, all, scratch.  [default: many; scratch without --from]"),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split to train on.  [default: train; all of data without splits]")
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(help="Split to evaluate on while training; 'none' for none.  [default: val where there is one]"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            metavar="KEY=VALUE",
            help="A setting of recipe, model or preprocessing; --settings lists them.  [default: as listed there]",
        ),
    ] = None,
    proposals: Proposals = None,
    format: Format = None,
    skip_broken: SkipBroken = False,
    device: Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in --out stopped, with its settings.")
    ] = False,
    list_settings: Annotated[
        bool, typer.Option("--settings", help="List what -o takes for this system, and stop; no data are needed.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be trained, try a step to see how long it takes, and stop."),
    ] = False,
    plan: PlanFile = None,
    quiet: Quiet = False,
) -> None:
    """Train a system on your data.

    The run's folder holds run.json, log.jsonl, last.safetensors, best.safetensors, report.html and the state to resume.
    The splits called train and val (or train2017, valid, …) are trained and evaluated on where --split and --val do not
    say others; data without splits are trained on whole, and not evaluated.

    A picture that cannot be read is reported and left out; the exit code is then 1. Ctrl-C (exit code 130) and SIGTERM (143)
    end the step and save the state.

    Example: videre train faster-rcnn DATA --from mobilenet_v2.safetensors -o epochs=20 -o short_side=480
    """
    from videre.errors import ConfigError, DataError
    from videre.models import import_system

    if ":" in model:
        import_system(model.partition(":")[0])
    if list_settings:
        return _list_settings(model)
    if data is None:
        raise ConfigError(f"say what to train on: videre train {model} DATA, a folder or an annotation file")
    from videre.cli.proposals import method_of, propose
    from videre.data import read, splits
    from videre.data.dataset import unread_in_words
    from videre.data.flat import FlatSource
    from videre.data.inventory import sample, take_inventory
    from videre.data.splits import find_parts
    from videre.data.stats import stats
    from videre.engine.allocator import keep_memory
    from videre.engine.plan import Plan
    from videre.train import train as fit
    from videre.train.build import prepare_training, resume_training
    from videre.train.estimate import estimate, within_minutes
    from videre.train.folder import recorded
    from videre.train.processes import is_first
    from videre.train.size import propose_size

    keep_memory()
    quiet = quiet or not is_first()
    out = out or Path("runs") / f"{model.rpartition(':')[2]}-{data.resolve().name.removesuffix('.json')}"
    there = splits(data, format)
    chosen = Plan.read(plan) if plan else None
    split, val = find_parts(data, there, split, val)
    training = read(data, split, format, skip_broken)
    validation = read(data, val, format, skip_broken) if val is not None else None
    given = parse_settings(settings)
    if proposals is not None:
        given["proposals"] = method_of(proposals)
    if resume and source is not None:
        raise ConfigError("--resume goes on with the run's own weights; leave --from out")
    if resume:
        start = resume_training(model, training, backbone, tune, given, recorded(out))
    else:
        start = prepare_training(model, training, backbone, source, tune, given)
    if "proposals" in start.model.takes:
        method = proposals or start.model.finders.get("proposals", "")
        training = propose(training, method, start.model, device, quiet)
        if validation is not None:
            validation = propose(validation, method, start.model, device, quiet)
    if validation is not None:
        start.model.require(validation.fields, validation.title)
        _same_classes(training, validation, start.model)
    inventory = take_inventory(training, data)
    if not quiet:
        print("\n".join(inventory.lines()), file=sys.stderr)
    if inventory.nothing:
        raise DataError(
            f"{training.title}: there is nothing to learn: {inventory.nothing}; see `videre data check {data}`"
        )
    start = dataclasses.replace(start, recipe=within_minutes(start.model, training, start.recipe, device, chosen))
    if not quiet:
        steps = recorded(out).get("steps") if resume else None
        _describe(training, validation, start, out, steps, whole=not there)
        if isinstance(training.source, FlatSource) and not inventory.broken:  # whose truths are at hand
            proposed = propose_size(stats(sample(training), start.model.preprocess), start.model.preprocess)
            print(proposed, end="\n" * bool(proposed), file=sys.stderr)
    if dry_run:
        cost = estimate(start.model, training, start.recipe, device, chosen)
        if not quiet:
            print(cost, file=sys.stderr)
        return
    run = fit(
        start.model,
        training,
        start.recipe,
        out,
        validation=validation,
        resume=resume,
        device=device,
        progress="none" if quiet else "auto",
        provenance={**start.provenance, "command": shlex.join(["videre", *sys.argv[1:]])},
        plan=chosen,
    )
    if not run.finished:
        raise typer.Exit(128 + (run.signal or 2))
    if not quiet:
        best = "best" if run.report is not None else "last"
        lines = run.report.lines() if run.report is not None else []
        lines += [f"left out: {unread_in_words(run.left_out)}"] if run.left_out else []
        print("\n".join([*lines, f"weights: {out / f'{best}.safetensors'}", f"report: {out / 'report.html'}"]))
    if run.left_out or (run.report is not None and run.report.unread):
        raise typer.Exit(1)


def _list_settings(model: str) -> None:
    """Every setting of a system, a line each, by owner: name=default, its meaning, what it takes."""
    import shutil
    import textwrap

    from videre.models import find_model
    from videre.train.meanings import from_scratch, settings_of

    kind = find_model(model)
    titles = {
        "recipe": "Recipe: how it is trained",
        "model": f"Model: {kind.__name__}",
        "preprocess": "Preprocessing: how pictures are prepared",
        "backbone": "Backbone: also of the model",
    }
    wide = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**6  # whole lines for grep
    settings = settings_of(kind)
    for owner, title in titles.items():
        mine = [setting for setting in settings if setting.owner == owner]
        if mine:
            print(title)
        for setting in mine:
            head = f"  {setting.name}={_as_typed(setting.default)}".ljust(27) + " "
            print(textwrap.fill(f"{head} {setting.meaning} [{setting.allowed}]", wide, subsequent_indent=" " * 29))
        if mine:
            print()
    listed = lambda changes: ", ".join(f"{name}={_as_typed(value)}" for name, value in changes.items())
    print(
        f"As in -o epochs=20 -o short_side=480. Where weights start at random (no --from): {listed(from_scratch(kind))}"
    )
    if kind.recipe_from_weights:
        print(f"Where the backbone has a classifier's weights: {listed(kind.recipe_from_weights)}")


def _as_typed(value: Any) -> str:
    """A value as `-o` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _classes(data: Any, model: Any) -> list[str]:
    """Names of what the model tells apart in a data set."""
    kinds = {"segmentation": data.schema.pixels, "labels": data.schema.pictures}
    return list(next((kinds[field] for field in kinds if field in model.needs), data.schema.things) or [])


def _same_classes(training: Any, validation: Any, model: Any) -> None:
    """Found now, not after the first epoch."""
    from videre.errors import DataError

    known = _classes(training, model)
    unknown = [name for name in _classes(validation, model) if name not in known]
    if unknown:
        raise DataError(
            f"{validation.title} has classes that {training.title} has not: {', '.join(unknown)}; it has {', '.join(known)}"
        )


def _describe(training: Any, validation: Any, start: Any, out: Path, steps: int | None, whole: bool) -> None:
    """What is trained; `steps` where a run that goes on has them already."""
    from videre.models import Descent
    from videre.train.samples import TrainingSamples, stage_steps

    recipe, samples = start.recipe, TrainingSamples(training, start.model, start.recipe)
    stages = start.model.stages()
    classes = _classes(training, start.model)
    lines = [f"classes {', '.join(classes)}"]
    lines += [f"  {count} × {kind} (see `videre data check`)" for kind, count in training.repair_counts().items()]
    if len(samples.data) < len(training):
        lines.append(f"  {len(training) - len(samples.data)} without objects are left out (empty=false)")
    lines.append(
        f"{validation.title}: {len(validation)} pictures to evaluate on"
        if validation is not None
        else ("no splits: trained on whole; " if whole else "")
        + "no validation data: nothing is evaluated while training, no best.safetensors is kept (see `videre data split`)"
    )
    if validation is not None:
        trained = {training.where(i) for i in range(len(training))}
        both = sum(validation.where(i) in trained for i in range(len(validation)))
        if both:
            lines.append(
                f"  {both} of them are trained on, too: what is measured on these says nothing about new pictures"
            )
    scenes = (scene for i in range(len(training)) if (scene := training.usable_scene(i)) is not None)
    lines += start.model.notes(scenes)
    lines += start.lines
    if len(stages) > 1:
        kinds = (f"{stage.name} ({'descent' if isinstance(stage, Descent) else 'fit'})" for stage in stages)
        lines.append(f"{len(stages)} stages: {', '.join(kinds)}")
    lines.append(
        f"{steps or sum(stage_steps(start.model, training, recipe))} steps into {out}; {recipe.optimizer}, learning rate {recipe.lr:g} at a batch of "
        f"{recipe.batch} (it does not follow the batch)"
    )
    print("\n".join(lines), file=sys.stderr)
