"""Sets that are written, spoiled as moves and other systems spoil them, and read: the same as before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videre import data
from videre.data import Dataset
from videre.data.blocks import blocks_dataset
from videre.structures import Scene

TEXTS = (".json", ".jsonl", ".txt", ".csv", ".xml", ".yaml")
WRITTEN = [name for name in data.FORMATS if name not in ("cityscapes", "joints", "parquet", "folders")]


def with_marks(root: Path) -> None:
    """As programs of Windows save texts."""
    for file in root.rglob("*"):
        if file.suffix in TEXTS:
            file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))


def with_leftovers(root: Path) -> None:
    """As archives and file managers leave folders."""
    for folder in [root, *(p for p in list(root.rglob("*")) if p.is_dir())]:
        (folder / ".DS_Store").write_bytes(b"\0\1")
        (folder / "Thumbs.db").write_bytes(b"\0\1")
        for file in [p for p in folder.iterdir() if p.is_file() and p.name[0] != "."][:2]:
            (folder / f"._{file.name}").write_bytes(b"\0\5\x16\7")
        (folder / ".ipynb_checkpoints").mkdir()
        (folder / ".ipynb_checkpoints" / "a-checkpoint.png").write_bytes(b"x")
    shutil.copytree(root, root / "__MACOSX", dirs_exist_ok=True)


def with_capitals(root: Path) -> None:
    """As cameras and other file systems write suffixes; maps and pictures alike."""
    for file in list(root.rglob("*.png")):
        file.rename(file.with_suffix(".PNG"))


def truths(dataset: Dataset) -> dict[str, Scene]:
    return {Path(dataset.name(i)).with_suffix("").name: dataset.scene(i).replace(meta={}) for i in range(len(dataset))}


def same(a: Scene, b: Scene) -> bool:
    alike = [a.size == b.size, len(a) == len(b)]
    for x, y in ((a.labels, b.labels), (a.segmentation, b.segmentation)):
        alike.append((x is None) == (y is None) and (x is None or torch.equal(x, y)))  # type: ignore[arg-type]
    if a.instances is not None and b.instances is not None and len(a):
        alike.append(torch.equal(a.instances.boxes, b.instances.boxes))  # type: ignore[arg-type]
        alike.append(torch.equal(a.instances.labels, b.instances.labels))  # type: ignore[arg-type]
        if a.instances.masks is not None and b.instances.masks is not None:
            alike.append(torch.equal(a.instances.masks.bitmaps(), b.instances.masks.bitmaps()))
    return all(alike)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, blocks = tmp_path_factory.mktemp("sets"), blocks_dataset(3, size=(48, 64))
    for name in WRITTEN:
        # CVAT has one label of a name, and the blocks have classes of things and of pictures that are called alike
        scenes = data.read(root / "coco") if name == "cvat" else blocks
        data.write(scenes, root / name, name, lossy=True)
    return root


@pytest.mark.parametrize("spoil", [with_marks, with_leftovers, with_capitals])
@pytest.mark.parametrize("format", WRITTEN)
def test_what_is_spoiled_is_read_as_before(
    sets: Path, tmp_path: Path, format: str, spoil: Callable[[Path], None]
) -> None:
    before, root = truths(data.read(sets / format)), tmp_path / "set"
    shutil.copytree(sets / format, root)
    spoil(root)
    assert data.find_format(root) == format and data.splits(root) == data.splits(sets / format)
    after = data.read(root)
    assert truths(after).keys() == before.keys()
    assert all(same(before[name], scene) for name, scene in truths(after).items())
    for i in range(len(after)):
        assert after.picture(i).shape == (48, 64, 3)
