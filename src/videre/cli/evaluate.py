"""videre evaluate MODEL DATA: the numbers, with their protocol and intervals."""

from __future__ import annotations

import contextlib
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videre.cli.bar import progress
from videre.cli.options import (
    Device,
    Engine,
    Flip,
    Format,
    PlanFile,
    Proposals,
    Quiet,
    Scales,
    SkipBroken,
    Tile,
    parse_views,
)

if TYPE_CHECKING:
    from videre.data.results import Writer
    from videre.models import Model


def evaluate(
    model: Annotated[str, typer.Argument(help="A checkpoint file or a name of the zoo.")],
    data: Annotated[Path, typer.Argument(help="The data set: a folder or an annotation file.")],
    split: Annotated[
        str | None, typer.Option(help="Split to evaluate on.  [default: all; of several one must be named]")
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Detections counted a picture and class; the model then gives as many.  "
            "[default: as many as the model gives, at least COCO's 100]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write report.html, metrics.json and the predictions there.  [default: nothing is written]"),
    ] = None,
    format: Format = None,
    skip_broken: SkipBroken = False,
    proposals: Proposals = None,
    device: Device = "auto",
    engine: Engine = "auto",
    plan: PlanFile = None,
    tile: Tile = None,
    flip: Flip = False,
    scales: Scales = None,
    quiet: Quiet = False,
) -> None:
    """Evaluate a model on a data set.

    No threshold but the model's own floor, which the protocol names: average precision wants every detection. AP and
    accuracy have 95% intervals. Of data with several splits one must be named. A picture that cannot be read is reported and left
    out; the exit code is then 1.
    """
    from videre.cli.proposals import propose
    from videre.data import read, splits
    from videre.engine.allocator import keep_memory
    from videre.engine.plan import Plan
    from videre.errors import ConfigError
    from videre.evaluate import evaluate_model
    from videre.evaluate.page import write_evaluation_page
    from videre.files import write_atomic
    from videre.predict import load

    keep_memory()
    there = splits(data, format)
    if split is None and len(there) > 1:  # all of them would hold what the model was trained on
        raise ConfigError(f"{data}: say with --split which part to evaluate on: {', '.join(there)}")
    views = parse_views(tile, flip, scales)
    predictor = load(model, device, engine=engine, plan=Plan.read(plan) if plan else None, views=views)
    dataset = read(data, split, format, skip_broken)
    if proposals is not None:
        dataset = propose(dataset, proposals, predictor.model, device, quiet)
    with contextlib.ExitStack() as open_files:
        tick = open_files.enter_context(progress(quiet, len(dataset), "predict"))
        keep = None
        if out is not None:
            write = open_files.enter_context(_results(out, predictor.model))
            keep = lambda prediction, truth: write(prediction.name, prediction)
        report = evaluate_model(predictor, dataset, max_detections=max_detections, tick=tick, watch=keep)
    if not quiet:
        print("\n".join([dataset.title, *report.lines()]))
    if out is not None:
        write_atomic(out / "metrics.json", (json.dumps(report.to_json(), indent=2) + "\n").encode())
        write_evaluation_page(out, report, dataset, _run_of(model))
        if not quiet:
            print(f"report: {out / 'report.html'}")
    if report.unread:
        raise typer.Exit(1)


def _results(out: Path, model: Model) -> AbstractContextManager[Writer]:
    """Where predictions are written as they come: COCO's results, PNGs of classes or a table where that holds all that the
    model gives, else JSON lines."""
    from videre.data.results import lost, open_results

    if model.gives >= {"boxes", "instances.labels", "scores"} and not lost("coco", model.gives):
        return open_results("coco", out, model.schema)
    if not lost("png", model.gives) and "segmentation" in model.gives:
        return open_results("png", out / "predictions", model.schema)
    return open_results("json" if lost("csv", model.gives) else "csv", out, model.schema)


def _run_of(model: str) -> Path | None:
    """The folder that may be the run of a checkpoint; a name of the zoo has none."""
    return Path(model).parent if Path(model).is_file() else None
