"""Data sets as sequences: formats found by looking, parts, sums, splits, hashes."""

import inspect
import shutil

import numpy as np
import pytest
import torch

from videre import data
from videre.data.flat import FlatMasks, FlatSource, Ragged, Texts
from videre.data.splits import by_folds, by_hash, by_list, by_ratio
from videre.errors import ConfigError, DataError
from videre.images.reading import write_picture
from videre.structures import Polygons, Schema

from .shared import real


@pytest.fixture
def small(tmp_path):
    """Twelve pictures of two classes, 8 and 4."""
    rng = np.random.default_rng(0)
    for n in range(12):
        picture = rng.integers(0, 255, (5, 7, 3), dtype=np.uint8)
        write_picture(tmp_path / ("ant" if n % 3 else "bee") / f"{n}.png", picture)
    return data.read(tmp_path)


def test_the_format_is_found_by_looking():
    for name, format in {
        "bccd": "voc",
        "coco_mini": "coco",
        "dsb2018": "instances",
        "hymenoptera_data": "folders",
    }.items():
        assert data.find_format(real(name)) == format


def test_every_format_can_be_told_to_go_on_without_what_is_broken(small, tmp_path):
    for name, module in data.FORMATS.items():
        assert inspect.signature(module.read).parameters["skip_broken"].default is False, name
    assert data.read(tmp_path, skip_broken=True).skip_broken and not small.skip_broken


