"""The commands and their order in `videre --help`. Importing this imports neither torch nor numba."""

from __future__ import annotations

import typer

from videre.cli import (
    bench,
    compare,
    compress,
    data,
    doctor,
    draw,
    evaluate,
    export,
    features,
    filters,
    models,
    neighbours,
    predict,
    proposals,
    train,
    transfer,
)

app = typer.Typer(
    name="videre",
    help="Structured prediction in vision: train, evaluate and use classifiers and detectors on your own pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # as markup, "[default: …]" in a help would be taken for a style and left out
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Any command takes --debug for a traceback.",
)
app.command("predict")(predict.predict)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("proposals")(proposals.proposals)
app.command("compress")(compress.compress)
app.command("compare")(compare.compare)
app.command("transfer")(transfer.transfer)
app.command("features")(features.features)
app.command("neighbours")(neighbours.neighbours)
app.command("filters")(filters.filters)
app.add_typer(data.app, name="data")
app.add_typer(draw.app, name="draw")
app.command("models")(models.models)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)


@app.callback(invoke_without_command=True)
def _before(
    version: bool = typer.Option(False, "--version", help="Print the version."),
    imports: list[str] = typer.Option(  # noqa: B008 - typer's way
        [], "--import", metavar="MODULE", help="Import a module of yours, whose systems are then known."
    ),
) -> None:
    if imports:
        from videre.models import import_system

        for module in imports:
            import_system(module)
    if version:
        from videre.version import __version__

        print(__version__)
        raise typer.Exit()
