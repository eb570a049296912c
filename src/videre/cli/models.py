"""videre models: the systems, the checkpoints in the wheel, the official weights, and their licences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table


def models(
    licences: Annotated[
        bool, typer.Option("--licences", help="The ledger: licences of code, weights and data.")
    ] = False,
) -> None:
    """List systems and weights."""
    from rich.console import Console

    from videre.backbones.weights import BACKBONE_WEIGHTS
    from videre.models import MODELS
    from videre.models.official import OFFICIAL
    from videre.zoo import zoo_cards

    console = Console(highlight=False)
    zoo = zoo_cards()
    if licences:
        table = _table(
            "weights", "licence of the weights", "trained on", "licence of the data", title="videre itself: Apache-2.0"
        )
        for name, card in zoo.items():
            table.add_row(name, card["licence"], card["data"], card["data_licence"])
        for official in OFFICIAL:
            table.add_row(official.name, official.licence, official.data, official.data_licence)
        for weights in BACKBONE_WEIGHTS:
            table.add_row(weights.name, weights.licence, weights.data, "ImageNet's terms: research")
        console.print(table)
        return
    table = _table("system", "trains on", "gives", title="Systems: videre train NAME DATA")
    for name in MODELS:
        table.add_row(name, *_fields(name))
    console.print(table)
    table = _table("name", "system", "metric", "for", title="In the wheel: videre predict PICTURES --model NAME")
    for name, card in zoo.items():
        table.add_row(name, card["model"], card["metric"], card["for"])
    console.print(table)
    table = _table("name", "system", "published", title="Official, downloaded when asked for by name")
    for official in OFFICIAL:
        table.add_row(official.name, official.model, f"{official.metric}; {official.data}")
    for weights in (w for w in BACKBONE_WEIGHTS if w.url):
        top1 = f"top-1 {weights.top1:g}; " if weights.top1 else ""
        table.add_row(weights.name, weights.backbone, top1 + weights.data)
    console.print(table)


def _table(name: str, *others: str, title: str) -> Table:
    """Names are to be copied: they stay whole, and what stands beside them is folded."""
    from rich.table import Column, Table

    return Table(Column(name, no_wrap=True), *(Column(other, overflow="fold") for other in others), title=title)


def _fields(name: str) -> tuple[str, str]:
    from videre.models import find_model

    kind = find_model(name)
    return ", ".join(sorted(kind.needs)), ", ".join(sorted(kind.gives))
