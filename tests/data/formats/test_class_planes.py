"""A folder of masks for each class: what is read, refused, written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from videre import data
from videre.errors import DataError
from videre.images.reading import write_picture
from videre.structures.scene import VOID

LIVER = np.array([[255, 255, 0], [255, 0, 0]], np.uint8)
TUMOUR = np.array([[0, 255, 0], [0, 0, 0]], np.uint8)


def put(path: Path, plane: np.ndarray) -> None:
    write_picture(path, plane[:, :, None])


@pytest.fixture
def organs(tmp_path: Path) -> Path:
    """Two pictures of one split; the second shows no tumour, and no file says so."""
    root = tmp_path / "organs"
    for name in ("a", "b"):
        write_picture(root / "images" / "train" / f"{name}.jpg", np.zeros((2, 3, 3), np.uint8))
        put(root / "masks" / "train" / "liver" / f"{name}.png", LIVER)
    put(root / "masks" / "train" / "tumour" / "a.png", TUMOUR)
    return root


def test_read(organs: Path) -> None:
    assert data.find_format(organs) == "planes" and data.splits(organs) == ["train"]
    found = data.read(organs, "train")
    assert found.schema.overlap and list(found.schema.pixels) == ["liver", "tumour"]
    both, one = (found.scene(i).segmentation for i in range(2))
    assert both.tolist() == [[[1, 1, 0], [1, 0, 0]], [[0, 1, 0], [0, 0, 0]]]
    assert one.tolist() == [[[1, 1, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]]


def test_without_splits_with_a_list_and_void(organs: Path, tmp_path: Path) -> None:
    root = tmp_path / "flat"
    write_picture(root / "images" / "a.png", np.zeros((2, 3, 3), np.uint8))
    write_picture(root / "images" / "unmasked.png", np.zeros((2, 3, 3), np.uint8))
    put(root / "labels" / "tumour" / "a.png", TUMOUR // 255)
    put(root / "labels" / "void" / "a.png", LIVER)
    (root / "classes.json").write_text(
        json.dumps({"classes": [{"id": 0, "name": "spleen"}, {"id": 1, "name": "tumour"}]})
    )
    found = data.read(root)
    assert list(found.schema.pixels) == ["spleen", "tumour"] and len(found) == 1
    assert found.scene(0).segmentation.tolist() == [[[VOID, VOID, 0], [VOID, 0, 0]]] * 2
    assert [(r.kind, r.picture) for r in found.repairs] == [("picture without a mask", "images/unmasked.png")]
    (root / "classes.json").write_text(json.dumps({"classes": [{"id": 0, "name": "spleen"}]}))
    with pytest.raises(DataError, match="there are masks of tumour, which it does not name; it has spleen"):
        data.read(root)


def test_there_and_back(organs: Path, tmp_path: Path) -> None:
    put(organs / "masks" / "train" / "tumour" / "b.png", np.array([[0, 128, 0], [0, 0, 255]], np.uint8))
    found = data.read(organs, "train")
    assert found.scene(1).segmentation.tolist() == [[[1, 1, 0], [1, 0, 0]], [[0, VOID, 0], [0, 0, 1]]]
    data.write(found, tmp_path / "again", "planes", split="train")
    again = data.read(tmp_path / "again", "train")
    assert again.schema == found.schema
    assert all(torch.equal(again.scene(i).segmentation, found.scene(i).segmentation) for i in range(2))
    for format in ("maps", "panoptic"):
        with pytest.raises(DataError, match="one class a pixel, those of organs train overlap"):
            data.write(found, tmp_path / format, format, lossy=True)


def test_bad_masks_are_told(organs: Path) -> None:
    put(organs / "masks" / "train" / "tumour" / "a.png", np.array([[0, 37, 37], [255, 0, 0]], np.uint8))
    with pytest.raises(DataError, match=r"tumour/a.png: a mask of one class has 0 and 255 .*; found 37 on 2 pixels"):
        data.read(organs, "train").scene(0)
    put(organs / "masks" / "train" / "tumour" / "a.png", np.zeros((5, 3), np.uint8))
    with pytest.raises(DataError, match=r"tumour/a.png: the mask is 3x5 \(width x height\), the picture .* is 3x2"):
        data.read(organs, "train").scene(0)


def test_folders_of_other_formats_are_none(organs: Path) -> None:
    """COCO keeps PNGs in annotations/panoptic_val/, beside a file that names them."""
    (organs / "masks").rename(organs / "annotations")
    assert data.find_format(organs) == "planes"
    (organs / "annotations" / "panoptic_train.json").write_text("{}")
    with pytest.raises(DataError, match="no data set of a known format"):
        data.find_format(organs, "planes")
