"""videre's own format: JSON lines of scenes beside their pictures or clips. It holds everything that a scene holds.

    my-data/
      schema.json              what the labels mean
      train.scenes.jsonl       {"picture": "pictures/a.png", "size": [480, 640], "instances": {"boxes": […], …}, …}
      val.scenes.jsonl
      pictures/…

A file of proposals, or of anything else that `predict` has written, is made a data set so.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from videre.data.dataset import Dataset, FileSource
from videre.data.faults import Faults
from videre.data.pictures import PictureFinder
from videre.data.rules import load_json
from videre.data.scene_lines import read_scenes, scene_line
from videre.data.writing import placed
from videre.errors import DataError
from videre.files import read_text, write_atomic
from videre.images.clips import read_item, write_clip
from videre.images.listing import list_files
from videre.images.reading import most_pixels
from videre.structures import AnyClip, Scene, Schema

ENDING = ".scenes.jsonl"
SCHEMA = "schema.json"
PICTURES = "pictures"
RATE = 25.0
"""Frames a second of clips that are written where their times do not say."""
LOOKS_FOR = f"scenes: {SCHEMA} and SPLIT{ENDING}, a scene a line as JSON, beside the pictures"
OWN = frozenset({".jsonl", ".json"})


def recognise(path: Path) -> str:
    """What was found, or "" ."""
    return f"*{ENDING}" if any(p.name.endswith(ENDING) for p in list_files(path, ENDING)) else ""


def splits(path: Path) -> list[str]:
    """One a file."""
    return [file.name.removesuffix(ENDING) for file in list_files(path, ENDING) if file.name.endswith(ENDING)]


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read one split, or all.

    Raises DataError naming the file, the lines and the fields that cannot be read.
    """
    if not (path / SCHEMA).is_file():
        raise DataError(f"{path}: there is no {SCHEMA}, which says what the labels mean")
    content = load_json(path / SCHEMA)
    try:
        schema = Schema.from_json(content)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise DataError(f"{path / SCHEMA}: not a schema ({error})") from error
    names, faults = splits(path) if split is None else [split], Faults(skip_broken)
    rows = []
    for name in names:
        file = path / f"{name}{ENDING}"
        for picture, scene in read_scenes(file, schema, faults):
            height, width = scene.size
            if height * width <= most_pixels():
                rows.append((picture, scene))
            else:
                cure = "no picture of this size is read; correct the file, or set VIDERE_MAX_PIXELS"
                faults.add(file, f"{picture} ({width}x{height}): {cure}", picture)
    title = " ".join(filter(None, (path.name, split)))
    return Dataset(SceneSource.of(path, rows), schema, faults.settle(), title)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write a data set with its pictures or clips; nothing is lost."""
    known = path / SCHEMA
    if known.exists() and Schema.from_json(json.loads(read_text(known))) != dataset.schema:
        raise DataError(
            f"{known}: the labels there mean something else than those of {dataset.title}; write another folder"
        )
    write_atomic(known, (json.dumps(dataset.schema.to_json(), indent=1) + "\n").encode())
    lines = []
    rows = _clips(dataset, path / PICTURES) if _has_clips(dataset) else placed(dataset, path / PICTURES)
    for name, scene in rows:
        lines.append(scene_line(f"{PICTURES}/{name}", scene, dataset.schema))
    write_atomic(path / f"{split}{ENDING}", ("\n".join(lines) + "\n").encode())
    return []


def _has_clips(dataset: Dataset) -> bool:
    return len(dataset) > 0 and isinstance(dataset.picture(0), AnyClip)


def _clips(dataset: Dataset, folder: Path) -> Any:
    """Write each clip; the file's name and the truth."""
    for i in range(len(dataset)):
        clip, name = dataset.picture(i), f"{Path(dataset.name(i)).stem}.avi"
        frames = clip if hasattr(clip, "frames") else clip.sample(max(1, round(clip.duration * RATE)))
        write_clip(folder / name, frames.frames, len(frames) / frames.duration if frames.duration else RATE)
        yield name, dataset.scene(i)


@dataclasses.dataclass
class SceneSource(FileSource):
    """Scenes in memory, pictures and clips in files."""

    scenes: list[Scene] = dataclasses.field(default_factory=list)

    @classmethod
    def of(cls, root: Path, rows: list[tuple[str, Scene]]) -> SceneSource:
        """From the pictures' names, relative to `root`, and their scenes. Only what every scene has are fields of the set."""
        names, scenes = [name for name, _ in rows], [scene for _, scene in rows]
        fields = frozenset.intersection(*(scene.present() for scene in scenes)) if scenes else frozenset()
        sizes = np.array([scene.size for scene in scenes], np.int64).reshape(-1, 2)
        finder = PictureFinder([root])
        return cls([str(finder.find(name) or root / name) for name in names], names, sizes, fields, scenes)

    def scene(self, i: int) -> Scene:
        meta = {"id": self.names[i], **self.scenes[i].meta, "path": self.paths[i]}
        return self.scenes[i].replace_unchecked(meta=meta)

    def picture(self, i: int) -> Any:
        return read_item(self.paths[i])
