"""videre draw: what happens inside, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from videre.cli.options import Device, Format, Proposals, Split

app = typer.Typer(no_args_is_help=True, help="Draw what happens inside a system, on your own pictures.")


@app.command("targets")
def targets(
    model: Annotated[
        str, typer.Argument(help="A checkpoint, or a detector's name (see `videre models`) as it begins.")
    ],
    data: Annotated[Path, typer.Argument(help="The data set: a folder or an annotation file.")],
    picture: Annotated[
        str | None, typer.Option(help="Its name in the data, or the end of it.  [default: the first]")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the drawings.")] = Path("targets"),
    split: Split = None,
    format: Format = None,
    proposals: Proposals = None,
    device: Device = "auto",
) -> None:
    """Draw which anchors, proposals or windows a detector is trained on: positive, negative, ignored, with their overlap.

    Example: videre draw targets best.safetensors DATA --split train
    """
    import torch

    from videre.cli.proposals import propose
    from videre.data import read
    from videre.draw.assignments import draw_assignment
    from videre.errors import ConfigError
    from videre.images.prepare import prepare, prepare_truth
    from videre.images.reading import write_picture
    from videre.models import MODELS, find_model
    from videre.models.checkpoint import read_checkpoint

    dataset = read(data, split, format)
    found = [i for i in range(len(dataset)) if picture is None or dataset.name(i).endswith(picture)][:1]
    if not found:
        raise ConfigError(f"{data}: there is no picture {picture!r}; there are {dataset.name(0)}, …")
    dataset = dataset.subset(found)
    system = find_model(model)(dataset.schema) if model in MODELS else read_checkpoint(Path(model)).build()
    assign: Any = getattr(system, "assignments", None)
    if assign is None:
        raise ConfigError(f"a {type(system).__name__} has no boxes that are assigned to things")
    if "proposals" in system.takes:
        method = proposals or system.finders.get("proposals", "")
        dataset = propose(dataset, method, system, device, quiet=True)
    image, truth = dataset[0]
    takes = system.takes | system.accepts
    batch = prepare(image, system.preprocess, seed=0, given=truth.only(takes) if takes else None)
    target = system.target(prepare_truth(truth, batch))
    back = batch.motion(0).inverse()
    with torch.no_grad():
        system.train()
        assignments = assign(batch, [target])
    for one in assignments:
        what = one.name.replace(" ", "-")
        file = out / f"{Path(dataset.name(0)).stem}-{what}.png"
        drawn = draw_assignment(
            image,
            back.boxes(target.boxes),
            back.boxes(one.boxes.float().cpu()),
            one.matches.cpu(),
            one.overlaps.cpu(),
            one.chosen,
            [f"{one.name}: {one.rule}"],
        )
        write_picture(file, drawn)
        print(file)


@app.command("pooling")
def pooling(
    picture: Annotated[Path, typer.Argument(help="A picture.")],
    box: Annotated[str, typer.Option(metavar="X1,Y1,X2,Y2", help="The region, in pixels of the picture.")],
    out: Annotated[Path, typer.Option(help="The drawing.")] = Path("pooling.png"),
    stride: Annotated[int, typer.Option(min=1, help="Pixels a feature of the map.")] = 16,
    resolution: Annotated[int, typer.Option(min=1, help="Bins a side.")] = 7,
    samples: Annotated[int, typer.Option(min=1, help="Samples a side of each bin of RoI align.")] = 2,
) -> None:
    """Draw RoI pool's rounding beside RoI align's sampling points on one region.

    Example: videre draw pooling picture.jpg --box 120,80,260,190
    """
    from videre.draw.pooling import draw_pooling
    from videre.errors import ConfigError
    from videre.images.reading import read_picture, write_picture

    try:
        corners = [float(word) for word in box.split(",")]
    except ValueError:
        corners = []
    if len(corners) != 4:
        raise ConfigError(f"--box {box}: expected four numbers, as in 120,80,260,190")
    write_picture(out, draw_pooling(read_picture(picture), corners, stride, resolution, samples))
    print(out)
