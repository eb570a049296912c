"""videre proposals METHOD DATA: boxes that may hold something, found once and written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videre.cli.bar import progress
from videre.cli.options import Device, Format, Quiet, Split

if TYPE_CHECKING:
    from videre.data import Dataset
    from videre.models import Model


def proposals(
    method: Annotated[
        str,
        typer.Argument(
            help="A system that gives proposals (see `videre models`), with settings as in selective-search,mode=quality, or a "
            "checkpoint of one or of a detector."
        ),
    ],
    data: Annotated[Path, typer.Argument(help="The data set: a folder or an annotation file.")],
    out: Annotated[Path | None, typer.Option(help="The file.  [default: proposals.jsonl]")] = None,
    split: Split = None,
    format: Format = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Find the proposals of all pictures, and write them as scenes, a picture a line.

    `videre train`, `evaluate` and `predict` take the file (--proposals, --given). Where the data have boxes, prints how many of
    them the proposals cover.

    Example: videre proposals selective-search DATA --out proposals.jsonl
    """
    from videre.data import read
    from videre.data.given import with_proposals
    from videre.data.scene_lines import scene_line
    from videre.evaluate.report import Evaluation
    from videre.files import write_atomic

    out = out or Path("proposals.jsonl")
    dataset = read(data, split, format)
    began = time.perf_counter()
    with progress(quiet, len(dataset), "propose") as tick:
        found = with_proposals(dataset, method, device, tick)
    seconds = time.perf_counter() - began
    lines, count, known = [], 0, "boxes" in dataset.fields
    evaluation = Evaluation(dataset.schema, found.fields, found.fields & {"boxes"}) if known else None
    for i in range(len(found)):
        truth = found.scene(i)
        scene = truth.only({"proposals", "proposal_scores"})
        assert scene.proposals is not None
        count += len(scene.proposals)
        lines.append(scene_line(found.name(i), scene, found.schema))
        if evaluation is not None:
            evaluation.add(i, scene, truth)
    write_atomic(out, ("\n".join(lines) + "\n").encode())
    if quiet:
        return
    pictures = max(len(found), 1)
    print(f"{dataset.title}: {count / pictures:.0f} proposals a picture in {seconds / pictures:.2f} s: {out}")
    if evaluation is not None:
        print("\n".join(evaluation.report(bootstrap=0).lines()[1:]))


def method_of(proposals: str) -> str:
    """The method that a model keeps: none where a file was given."""
    return "" if proposals.endswith(".jsonl") else proposals


def propose(dataset: Dataset, proposals: str, model: Model, device: str, quiet: bool) -> Dataset:
    """A data set with the proposals that a model takes.

    Raises ConfigError where it takes none, or nothing says which.
    """
    from videre.data.given import with_proposals
    from videre.errors import ConfigError

    if "proposals" not in model.takes:
        raise ConfigError(f"a {type(model).__name__} takes no proposals; leave --proposals out")
    if not proposals and "proposals" in dataset.fields:
        return dataset
    if not proposals:
        raise ConfigError(f"a {type(model).__name__} takes proposals: name a method or a file with --proposals")
    with progress(quiet, len(dataset), f"{proposals} in {dataset.title}") as tick:
        return with_proposals(dataset, proposals, device, tick)
