"""videre transfer DATA: which way of using a pretrained net is best for these pictures?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from videre.cli.options import Device, Format, Quiet


def transfer(
    data: Annotated[Path, typer.Argument(help="Pictures with one class each: root/<class>/…, with splits or without.")],
    source: Annotated[
        str,
        typer.Option(
            "--from", help="Pretrained weights: a file, a name that `videre models` lists, timm:NAME or hf:NAME."
        ),
    ] = "torchvision/mobilenet_v2-v1",
    out: Annotated[Path | None, typer.Option(help="Folder for the results.  [default: runs/transfer-DATA]")] = None,
    split: Annotated[str | None, typer.Option(help="Split to train on.  [default: train]")] = None,
    val: Annotated[
        str | None, typer.Option(help="Split to judge on.  [default: val, else a quarter of the pictures]")
    ] = None,
    share: Annotated[
        list[float] | None,
        typer.Option(min=0.001, max=1, help="Share of the training pictures.  [default: .01, .1, 1]"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each way that has something random.")] = 3,
    method: Annotated[
        list[str] | None, typer.Option(help="nearest, linear, few, all, scratch.  [default: every one]")
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures seen by each fine-tuning, at most.")] = 1500,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            metavar="KEY=VALUE",
            help="A setting of preprocessing: size, centre_crop, …  [default: as a classifier has them]",
        ),
    ] = None,
    format: Format = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Nearest neighbours, linear classifiers by stage, fine-tuning and training from scratch on your pictures.

    Prints the table and what it recommends, with the reasons; writes study.json, transfer.png, the linear classifier
    (linear.safetensors, ready for `videre predict`) and the trainings. Features are computed once and kept.

    Example: videre transfer my-pictures --from torchvision/resnet50-v1
    """

    from videre.cli.options import parse_settings
    from videre.data import read, splits
    from videre.data.splits import find_parts
    from videre.engine.allocator import keep_memory
    from videre.errors import ConfigError
    from videre.files import write_atomic
    from videre.studies.transfer import transfer as study
    from videre.studies.transfer.chart import chart
    from videre.studies.transfer.study import LINEAR, NEAREST, TUNED

    keep_memory()
    known = {"nearest": NEAREST, "linear": LINEAR, **{name: name for name in TUNED}}
    for name in method or ():
        if name not in known:
            raise ConfigError(f"--method must be one of {', '.join(known)}; found {name!r}")
    out = out or Path("runs") / f"transfer-{data.resolve().name}"
    if (out / "study.json").exists() or any(out.glob("*-*-*/run.json")):
        raise ConfigError(f"{out}: holds another study; name another --out, or remove it")
    there = splits(data, format)
    split, val = find_parts(data, there, split, val)
    found = study(
        read(data, split, format),
        read(data, val, format) if val else None,
        source,
        out,
        shares=tuple(share or (0.01, 0.1, 1.0)),
        seeds=seeds,
        methods=[known[name] for name in method or known],
        pictures=pictures,
        preprocess=parse_settings(settings),
        device=device,
        log=lambda line: None if quiet else print(line, file=sys.stderr, flush=True),
    )
    write_atomic(out / "transfer.png", chart(found))
    if not quiet:
        print("\n".join([*found.lines(), f"results: {out}"]))
