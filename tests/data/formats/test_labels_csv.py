"""Tables of picture labels: both forms, splits, what is merged, what is refused, and sets that come back."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videre import data
from videre.data.flat import FlatSource, Ragged
from videre.errors import DataError
from videre.images.reading import write_picture
from videre.structures import Categories, Schema

from ..shared import real


def make(root, table, *names, file="labels.csv"):
    """A folder with pictures of these names and a table of these lines."""
    for name in names:
        write_picture(root / name, np.zeros((4, 6, 3), np.uint8))
    root.mkdir(exist_ok=True)
    (root / file).write_text("\n".join(table) + "\n", encoding="utf-8")
    return root


def labels(dataset):
    """Class names of every picture."""
    names = dataset.schema.pictures
    return {dataset.name(i): [names[n] for n in dataset.scene(i).labels.tolist()] for i in range(len(dataset))}


def test_words_in_a_column(tmp_path):
    make(
        tmp_path,
        ["path,label", "a.png,cat", "deep/b.png,dog;cat", "c.png,", 'd.png," ant | cat "'],
        "a.png",
        "deep/b.png",
        "c.png",
        "d.png",
    )
    dataset = data.read(tmp_path)
    assert data.find_format(tmp_path) == "csv" and data.splits(tmp_path) == []
    assert dataset.schema.pictures.names == ("ant", "cat", "dog") and dataset.fields == {"labels"}
    assert labels(dataset) == {"a.png": ["cat"], "deep/b.png": ["cat", "dog"], "c.png": [], "d.png": ["ant", "cat"]}
    assert dataset.scene(0).size == (4, 6) and dataset.picture(1).shape == (4, 6, 3)
    assert labels(data.read(tmp_path / "labels.csv")) == labels(dataset)


def test_columns_of_0_and_1(tmp_path):
    make(
        tmp_path,
        ["image,dog,cat,split", "a,1,0,train", "b,0.0,1.0,val", "c,1,1,train", "d,0,0,"],
        "train/a.png",
        "b.jpg",
        "c.png",
        "d.png",
    )
    assert data.splits(tmp_path) == ["train", "val"]
    assert labels(data.read(tmp_path)) == {
        "train/a.png": ["dog"],
        "b.jpg": ["cat"],
        "c.png": ["cat", "dog"],
        "d.png": [],
    }
    val = data.read(tmp_path, "val")
    assert val.schema.pictures.names == ("cat", "dog") and labels(val) == {"b.jpg": ["cat"]}


def test_tables_called_like_splits_are_splits(tmp_path):
    make(tmp_path, ["file,class", "a.png,cat"], "a.png", file="train.csv")
    assert data.splits(tmp_path) == ["train"]
    make(tmp_path, ["file,class", "b.png,ant"], "b.png", file="val.csv")
    (tmp_path / "notes.csv").write_text("day,weather\nMonday,rain\n")  # somebody else's
    assert data.splits(tmp_path) == ["train", "val"]
    val = data.read(tmp_path, "val")
    assert labels(val) == {"b.png": ["ant"]} and val.schema.pictures.names == ("ant", "cat")
    assert labels(data.read(tmp_path)) == {"a.png": ["cat"], "b.png": ["ant"]}
    make(tmp_path, ["file,class", "b.png,ant"], file="more.csv")
    with pytest.raises(DataError, match=r"has several tables, more\.csv, train\.csv, val\.csv, not all of"):
        data.read(tmp_path)
    assert len(data.read(tmp_path / "more.csv")) == 1


def test_a_row_for_each_label_adds_up(tmp_path):
    make(tmp_path, ["name,label", "a,cat", "b,ant", "a.png,dog", "./a.png,cat"], "a.png", "b.png")
    assert labels(data.read(tmp_path)) == {"a.png": ["cat", "dog"], "b.png": ["ant"]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n"], ids=["plain", "mark", "blank"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_spreadsheets_write_many_dialects(tmp_path, delimiter, start, end):
    rows = [["path", "a, small; thing", "b"], ["x.png", "1", "0"], [], ["y.png", "1", "1"]]
    text = end.join(delimiter.join(f'"{c}"' if " " in c else c for c in row) for row in rows)
    make(tmp_path, [], "x.png", "y.png")
    (tmp_path / "labels.csv").write_bytes((start + text).encode())
    assert labels(data.read(tmp_path)) == {"x.png": ["a, small; thing"], "y.png": ["a, small; thing", "b"]}


def test_semicolons_separate_columns_or_labels(tmp_path):
    make(tmp_path, ["path;label", 'a.png;"cat;dog"', "b.png;cat|dog"], "a.png", "b.png")
    assert labels(data.read(tmp_path)) == {"a.png": ["cat", "dog"], "b.png": ["cat", "dog"]}


def test_a_picture_that_is_missing_is_left_out_and_told(tmp_path):
    make(tmp_path, ["path,label", "a.png,cat", "gone.png,dog", "b.png,dog"], "a.png", "b.png")
    dataset = data.read(tmp_path)
    assert labels(dataset) == {"a.png": ["cat"], "b.png": ["dog"]}
    (repair,) = dataset.repairs
    assert str(repair).startswith("gone.png, annotation labels.csv:3: picture unreadable ")
    assert repair.found == f"no picture 'gone.png' in {tmp_path}, or below" and repair.action == "dropped"
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.png").unlink()
    with pytest.raises(DataError, match=r"labels\.csv, line 2: .*a\.png: there is no such picture, nor is any other"):
        data.read(tmp_path / "labels.csv")


REFUSED = {
    "empty": ([], "labels.csv: the file is empty; its first line should name the columns"),
    "no rows": (["path,label"], "labels.csv: names no picture"),
    "no path": (
        ["url,label", "a,cat"],
        "no column holds the picture's path; .* path, file, .*found columns url, label",
    ),
    "no header": (["a.png,cat"], r"no column holds the picture's path; .* found columns a\.png, cat"),
    "no label": (["path,split", "a,train"], "no column holds labels; .* label, labels, .*found columns path, split"),
    "two labels": (["path,label,class", "a,b,c"], "columns label and class could both be the label; leave one"),
    "two of a name": (["path,cat,cat", "a,1,0"], "the first line names column 'cat' twice"),
    "no name": (["path,cat,", "a,1,0", "b,0,0"], "column 3 has no name; name its class, or remove it"),
    "boxes": (["filename,class,xmin,xmax", "a,cat,1,2"], "column xmin says that its labels are of boxes"),
    "neither 0 nor 1": (
        ["path,cat,dog", "a,1,0", "a,0.5,1"],
        r"labels\.csv, line 3: cat should be 0 or 1, found '0\.5'",
    ),
    "no number": (["path,cat,author", "a,1,Ann"], "line 2: author should be 0 or 1, found 'Ann'; .* labels label"),
    "too many": (["path,label", "a,cat", "b,cat,dog"], "line 3: has 3 cells where the first line names 2 columns"),
    "too few": (["path,label", "a"], "line 2: has 1 cells where the first line names 2 columns"),
    "nobody": (["path,label", ",cat"], "line 2: path is empty; name the picture, or remove the line"),
    "several": (["path,label", "b,cat"], r"line 2: 'b' may be b\.jpg or b\.png or deep/b\.png; write the path"),
    "two splits": (
        ["path,label,split", "a,cat,train", "", "a,cat,val"],
        "line 4: a is in split 'val', and on line 2 in 'train'; leave one",
    ),
    "quotes": (["path,label", '"a" b,cat'], "line 2: .*expected after.*; correct it"),
}


@pytest.mark.parametrize(("table", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path, table, message):
    make(tmp_path, table, "a.png", "b.png", "b.jpg", "deep/b.png")
    if not table:
        (tmp_path / "labels.csv").write_text("")
    with pytest.raises(DataError, match=message) as raised:
        data.read(tmp_path / "labels.csv")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings_of_spreadsheets(tmp_path, encoding):
    make(tmp_path, [], "a.png")
    (tmp_path / "labels.csv").write_bytes("path,label\r\na.png,größer\r\n".encode(encoding))
    assert labels(data.read(tmp_path)) == {"a.png": ["größer"]}


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"path,label\na.png,\x81\0\n")
    with pytest.raises(DataError, match=r"labels\.csv: not a text in utf-8 \(byte 17 is 0x81\); save it as UTF-8"):
        data.read(tmp_path / "labels.csv")


def test_tables_of_spreadsheets_and_competitions(tmp_path):
    make(tmp_path, ["id,breed", "0,terrier", "1,collie"], "0000.png", "0001.png")  # zeros lost, no column called label
    assert labels(data.read(tmp_path)) == {"0000.png": ["terrier"], "0001.png": ["collie"]}
    make(tmp_path, [",filename,red,blue", "0,0000.png,1,0", "1,0001.png,0,1"])  # row numbers
    assert labels(data.read(tmp_path)) == {"0000.png": ["red"], "0001.png": ["blue"]}
    make(tmp_path, ["path,label", "C:\\x\\0000.PNG,1.0", "/y/0001.png,0.0"])
    assert labels(data.read(tmp_path)) == {"0000.png": ["1"], "0001.png": ["0"]}
    make(tmp_path, ["path,cat", "0000.png,1", "0001.png,0"])  # a class in its column
    assert labels(data.read(tmp_path)) == {"0000.png": ["cat"], "0001.png": []}


def test_other_tables_beside_pictures_are_not_taken_for_labels(tmp_path):
    for file, table in {
        "map.csv": ["name,id", "cat,0", "dog,1"],
        "sizes.csv": ["path,width,height", "a.png,6,4"],
        "long.csv": ["name,label", "x" * 5000 + ",cat"],
        "binary.csv": ["\0\0"],
    }.items():
        make(tmp_path, table, "a.png", file=file)
    assert data.find_format(tmp_path) == "folders"
    assert data.read(tmp_path, format="folders").fields == frozenset()
    with pytest.raises(
        DataError, match=r"no labels that can be read, yet 4 \.csv lie here \(as .*\.csv: .*format folders"
    ):
        data.read(tmp_path)


# writing ----------------------------------------------------------------------------------------------------------------

NAMES = st.lists(
    st.text(min_size=1, max_size=8).filter(lambda n: n == n.strip() and n and not set(n) & set(";|")),
    min_size=1,
    max_size=4,
    unique=True,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), NAMES)
def test_written_sets_come_back(tmp_path_factory, draw, names):
    root, out = tmp_path_factory.mktemp("in"), tmp_path_factory.mktemp("out")
    names = tuple(sorted(names))
    parts = {}
    for split in ("train", "fold1-val"):
        rows = draw.draw(st.lists(st.sets(st.integers(0, len(names) - 1)), min_size=1, max_size=3))
        files = [f"{split}-{i}.png" for i in range(len(rows))]
        for file in files:
            write_picture(root / file, np.zeros((2, 3, 3), np.uint8))
        source = FlatSource([str(root / f) for f in files], files, labels=Ragged.of(map(sorted, rows), np.int64))
        parts[split] = data.Dataset(source, Schema(pictures=Categories(names)), title=split)
        for _ in range(2):  # writing a part anew replaces its rows
            assert data.write(parts[split], out, "csv", split=split) == []
    assert data.splits(out) == sorted(parts)
    for split, part in parts.items():
        expected = {f"{split}/{name}": of for name, of in labels(part).items()}
        assert labels(data.read(out, split)) == expected
    seen = {name for part in parts.values() for of in labels(part).values() for name in of}
    assert data.read(out).schema.pictures.names == tuple(sorted(seen))
    assert len(data.read(out)) == sum(map(len, parts.values()))


def test_what_a_table_cannot_hold_is_refused(tmp_path):
    make(tmp_path / "in", [], "a;b/1.png", "c/2.png")
    (tmp_path / "in" / "labels.csv").unlink()
    with pytest.raises(DataError, match=r"class 'a;b' cannot be written into a table, where ; and \| separate"):
        data.write(data.read(tmp_path / "in"), tmp_path / "no", "csv")
    with pytest.raises(DataError, match=r"a table of labels cannot hold boxes, ignore, instances\.labels of bccd val"):
        data.write(data.read(real("bccd"), "val"), tmp_path / "no", "csv")
    assert not (tmp_path / "no").exists()
    make(tmp_path / "out", ["path,label,photographer", "x.png,cat,Ann"])
    (tmp_path / "in" / "a;b").rename(tmp_path / "in" / "ab")
    with pytest.raises(
        DataError, match=re.escape("labels.csv: is there already, with other columns than path,labels,split")
    ):
        data.write(data.read(tmp_path / "in"), tmp_path / "out", "csv")


def test_a_table_in_each_folder_of_a_split(tmp_path):
    make(tmp_path / "train", ["filename, cat, dog", "a.png,1,0", "b.png,1,1"], "a.png", "b.png", file="_classes.csv")
    make(tmp_path / "valid", ["filename, cat, dog", "a.png,0,1"], "a.png", file="_classes.csv")
    assert data.find_format(tmp_path) == "csv" and data.splits(tmp_path) == ["train", "valid"]
    assert labels(data.read(tmp_path)) == {
        "train/a.png": ["cat"],
        "train/b.png": ["cat", "dog"],
        "valid/a.png": ["dog"],
    }
    assert labels(data.read(tmp_path, "valid")) == {"valid/a.png": ["dog"]}
