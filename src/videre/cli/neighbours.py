"""videre neighbours QUERY DATA: which pictures does a net take to be alike?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videre.cli.options import Device, Format, Quiet, Split

MOST = 12
"""Queries on one sheet."""
WIDTH = 224
"""Of a picture on the sheet."""


def neighbours(
    query: Annotated[str, typer.Argument(help="A picture, folder or glob.")],
    data: Annotated[Path, typer.Argument(help="The pictures to look among: a data set or a folder.")],
    source: Annotated[
        str,
        typer.Option(
            "--from", help="Pretrained weights: a file, a name that `videre models` lists, timm:NAME or hf:NAME."
        ),
    ] = "torchvision/mobilenet_v2-v1",
    count: Annotated[int, typer.Option(min=1, help="Neighbours of each query.")] = 6,
    out: Annotated[Path, typer.Option(help="The sheet.")] = Path("neighbours.png"),
    split: Split = None,
    format: Format = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Draw each query beside the pictures whose features are nearest (L2), with classes and distances.

    Krizhevsky et al. (2012) looked so at what their net had learned. A query that is itself among the pictures is not
    counted as its own neighbour.
    """
    from videre.data import read
    from videre.data.dataset import Dataset
    from videre.data.flat import FlatSource
    from videre.draw.sheet import contact_sheet
    from videre.engine.allocator import keep_memory
    from videre.errors import DataError
    from videre.images.prepare import resample
    from videre.images.reading import picture_paths, write_picture
    from videre.structures import Schema
    from videre.studies.features import TOP, FeatureNet, extract
    from videre.studies.transfer.probes import nearest

    keep_memory()
    files = picture_paths(query)[:MOST]
    if not files:
        raise DataError(f"{query}: there is no picture")
    dataset = read(data, split, format)
    asked = Dataset(FlatSource([str(f) for f in files], [str(f) for f in files]), Schema(), title=query)
    net = FeatureNet.of(source)
    known, wanted = extract(net, dataset, device)[TOP], extract(net, asked, device, keep=False)[TOP]
    index, distance = nearest(known, wanted, min(count + 1, len(dataset)))
    cells, labels = [], []

    def add(picture: object, label: str) -> None:
        height, width = picture.shape[:2]  # type: ignore[attr-defined]
        cells.append(resample(picture, (WIDTH, max(1, round(width * WIDTH / height)))))  # type: ignore[arg-type]
        labels.append(label)

    for row, file in enumerate(files):
        others = [
            (i, d)
            for i, d in zip(index[row].tolist(), distance[row].tolist())
            if not ((path := dataset.path(i)) is not None and path.resolve() == file.resolve())
        ][:count]
        add(asked.picture(row), f"{file.name}:")
        for i, d in others:
            add(dataset.picture(i), f"{_class(dataset, i)} {d:.2f}".strip())
        if not quiet:
            print(f"{file}: " + ", ".join(f"{dataset.name(i)} {d:.2f}" for i, d in others))
    write_picture(out, contact_sheet(cells, columns=len(cells) // len(files), labels=labels))
    if not quiet:
        print(f"{out}: {len(files)} queries")


def _class(dataset: object, i: int) -> str:
    """The classes of a picture in words; "" where it has none."""
    schema, labels = dataset.schema, dataset.scene(i).labels  # type: ignore[attr-defined]
    return ", ".join(schema.pictures[int(k)] for k in labels) if labels is not None and schema.pictures else ""
