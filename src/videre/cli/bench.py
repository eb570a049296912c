"""videre bench: how fast the systems are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(
            help="faster-rcnn, mask-rcnn, keypoint-rcnn: a prediction; resnet50-training, mobilenet-training: a step; "
            "resnet50-b1, mobilenet_v2-b16 …: a classifier; fcn-resnet50, fcn-training; or a "
            "checkpoint of yours.  [default: faster-rcnn]"
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="plain, fp32, bf16, compile or auto; several times for several.  [default: fp32, bf16, plain]"
        ),
    ] = None,
    peer: Annotated[
        str | None, typer.Option(help="A Python that has torchvision.  [default: this one, if it has]")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each side, in turn; the median counts.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="Write the rows as JSON, too.  [default: they are printed only]")
    ] = None,
) -> None:
    """Measure seconds by stage and memory, beside torchvision's where it is installed.

    Untrained detectors with ResNet-50 and a feature pyramid on a picture of 640x480 brought to 800x1066, with weights
    that leave tens of detections; training steps of two such pictures, or of four of 427x320 with MobileNetV2. Every side
    is a process of its own and they take turns. Nothing else should run meanwhile.

    Example: videre bench faster-rcnn mask-rcnn --peer other/bin/python
    """
    import dataclasses
    import json

    from videre.engine.device import describe_processor
    from videre.engine.fuse import ENGINES
    from videre.errors import ConfigError
    from videre.files import write_atomic
    from videre.studies.speed.bench import bench as measure
    from videre.studies.speed.bench import find_peer

    engines = engine or ["fp32", "bf16", "plain"]
    for name in engines:
        if name not in ENGINES:
            raise ConfigError(f"--engine must be one of {', '.join(ENGINES)}; found {name!r}")
    names = jobs or ["faster-rcnn"]
    other = find_peer(peer)
    print(
        describe_processor()
        + ("" if other else "; torchvision is not installed here, --peer names a Python that has it")
    )
    rows = []
    for row in measure(names, engines, other, rounds):
        print(row, flush=True)
        rows.append({"processor": describe_processor(), **dataclasses.asdict(row)})
        if out is not None:
            write_atomic(out, (json.dumps(rows, indent=1) + "\n").encode())
