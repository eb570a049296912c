"""Poses of single pictures as the pose benchmarks keep them: LSP's `joints.mat`, and MPII's list of persons as JSON.

- LSP: `images/im0001.jpg, …` and `joints.mat` with "joints", [3, 14, N] in LSP (all are labelled; the third row, hidden or
  not, is not read) or [14, 3, N] in its extension (the third column marks labelled ones): one person a picture.
- MPII: `images/` and `annot/<split>.json` (or `<split>.json`), as pose repositories write it: a list of {"image", "joints": 16
  times [x, y], "joints_vis": 16 times 0 or 1, "center": [x, y], "scale"}; several entries may be of one picture.

Joints count pixels from 1 in both, so that half a pixel is taken off. Boxes are the extent of the labelled joints; MPII's
are a square of 200 times its scale around the centre.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videre.data.cleaning import fill_sizes
from videre.data.dataset import Dataset, FileSource, Repair
from videre.data.faults import Faults, Rule
from videre.data.pictures import PictureFinder
from videre.data.rules import TEXT, are_numbers, is_number, load_json
from videre.errors import DataError
from videre.files import read_bytes
from videre.images.listing import list_pictures
from videre.structures import Categories, Instances, Scene, Schema, Skeleton

LOOKS_FOR = "joints: images/ with joints.mat (LSP), or with annot/<split>.json of persons with joints (MPII)"
OWN = frozenset({".mat", ".json"})
LSP = Skeleton(
    names=(
        "right_ankle",
        "right_knee",
        "right_hip",
        "left_hip",
        "left_knee",
        "left_ankle",
        "right_wrist",
        "right_elbow",
        "right_shoulder",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "neck",
        "head_top",
    ),
    edges=(
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
        (4, 5),
        (6, 7),
        (7, 8),
        (8, 9),
        (9, 10),
        (10, 11),
        (8, 12),
        (9, 12),
        (12, 13),
        (2, 8),
        (3, 9),
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)),
)
"""The 14 joints of Leeds Sports Pose (Johnson & Everingham, 2010)."""
MPII = Skeleton(
    names=(
        "right_ankle",
        "right_knee",
        "right_hip",
        "left_hip",
        "left_knee",
        "left_ankle",
        "pelvis",
        "thorax",
        "upper_neck",
        "head_top",
        "right_wrist",
        "right_elbow",
        "right_shoulder",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
    ),
    edges=(
        (0, 1),
        (1, 2),
        (2, 6),
        (6, 3),
        (3, 4),
        (4, 5),
        (6, 7),
        (7, 8),
        (8, 9),
        (10, 11),
        (11, 12),
        (12, 7),
        (7, 13),
        (13, 14),
        (14, 15),
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
)
"""The 16 joints of MPII Human Pose (Andriluka et al., 2014)."""
HEIGHT = 200.0
"""Pixels that MPII's scale of 1 stands for."""
LIMIT = 2**24
"""Pixels from the corner of the picture: up to here single precision holds every whole number."""


def recognise(path: Path) -> str:
    """What was found, or "" when this is no such folder."""
    if not path.is_dir() or not (path / "images").is_dir():
        return ""
    if (path / "joints.mat").is_file():
        return "joints.mat"
    return ", ".join(f.name for f in _lists(path))


def splits(path: Path) -> list[str]:
    """Names of MPII's lists; LSP has none."""
    return [] if (path / "joints.mat").is_file() else [f.stem for f in _lists(path)]


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read the folder; pictures that are not there are left out and counted.

    Raises DataError for a file of another form, naming the fields or entries.
    """
    if (path / "joints.mat").is_file():
        return _read_lsp(path)
    files = [f for f in _lists(path) if split in (None, f.stem)]
    return Dataset.cat([_read_mpii(file, path, skip_broken) for file in files])


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Raises DataError: these forms have one skeleton each; COCO holds any."""
    raise DataError(
        f"{dataset.title}: joints.mat and MPII's lists are read, not written; write coco, which holds any skeleton"
    )


def _read_lsp(path: Path) -> Dataset:
    from scipy.io import loadmat

    content = read_bytes(path / "joints.mat")
    try:
        joints = np.asarray(loadmat(io.BytesIO(content), variable_names=["joints"])["joints"])
    except Exception as error:  # of a damaged file it raises whatever it likes
        raise DataError(f"{path / 'joints.mat'}: no field 'joints' can be read ({error!r})") from None
    if joints.dtype.kind not in "iufb":
        raise DataError(f"{path / 'joints.mat'}: joints should be numbers, found {joints.dtype}")
    joints = joints.astype(float)
    count = len(LSP)
    joints = joints[:, :, None] if joints.ndim == 2 else joints  # of one picture
    if joints.shape[:2] == (2, count):  # no row that says what is hidden
        joints = np.concatenate([joints, np.zeros((1, *joints.shape[1:]))])
    if joints.ndim != 3 or joints.shape[:2] not in ((3, count), (count, 3)):
        raise DataError(
            f"{path / 'joints.mat'}: joints should be [3, 14, N] or [14, 3, N] (or [2, 14, N]), found {list(joints.shape)}"
        )
    extended = joints.shape[:2] == (count, 3)
    joints = np.moveaxis(joints, -1, 0) if extended else joints.transpose(2, 1, 0)
    # all joints of LSP are labelled, hidden ones too; its extension says which are
    seen = (joints[:, :, 2] > 0 if extended else np.ones(joints.shape[:2], bool)) & np.isfinite(joints).all(2)
    pictures = list_pictures(path / "images")
    if len(pictures) != len(joints):
        raise DataError(
            f"{path}: joints.mat has {len(joints)} poses, images/ has {len(pictures)} pictures; their order says which "
            "belong together, so there must be as many"
        )
    rows = [[(points[:, :2], known, None)] for points, known in zip(joints, seen)]
    return _dataset(pictures, rows, LSP, path.name)


