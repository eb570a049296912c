"""videre features DATA: what a pretrained net sees in each picture, as a table of numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from videre.cli.options import Device, Engine, Format, Quiet, Split


def features(
    data: Annotated[Path, typer.Argument(help="A data set or a folder of pictures.")],
    source: Annotated[
        str,
        typer.Option(
            "--from", help="Pretrained weights: a file, a name that `videre models` lists, timm:NAME or hf:NAME."
        ),
    ] = "torchvision/mobilenet_v2-v1",
    out: Annotated[Path, typer.Option(help="A file that ends in .npz or .parquet.")] = Path("features.npz"),
    stage: Annotated[
        list[str] | None, typer.Option(help="top, or a stage: 'stride 4' … 'stride 16'.  [default: top]")
    ] = None,
    split: Split = None,
    format: Format = None,
    device: Device = "auto",
    engine: Engine = "auto",
    quiet: Quiet = False,
) -> None:
    """Write the features of every picture.

    npz: "names" [N], "classes" [N] (where the data have them), and an array [N, D] by stage. parquet: the columns
    picture, class and a list column by stage; needs pyarrow (pip install 'videre[parquet]').
    """
    import io
    import time

    import numpy as np

    from videre.data import read
    from videre.engine.allocator import keep_memory
    from videre.errors import ConfigError
    from videre.files import write_atomic
    from videre.studies.features import TOP, FeatureNet, extract

    keep_memory()
    if out.suffix not in (".npz", ".parquet"):
        raise ConfigError(f"--out {out}: features are written to a file that ends in .npz or .parquet")
    if out.suffix == ".parquet":
        _pyarrow()
    dataset = read(data, split, format)
    net = FeatureNet.of(source)
    begin = time.monotonic()
    found = extract(net, dataset, device, engine)
    seconds = time.monotonic() - begin
    wanted = stage or [TOP]
    for name in wanted:
        if name not in found:
            raise ConfigError(f"--stage must be one of {', '.join(found)}; found {name!r}")
    names, classes = [dataset.name(i) for i in range(len(dataset))], _classes(dataset)
    columns = {name: found[name] for name in wanted}
    buffer = io.BytesIO()
    if out.suffix == ".npz":
        words = {"names": np.array(names)} | ({} if classes is None else {"classes": np.array(classes)})
        np.savez(buffer, **words, **columns)  # type: ignore[arg-type]
    else:
        arrow, parquet = _pyarrow()
        table = {"picture": names} | ({} if classes is None else {"class": classes})
        lists = {
            name: arrow.FixedSizeListArray.from_arrays(arrow.array(value.reshape(-1)), value.shape[1])
            for name, value in columns.items()
        }
        parquet.write_table(arrow.table({**table, **lists}), buffer)
    write_atomic(out, buffer.getvalue())
    if not quiet:
        sizes = ", ".join(f"{name} {value.shape[1]}" for name, value in columns.items())
        print(f"{out}: {len(names)} pictures, {sizes} numbers each, {seconds:.1f} s")


def _classes(dataset: object) -> list[str] | None:
    """The classes of each picture, joined where there are several; None where the data have none."""
    schema = dataset.schema  # type: ignore[attr-defined]
    if schema.pictures is None:
        return None
    labels = (dataset.scene(i).labels for i in range(len(dataset)))  # type: ignore[attr-defined,arg-type]
    return [";".join(schema.pictures[int(k)] for k in found) if found is not None else "" for found in labels]


def _pyarrow() -> tuple[Any, Any]:
    """ConfigError that says what to install where it is not there."""
    from videre.errors import ConfigError

    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("parquet needs pyarrow: pip install 'videre[parquet]', or write .npz") from None
    return pyarrow, pyarrow.parquet
