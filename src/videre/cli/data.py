"""videre data …: check, convert, show, stats, split, blocks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videre.cli.options import Format, Quiet, SkipBroken, Split

if TYPE_CHECKING:
    from videre.data import Dataset

app = typer.Typer(help="Look at data sets, check and convert them, or make one.", no_args_is_help=True)
Data = Annotated[Path, typer.Argument(help="The data set: a folder or an annotation file.")]


@app.command()
def check(
    data: Data,
    split: Split = None,
    out: Annotated[
        Path | None, typer.Option(help="The page with the offenders drawn.  [default: check-DATA.html]")
    ] = None,
    format: Format = None,
    skip_broken: SkipBroken = False,
    quiet: Quiet = False,
) -> None:
    """Find what is wrong with a data set before training on it. Exit code 1 when there are errors."""
    from videre.data import FORMATS, find_format, read, splits
    from videre.data.audit import check as audit
    from videre.data.audit_page import write_page
    from videre.data.inventory import take_inventory

    # parts that overlap (trainval holds train, a fold the others) would look like leaks
    parts = [split] if split else [n for n in splits(data, format) if n not in ("trainval", "all") and n[:4] != "fold"]
    names: list[str | None] = [*parts] or [None]
    sets = {name or data.name: read(data, name, format, skip_broken) for name in names}
    if not quiet:
        for part in sets.values():
            print("\n".join(take_inventory(part, data).lines()))
    findings = audit(sets)
    known = find_format(data, format)
    out = out or Path(f"check-{data.resolve().name.removesuffix('.json')}.html")
    write_page(findings, out, read_as=f"{known}: {FORMATS[known].recognise(data)}")
    if not quiet:
        print(findings)
        print(f"page: {out}")
    if findings.errors:
        raise typer.Exit(1)


def _list_formats(wanted: bool) -> None:
    """Print what each format looks like and holds, and end."""
    if wanted:
        from videre.data import FORMATS

        for name, module in FORMATS.items():
            holds = ", ".join(sorted(getattr(module, "HOLDS", ()))) or "read, not written"
            print(f"{name}\n  looks like: {module.LOOKS_FOR.partition(': ')[2]}\n  holds: {holds}")
        raise typer.Exit


@app.command()
def convert(
    data: Data,
    to: Annotated[
        str,
        typer.Argument(
            help="Format: coco, panoptic, coco-stuff, voc, yolo, labelme, cvat, open-images, datumaro, label-studio, instances, "
            "maps, planes, csv, scenes, folders."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    split: Split = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Go on where the format cannot hold everything.")] = False,
    to_pixels: Annotated[
        bool, typer.Option("--to-pixels", help="First turn masks of things into a class for every pixel.")
    ] = False,
    overlap: Annotated[
        bool, typer.Option("--overlap", help="With --to-pixels: a pixel has every class whose mask holds it.")
    ] = False,
    format: Format = None,
    listed: Annotated[
        bool, typer.Option("--list", is_eager=True, callback=_list_formats, help="List the formats, and end.")
    ] = False,
    skip_broken: SkipBroken = False,
    quiet: Quiet = False,
) -> None:
    """Write a data set in another format. Refuses to lose anything unless --lossy, and then says what."""
    from videre.data import read, splits, write
    from videre.data.semantic import as_pixels
    from videre.errors import ConfigError
    from videre.files import whole_folder

    if overlap and not to_pixels:
        raise ConfigError("--overlap says how masks become classes of pixels: give --to-pixels, too")
    parts = [split] if split else splits(data, format)
    names: list[str | None] = [*parts] or [None]
    written: set[str] = set()
    with whole_folder(out) as folder:
        for name in names:
            dataset = read(data, name, format, skip_broken)
            dataset = as_pixels(dataset, overlap=overlap) if to_pixels else dataset
            lost = write(dataset, folder, to, split=name or "train", lossy=lossy)
            written |= {dataset.where(i) for i in range(len(dataset))}
            if not quiet:
                print(f"{dataset.title}: {len(dataset)} pictures" + (f"; lost: {', '.join(lost)}" if lost else ""))
                _tell_repairs(dataset)
    if parts and not split and not quiet:
        whole = read(data, None, format, skip_broken)
        left = [whole.name(i) for i in range(len(whole)) if whole.where(i) not in written]
        if left:
            print(
                f"{data}: {len(left)} of {len(whole)} pictures are in none of {', '.join(parts)} and were left out "
                f"({', '.join(left[:5])}{', …' if len(left) > 5 else ''}); name them in a list to have them too",
                file=sys.stderr,
            )


@app.command()
def show(
    data: Data,
    split: Split = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures.")] = 16,
    out: Annotated[Path, typer.Option(help="The sheet.")] = Path("data.jpg"),
    seed: Annotated[int, typer.Option(min=0, help="Which ones.")] = 0,
    format: Format = None,
    skip_broken: SkipBroken = False,
    quiet: Quiet = False,
) -> None:
    """Draw some pictures with their truth on one sheet."""
    import numpy as np

    from videre.data import read
    from videre.draw import draw_sheet
    from videre.errors import DataError
    from videre.images.reading import write_picture
    from videre.structures.clip import still

    dataset = read(data, split, format, skip_broken)
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    if not len(chosen):
        raise DataError(f"{dataset.title}: there is no picture to show")
    index = sorted(map(int, chosen))
    pictures = (still(dataset.picture(i)) for i in index)
    write_picture(out, draw_sheet(pictures, [dataset.scene(i) for i in index], dataset.schema))
    if not quiet:
        print(out)


@app.command()
def stats(
    data: Data,
    split: Split = None,
    short_side: Annotated[
        int | None,
        typer.Option(min=1, help="Object sizes after the short side is resized to this.  [default: as they are]"),
    ] = None,
    format: Format = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Count classes, picture sizes, objects a picture and their sizes."""
    from videre.data import read
    from videre.data.inventory import take_inventory
    from videre.data.stats import stats as count

    dataset = read(data, split, format, skip_broken)
    print("\n".join(take_inventory(dataset, data).lines()))
    print(count(dataset, short_side))
    _tell_repairs(dataset)


