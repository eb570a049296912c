"""videre compare DATA: which detector, at which speed, for these pictures?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from videre.cli.options import Device, Format, Quiet, SkipBroken


def compare(
    data: Annotated[Path, typer.Argument(help="Pictures with boxes: a folder or an annotation file.")],
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            help="Weights to start from: of a backbone, for every system, or a detector's checkpoint, for its own.  [default: "
            "torchvision/mobilenet_v2-v1]",
        ),
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(help="A detector to compare.  [default: faster-rcnn, r-fcn, retinanet, ssd, yolox]"),
    ] = None,
    side: Annotated[
        list[int] | None,
        typer.Option(
            min=32, help="Longest side of the pictures.  [default: two thirds of their own, and all of it, at most 640]"
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.5, help="Of all trainings together; judging comes on top.")] = 60.0,
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="A training that is there, its folder or checkpoint: judged, not trained.  [default: none]"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.  [default: runs/compare-DATA]")] = None,
    split: Annotated[str | None, typer.Option(help="Split to train on.  [default: train]")] = None,
    val: Annotated[
        str | None, typer.Option(help="Split to judge on.  [default: val, else a quarter of the pictures]")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            metavar="[SYSTEM:]KEY=VALUE",
            help="A setting of all trainings, or of one system's, as `videre train` takes it: turn=true, ssd:light=false.  "
            "[default: each system's own]",
        ),
    ] = None,
    format: Format = None,
    skip_broken: SkipBroken = False,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the comparison in --out.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train and judge detectors on your pictures within a budget, and say which to take at which speed.

    Meta-architectures, backbones, sizes of pictures and numbers of proposals: short trainings first, longer ones of those that
    promise most (successive halving). Prints the table, what to take, and which of the known findings show on your data; writes
    study.json, compare.png and every run, ready for `videre predict`.

    Example: videre compare my-pictures --from mobilenet_v2.safetensors --minutes 60
    """
    from videre.data import read, splits
    from videre.data.splits import find_parts
    from videre.engine.allocator import keep_memory
    from videre.files import write_atomic
    from videre.models import find_model
    from videre.models.settings import parse_setting
    from videre.studies.compare import compare as study
    from videre.studies.compare.candidates import candidates
    from videre.studies.compare.chart import chart

    keep_memory()
    out = out or Path("runs") / f"compare-{data.resolve().name.removesuffix('.json')}"
    by_system: dict[str, dict[str, Any]] = {}
    for text in settings or ():
        head, colon, rest = text.partition(":")
        named = bool(colon) and "=" not in head
        key, value = parse_setting(rest if named else text, "-o ")
        if named:
            find_model(head)
        by_system.setdefault(head if named else "", {})[key] = value
    split, val = find_parts(data, splits(data, format), split, val)
    training = read(data, split, format, skip_broken)
    sources = source or ([] if runs else ["torchvision/mobilenet_v2-v1"])
    chosen = candidates(training, sources, system or (), side or (), by_system)
    found = study(
        training,
        read(data, val, format, skip_broken) if val else None,
        chosen,
        out,
        minutes=minutes,
        runs=runs or (),
        resume=resume,
        device=device,
        log=lambda line: None if quiet else print(line, file=sys.stderr, flush=True),
    )
    write_atomic(out / "compare.png", chart(found))
    if not quiet:
        print("\n".join([*found.lines(), f"results: {out}"]))
