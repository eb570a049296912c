"""videre compress MODEL DATA: fully connected layers by fewer numbers, with what that costs and gains."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videre.cli.options import Device, Format, Quiet, SkipBroken, Split

if TYPE_CHECKING:
    from videre.data import Dataset
    from videre.predict import Predictor

TIMED = 8
"""Pictures that both models are timed on, by turns."""


def compress(
    model: Annotated[
        Path, typer.Argument(help="A checkpoint of a system with two fully connected layers (fast-rcnn).")
    ],
    data: Annotated[Path, typer.Argument(help="Pictures with truth, to see what is lost: validation data.")],
    ranks: Annotated[
        str | None,
        typer.Option(
            metavar="FC1,FC2",
            help="Singular values that are kept of each layer, 0: all.  [default: a quarter and a sixteenth of the width]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The new checkpoint.  [default: MODEL-compressed.safetensors]")
    ] = None,
    split: Split = None,
    format: Format = None,
    skip_broken: SkipBroken = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Replace fully connected layers by two thinner ones each: truncated singular values (Fast R-CNN section 3.1).

    Prints the metrics before and after, and the time a picture takes, measured by turns.

    Example: videre compress best.safetensors DATA --split val --ranks 256,64
    """
    from videre.data import read
    from videre.errors import ConfigError
    from videre.evaluate import evaluate_model
    from videre.models.checkpoint import read_checkpoint, save_checkpoint
    from videre.predict import Predictor

    checkpoint = read_checkpoint(model)
    whole: Any = checkpoint.build()
    if not hasattr(whole, "compressed"):
        raise ConfigError(f"{model}: a {checkpoint.model} has no fully connected layers to compress; fast-rcnn has")
    width = whole.box_head.body.width
    try:
        kept = [int(rank) for rank in ranks.split(",")] if ranks else [width // 4, width // 16]
        small = whole.compressed(kept)
    except ValueError:
        raise ConfigError(f"--ranks {ranks}: expected two whole numbers, as in 256,64") from None
    dataset = read(data, split, format, skip_broken)
    predictors = [Predictor(whole, device), Predictor(small, device)]
    reports = [evaluate_model(predictor, dataset, bootstrap=0) for predictor in predictors]
    times = _times(predictors, dataset)
    out = out or model.with_name(f"{model.stem}-compressed.safetensors")
    save_checkpoint(small, out, {**checkpoint.provenance, "compressed": {"from": model.name, "ranks": kept}})
    if quiet:
        return
    for name in reports[0].headline:
        before, after = reports[0].headline[name], reports[1].headline[name]
        print(f"{name}  {before:.3f} -> {after:.3f} ({after - before:+.3f})")
    counts = [sum(p.numel() for p in m.parameters()) for m in (whole, small)]
    print(
        f"parameters {counts[0]:,} -> {counts[1]:,}; {times[0]:.3f} -> {times[1]:.3f} s a picture (x{times[0] / times[1]:.2f})"
    )
    print(f"weights: {out}")


def _times(predictors: list[Predictor], dataset: Dataset) -> list[float]:
    """Median seconds a picture of each predictor, by turns; what is found before the net is not counted."""
    from videre.images.prepare import prepare

    measured: list[list[float]] = [[] for _ in predictors]
    for i in range(min(TIMED, len(dataset))):
        picture = dataset.picture(i)
        given = predictors[0].given_of(dataset.name(i), picture, dataset.scene(i))
        batch = prepare(picture, predictors[0].model.preprocess, given=given)
        for turn in range(2):  # the first is for the algorithms to be chosen
            for predictor, seconds in zip(predictors, measured, strict=True):
                began = time.perf_counter()
                predictor.run(batch)
                if turn:
                    seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in measured]