@app.command()
def split(
    data: Data,
    parts: Annotated[
        str | None, typer.Option(help="Shares, as in train=0.8,val=0.2.  [default: train=0.8,val=0.2]")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Instead of parts: pairs fold1-train, fold1-val, …; each picture is in val once."),
    ] = None,
    by: Annotated[
        str, typer.Option(help="ratio (shuffled) or hash (of each picture: stays when pictures are added).")
    ] = "ratio",
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Keep pictures of one patient, place or video together: 'folder', TABLE.csv:COLUMN, or a regular "
            r"expression over their names whose first group tells which, as in '(patient\d+)_'.  [default: every picture by itself]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffle.")] = 0,
    format: Format = None,
    skip_broken: SkipBroken = False,
    quiet: Quiet = False,
) -> None:
    """Write lists PART.txt beside the data; --split PART then reads them.

    Pictures that are there twice, the same bytes or nearly the same, fall into one part.

    With --folds 5, for cross-validation, train with --split fold1-train --val fold1-val, and so on.
    """
    import numpy as np

    from videre.data import read, splits
    from videre.data.grouping import group_keys, joined, series_hint
    from videre.data.splits import by_folds, by_hash, by_ratio, check_shares
    from videre.data.twins import find_twins, looks_at
    from videre.errors import ConfigError
    from videre.files import write_atomic

    if by not in ("ratio", "hash"):
        raise ConfigError(f"--by {by}: ratio or hash")
    if folds is not None and (parts is not None or by == "hash"):
        raise ConfigError(f"--folds {folds}: folds are shuffled parts of equal size; leave --parts and --by hash out")
    shares = _shares(parts or "train=0.8,val=0.2")
    if not data.is_dir():
        raise ConfigError(f"{data}: the lists are written into the folder of the data; give that")
    wanted = [f"fold{k}-{name}" for k in range(1, (folds or 0) + 1) for name in ("train", "val")] or [*shares]
    there = splits(data, format)
    existing = [name for name in wanted if name in there or (data / f"{name}.txt").exists()]
    if existing:
        raise ConfigError(f"{data}: there is a split {existing[0]} already, or a file of that name; choose another")
    check_shares(shares)
    dataset = read(data, None, format, skip_broken)
    names = [dataset.name(i) for i in range(len(dataset))]
    keys = group_keys(dataset, group_by, data) if group_by is not None else None
    twins = find_twins(looks_at(dataset))
    together = joined(len(dataset), keys, [t.members for t in twins])
    if folds is not None:
        parts_made = [part for pair in by_folds(dataset, folds, seed, together) for part in pair]
        made = dict(zip(wanted, parts_made, strict=True))
    elif by == "ratio":
        made = by_ratio(dataset, shares, seed, together)
    else:
        made = by_hash(dataset, shares, together, keys)
    for name, part in made.items():
        write_atomic(data / f"{name}.txt", "".join(part.name(i) + "\n" for i in range(len(part))).encode())
        if not quiet:
            print(f"{data / f'{name}.txt'}: {len(part)} pictures")
    if quiet:
        return
    if keys is not None:
        print(f"{len(set(keys))} groups by {group_by}, each in one part")
    if twins:
        print(
            f"{sum(len(t.members) for t in twins)} pictures are there twice or more ({len(twins)} groups of twins), "
            "each group in one part (see `videre data check`)"
        )
    largest = int(np.bincount(together).max(initial=0))
    if largest > len(dataset) / (folds or 2):
        print(f"{largest} of {len(dataset)} pictures belong together and are in one part", file=sys.stderr)
    if group_by is None and (hint := series_hint(names)):
        print(hint, file=sys.stderr)


