"""Options that several commands share, and KEY=VALUE settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Split = Annotated[str | None, typer.Option(help="Part of the data set: train, val, test, …")]
Format = Annotated[str | None, typer.Option("--data-format", help="Format of the data, where looking is not enough.")]
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
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """["lr=1e-3", "anchor_sizes=[16,32]"] as a dict; values are JSON, or else words.

    Raises ConfigError for a setting without "=".
    """
    from videre.errors import ConfigError

    parsed = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"-o {setting}: settings are KEY=VALUE, as in -o lr=0.001")
        parsed[name.strip()] = _value(value.strip())
    return parsed


def _value(text: str) -> Any:
    """JSON, a number or word as Python writes it (.5, True, None), or else the text."""
    if text in (words := {"True": True, "False": False, "None": None}):
        return words[text]
    for parse in (json.loads, float):
        try:
            return parse(text)
        except ValueError:
            continue
    return text
