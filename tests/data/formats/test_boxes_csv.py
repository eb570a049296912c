"""Tables of boxes: the forms that people have, splits, faults, and sets that come back."""

import numpy as np
import pytest

from videre import data
from videre.data.blocks import blocks_dataset
from videre.errors import DataError
from videre.images.reading import write_picture


def make(root, table, *names, file="boxes.csv"):
    """A folder with pictures of 40 by 20 pixels and a table of these lines."""
    for name in names:
        write_picture(root / name, np.zeros((20, 40, 3), np.uint8))
    root.mkdir(exist_ok=True)
    (root / file).write_text("\n".join(table) + "\n", encoding="utf-8")
    return root


def boxes(dataset):
    """Class and corners of all things of every picture."""
    things = dataset.schema.things
    return {
        dataset.name(i): [
            (things[k], box)
            for k, box in zip(dataset.scene(i).instances.labels.tolist(), dataset.scene(i).instances.boxes.tolist())
        ]
        for i in range(len(dataset))
    }


FORMS = {
    "tensorflow": [
        "filename,width,height,class,xmin,ymin,xmax,ymax",
        "a.png,40,20,cat,1,2,11,12",
        "a.png,40,20,dog,5,5,9,9",
        "b.png,40,20,,,,,",
    ],
    "retinanet": ["a.png,1,2,11,12,cat", "a.png,5,5,9,9,dog", "b.png,,,,,"],
    "kaggle": [
        "image_id,width,height,bbox,label",
        'a,40,20,"[1.0, 2.0, 10.0, 10.0]",cat',
        'a,40,20,"[5, 5, 4, 4]",dog',
        "b,40,20,,",
    ],
    "sides": ["image;x;y;w;h;label", "a.png;1;2;10;10;cat", "a.png;5;5;4;4;dog", "b.png;;;;;"],
}


@pytest.mark.parametrize("table", FORMS.values(), ids=FORMS)
def test_every_form_says_the_same(tmp_path, table):
    make(tmp_path, table, "a.png", "b.png")
    assert data.find_format(tmp_path) == "boxes-csv" and data.find_format(tmp_path / "boxes.csv") == "boxes-csv"
    for path in (tmp_path, tmp_path / "boxes.csv"):
        found = data.read(path)
        assert boxes(found) == {"a.png": [("cat", [1, 2, 11, 12]), ("dog", [5, 5, 9, 9])], "b.png": []}
        assert found.repairs == () and found.scene(0).size == (20, 40)


def test_a_table_for_each_split_and_pictures_without_a_class(tmp_path):
    for split in ("train", "valid"):
        make(tmp_path / split, ["filename,xmin,ymin,xmax,ymax", "a.png,1,2,3,4"], "a.png", file="_annotations.csv")
    assert data.splits(tmp_path) == ["train", "valid"]
    assert boxes(data.read(tmp_path, "valid")) == {"valid/a.png": [("object", [1, 2, 3, 4])]}
    make(
        tmp_path / "one",
        ["path,split,class,x1,y1,x2,y2", "a.png,test,x,0,0,1,1", "b.png,train,y,0,0,1,2"],
        "a.png",
        "b.png",
    )
    assert data.splits(tmp_path / "one") == ["test", "train"]
    train = data.read(tmp_path / "one", "train")
    assert list(train.schema.things) == ["x", "y"] and boxes(train) == {"b.png": [("y", [0, 0, 1, 2])]}


def test_all_faults_are_listed_and_the_rest_is_read(tmp_path):
    table = [
        "filename,class,xmin,ymin,xmax,ymax",
        "a.png,cat,1,2,3,4",
        "a.png,cat,1,x,3,4",
        "a.png,,1,2,3,4",
        "a.png,cat,1,2",
        ",cat,1,2,3,4",
        "gone.png,cat,1,2,3,4",
        "b.png,cat,9,9,3,4",
    ]
    make(tmp_path, table, "a.png", "b.png")
    with pytest.raises(DataError) as caught:
        data.read(tmp_path)
    for message in (
        "4 faults",
        "line 3: xmin, ymin, xmax, ymax should be four finite numbers, found '1, x, 3, 4'",
        "line 4: has a box and no class",
        "line 5: has 4 cells where the first line has 6",
        "line 6: filename should name a picture",
    ):
        assert message in str(caught.value)
    found = data.read(tmp_path, skip_broken=True)
    assert boxes(found) == {"a.png": [("cat", [1, 2, 3, 4])], "b.png": []}
    assert found.repair_counts()["picture unreadable, dropped"] == 1
    assert found.repair_counts()["turned-over box, dropped"] == 1


def test_shares_of_the_picture_are_refused(tmp_path):
    make(tmp_path, ["path,x1,y1,x2,y2,class", "a.png,.1,.2,.3,.4,cat", "a.png,.5,.2,.9,1,cat"], "a.png")
    with pytest.raises(DataError, match="the 2 boxes have numbers between 0 and 1, and a table of boxes counts pixels"):
        data.read(tmp_path)


def test_other_tables_are_none(tmp_path):
    make(tmp_path, ["name,x,y,w,h", "motor,1,2,3,4"], "a.png", file="parts.csv")
    assert data.find_format(tmp_path) == "folders"  # of no picture that is here


def test_written_sets_come_back(tmp_path):
    blocks = blocks_dataset(3, size=(48, 64))
    with pytest.raises(DataError, match="a table of boxes cannot hold"):
        data.write(blocks, tmp_path / "out", "boxes-csv")
    data.write(blocks.subset([0, 1]), tmp_path / "out", "boxes-csv", split="train", lossy=True)
    data.write(blocks.subset([2]), tmp_path / "out", "boxes-csv", split="val", lossy=True)
    assert data.splits(tmp_path / "out") == ["train", "val"]
    train = data.read(tmp_path / "out", "train")
    for i in range(2):
        truth, found = blocks.scene(i).instances, train.scene(i).instances
        assert [train.schema.things[k] for k in found.labels.tolist()] == [
            blocks.schema.things[k] for k in truth.labels.tolist()
        ]
        assert np.allclose(found.boxes, truth.boxes, atol=1e-3)
    assert len(data.read(tmp_path / "out", "val")) == 1
