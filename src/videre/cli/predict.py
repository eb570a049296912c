"""videre predict PICTURES --model NAME: what is in them."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videre.cli.options import Device, Engine, Flip, PlanFile, Quiet, Scales, Tile, parse_views

if TYPE_CHECKING:
    from videre.structures import Categories, Scene, Schema

SHOWN, LEAST_SHARE = 5, 0.005
"""Classes of pixels named on the line of a picture: so many, of so much of it."""


def predict(
    pictures: Annotated[list[str], typer.Argument(help="Pictures, folders, globs, or a clip.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A checkpoint file or a name of the zoo.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("predictions"),
    format: Annotated[
        str, typer.Option(help="json (a line a picture), csv, coco, voc or png (maps of ids, or of classes).")
    ] = "json",
    draw: Annotated[bool, typer.Option("--draw/--no-draw", help="Also draw each picture.")] = True,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score.  [default: the model's own]")
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="IoU above which two boxes are one thing, whatever their classes, and the weaker is left out; 1: none is.  "
            "[default: .8, and with --threshold 0 none]",
        ),
    ] = None,
    device: Device = "auto",
    engine: Engine = "auto",
    plan: PlanFile = None,
    tile: Tile = None,
    flip: Flip = False,
    scales: Scales = None,
    given: Annotated[
        Path | None,
        typer.Option(
            help="What the model takes beside the pictures (proposals, boxes, questions, cameras): JSON lines of scenes, as "
            "predict writes them.  [default: nothing]"
        ),
    ] = None,
    proposals: Annotated[
        str | None,
        typer.Option(help="The method that finds proposals where none are given.  [default: the model's]"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Predict pictures with a trained model.

    A picture that cannot be read is reported and the rest goes on; the exit code is then 1. What is finished before an
    interruption is kept.
    """
    from videre.data.results import lost, open_results, result_name
    from videre.data.scene_lines import read_scenes
    from videre.draw import draw_scene
    from videre.engine.allocator import keep_memory
    from videre.engine.plan import Plan
    from videre.images.reading import write_picture
    from videre.predict import load
    from videre.predict.predictor import with_given
    from videre.predict.sources import DRAWN, pictures_from
    from videre.structures.clip import still

    keep_memory()
    views = parse_views(tile, flip, scales)
    predictor = load(model, device, engine=engine, plan=Plan.read(plan) if plan else None, views=views)
    schema = predictor.model.schema
    if overlap is not None:
        predictor.model.shown_overlap = overlap
    if proposals is not None:
        predictor.propose_by(proposals)
    scenes = dict(read_scenes(given, schema)) if given is not None else None
    source = with_given(pictures_from(pictures, out, predictor.model.preprocess.frames), scenes)
    done = failed = found = 0
    of_things = False
    taken: set[str] = set()
    try:
        with open_results(format, out, schema) as write:
            dropped = lost(format, predictor.model.gives)
            if 0 < len(dropped) < len(predictor.model.gives) and not quiet:  # where nothing is held, `write` refuses
                print(
                    f"videre: {format} cannot hold {', '.join(dropped)}, which are left out; json can", file=sys.stderr
                )
            for prediction in predictor.stream(source, threshold):
                if prediction.scene is None or prediction.picture is None:
                    failed += 1
                    print(f"videre: {prediction.error}", file=sys.stderr)
                    continue
                write(prediction.name, prediction.scene)
                done, found = done + 1, found + len(prediction.scene)
                of_things |= prediction.scene.instances is not None
                if draw:
                    drawn = draw_scene(still(prediction.picture), prediction.scene, schema)
                    write_picture(out / f"{result_name(prediction.name, taken)}{DRAWN}", drawn)
                if not quiet:
                    print(f"{prediction.name}: {_count(prediction.scene, schema)}")
    except BaseException:  # Ctrl-C, a full disk: what is done has cost its time
        if done:
            print(f"videre: not finished; the results of {done} pictures are kept in {out}", file=sys.stderr)
        raise
    if not quiet:
        print(
            f"{done} pictures{f', {found} things' if of_things else ''}; results in {out}"
            + (f"; {failed} could not be read" if failed else "")
        )
    if failed:
        raise typer.Exit(1)


def _count(scene: Scene, schema: Schema) -> str:
    """What was found, in a line: "3 RBC, 1 WBC"; "bee .97"; "road 31%, sky 20%"; "a man on a horse"; "2 goals"."""
    parts: list[str] = []
    if scene.labels is not None and scene.label_scores is not None and schema.pictures:
        scores = zip(scene.labels.tolist(), scene.label_scores.tolist(), strict=True)
        parts += [f"{schema.pictures[k]} {p:.2f}" for k, p in scores]
    if scene.segmentation is not None and schema.pixels:
        shares = scene.class_planes(len(schema.pixels)).float().mean((1, 2))
        most = [int(k) for k in shares.argsort(descending=True)[:SHOWN] if shares[k] >= LEAST_SHARE]
        parts += [f"{schema.pixels[k]} {shares[k]:.0%}" for k in most]
    if scene.instances is not None:
        of = scene.instances.labels
        parts += _counts(of.tolist(), schema.things) if of is not None else [f"{len(scene)} things"] * (len(scene) > 0)
    if scene.relations is not None:
        parts += _counts(scene.relations.predicates.tolist(), schema.predicates)
    if scene.events:
        parts += _counts([event.label for event in scene.events if event.label is not None], schema.events)
    return ", ".join([*parts, *(scene.captions or ())]) or "nothing"


def _counts(labels: list[int], names: Categories | None) -> list[str]:
    return [f"{n} {names[label] if names else label}" for label, n in sorted(Counter(labels).items())]
