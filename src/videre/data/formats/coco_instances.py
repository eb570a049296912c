"""What COCO's annotations say of instances: categories, outlines, boxes, areas, keypoints, each looked at and mended.

Conventions are those of `coco`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videre.data.cleaning import OnInvalid, clean_boxes, complete_masks
from videre.data.dataset import Repair
from videre.data.faults import Faults
from videre.data.flat import FlatMasks, FlatSource
from videre.data.rules import (
    BOX,
    FLAG,
    ID,
    LARGEST,
    NAMES,
    PAIRS,
    SIDE,
    TEXT,
    as_flag,
    as_key,
    as_number,
    as_numbers,
    integer,
    is_background,
    is_number,
    load_json,
)
from videre.errors import DataError
from videre.ops.rasterise import signed_area
from videre.structures import COCO_PERSON, Categories, Masks, Polygons, Schema, Skeleton
from videre.structures.sides import mirror_pairs


@dataclasses.dataclass
class Content:
    """What one file says. annotations: None where it says nothing, as in lists of pictures to be predicted."""

    file: Path
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]] | None
    categories: list[dict[str, Any]]

    @classmethod
    def of(cls, file: Path, faults: Faults) -> Content:
        content = load_json(file)
        if not isinstance(content, dict) or not isinstance(content.get("images"), list):
            raise DataError(f"{file}: COCO files are an object with images and annotations")
        for image in content["images"]:  # LVIS has addresses alone
            if isinstance(image, dict) and "file_name" not in image and isinstance(image.get("coco_url"), str):
                image["file_name"] = image["coco_url"]
        images = faults.demand(file, "image", content["images"], id=ID, file_name=TEXT, height=SIDE, width=SIDE)
        annotations = content.get("annotations")
        if annotations is not None:
            first = annotations[0] if isinstance(annotations, list) and annotations else None
            rules = {"image_id": ID} | ({"caption": TEXT} if isinstance(first, dict) and "caption" in first else {})
            annotations = faults.demand(file, "annotation", annotations, **rules)
        return cls(file, images, annotations, faults.demand(file, "category", content.get("categories") or []))

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.annotations or []

    @property
    def of_things(self) -> bool:
        """Whether it is about instances, not captions."""
        return self.annotations is not None and not any("caption" in a for a in self.annotations[:1])

    @property
    def used(self) -> set[int | str]:
        """The categories that annotations have."""
        return {key for a in self.rows if (key := as_key(a.get("category_id"))) is not None}

    @property
    def has_keypoints(self) -> bool:
        return any(c.get("keypoints") for c in self.categories) or any(a.get("keypoints") for a in self.rows[:100])


class InstanceReader:
    """Fills in the instances of the file `base`, with keypoints from the file that has them."""

    def __init__(
        self,
        source: FlatSource,
        base: Content,
        files: list[Content],
        place: dict[int | str | None, int],
        faults: Faults,
        siblings: list[Path],
    ) -> None:
        self.source, self.base, self.files, self.place = source, base, files, place
        self.faults, self.siblings = faults, siblings
        self.repairs: list[Repair] = []

    def read(self, on_invalid: OnInvalid) -> Schema:
        source, file = self.source, self.base.file
        broken = len(self.faults.found)
        things, label_of = self._categories()
        broken = len(self.faults.found) > broken
        asked = self.faults.demand(file, "annotation", self.base.rows, category_id=ID, iscrowd=FLAG)
        unknown = sorted({a["category_id"] for a in asked if as_key(a["category_id"]) not in label_of}, key=str)
        if unknown and not broken:  # else they may be of categories with a fault of their own
            self.faults.add(file, f"annotations of categories {unknown[:10]} that are not listed under categories")
        there = [a for a in asked if as_key(a["image_id"]) in self.place and as_key(a["category_id"]) in label_of]
        rows = sorted(there, key=lambda a: self.place[as_key(a["image_id"])])  # stable: the file's order otherwise
        owners = np.array([self.place[as_key(a["image_id"])] for a in rows], np.int64)
        schema, points = self._keypoints(rows, Schema(things=things))
        masks = self._masks(rows, owners)
        boxes, whole = self._boxes(rows, owners, masks, points)
        rows, owners, boxes = list(itertools.compress(rows, whole)), owners[whole], boxes[whole]
        masks = None if masks is None else list(itertools.compress(masks, whole))
        points = None if points is None else points[whole]
        ids = [a.get("id", n) for n, a in enumerate(rows)]
        assert source.sizes is not None
        pictures = [source.names[o] for o in owners]
        self._look_at_boxes(boxes, source.sizes[owners])
        boxes, keep, cleaned = clean_boxes(boxes, source.sizes[owners], pictures, ids, on_invalid, file)
        self.repairs += cleaned
        ignore = np.array([bool(as_flag(a.get("iscrowd"))) for a in rows], bool)
        columns: dict[str, np.ndarray] = {
            "boxes": boxes,
            "labels": np.array([label_of[as_key(a["category_id"])] for a in rows], np.int64),
            "ignore": ignore,
            "ids": np.array([n if (number := integer(i)) is None else number for n, i in enumerate(ids)], np.int64),
        }
        if rows and all(a.get("area") is not None for a in rows):
            columns["areas"] = self._areas(rows, boxes, masks, pictures, ids)
        if points is not None:
            columns |= {
                "keypoints": points[:, :, :2].astype(np.float32),
                "visibility": points[:, :, 2].astype(np.uint8),
            }
        if masks is not None:
            pick = lambda column: [column[n] for n in np.flatnonzero(keep)]
            whole_masks, bare, repairs = complete_masks(
                pick(masks), source.sizes[owners[keep]], pick(pictures), pick(ids), "segmentation is empty"
            )
            self.repairs += repairs
            ignore[keep] |= bare
            source.masks = None if whole_masks is None else FlatMasks(whole_masks)
        source.columns = {name: value[keep] for name, value in columns.items()}
        source.starts = np.cumsum([0, *np.bincount(owners[keep], minlength=len(source))])
        return schema

    # categories -------------------------------------------------------------------------------------------------------

    def _categories(self) -> tuple[Categories, dict[int | str | None, int]]:
        """The classes, and the label of each id: without twins and parents that no annotation of any split has."""
        file = self.base.file
        if not self.base.categories:
            used = sorted(set().union(*(c.used for c in self._all())), key=str)
            found = f"{file.name} has no categories: {', '.join(map(str, used[:10]))}"
            self.repairs.append(Repair("categories without names", "-", "-", found, "called by their ids"))
            names = [f"category {key}" for key in used]
            numbers = tuple(key if isinstance(key, int) else n for n, key in enumerate(used, start=1))
            return Categories(tuple(names), source_ids=numbers), {key: n for n, key in enumerate(used)}
        rows = []
        for row in self.faults.demand(file, "category", self.base.categories, id=ID):
            name = row.get("name")
            text = name.strip() if isinstance(name, str) else str(name) if is_number(name) else ""
            if text:
                rows.append((as_key(row["id"]), text, row.get("supercategory")))
            else:
                self.faults.add(f"{file}: category {row['id']}", f"name should be text, found {name!r}; name it")
        rows = self._without_unused(rows)
        numbered = all(isinstance(key, int) for key, _, _ in rows)
        if not numbered:
            found = ", ".join(repr(key) for key, _, _ in rows if not isinstance(key, int))
            self.repairs.append(Repair("category id that is no number", "-", "-", found, "numbered anew"))
        try:
            things = Categories(
                tuple(name for _, name, _ in rows),
                source_ids=tuple(int(key) if numbered else n for n, (key, _, _) in enumerate(rows, start=1)),  # type: ignore[arg-type]
                supercategories=tuple(parent if isinstance(parent, str) else "" for _, _, parent in rows),
            )
        except DataError as error:
            raise DataError(f"{file}: {error}") from None
        return things, {key: label for label, (key, _, _) in enumerate(rows)}

    def _without_unused(self, rows: list[tuple[Any, str, Any]]) -> list[tuple[Any, str, Any]]:
        names = [name for _, name, _ in rows]
        parents = {parent for _, name, parent in rows if isinstance(parent, str) and parent != name}
        doubtful = [row for row in rows if names.count(row[1]) > 1 or row[1] in parents or is_background(row[1])]
        if not doubtful:
            return rows
        used = set().union(*(c.used for c in self._all()))
        for key, name, _ in reversed(doubtful):
            twins = [k for k, n, _ in rows if n == name]
            ground = is_background(name)
            if key in used or len(rows) == 1 or (name not in parents and len(twins) == 1 and not ground):
                continue
            kind = "category called like another" if len(twins) > 1 else "category of which others are kinds"
            kind = "category of the background" if ground else kind
            self.repairs.append(Repair(f"{kind}, without annotations", "-", f"category {key}", name, "left out"))
            rows = [row for row in rows if row[0] != key]
        for name in {name for _, name, _ in rows}:
            twins = [k for k, n, _ in rows if n == name]
            if len(twins) > 1:
                self.faults.add(
                    f"{self.base.file}: categories {' and '.join(map(str, twins))}",
                    f"are both called {name!r}, and both have annotations; rename one, or give all one id",
                )
                rows = [row for row in rows if row[1] != name or row[0] == twins[0]]
        return rows

    def _all(self) -> list[Content]:
        """The files of this split and of all others."""
        own = {content.file for content in self.files}
        others = [Content.of(file, Faults(skip=True)) for file in self.siblings if file not in own]
        return self.files + [content for content in others if content.of_things]

    # outlines and boxes -----------------------------------------------------------------------------------------------

    def _masks(self, rows: list[dict[str, Any]], owners: np.ndarray) -> list[Polygons | np.ndarray | None] | None:
        if not any(a.get("segmentation") for a in rows):
            return None
        assert self.source.sizes is not None
        masks: list[Polygons | np.ndarray | None] = []
        for a, owner in zip(rows, owners):
            height, width = self.source.sizes[owner].tolist()
            try:
                masks.append(read_mask(a.get("segmentation"), (height, width)))
            except DataError as error:
                name = f"image {a['image_id']} ({self.source.names[owner]}), annotation {a.get('id', '?')}"
                self.faults.add(f"{self.base.file}: {name}", f"segmentation: {error}")
                masks.append(None)
        return masks

    def _boxes(
        self,
        rows: list[dict[str, Any]],
        owners: np.ndarray,
        masks: list[Polygons | np.ndarray | None] | None,
        points: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Corners float64 [N, 4], and which rows have a box; one that is not stated is the extent of mask or keypoints."""
        assert self.source.sizes is not None
        boxes, whole = np.zeros((len(rows), 4)), np.ones(len(rows), bool)
        for n, a in enumerate(rows):
            stated, mask = as_numbers(a.get("bbox"), 4), masks[n] if masks is not None else None
            if stated is not None:
                boxes[n] = [*stated[:2], stated[0] + stated[2], stated[1] + stated[3]]
                continue
            if a.get("bbox") not in (None, []):
                extent = None
            elif isinstance(mask, Polygons):
                corners = np.concatenate(mask.parts)
                extent = [*corners.min(0), *corners.max(0)]
            elif mask is not None:
                size = (int(self.source.sizes[owners[n]][0]), int(self.source.sizes[owners[n]][1]))
                runs = torch.from_numpy(mask), torch.tensor([0, len(mask)])
                extent = Masks.from_runs(*runs, size).boxes()[0].tolist()
            elif points is not None and (points[n, :, 2] > 0).any():
                labelled = points[n][points[n, :, 2] > 0][:, :2]
                extent = [*labelled.min(0), *labelled.max(0)]
            else:
                extent = None
            if extent is None:
                found = f"found {a['bbox']!r:.60}" if "bbox" in a else "but it is missing"
                name = a.get("id", f"of image {a['image_id']}")
                self.faults.add(
                    f"{self.base.file}: annotation {name}", f"bbox should be {BOX[0]}, {found}; correct the file"
                )
                whole[n] = False
            else:
                boxes[n] = extent
                name = self.source.names[owners[n]]
                self.repairs.append(
                    Repair("box that is not stated", name, a.get("id", n), "-", "taken from the outline")
                )
        return boxes, whole

    def _look_at_boxes(self, boxes: np.ndarray, sizes: np.ndarray) -> None:
        """DataError where the numbers of all boxes mean something else than COCO's."""
        if len(boxes) < 2 or not np.isfinite(boxes).all():
            return
        widths = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)  # as stated
        limits = sizes[:, [1, 0]]
        if (widths >= 0).all() and (widths <= 1).all() and (limits > 8).all():
            raise DataError(
                f"{self.base.file}: the {len(boxes)} boxes have numbers between 0 and 1; COCO counts pixels: multiply "
                "by width and height"
            )
        outside = (boxes[:, 2:] > limits + 1).any(1)
        fits = (widths[:, 2:] > widths[:, :2]).all(1) & (widths[:, 2:] <= limits + 1).all(1)
        if outside.sum() > 0.02 * len(boxes) and fits.all():
            raise DataError(
                f"{self.base.file}: {outside.sum()} of {len(boxes)} boxes leave their pictures, and all fit as corners "
                "[x1, y1, x2, y2]; COCO has [x, y, width, height]: subtract"
            )

    def _areas(
        self,
        rows: list[dict[str, Any]],
        boxes: np.ndarray,
        masks: list[Polygons | np.ndarray | None] | None,
        pictures: list[str],
        ids: list[Any],
    ) -> np.ndarray:
        """As stated, but where that is none, or ten times more or less than the mask's: OKS and AP by size go by it."""
        areas = np.zeros(len(rows))
        for n, a in enumerate(rows):
            stated, mask = as_number(a["area"]), masks[n] if masks is not None else None
            if stated is None or not math.isfinite(stated):
                self.faults.add(
                    f"{self.base.file}: annotation {ids[n]}",
                    f"area should be a finite number, found {a['area']!r:.60}; correct the file",
                )
                continue
            own = _area(mask) if mask is not None else 0.0
            if stated <= 0 or (own > 0 and not own / 10 <= stated <= 10 * own):
                x1, y1, x2, y2 = boxes[n].tolist()
                areas[n] = own or (x2 - x1) * (y2 - y1)
                found = f"{stated:g}, by the {'mask' if own else 'box'} {areas[n]:g}"
                self.repairs.append(Repair("area that cannot be", pictures[n], ids[n], found, "replaced"))
            else:
                areas[n] = stated
        return areas

    # keypoints --------------------------------------------------------------------------------------------------------

    def _keypoints(self, rows: list[dict[str, Any]], schema: Schema) -> tuple[Schema, np.ndarray | None]:
        """The schema with a skeleton, and float64 [N, J, 3] for the rows, nothing labelled where a file has none."""
        content = next((c for c in self.files if any(a.get("keypoints") for a in c.rows)), None)
        named = next((c for c in self.files if any(r.get("keypoints") for r in c.categories)), content)
        if named is None:
            return schema, None
        content = content or named
        skeleton = self._skeleton(named) or self._unnamed(content)
        if skeleton is None:
            return schema, None
        count = len(skeleton)
        points = np.zeros((len(rows), count, 3))
        place = {as_key(a["id"]) if "id" in a else n: n for n, a in enumerate(rows)}
        for n, a in enumerate(content.rows):
            stated, row = a.get("keypoints"), place.get(as_key(a["id"]) if "id" in a else n)
            if stated in (None, []) or row is None:
                continue
            values = _joints(stated, count)
            if values is None:
                self.faults.add(
                    f"{content.file}: annotation {a.get('id', f'at place {n}')}",
                    f"keypoints should be {count * 3} finite numbers (x, y and visibility 0, 1 or 2 of {count} "
                    f"keypoints), found {stated!r:.80}; correct the file",
                )
            else:
                points[row] = values
        points[:, :, :2] = np.where(points[:, :, 2:] > 0, points[:, :, :2] + 0.5, 0)
        return schema.replace(skeleton=skeleton), points

    def _skeleton(self, content: Content) -> Skeleton | None:
        rows = [c for c in content.categories if c.get("keypoints")]
        rows = self.faults.demand(content.file, "category", rows, keypoints=NAMES, skeleton=PAIRS)
        if not rows:
            return None
        if len({tuple(c["keypoints"]) for c in rows}) > 1:
            names = [c.get("name") for c in rows]
            cure = "keep one of these categories and its annotations in a file of its own"
            found = f"categories {names} have different keypoints; a model learns one list of them"
            self.faults.add(content.file, f"{found}: {cure}")
            self.faults.refuse()
        joints = tuple(map(str, rows[0]["keypoints"]))
        edges = [(int(a), int(b)) for a, b in rows[0].get("skeleton") or ()]
        first = 0 if any(0 in edge for edge in edges) else 1  # COCO counts from 1
        if first == 0:
            self.repairs.append(Repair("skeleton that counts from 0", "-", "-", f"{edges[:4]}", "read so"))
        wrong = [edge for edge in edges if not all(first <= end < len(joints) + first for end in edge)]
        if wrong:
            expected = f"skeleton joins keypoints {first} to {len(joints) + first - 1}"
            found = f"found {list(wrong[0])}; correct the file"
            self.faults.add(f"{content.file}: category {rows[0].get('name')}", f"{expected}, {found}")
        pairs = tuple((a - first, b - first) for a, b in edges if (a, b) not in wrong)
        if joints == COCO_PERSON.names:
            return Skeleton(joints, pairs, COCO_PERSON.flip_pairs, COCO_PERSON.sigmas)
        return Skeleton(joints, pairs, mirror_pairs(joints))

    def _unnamed(self, content: Content) -> Skeleton | None:
        """Keypoints that annotations have and no category names; None where they are not equally many."""
        lengths = {len(a["keypoints"]) for a in content.rows if isinstance(a.get("keypoints"), list) and a["keypoints"]}
        if len(lengths) != 1 or next(iter(lengths)) % 3:
            self.faults.add(
                content.file,
                f"annotations have keypoints, {sorted(lengths)} numbers, and no category names them; add keypoints, a "
                "list of names, to the categories",
            )
            return None
        count = next(iter(lengths)) // 3
        found = f"{count} of each thing in {content.file.name}"
        self.repairs.append(Repair("keypoints without names", "-", "-", found, "called by their numbers"))
        return Skeleton(tuple(f"keypoint {k}" for k in range(1, count + 1)), (), None)


