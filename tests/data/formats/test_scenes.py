"""The scenes format holds everything, and says what it cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scenes import SCHEMA, picture_and_truth

from videre.data import Dataset, find_format, read, splits, write
from videre.errors import DataError


class Everything:
    """Four pictures with all that can be true of them."""

    fields = picture_and_truth((40, 50), 0)[1].present()

    def __len__(self):
        return 4

    def name(self, i):
        return f"{i}.png"

    def path(self, i):
        return None

    def size(self, i):
        return 40, 50 + i

    def scene(self, i):
        return picture_and_truth(self.size(i), i, things=i % 3)[1]

    def picture(self, i):
        return picture_and_truth(self.size(i), i, things=i % 3)[0]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        assert write(Dataset(Everything(), SCHEMA, title="all"), tmp_path, "scenes", split) == []
    return tmp_path


def test_everything_comes_back(written: Path) -> None:
    assert find_format(written) == "scenes" and splits(written) == ["train", "val"]
    data, true = read(written, "val"), Everything()
    assert data.schema.to_json() == SCHEMA.to_json() and data.fields == true.fields and len(read(written)) == 8
    for i in range(4):
        assert (data.picture(i) == true.picture(i)).all() and data.size(i) == true.size(i)
        assert data.scene(i).to_json(SCHEMA.names) | {"meta": 0} == true.scene(i).to_json(SCHEMA.names) | {"meta": 0}


@pytest.mark.parametrize(
    ("change", "says"),
    (
        (lambda line: line[:-20], "line 2: not JSON"),
        (lambda line: json.dumps([1]), "line 2: a scene is"),
        (lambda line: line.replace('"square"', '"circle"').replace('"disc"', '"circle"'), "circle"),
        (lambda line: line.replace('"boxes"', '"bokses"'), "bokses"),
    ),
)
def test_a_line_that_cannot_be_read_is_named(written: Path, change: object, says: str) -> None:
    file = written / "val.scenes.jsonl"
    lines = file.read_text().splitlines()
    lines[1] = change(lines[1])
    file.write_text("\n".join(lines))
    with pytest.raises(DataError, match=says) as caught:
        read(written, "val")
    assert "val.scenes.jsonl, line 2" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_schema_is_named(written: Path) -> None:
    (written / "schema.json").unlink()
    with pytest.raises(DataError, match=r"there is no schema\.json"):
        read(written, "val")


def test_labels_of_another_meaning_are_not_mixed(written: Path) -> None:
    from videre.structures import Categories, Schema

    other = Dataset(Everything(), Schema(things=Categories.of(["a", "b"])), title="other")
    with pytest.raises(DataError, match="mean something else"):
        write(other, written, "scenes", "test")
