"""videre filters MODEL: the first layer's filters as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videre.cli.options import Quiet


def filters(
    model: Annotated[
        str, typer.Argument(help="A checkpoint or backbone weights: a file, or a name of `videre models`.")
    ],
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("filters.png"),
    quiet: Quiet = False,
) -> None:
    """Draw the filters of the first convolution: edges and colours in a net that was trained well, noise in others."""
    import numpy as np

    from videre.draw.filters import draw_filters
    from videre.images.reading import write_picture
    from videre.models.checkpoint import Checkpoint
    from videre.zoo.weights import find_weights

    found = find_weights(model)
    tensors, order = (
        (found.tensors, found.preprocess.channels) if isinstance(found, Checkpoint) else (found[1], found[0].channels)
    )
    name, weight = next((name, value) for name, value in tensors.items() if value.ndim == 4)
    pixels = weight.float().numpy()
    if order == "bgr":
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    write_picture(out, draw_filters(pixels))
    if not quiet:
        print(f"{out}: {name}, {' x '.join(map(str, weight.shape))}")
