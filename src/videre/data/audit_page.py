"""The findings about a data set as one HTML file: what was found, how often, what to do, and the offenders drawn."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from videre.data.stats import stats
from videre.errors import VidereError
from videre.files import write_atomic
from videre.images.clips import read_item
from videre.structures.clip import still

if TYPE_CHECKING:
    from videre.data.audit import Finding, Findings
    from videre.data.dataset import Dataset

SIDE = 420
"""Longest side of the pictures in the page, pixels."""


def write_page(findings: Findings, path: str | Path, shown: int = 12, read_as: str = "") -> None:
    """Write the page, `shown` offenders of each kind drawn; pictures are inside the file.

    Args:
        read_as: the format that the data were read in and why, for the title.
    """
    import jinja2

    groups: dict[str, dict[str, Any]] = {}
    for finding in findings:
        group = groups.setdefault(
            f"{finding.severity} {finding.kind}",
            {"severity": finding.severity, "kind": finding.kind, "count": 0, "drawn": [], "listed": [], "remedies": []},
        )
        group["count"] += 1
        if finding.remedy not in group["remedies"]:
            group["remedies"].append(finding.remedy)
        if finding.index is None or finding.kind == "picture missing" or len(group["drawn"]) == shown:
            group["listed"].append(_row(finding))
        else:
            group["drawn"].append(_card(findings, finding, finding.index))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("audit_page.html").render(
        title=_title(findings),
        read_as=read_as,
        pictures=sum(len(d) for d in findings.sets.values()),
        totals=[(s, sum(f.severity == s for f in findings)) for s in ("error", "warning", "note")],
        groups=list(groups.values()),
        sets=[_summary(name, dataset, _unusable(findings, name)) for name, dataset in findings.sets.items()],
    )
    write_atomic(path, page.encode())


def _title(findings: Findings) -> str:
    """ "bccd: train, val" rather than "bccd train + bccd val"."""
    titles = [d.title for d in findings.sets.values()]
    shared = titles[0].removesuffix(f" {next(iter(findings.sets))}") if titles else ""
    if shared and titles == [f"{shared} {split}" for split in findings.sets]:
        return f"{shared}: {', '.join(findings.sets)}"
    return " + ".join(titles)


def _row(finding: Finding) -> dict[str, Any]:
    where = " / ".join(x for x in (finding.split, finding.picture) if x)
    return {"where": where, "annotation": finding.annotation, "values": finding.values, "file": finding.file}


def _card(findings: Findings, finding: Finding, index: int) -> dict[str, Any]:
    """A finding with its picture, the instances around it thin, those at fault strong."""
    dataset = findings.sets[finding.split]
    card = _row(finding) | {"views": []}
    try:
        picture = still(dataset.picture_as_is(index))
    except Exception:  # it is shown without: what is wrong with the file is among the findings
        return card
    others: list[tuple[float, ...]] = []
    try:
        things = dataset.scene(index).instances
        others = [] if things is None or things.boxes is None else [tuple(b) for b in things.boxes.tolist()]
    except Exception:  # as above
        pass
    card["views"].append(_view(picture, others, finding.boxes))
    if finding.other:
        with contextlib.suppress(VidereError, ValueError, OSError):
            card["views"].append(_view(still(read_item(finding.other)), [], ()))
    elif len(finding.boxes) and _is_small(finding.boxes[0], picture.shape[:2]):
        card["views"].append(_close(picture, others, finding.boxes))
    return card


def _view(
    picture: np.ndarray, others: Sequence[tuple[float, ...]], boxes: Sequence[tuple[float, ...]]
) -> dict[str, Any]:
    height, width = picture.shape[:2]
    return {
        "picture": _embedded(picture),
        "width": width,
        "height": height,
        "others": others,
        "boxes": boxes,
        "stroke": max(width, height) / 160,
    }


def _is_small(box: tuple[float, ...], size: tuple[int, int]) -> bool:
    return max(box[2] - box[0], box[3] - box[1]) < max(size) / 8


def _close(
    picture: np.ndarray, others: list[tuple[float, ...]], boxes: tuple[tuple[float, ...], ...]
) -> dict[str, Any]:
    """The surroundings of a small offender."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = boxes[0]
    reach = max(x2 - x1, y2 - y1, 12) * 1.5
    left, top = (int(max(0, min(n - 2, c - reach))) for n, c in ((width, (x1 + x2) / 2), (height, (y1 + y2) / 2)))
    right, bottom = (
        int(min(width, max(left + 2, (x1 + x2) / 2 + reach))),
        int(min(height, max(top + 2, (y1 + y2) / 2 + reach))),
    )
    move = lambda b: (b[0] - left, b[1] - top, b[2] - left, b[3] - top)
    inside = [move(b) for b in others if b[0] < right and b[2] > left and b[1] < bottom and b[3] > top]
    return _view(picture[top:bottom, left:right], inside, tuple(map(move, boxes)))


def _embedded(picture: np.ndarray) -> str:
    """A small JPEG as a data URL."""
    scale = SIDE / max(picture.shape[:2])
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.shape[2] not in (1, 3):
        picture = picture[:, :, :3] if picture.shape[2] > 3 else picture[:, :, :1]
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    small = small if small.ndim == 2 else small[:, :, ::-1]
    data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def _unusable(findings: Findings, split: str) -> set[int | None]:
    """Numbers of the pictures whose truth cannot be read, or has classes that are none."""
    kinds = ("annotation unusable", "label without class")
    return {f.index for f in findings if f.split == split and f.kind in kinds}


def _summary(name: str, dataset: Dataset, unusable: set[int | None]) -> dict[str, Any]:
    try:
        counted = stats(dataset.subset([i for i in range(len(dataset)) if i not in unusable]))
    except Exception:  # something that is among the findings
        return {"name": name or dataset.title, "pictures": len(dataset), "classes": [], "most": 1}
    classes = sorted(counted.classes, key=lambda c: -c.instances)
    most = max((c.instances for c in classes), default=1) or 1
    return {
        "name": name or dataset.title,
        "pictures": len(dataset),
        "empty": counted.empty,
        "most": most,
        "instances": sum(c.instances for c in classes),
        "classes": classes,
    }