_small = lambda v: is_number(v) and abs(v) < LIMIT
_JOINTS: Rule = (
    f"{len(MPII)} joints [x, y]",
    lambda v: isinstance(v, list) and len(v) == len(MPII) and all(are_numbers(p, 2) and all(map(_small, p)) for p in v),
)
_SEEN: Rule = (f"{len(MPII)} numbers 0 or 1", lambda v: are_numbers(v, len(MPII)))
_PAIR: Rule = ("[x, y]", lambda v: v is None or (are_numbers(v, 2) and all(map(_small, v))))
_NUMBER: Rule = ("a number", lambda v: v is None or _small(v))


def _read_mpii(file: Path, path: Path, skip_broken: bool) -> Dataset:
    by_picture, faults = dict[str, list[Any]](), Faults(skip_broken)
    rules = {"image": TEXT, "joints": _JOINTS, "joints_vis": _SEEN, "center": _PAIR, "scale": _NUMBER}
    for entry in faults.demand(file, "entry", load_json(file), **rules):
        points, seen = np.array(entry["joints"], float), np.array(entry["joints_vis"], float) > 0
        (x, y), half = entry.get("center") or (-1, -1), HEIGHT * (entry.get("scale") or -1) / 2
        there = min(x, y) >= 0 < half  # of persons that nobody has measured, -1
        box = np.array([x - half, y - half, x + half, y + half]) if there else None
        by_picture.setdefault(entry["image"], []).append((points, seen & (points >= 0).all(1), box))
    finder = PictureFinder([path / "images", path])
    pictures = []
    for name in list(by_picture):
        try:
            pictures.append(finder.find(name) or path / "images" / name)
        except DataError as error:  # several may be meant
            faults.add(file, f"image {error}", name)
            del by_picture[name]
    repairs = faults.settle()
    dataset = _dataset(pictures, list(by_picture.values()), MPII, f"{path.name} {file.stem}")
    dataset.repairs += tuple(repairs)
    return dataset


def _dataset(pictures: list[Path], rows: list[list[Any]], skeleton: Skeleton, title: str) -> Dataset:
    """Scenes of persons: points counted from 1, bool which are labelled, box or None for their extent."""
    names = [p.name for p in pictures]
    sizes, keep, repairs = fill_sizes(np.zeros((len(pictures), 2), np.int64), [str(p) for p in pictures], names)
    people: list[Instances] = []
    for i in np.flatnonzero(keep).tolist():
        labelled = [row for row in rows[i] if row[1].any()]
        if len(labelled) < len(rows[i]):
            repairs.append(
                Repair("person without labelled joints", names[i], "-", f"{len(rows[i]) - len(labelled)}", "dropped")
            )
        people.append(_people(labelled, sizes[i], len(skeleton)))
    kept = np.flatnonzero(keep)
    source = _Poses([str(pictures[i]) for i in kept], [names[i] for i in kept], sizes[kept], people=people)
    return Dataset(source, Schema(things=Categories(("person",)), skeleton=skeleton), repairs, title)


def _people(rows: list[Any], size: np.ndarray, joints: int) -> Instances:
    points = np.array([np.where(seen[:, None], p - 0.5, 0) for p, seen, _ in rows]).reshape(-1, joints, 2)
    seen = np.array([seen for _, seen, _ in rows], bool).reshape(-1, joints)
    boxes = np.array(
        [
            box if box is not None else np.concatenate([p[s].min(0), p[s].max(0)])
            for p, s, (_, _, box) in zip(points, seen, rows)
        ]
    ).reshape(-1, 4)
    boxes = np.clip(boxes, 0, np.tile(size[::-1], 2))
    return Instances(
        torch.from_numpy(boxes).float(),
        torch.zeros(len(rows), dtype=torch.int64),
        keypoints=torch.from_numpy(points).float(),
        visibility=torch.from_numpy(seen * np.uint8(2)),
    )


def _lists(path: Path) -> list[Path]:
    """JSON files that are lists of persons with joints, by their first bytes."""
    files = [f for folder in (path / "annot", path) if folder.is_dir() for f in sorted(folder.glob("*.json"))]
    return [f for f in files if _is_list(f)]


def _is_list(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        head = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    return head.startswith(b"[") and b'"joints' in head


class _Poses(FileSource):
    """Scenes made from the persons of each picture."""

    def __init__(self, paths: list[str], names: list[str], sizes: np.ndarray, people: list[Instances]) -> None:
        super().__init__(paths, names, sizes, frozenset({"boxes", "instances.labels", "keypoints", "visibility"}))
        self.people = people

    def scene(self, i: int) -> Scene:
        return Scene(self.size(i), self.people[i], meta={"path": self.paths[i], "id": self.names[i]})
