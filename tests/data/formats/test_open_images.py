"""Open Images' tables: fractions to pixels, worked by hand; ids to names; what is left out, refused, written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre import data
from videre.data.dataset import Dataset
from videre.data.flat import FlatSource, Ragged
from videre.data.formats import labels_csv
from videre.errors import DataError
from videre.images.reading import write_picture
from videre.structures import Categories, Schema

HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
ROWS = [
    "a,xclick,/m/02,1,0.1,0.5,0.25,0.75,0,0,0,0,0",
    "b,xclick,/m/01,1,0,1,0,0.5,1,0,1,0,0",
    "a,activemil,/m/01,1,0.2,0.4,0,1,-1,-1,-1,-1,-1",
]
CLASSES = "/m/02,Tree\n/m/01,Cat\n"
LABELS = "ImageID,Source,LabelName,Confidence\na,verification,/m/01,1\na,verification,/m/02,0\nc,machine,/m/02,0.7\n"


def put(folder: Path, rows: list[str], split: str = "train", header: str = HEADER, end: str = "\n") -> Path:
    for name in "abc":
        write_picture(folder / split / f"{name}.png", np.zeros((8, 10, 3), np.uint8))
    (folder / f"{split}-annotations-bbox.csv").write_bytes(end.join([header, *rows, ""]).encode())
    (folder / "class-descriptions-boxable.csv").write_bytes(CLASSES.replace("\n", end).encode())
    return folder


def test_fractions_become_pixels(tmp_path: Path) -> None:
    found = data.read(put(tmp_path, ROWS), "train")
    assert data.find_format(tmp_path) == "open-images" and data.splits(tmp_path) == ["train"]
    assert list(found.schema.things) == ["Tree", "Cat"] and [found.name(i) for i in range(2)] == ["train/a", "train/b"]
    one, two = found.scene(0), found.scene(1)
    assert torch.allclose(one.instances.boxes, torch.tensor([[1.0, 2, 5, 6], [2, 0, 4, 8]]))
    assert one.instances.labels.tolist() == [0, 1] and one.instances.ignore.tolist() == [False, False]
    assert two.instances.boxes.tolist() == [[0, 0, 10, 4]] and two.instances.ignore.tolist() == [True]
    assert one.meta["id"] == "a" and one.size == (8, 10) and found.fields == {"boxes", "instances.labels", "ignore"}


def test_labels_of_pictures_are_those_that_were_verified(tmp_path: Path) -> None:
    put(tmp_path, ROWS)
    (tmp_path / "train-annotations-human-imagelabels-boxable.csv").write_text(LABELS)
    found = data.read(tmp_path)
    assert list(found.schema.pictures) == ["Tree", "Cat"] and len(found) == 3
    assert [found.scene(i).labels.tolist() for i in range(3)] == [[1], [], []]


def test_splits_by_the_names_of_tables_and_places_of_pictures(tmp_path: Path) -> None:
    put(tmp_path / "x", ROWS)
    put(tmp_path / "x", ROWS[1:2], "validation")
    assert data.splits(tmp_path / "x") == ["train", "validation"]
    part = data.read(tmp_path / "x", "validation")
    assert len(part) == 1 and part.path(0) == tmp_path / "x/validation/b.png"
    assert [data.read(tmp_path / "x").name(i) for i in range(3)] == ["train/a", "train/b", "validation/b"]
    root = put(tmp_path / "y", ROWS)
    (root / "metadata").mkdir()
    (root / "train-annotations-bbox.csv").rename(root / "metadata" / "oidv6-train-annotations-bbox.csv")
    (root / "train").rename(root / "images")
    assert data.splits(root) == ["train"] and data.read(root).path(0) == root / "images" / "a.png"
    table = root / "metadata" / "oidv6-train-annotations-bbox.csv"
    assert data.find_format(table) == "open-images" and len(data.read(table)) == 2


def test_without_descriptions_ids_are_names_and_equal_names_are_told_apart(tmp_path: Path) -> None:
    put(tmp_path, ROWS)
    (tmp_path / "class-descriptions-boxable.csv").write_text("LabelName,DisplayName\n/m/01,Cat\n/m/02,Cat\n/m/03,Dog\n")
    assert list(data.read(tmp_path).schema.things) == ["Cat (/m/01)", "Cat (/m/02)", "Dog"]
    (tmp_path / "class-descriptions-boxable.csv").unlink()
    assert list(data.read(tmp_path).schema.things) == ["/m/01", "/m/02"]


def test_lost_pictures_are_counted_and_none_at_all_is_told(tmp_path: Path) -> None:
    put(tmp_path, [*ROWS, ROWS[0].replace("a", "gone", 1)])
    found = data.read(tmp_path)
    assert [(r.kind, r.picture) for r in found.repairs] == [("picture unreadable", "train/gone")]
    for name in "abc":
        (tmp_path / "train" / f"{name}.png").unlink()
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/train-annotations-bbox.csv: no picture 'a.jpg' in {tmp_path}/train or {tmp_path}, or below, nor any "
        "other of the 3 that it names; put the pictures there"
    )


def test_degenerate_boxes_are_dropped_and_counted(tmp_path: Path) -> None:
    found = data.read(put(tmp_path, [ROWS[0], ROWS[0].replace("0.5,", "0.1,"), ROWS[0].replace("0.1,", "-0.1,")]))
    assert found.repair_counts() == {"box without area, dropped": 1, "box outside the picture, clipped": 1}
    assert found.repairs[0].annotation == "line 3" and len(found.scene(0)) == 2


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_and_line_ends(tmp_path: Path, mark: bytes, end: str) -> None:
    put(tmp_path, ROWS, end=end)
    for table in tmp_path.glob("*.csv"):
        table.write_bytes(mark + table.read_bytes())
    assert data.find_format(tmp_path) == "open-images" and list(data.read(tmp_path).schema.things) == ["Tree", "Cat"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROWS[0].replace("0.1", "x"), "XMin should be a finite number, found 'x'; correct the file"),
        (ROWS[0].replace("0.75", "nan"), "YMax should be a finite number, found 'nan'; correct the file"),
        (ROWS[0].replace("0.75", ""), "YMax should be a finite number, found ''; correct the file"),
        (ROWS[0].replace("0.25", "1e99"), "YMin should be a finite number, found '1e99'; correct the file"),
        (
            ROWS[0].replace("/m/02", "/m/9"),
            "LabelName should be the id of a class in the class descriptions, found '/m/9'; add it, or take the row out",
        ),
        (ROWS[0].replace("a,", ",", 1), "ImageID should be the name of a picture, but it is missing; correct the file"),
        ("a,x,/m/02,1,0.1", "has fewer cells than the first line has names; correct the file"),
    ],
)
def test_spoiled_rows_are_told(tmp_path: Path, row: str, message: str) -> None:
    put(tmp_path, [ROWS[1], row])
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    told = f"{tmp_path}/train-annotations-bbox.csv: line 3: {message}"
    assert str(error.value) == f"{told} (or go on without it: --skip-broken, skip_broken=True)"
    found = data.read(tmp_path, skip_broken=True)
    assert found.repair_counts() == {"broken annotation, dropped": 1} and len(found) == 1


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    put(tmp_path, [ROWS[0].replace("0.1", "x").replace("0.5", "y"), ROWS[0].replace("/m/02", "?")])
    put(tmp_path, [ROWS[0].replace("0.1", "z")], "test")
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    assert str(error.value).startswith("4 faults; ") and "test-annotations-bbox.csv: line 2: XMin" in str(error.value)


def test_bad_tables_are_told(tmp_path: Path) -> None:
    table = put(tmp_path, [], header=HEADER.replace("XMin", "Left")) / "train-annotations-bbox.csv"
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    assert str(error.value) == (
        f"{table}: the first line should name ImageID, LabelName, XMin, XMax, YMin, YMax, IsGroupOf; XMin is missing, found "
        + HEADER.replace("XMin", "Left").replace(",", ", ")
    )
    put(tmp_path, [])
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    assert str(error.value) == f"{table}: names no picture; a row has an ImageID and a LabelName"
    put(tmp_path, ROWS)
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/01\n")
    with pytest.raises(DataError, match="a line should be the id and the name of a class, found '/m/01'"):
        data.read(tmp_path)


def test_old_line_ends_and_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    table = put(tmp_path, ROWS) / "train-annotations-bbox.csv"
    text = table.read_bytes()
    table.write_bytes(text.replace(b"\n", b"\r"))
    assert data.find_format(tmp_path) == "open-images" and len(data.read(tmp_path)) == 2
    table.write_bytes(text.replace(b"xclick", b"xcl\xffick"))
    with pytest.raises(
        DataError, match=r"train-annotations-bbox.csv: not a table in utf-8 \('utf-8' codec can't decode byte"
    ):
        data.read(tmp_path)


def test_one_of_several_tables_may_be_broken(tmp_path: Path) -> None:
    put(tmp_path, ROWS)
    put(tmp_path, ROWS, "test", HEADER.replace("XMin", "Left"))
    with pytest.raises(DataError, match=r"test-annotations-bbox.csv: the first line should name .*--skip-broken"):
        data.read(tmp_path)
    assert len(data.read(tmp_path, skip_broken=True)) == 2


def test_a_table_of_labels_is_another_format(tmp_path: Path) -> None:
    table = put(tmp_path, ROWS) / "train-annotations-bbox.csv"
    assert labels_csv.recognise(table) == "" == labels_csv.recognise(tmp_path)
    write_picture(tmp_path / "csv" / "a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "csv" / "labels.csv").write_text("path,label\na.png,cat\n")
    assert data.find_format(tmp_path / "csv") == data.find_format(tmp_path / "csv" / "labels.csv") == "csv"


# writing --------------------------------------------------------------------------------------------------------------

spans = st.integers(0, 6).flatmap(lambda a: st.floats(a + 0.5, 8, width=32).map(lambda b: (float(a), b)))


def make(folder: Path, boxes: Any, ignore: Any, **more: Any) -> Dataset:
    for name in ("p.png", "empty.png"):
        write_picture(folder / name, np.zeros((8, 10, 3), np.uint8))
    columns = {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.arange(len(boxes)) % 2,
        "ignore": np.array(ignore, bool),
        **more,
    }
    source = FlatSource(
        [str(folder / name) for name in ("p.png", "empty.png")],
        ["p.png", "empty.png"],
        np.array([[8, 10], [8, 10]]),
        starts=np.array([0, len(boxes), len(boxes)]),
        columns=columns,
        labels=Ragged.of([[1, 0], []], np.int64),
    )
    names = Categories.of(["dark", "light, or so"])
    return Dataset(source, Schema(things=Categories.of(["cup", "mug"]), pictures=names))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(spans, spans, st.booleans()), max_size=4))
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, found: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("oi")
    (folder / "in").mkdir()
    before = make(folder / "in", [[x1, y1, x2, y2] for (x1, x2), (y1, y2), _ in found], [g for _, _, g in found])
    assert data.write(before, folder / "out", "open-images") == []
    after = data.read(folder / "out", "train")
    assert after.schema == before.schema and after.fields == before.fields and not after.repairs and len(after) == 2
    of = {after.name(i): after.scene(i) for i in range(2)}
    one, two = before.scene(0), of["train/p"]
    assert torch.equal(one.instances.boxes, two.instances.boxes) and torch.equal(
        one.instances.labels, two.instances.labels
    )
    assert torch.equal(one.instances.ignore, two.instances.ignore) and two.labels.tolist() == [0, 1]
    assert len(of["train/empty"]) == 0 and of["train/empty"].labels.tolist() == []


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    before = make(tmp_path, [[0, 0, 4, 4]], [True], visibility=np.zeros((1, 2), np.uint8))
    with pytest.raises(DataError, match="Open Images cannot hold visibility"):
        data.write(before, tmp_path / "out", "open-images")
    assert data.write(before, tmp_path / "out", "open-images", lossy=True) == ["visibility"]
    before.schema = before.schema.replace(things=Categories.of(["a", "b"]))
    with pytest.raises(DataError, match="is there already, with other classes; name a new folder"):
        data.write(before, tmp_path / "out", "open-images", "val", lossy=True)
