"""videre export MODEL --format onnx|openvino|torch: a model as one file, with a report that it says the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videre.cli.options import Quiet

if TYPE_CHECKING:
    import numpy as np

    from videre.structures import Preprocess

MOST_PICTURES = 16
"""Pictures of a folder that are compared."""
SIZES = {"landscape": (240, 320), "portrait": (320, 240), "tiny": (20, 28), "large": (900, 1200)}
"""The pictures that are rendered where none are given, height and width."""


def export(
    model: Annotated[str, typer.Argument(help="A checkpoint file or a name of the zoo.")],
    format: Annotated[str, typer.Option(help="onnx, openvino (.xml and .bin) or torch (.pt2).")],
    out: Annotated[
        Path | None, typer.Option(help="The file.  [default: the model's name and the format's suffix]")
    ] = None,
    pictures: Annotated[
        str | None, typer.Option(help="Pictures to compare on: a folder or a glob.  [default: a rendered world]")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a trained detector or classifier to one file that runs without videre: the bytes of a picture in, boxes in its
    pixels or classes out.

    The file's results are compared with the model's, into FILE.parity.md and FILE.parity.json; exit code 1 when they are
    not the same.

    Example: videre export blocks --format onnx
    """
    from videre.errors import ConfigError, WeightsError
    from videre.export import export_model, find_format
    from videre.models.checkpoint import Checkpoint
    from videre.zoo import zoo_cards
    from videre.zoo.weights import find_weights

    suffix = find_format(format).suffix
    out = out or Path(Path(model).stem + suffix)
    if out.suffix != suffix:
        raise ConfigError(f"--out {out}: a file of {format} ends in {suffix}")
    found = find_weights(model)
    if not isinstance(found, Checkpoint):
        raise WeightsError(f"{model}: weights of a backbone alone; there is no trained model to export")
    card = zoo_cards().get(model, {}) if not Path(model).is_file() else {}
    licence = {name: value for name, value in card.items() if name in ("licence", "data", "data_licence")}
    sources = list(_given(pictures, found.preprocess) if pictures else _rendered(found.preprocess))
    report = export_model(found.build(), out, format, sources, {**found.provenance, **licence})
    if not quiet:
        seconds = [sum(getattr(p, name) for p in report.pictures) for name in ("seconds_ours", "seconds_theirs")]
        count = len(report.pictures)
        size = sum(
            file.stat().st_size for file in (out, out.with_suffix(".bin")) if file == out or format == "openvino"
        )
        print(
            f"{out}: {size / 1e6:.1f} MB; {count} pictures, {seconds[1] / count:.3f} s each, "
            f"the model as trained {seconds[0] / count:.3f} s"
        )
        print(f"{out}.parity.md: {'the same results' if report.passed else 'NOT the same results'}")
    if not report.passed:
        for problem in report.problems:
            print(f"videre: {problem}", file=sys.stderr)
        raise typer.Exit(1)


def _given(source: str, preprocess: Preprocess) -> Iterator[tuple[str, np.ndarray]]:
    """The first pictures of a folder, as the net takes them."""
    import itertools

    from videre.predict.sources import pictures_from

    for name, read in itertools.islice(pictures_from(source), MOST_PICTURES):
        yield name, _as_input(read(), preprocess)


def _rendered(preprocess: Preprocess) -> Iterator[tuple[str, np.ndarray]]:
    """Pictures of solids, small and large, and one of an empty table.

    The table has a slope of light and a camera's noise: on one flat colour, group norm divides rounding errors by their
    own spread, and what a model finds there differs from run to run of float32.
    """
    import numpy as np

    from videre.data.blocks import render

    rng = np.random.default_rng(0)
    slope = np.linspace(90, 150, 240)[:, None, None] + np.linspace(-15, 15, 320)[:, None]
    table = np.clip(slope + rng.normal(0, 6, (240, 320, 3)), 0, 255).astype(np.uint8)
    solids = [(name, render(0, index, size)[0]) for index, (name, size) in enumerate(SIZES.items())]
    for name, picture in [*solids, ("empty", table)]:
        yield name, _as_input(picture, preprocess)


def _as_input(picture: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Bytes, in as many channels as the net takes: grey from colour, and other channels by repeating them."""
    import numpy as np

    if picture.dtype != np.uint8:
        most = 65535 if picture.dtype == np.uint16 else 1
        picture = (picture * (255 / most)).round().astype(np.uint8)
    channels = len(preprocess.mean)
    if channels == 1 and picture.shape[2] > 1:
        return picture[:, :, :3].mean(axis=2, keepdims=True).astype(np.uint8)
    return np.ascontiguousarray(picture[:, :, np.arange(channels) % picture.shape[2]])
