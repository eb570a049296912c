"""Options that several commands share, and KEY=VALUE settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from videre.predict.views import Views

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Split = Annotated[str | None, typer.Option(help="Part of the data set: train, val, test, …  [default: all of it]")]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out annotations and files that are broken, and count them.")
]
Format = Annotated[
    str | None,
    typer.Option("--data-format", help="Format of the data, where looking is not enough.  [default: found by looking]"),
]
Engine = Annotated[
    str,
    typer.Option(
        help="auto: layers fused, in the number format that is faster here; fp32, bf16; compile: by "
        "torch.compile, slow on each new size; plain: not fused."
    ),
]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", help="Which algorithm each layer runs.  [default: as timed on this machine]")
]
Tile = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Look at a large picture in overlapping windows of this many pixels (of the size it has for the net).  "
        "[default: the whole picture at once]",
    ),
]
Flip = Annotated[bool, typer.Option("--flip", help="Look at each picture mirrored, too.")]
Scales = Annotated[
    str | None, typer.Option(help="Look at each picture at these scales, as in 0.75,1,1.25.  [default: 1]")
]
Proposals = Annotated[
    str | None,
    typer.Option(
        help="Boxes that are looked at, for a system that takes them: a method (a system that gives proposals, with settings as "
        "in selective-search,mode=quality, or a checkpoint of one), whose results are kept, or a file (.jsonl) that `videre "
        "proposals` wrote.  [default: the model's method]"
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def parse_views(tile: int | None, flip: bool, scales: str | None) -> Views:
    """The views that the options ask for; ConfigError for scales that are no numbers."""
    from videre.errors import ConfigError
    from videre.predict.views import Views
    from videre.structures import Tiling

    try:
        factors = tuple(float(word) for word in scales.split(",")) if scales is not None else (1.0,)
    except ValueError:
        raise ConfigError(f"--scales {scales}: expected numbers with commas between, as in 0.75,1,1.25") from None
    return Views(flip, factors, None if tile is None else Tiling(tile))


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """["lr=1e-3", "anchor_sizes=[16,32]"] as a dict; values are JSON, or else words.

    Raises ConfigError for a setting without "=".
    """
    from videre.models.settings import parse_setting

    return dict(parse_setting(setting, "-o ") for setting in settings or [])