@app.command()
def blocks(
    out: Annotated[Path, typer.Argument(help="Folder to write, as COCO.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures.")] = 500,
    val: Annotated[int, typer.Option(min=0, help="Pictures more, for validation.")] = 100,
    size: Annotated[int, typer.Option(min=32, help="Side of the pictures.")] = 128,
    solids: Annotated[str, typer.Option(help="Fewest-most solids a picture.")] = "3-8",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same pixels.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Render a blocks world: pictures of solids with boxes, masks, keypoints and captions."""
    from videre.data import write
    from videre.data.blocks import blocks_dataset
    from videre.errors import ConfigError
    from videre.files import whole_folder

    fewest, dash, most = solids.partition("-")
    if not (fewest.isdecimal() and (most.isdecimal() or not dash)):
        raise ConfigError(f"--solids {solids}: as in 3-8")
    numbers = (int(fewest), int(most or fewest))
    with whole_folder(out) as folder:
        for name, first, number in (("train", 0, count), ("val", count, val)):
            if number:
                whole = blocks_dataset(first + number, seed=seed, size=(size, size), solids=numbers)
                lost = write(whole.subset(range(first, first + number)), folder, "coco", split=name, lossy=True)
                if not quiet:
                    print(f"{out}: {name}, {number} pictures (COCO holds no {', '.join(lost)})")


def _shares(parts: str) -> dict[str, float]:
    """The shares of the parts by name."""
    from videre.errors import ConfigError

    try:
        shares = {name: float(share) for name, _, share in (part.partition("=") for part in parts.split(","))}
    except ValueError as error:
        raise ConfigError(f"--parts {parts}: shares are written as train=0.8,val=0.2 ({error})") from None
    if len(shares) < len(parts.split(",")):
        raise ConfigError(f"--parts {parts}: a name comes twice")
    return shares


def _tell_repairs(dataset: Dataset) -> None:
    for kind, number in dataset.repair_counts().items():
        print(f"{number} × {kind}", file=sys.stderr)
