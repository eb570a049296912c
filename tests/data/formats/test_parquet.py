"""Parquet files as Hugging Face's `datasets` writes them, made here by pyarrow alone."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from videre import data
from videre.data.formats import parquet
from videre.errors import ConfigError, DataError
from videre.images.reading import write_picture


def encoded(value: int, size: tuple[int, int] = (20, 30), orientation: int = 1) -> bytes:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(stream, "JPEG", quality=100, exif=exif)
    return stream.getvalue()


def write(file: Path, rows: list[dict[str, Any]], features: Any = None, groups: int = 2) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.Table.from_pylist(rows)
    if features is not None:
        table = table.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": features}}).encode()})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=groups)


def image(value: int, **more: Any) -> dict[str, Any]:
    return {"bytes": encoded(value, **more), "path": "same name.jpg"}


CLASS = {"_type": "ClassLabel", "names": ["cat", "dog"]}
PICTURE = {"_type": "Image"}


def classified(folder: Path) -> Path:
    features = {"image": PICTURE, "label": CLASS}
    rows = [{"image": image(40 * n), "label": n % 2} for n in range(5)]
    write(folder / "data" / "train-00000-of-00002.parquet", rows[:3], features)
    write(folder / "data" / "train-00001-of-00002.parquet", rows[3:], features)
    write(folder / "data" / "validation-00000-of-00001.parquet", rows[:1], features)
    return folder


def test_classes_of_pictures(tmp_path: Path) -> None:
    root = classified(tmp_path / "pets")
    assert data.find_format(root) == "parquet" and data.splits(root) == ["train", "validation"]
    train = data.read(root, "train")
    assert len(train) == 5 and list(train.schema.pictures or []) == ["cat", "dog"] and train.title == "pets train"
    for i in range(5):
        picture, scene = train[i]
        assert abs(int(picture.mean()) - 40 * i) < 2 and scene.size == (20, 30)
        assert scene.labels is not None and scene.labels.tolist() == [i % 2]
    assert train.name(3) == "data/train-00001-of-00002/000000" and train.path(3) is None
    assert len(data.read(root)) == 6 and len(data.read(root / "data" / "train-00000-of-00002.parquet")) == 3


def test_a_picture_is_turned_upright(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [{"image": image(9, orientation=6), "label": "cat"}])
    dataset = data.read(tmp_path)
    assert dataset.size(0) == (30, 20) == dataset.picture(0).shape[:2]


def test_labels_in_words_in_lists_and_none(tmp_path: Path) -> None:
    write(tmp_path / "words" / "a.parquet", [{"image": image(0), "label": name} for name in ("b", "a", "b", None)])
    words = data.read(tmp_path / "words")
    assert list(words.schema.pictures or []) == ["a", "b"] and data.splits(tmp_path / "words") == []
    assert [words.scene(i).labels.tolist() for i in range(4)] == [[1], [0], [1], []]
    assert words.repair_counts() == {"picture without label, kept without one": 1}
    write(tmp_path / "lists" / "a.parquet", [{"img": encoded(0), "labels": [2, 0]}, {"img": encoded(0), "labels": []}])
    lists = data.read(tmp_path / "lists")  # no names, and the pictures as bytes alone
    assert list(lists.schema.pictures or []) == ["0", "1", "2"] and lists.scene(0).labels.tolist() == [0, 2]
    assert lists.picture(1).shape == (20, 30, 3)


@pytest.mark.parametrize("form", ["lists by field", "one struct a thing", "newest"])
def test_things(tmp_path: Path, form: str) -> None:
    boxes, categories = [[1.0, 2.0, 10.0, 5.0], [0.0, 0.0, 4.0, 4.0]], [1, 0]
    by_field = {"bbox": boxes, "category": categories, "id": [7, 8], "area": [50.0, 16.0]}
    each = [dict(zip(by_field, values)) for values in zip(*by_field.values())]
    struct = {"bbox": {"_type": "Sequence"}, "category": CLASS}
    features = {
        "lists by field": {"feature": {"category": CLASS}, "_type": "Sequence"},
        "one struct a thing": [struct],
        "newest": {"bbox": {"_type": "List"}, "category": {"feature": CLASS, "_type": "List"}},
    }[form]
    empty: Any = [] if form.startswith("one") else {name: [] for name in by_field}
    rows = [
        {"image": image(0), "image_id": 1, "width": 30, "height": 20, "objects": by_field if empty != [] else each},
        {"image": image(0), "image_id": 2, "width": 30, "height": 20, "objects": empty},
    ]
    write(tmp_path / "test-00000-of-00001-ab12.parquet", rows, {"image": PICTURE, "objects": features})
    dataset = data.read(tmp_path, "test")
    assert list(dataset.schema.things or []) == ["cat", "dog"]
    things = dataset.scene(0).instances
    assert things is not None and things.boxes.tolist() == [[1, 2, 11, 7], [0, 0, 4, 4]]
    assert things.labels.tolist() == [1, 0] and things.ids.tolist() == [7, 8] and things.areas.tolist() == [50, 16]
    assert len(dataset.scene(1)) == 0
    assert data.write(dataset, tmp_path / "coco", "coco", lossy=True) is not None
    again = data.read(tmp_path / "coco").scene(0).instances
    assert again is not None and again.boxes.tolist() == things.boxes.tolist()


def test_corners_are_taken_when_said(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [{"image": image(0), "objects": {"bbox": [[5, 6, 9, 8]], "category": ["cat"]}}])
    assert data.read(tmp_path).scene(0).instances.boxes.tolist() == [[5, 6, 14, 14]]
    assert data.read(tmp_path, boxes="xyxy").scene(0).instances.boxes.tolist() == [[5, 6, 9, 8]]
    with pytest.raises(ConfigError, match="boxes must be one of xywh, xyxy; found 'yx'"):
        data.read(tmp_path, boxes="yx")


def test_what_is_broken_is_named_and_may_be_left_out(tmp_path: Path) -> None:
    objects = [
        {"bbox": [[0, 0, 4, 4]], "category": [5]},
        {"bbox": [[0, 0, 4]], "category": [0]},
        {"bbox": [[3, 3, 0, 4], [1, 1, 2, 2]], "category": [0, 1]},
    ]
    features = {"image": PICTURE, "objects": {"feature": {"category": CLASS}}}
    write(tmp_path / "a.parquet", [{"image": image(0), "objects": o} for o in objects], features)
    with pytest.raises(DataError, match="2 faults") as error:
        data.read(tmp_path)
    assert "row 0: object 0: category should be one of 2, found 5" in str(error.value)
    assert "row 1: object 0: bbox should be four numbers, found [0, 0, 4]" in str(error.value)
    kept = data.read(tmp_path, skip_broken=True)
    assert len(kept) == 1 and kept.repair_counts() == {"broken annotation, dropped": 2, "degenerate box, dropped": 1}


def test_a_picture_beside_the_table_or_nowhere(tmp_path: Path) -> None:
    write_picture(tmp_path / "there.png", np.full((4, 6, 3), 7, np.uint8))
    cells = [{"bytes": None, "path": "there.png"}, {"bytes": None, "path": "gone.png"}, {"bytes": b"x", "path": None}]
    write(tmp_path / "a.parquet", [{"image": cell, "label": "cat"} for cell in cells])
    dataset = data.read(tmp_path, format="parquet")
    assert dataset.picture(0).shape == (4, 6, 3)
    with pytest.raises(DataError, match="a/000001: has no picture, neither bytes nor a path"):
        dataset.picture(1)
    with pytest.raises(DataError, match="a/000002"):
        dataset.picture(2)


def test_other_tables_are_not_taken_and_damaged_ones_named(tmp_path: Path) -> None:
    write(tmp_path / "features.parquet", [{"picture": "a.png", "top": [1.0, 2.0]}])
    assert parquet.recognise(tmp_path) == ""
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "text.parquet").write_bytes(b"PAR1 no table at all PAR1")
    assert parquet.recognise(tmp_path) == ""
    root = classified(tmp_path / "pets")
    file = root / "data" / "validation-00000-of-00001.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:4] + b"\0" * 5 + content[-2000:])
    with pytest.raises(DataError, match=r"validation-00000-of-00001\.parquet"):
        data.read(file)[0]
    file.write_bytes(content[:4] + bytes(255 - byte for byte in content[4:300]) + content[300:])
    with pytest.raises(DataError, match=r"validation-00000-of-00001\.parquet"):
        data.read(file).picture(0)


def test_writing_is_refused(tmp_path: Path) -> None:
    dataset = data.read(classified(tmp_path / "pets"))
    with pytest.raises(DataError, match="parquet is read, not written; write folders"):
        data.write(dataset, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_without_pyarrow_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known by its last bytes, so that it is recognised where nothing can read it."""
    footer = b"\x05image\x05bytes\x04path\x05label"
    (tmp_path / "train.parquet").write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert data.find_format(tmp_path) == "parquet" and data.splits(tmp_path) == ["train"]
    with pytest.raises(ConfigError, match=r"pip install 'videre\[parquet\]'"):
        data.read(tmp_path)