def read_mask(segmentation: Any, size: tuple[int, int]) -> Polygons | np.ndarray | None:
    """Polygons, or run lengths; None where nothing is drawn. DataError that says what was expected and found."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        try:
            return Masks.from_rle([segmentation], size).runs()[0].numpy()
        except DataError as error:
            raise DataError(f"{str(error).removeprefix('mask 0: ')}; correct the file") from None
    if not isinstance(segmentation, list):
        raise DataError(f"should be a list of polygons, or run lengths, found {segmentation!r:.60}; correct the file")
    if all(is_number(v) for v in segmentation):  # one polygon, not in a list of its own
        segmentation = [segmentation]
    rings = []
    for n, stated in enumerate(segmentation):
        flat = [v for pair in stated for v in pair] if _are_pairs(stated) else stated
        numbers = as_numbers(flat)
        if numbers is None or len(numbers) % 2:
            count = f"{len(flat)} numbers" if numbers is not None else repr(stated)[:60]
            raise DataError(f"polygon {n} should be a list x1, y1, x2, y2, …, found {count}; correct the file")
        rings.append(np.array(numbers).reshape(-1, 2))
    rings = [r for r in rings if len(r) >= 3]  # two points enclose nothing
    if not rings:
        return None
    outline = Polygons(tuple(rings))
    try:
        Masks.from_polygons([outline], size)
    except DataError as error:
        raise DataError(f"{str(error).removeprefix('mask 0, ')}; correct the file") from None
    return outline


def _are_pairs(stated: Any) -> bool:
    return isinstance(stated, list) and bool(stated) and all(isinstance(p, list) and len(p) == 2 for p in stated)


def _area(mask: Polygons | np.ndarray) -> float:
    """Pixels inside run lengths, or within the polygons."""
    if isinstance(mask, np.ndarray):
        return float(mask[1::2].sum())
    return sum(abs(signed_area(ring)) for ring in mask.parts)


def _joints(stated: Any, count: int) -> np.ndarray | None:
    """x, y and visibility [J, 3] of what an annotation has; of x and y alone, those that are not both 0 are labelled."""
    values = as_numbers([float(v) if isinstance(v, bool) else v for v in stated]) if isinstance(stated, list) else None
    if values is None or len(values) not in (2 * count, 3 * count):
        return None
    points = np.array(values).reshape(count, -1)
    if points.shape[1] == 2:
        points = np.concatenate([points, 2.0 * points.any(1, keepdims=True)], 1)
    labelled = points[:, 2] > 0
    good = np.isin(points[:, 2], (0, 1, 2)).all() and (np.abs(points[labelled]) < LARGEST).all()
    return np.where(labelled[:, None], points, 0) if good else None