def test_a_picture_without_a_readable_header_has_a_fingerprint_and_no_usable_truth(small, tmp_path):
    before, name = small.fingerprints(), small.name(3)
    assert len(before) == 12 and small.usable_scene(3) is not None
    (tmp_path / name).write_bytes(b"junk")
    after = data.read(tmp_path)
    assert after.usable_scene(3) is None
    assert [n for n, word in after.fingerprints().items() if word != before[n]] == [name]
    (tmp_path / name).unlink()
    assert name in after.fingerprints(), "read once"


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match="there is no such file or folder"):
        data.read(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no data set of a known format; looked for\n  Pascal VOC: .*\n  COCO: "):
        data.read(tmp_path)
    with pytest.raises(ConfigError, match=r"no format 'yolo9'; there are: voc, coco, panoptic, instances"):
        data.read(tmp_path, format="yolo9")
    with pytest.raises(DataError, match=r"looked for\n  COCO: [^\n]*$"):
        data.read(tmp_path, format="coco")


def test_two_formats_in_one_place_are_refused(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation></annotation>")
    (tmp_path / "a.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError, match=r"several formats fit \(voc: Annotations/\*.xml; coco: a\.json\); say which"):
        data.read(tmp_path)
    assert len(data.read(tmp_path, format="coco")) == 0


def test_a_truth_that_cannot_be_names_its_picture():
    turned = FlatSource(
        ["street/7.png"],
        ["7.png"],
        np.array([[4, 5]]),
        starts=np.array([0, 1]),
        columns={"boxes": np.array([[3, 0, 1, 1]], np.float32)},
    )
    with pytest.raises(DataError, match=r"^street/7\.png: instances: boxes: .* at 0 is turned over"):
        data.Dataset(turned, Schema()).scene(0)


def test_a_data_set_is_a_sequence(small):
    assert len(small) == 12 and len(list(small)) == 12
    picture, scene = small[-1]
    assert picture.shape == (5, 7, 3) and scene.meta["id"] == small.name(-1) == small.name(11)
    assert [small[2:5].name(i) for i in range(3)] == [small.name(i) for i in (2, 3, 4)]
    with pytest.raises(IndexError, match="has 12 pictures, asked for number 12"):
        small[12]
    twice = small.subset([3, 1, 2]).subset([2, 0])
    assert [twice.name(i) for i in range(2)] == [small.name(2), small.name(3)]
    assert str(twice.path(0)).endswith(small.name(2))
    assert "12 pictures, labels" in repr(small)


def test_changing_a_scene_does_not_change_the_set(small):
    small.scene(0).labels[0] = 77
    assert small.scene(0).labels.tolist() != [77]
    boxes = data.read(real("bccd"), "val")
    boxes.scene(0).instances.boxes[:] = 0
    assert float(boxes.scene(0).instances.boxes.max()) > 0


def test_sums_need_one_schema(small, tmp_path):
    both = data.Dataset.cat([small.subset([0, 1]), small.subset([5])])
    assert len(both) == 3 and both.name(2) == small.name(5) and both.scene(2).meta["id"] == small.name(5)
    write_picture(tmp_path / "o" / "cow" / "1.png", np.zeros((3, 3, 3), np.uint8))
    write_picture(tmp_path / "o" / "ant" / "1.png", np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(
        DataError, match=r"do not mean the same by their labels: pictures are \['ant', 'bee'\] and \['ant', 'cow'\]"
    ):
        data.Dataset.cat([small, data.read(tmp_path / "o")])
    twice = data.Dataset.cat([small, small])
    assert len({twice.name(i) for i in range(12)}) == 12


def test_the_hash_is_of_the_content_not_of_the_place(small, tmp_path):
    shutil.copytree(tmp_path, tmp_path.parent / "moved", dirs_exist_ok=True)
    moved = data.read(tmp_path.parent / "moved")
    assert moved.content_hash() == small.content_hash() != small.subset(range(11)).content_hash()
    path = moved.path(0)
    write_picture(path, np.zeros((5, 7, 3), np.uint8))
    assert data.read(tmp_path.parent / "moved").content_hash() != small.content_hash()
    coco = real("coco_mini") / "annotations" / "instances_val2017.json"
    assert data.read(coco).content_hash() == data.read(coco).content_hash()


def test_lists_name_pictures_with_or_without_suffix(small, tmp_path):
    (tmp_path / "mine.txt").write_text("5\nbee/3.png\n10.png\n\n")
    assert [data.read(tmp_path, "mine").name(i) for i in range(3)] == ["ant/5.png", "bee/3.png", "ant/10.png"]
    (tmp_path / "bad.txt").write_text("5\nnone\n")
    with pytest.raises(DataError, match=r"bad\.txt: 1 of 2 lines do not name one picture of .*: \['none'\]"):
        by_list(small, tmp_path / "bad.txt")


def test_ratios_cut_every_class(small):
    parts = by_ratio(small, {"train": 0.5, "val": 0.25, "test": 0.25}, seed=3)
    assert {name: len(part) for name, part in parts.items()} == {"train": 6, "val": 3, "test": 3}
    assert sorted(p.name(i) for p in parts.values() for i in range(len(p))) == sorted(small.name(i) for i in range(12))
    for part in parts.values():
        assert {int(part.scene(i).labels) for i in range(len(part))} == {0, 1}
    again = by_ratio(small, {"train": 0.5, "val": 0.25, "test": 0.25}, seed=3)
    assert again["val"].name(0) == parts["val"].name(0)
    with pytest.raises(ConfigError, match="sum to 1"):
        by_ratio(small, {"train": 0.5})


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_folds_hold_every_picture_out_once(small, count):
    folds = by_folds(small, count, seed=1)
    names = lambda part: [part.name(i) for i in range(len(part))]
    assert sorted(n for _, held in folds for n in names(held)) == sorted(names(small))
    for train, held in folds:
        assert sorted(names(train) + names(held)) == sorted(names(small))
        assert len(held) in (12 // count, -(-12 // count))
        for label, total in ((0, 8), (1, 4)):
            of_class = sum(int(held.scene(i).labels) == label for i in range(len(held)))
            assert of_class in (total // count, -(-total // count))
    assert [names(held) for _, held in by_folds(small, count, seed=1)] == [names(held) for _, held in folds]
    assert [names(held) for _, held in by_folds(small, count, seed=2)] != [names(held) for _, held in folds]


@pytest.mark.parametrize("count", [0, 1, 13])
def test_folds_that_cannot_be(small, count):
    with pytest.raises(ConfigError, match=rf"folds must lie in 2\.\.12, the number of pictures; found {count}"):
        by_folds(small, count)


def test_hashes_decide_alone_and_keep_copies_together(small, tmp_path):
    ratios = {"train": 0.6, "val": 0.4}
    of = lambda d: {d_.name(i): part for part, d_ in by_hash(d, ratios).items() for i in range(len(d_))}
    whole = of(small)
    assert of(small.subset([4, 7])) == {small.name(i): whole[small.name(i)] for i in (4, 7)}
    shutil.copy(small.path(0), tmp_path / "bee" / "copy.png")
    again = of(data.read(tmp_path))
    assert again["bee/copy.png"] == whole[small.name(0)]
    large = data.read(real("bccd"))
    assert abs(len(by_hash(large, ratios)["train"]) / len(large) - 0.6) < 0.1


def test_flat_arrays_give_back_what_went_in():
    rows = Ragged.of([[1, 2], [], [3]], np.int64)
    assert [rows[i].tolist() for i in range(3)] == [[1, 2], [], [3]]
    texts = Texts([["a", "größer, ↗"], [], ["", "b"]])
    assert [texts[i] for i in range(3)] == [("a", "größer, ↗"), (), ("", "b")]
    square = np.array([[1.0, 1], [4, 1], [4, 4], [1, 4]])
    hole = np.array([[2.0, 2], [3, 2], [3, 3], [2, 3]])
    run = np.array([12, 1, 12])
    masks = FlatMasks([run, Polygons((square,), (hole,)), Polygons((square, square + 0.5)), run])
    bitmaps = masks.rows(0, 4, (5, 5)).bitmaps()
    assert [int(b.sum()) for b in bitmaps][::3] == [1, 1] and bitmaps[1].sum() == 8
    only = masks.rows(1, 3, (5, 5))
    assert only.form == "polygons" and len(only.polygons()[0].holes) == 1
    assert torch.equal(only.bitmaps(), bitmaps[1:3]) and masks.rows(3, 4, (5, 5)).form == "rle"
    assert len(masks.rows(2, 2, (5, 5))) == 0
