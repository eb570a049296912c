"""COCO: what pycocotools sees in a file is what the scenes hold, and what is written is read by it."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from videre import data
from videre.data.audit import check
from videre.data.flat import FlatSource
from videre.data.formats.coco_results import read_results, write_results
from videre.data.splits import by_list
from videre.errors import DataError
from videre.images.reading import picture_size, write_picture
from videre.structures import COCO_PERSON, Categories, Masks, Schema

from ..shared import real


def make(root, annotations, categories=None, name="instances_train.json", **image):
    (root / "annotations").mkdir(exist_ok=True)
    images = [{"id": 7, "file_name": "a.png", "height": 20, "width": 30} | image]
    categories = categories or [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 3, "name": "cat"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / name).write_text(json.dumps(content))
    write_picture(root / "train" / "a.png", np.zeros((20, 30, 3), np.uint8))


def box(identity, category, xywh, **more):
    return {"id": identity, "image_id": 7, "category_id": category, "bbox": xywh, "iscrowd": 0} | more


def test_boxes_categories_and_ids(tmp_path):
    make(tmp_path, [box(5, 3, [1.5, 2, 10, 4], area=33.5), box(9, 18, [0, 0, 30, 20], iscrowd=1, area=1)])
    dataset = data.read(tmp_path, "train")
    things, scene = dataset.schema.things, dataset.scene(0)
    assert (things.names, things.source_ids, things.supercategories) == (("dog", "cat"), (18, 3), ("animal", ""))
    assert scene.instances.boxes.tolist() == [[1.5, 2, 11.5, 6], [0, 0, 30, 20]]
    assert scene.instances.labels.tolist() == [1, 0]
    assert scene.instances.ids.tolist() == [5, 9]
    assert scene.instances.ignore.tolist() == [False, True]
    assert scene.instances.areas.tolist() == [33.5, 1]
    assert scene.meta["id"] == 7
    assert scene.instances.masks is None and not scene.has("masks")
    assert dataset[0][0].shape == (20, 30, 3)


def test_polygons_holes_of_runs_and_crowds_equal_pycocotools(tmp_path):
    square = [2, 2, 9, 2, 9, 9, 2, 9]
    run = {"size": [20, 30], "counts": [45, 5, 15, 5, 530]}
    make(
        tmp_path,
        [
            box(1, 3, [2, 2, 7, 7], segmentation=[square, [12, 3, 20, 5, 14.3, 11.1]]),
            box(2, 3, [2, 5, 2, 5], segmentation=run, iscrowd=1),
            box(3, 18, [2, 2, 7, 7], segmentation=[square]),
        ],
    )
    judge = COCO(tmp_path / "annotations" / "instances_train.json")
    masks = data.read(tmp_path).scene(0).instances.masks.bitmaps().numpy()
    for mask, identity in zip(masks, (1, 2, 3)):
        assert np.array_equal(mask, judge.annToMask(judge.anns[identity]))


def test_keypoints_get_a_skeleton_that_can_be_mirrored(tmp_path):
    category = {"id": 1, "name": "fish", "keypoints": ["nose", "left_fin", "right_fin"], "skeleton": [[1, 2], [1, 3]]}
    make(tmp_path, [box(1, 1, [0, 0, 9, 9], keypoints=[3, 4, 2, 5, 6, 1, 0, 0, 0])], [category])
    dataset = data.read(tmp_path)
    skeleton, things = dataset.schema.skeleton, dataset.scene(0).instances
    assert skeleton.edges == ((0, 1), (0, 2)) and skeleton.flip_pairs == ((1, 2),)
    assert things.keypoints.tolist() == [[[3.5, 4.5], [5.5, 6.5], [0, 0]]]
    assert things.visibility.tolist() == [[2, 1, 0]]


def test_what_is_wrong_is_named_with_its_ids(tmp_path):
    good = box(1, 3, [1, 1, 4, 4])
    cases = [
        ([good | {"category_id": 99}], r"annotations of categories \[99\] that are not listed"),
        ([good | {"image_id": 8}], r"annotations of 1 images that are not listed under images: \[8\]"),
        ([good | {"bbox": [1, 2, 3]}], r"annotation 1: bbox should be \[x, y, width, height\], found \[1, 2, 3\]"),
        ([good | {"segmentation": {"size": [20, 30], "counts": [3, 4]}}], r"\(a\.png\), annotation 1: .*sum to 7"),
        ([good | {"segmentation": [[1, 2, 3]]}], r"image 7 \(a\.png\), annotation 1"),
    ]
    for annotations, message in cases:
        make(tmp_path, annotations)
        with pytest.raises(DataError, match=message):
            data.read(tmp_path)
    twins = [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]
    make(tmp_path, [box(n, n, [1, 1, 4, 4]) for n in (1, 2)], twins)
    with pytest.raises(DataError, match=r"categories 1 and 2: are both called 'a', and both have annotations"):
        data.read(tmp_path)
    make(tmp_path, [box(1, 2, [1, 1, 4, 4])], twins)
    dataset = data.read(tmp_path)
    assert dataset.schema.things.source_ids == (2,)
    assert dataset.repair_counts() == {"category called like another, without annotations, left out": 1}
    (tmp_path / "annotations" / "instances_train.json").write_text('{"images": [], "annotations": [')
    with pytest.raises(DataError, match=r"not a JSON file"):
        data.read(tmp_path)


FIELDS = [
    ("images", "file_name", None, "image 7: file_name should be text, but it is missing; correct the file"),
    ("images", "id", None, "image at place 0: id should be a number or text, but it is missing"),
    ("images", "id", [7], r"image at place 0: id should be a number or text, found \[7\]"),
    ("images", "width", "wide", "image 7: width should be a number of pixels, found 'wide'"),
    ("annotations", "image_id", None, "annotation 1: image_id should be a number or text, but it is missing"),
    ("annotations", "category_id", None, "annotation 1: category_id should be a number or text, but it is missing"),
    ("annotations", "bbox", [1, "two", 3, 4], r"annotation 1: bbox should be .*, found \[1, 'two', 3, 4\]"),
    ("annotations", "bbox", 5, "annotation 1: bbox should be .*, found 5"),
    ("annotations", "area", "large", "annotation 1: area should be a finite number, found 'large'"),
    ("annotations", "area", float("nan"), "annotation 1: area should be a finite number, found nan"),
    (
        "annotations",
        "keypoints",
        [1, 2, "seen"],
        r"annotation 1: keypoints should be 3 finite numbers .*, found \[1, 2, 'seen'\]",
    ),
    (
        "annotations",
        "keypoints",
        [1, 2, 3],
        r"annotation 1: keypoints should be .*visibility 0, 1 or 2.*, found \[1, 2, 3\]",
    ),
    (
        "annotations",
        "segmentation",
        [[1, 2, float("nan"), 4, 5, 6]],
        r"image 7 \(a\.png\), annotation 1: segmentation: part 0: points must be finite, found \[nan, 4\.0\]",
    ),
    (
        "annotations",
        "segmentation",
        {"size": [20, 30], "counts": [None]},
        r"image 7 \(a\.png\), annotation 1: segmentation",
    ),
    ("categories", "name", None, "category 3: name should be text, found None; name it"),
    ("categories", "id", None, "category at place 0: id should be a number or text, but it is missing"),
    ("categories", "keypoints", [1], r"category 3: keypoints should be a list of names, found \[1\]"),
    ("categories", "skeleton", [["nose", "nose"]], "category 3: skeleton should be pairs of numbers, found"),
]


@pytest.mark.parametrize(("section", "field", "value", "message"), FIELDS)
def test_a_missing_or_wrong_field_is_named_with_file_row_and_value(tmp_path, section, field, value, message):
    make(tmp_path, [box(1, 3, [1, 1, 4, 4], keypoints=[1, 2, 2])], [{"id": 3, "name": "cat", "keypoints": ["nose"]}])
    file = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    data.read(tmp_path)
    if value is None:
        del content[section][0][field]
    else:
        content[section][0][field] = value
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"instances_train\.json: {message}"):
        data.read(tmp_path, format="coco")


def test_one_id_for_two_pictures_is_refused(tmp_path):
    make(tmp_path, [])
    file = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["images"].append(content["images"][0] | {"file_name": "b.png"})
    file.write_text(json.dumps(content))
    with pytest.raises(
        DataError, match=r"image 7: file_name should be 'a\.png', which has this id already, found 'b.png'"
    ):
        data.read(tmp_path)


def test_a_picture_without_stated_size_that_cannot_be_read_is_left_out_and_told(tmp_path):
    annotations = [box(i, 3, [1, 1, 4, 4], image_id=i) for i in (7, 8, 9)]
    make(tmp_path, annotations)
    file = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["images"] = [{"id": i, "file_name": f"{i}.png"} for i in (7, 8, 9, 10)]
    file.write_text(json.dumps(content))
    for i in (7, 9, 10):
        write_picture(tmp_path / "train" / f"{i}.png", np.full((20, 20 + i, 3), i, np.uint8))
    (tmp_path / "train" / "8.png").write_bytes(b"no, picture, at, all")
    dataset = data.read(tmp_path)
    assert [dataset.size(i) for i in range(len(dataset))] == [(20, 27), (20, 29), (20, 30)]
    assert [dataset.scene(i).instances.ids.tolist() for i in range(3)] == [[7], [9], []]
    assert dataset.repair_counts() == {"picture unreadable, dropped": 1}
    (told,) = [f for f in check(dataset).errors if f.kind == "picture unreadable"]
    assert told.picture == "8.png" and "8.png: not a picture" in told.values
    (tmp_path / "mine.txt").write_text("9\n8\n")
    part = by_list(dataset, tmp_path / "mine.txt")
    assert [part.name(i) for i in range(len(part))] == ["9.png"] and part.repairs == dataset.repairs
    for i in (7, 9, 10):
        (tmp_path / "train" / f"{i}.png").unlink()
    with pytest.raises(DataError, match=r"8\.png: not a picture .*; nor can any other of the 1 pictures be read"):
        data.read(tmp_path)


def test_repairs_are_counted(tmp_path):
    square = [[2, 2, 9, 2, 9, 9, 2, 9]]
    make(
        tmp_path,
        [
            box(1, 3, [5, 5, 0, 3], segmentation=square),
            box(2, 3, [20, 5, 10.04, 3], segmentation=square),
            box(3, 3, [20, 5, 15, 3], segmentation=square),
            box(4, 3, [2, 2, 3, 3], segmentation=[]),
        ],
    )
    dataset = data.read(tmp_path)
    assert dataset.repair_counts() == {
        "box without area, dropped": 1,
        "box outside the picture, clipped": 1,
        "instance without mask, ignored": 1,
    }
    things = dataset.scene(0).instances
    assert things.ids.tolist() == [2, 3, 4] and things.ignore.tolist() == [False, False, True]
    assert things.masks.area().tolist() == [49, 49, 0]


def test_written_sets_are_what_pycocotools_reads(tmp_path):
    before = data.read(real("coco_mini"), "val2017").subset(range(12))
    assert data.write(before, tmp_path, "coco", split="mine") == []
    assert data.splits(tmp_path) == ["mine"]
    after = data.read(tmp_path, "mine")
    assert after.schema == before.schema and after.fields == before.fields and len(after) == 12
    judge = COCO(tmp_path / "annotations" / "instances_mine.json")
    for i in range(12):
        a, b = after.scene(i), before.scene(i)
        assert a.meta["id"] == b.meta["id"] and a.captions == b.captions
        for field in ("labels", "ids", "ignore", "keypoints", "visibility", "areas"):
            assert torch.equal(getattr(a.instances, field), getattr(b.instances, field)), field
        assert torch.allclose(a.instances.boxes, b.instances.boxes, atol=1e-4)
        assert torch.equal(a.instances.masks.bitmaps(), b.instances.masks.bitmaps())
        for n, identity in enumerate(b.instances.ids.tolist()):
            assert np.array_equal(judge.annToMask(judge.anns[identity]), b.instances.masks.bitmaps()[n])
    assert np.array_equal(after.picture(0), before.picture(0))


NAMES = st.one_of(
    st.integers(0, 20).map(str), st.integers(0, 20).map("{:03d}".format), st.text("ab²", min_size=1, max_size=3)
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(NAMES, min_size=1, max_size=6, unique=True), min_size=1, max_size=3))
def test_every_picture_that_is_written_comes_back_with_its_truth(parts):
    """Whatever the pictures are called, and though several sets are joined: none takes another's place."""
    with tempfile.TemporaryDirectory() as folder:
        sets, width = [], 0
        for title, names in enumerate(parts):
            paths = [Path(folder) / "in" / str(title) / f"{name}.png" for name in names]
            for path in paths:
                width += 1  # each picture has a width, and a box, of its own
                write_picture(path, np.zeros((4, width, 3), np.uint8))
            sizes = np.array([picture_size(p) for p in paths])
            boxes = np.array([(0, 0, w, 4) for _, w in sizes], np.float32)
            columns = {"boxes": boxes, "labels": np.zeros(len(names), np.int64)}
            source = FlatSource(
                [str(p) for p in paths], names, sizes, starts=np.arange(len(names) + 1), columns=columns
            )
            sets.append(data.Dataset(source, Schema(things=Categories(("thing",))), title=f"set {title}"))
        data.write(data.Dataset.cat(sets), f"{folder}/out", "coco")
        after = data.read(f"{folder}/out", "train")
        assert [after.picture(i).shape[1] for i in range(len(after))] == list(range(1, width + 1))
        assert [after.scene(i).instances.boxes[:, 2].tolist() for i in range(width)] == [[w + 1] for w in range(width)]
        judge = COCO(f"{folder}/out/annotations/instances_train.json")
        assert len(judge.imgs) == len(judge.imgToAnns) == width


def test_results_are_what_pycocotools_takes_and_come_back(tmp_path):
    dataset = data.read(real("coco_mini"), "val2017").subset(range(10))
    scenes = []
    for i in range(10):
        scene = dataset.scene(i)
        things = scene.instances.replace(
            scores=torch.linspace(0.9, 0.1, len(scene)),
            visibility=None,
            keypoint_scores=torch.full((len(scene), 17), 0.5),
        )
        scenes.append(scene.replace(instances=things))
    write_results(scenes, dataset.schema, tmp_path / "r.json")
    judge = COCO(real("coco_mini") / "annotations" / "instances_val2017.json")
    assert len(judge.loadRes(str(tmp_path / "r.json")).anns) == sum(map(len, scenes))
    for a, b in zip(read_results(tmp_path / "r.json", dataset), scenes):
        assert torch.equal(a.instances.labels, b.instances.labels)
        assert torch.allclose(a.instances.boxes, b.instances.boxes, atol=1e-4)
        assert torch.allclose(a.instances.scores, b.instances.scores)
        if len(b):
            assert torch.equal(a.instances.masks.bitmaps(), b.instances.masks.bitmaps())
            assert torch.allclose(a.instances.keypoints, b.instances.keypoints, atol=1e-4)
    with pytest.raises(DataError, match=r"results for \d+ images that are not in"):
        read_results(tmp_path / "r.json", dataset.subset([0]))
    for field, value, message in [
        ("score", None, "result at place 0: score should be a finite number, but it is missing"),
        ("image_id", None, "result at place 0: image_id should be"),
        ("bbox", [1, 2, 3, "x"], r"result at place 0: bbox should be \[x, y, width, height\], finite numbers, found"),
        ("score", float("nan"), "result at place 0: score should be a finite number, found nan"),
        ("keypoints", [1, 2], r"result at place 0: keypoints should be \[x, y, score\] of each"),
        ("segmentation", 5, "result at place 0: segmentation should be run lengths or polygons, found 5"),
    ]:
        row = {"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [1, 2, 3, 4], field: value}
        (tmp_path / "w.json").write_text(json.dumps([{k: v for k, v in row.items() if v is not None}]))
        with pytest.raises(DataError, match=rf"w\.json: {message}"):
            read_results(tmp_path / "w.json", dataset)
    with pytest.raises(DataError, match="need boxes, labels and scores"):
        write_results([dataset.scene(0)], dataset.schema, tmp_path / "x.json")


def test_outlines_in_results_are_masks_unless_they_are_the_boxes():
    dataset = data.read(real("coco_mini"), "val2017", format="coco")
    first = dataset.scene(0)
    row = {"image_id": str(first.meta["id"]), "category_id": 1, "score": "0.5", "bbox": [1, 2, 3, 4]}
    corners = [1, 2, 1, 6, 4, 6, 4, 2]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "r.json"
        file.write_text(json.dumps([row | {"segmentation": [corners]}]))  # as loadRes of pycocotools leaves them
        found = read_results(file, dataset)[0].instances
        assert found.masks is None and found.boxes.tolist() == [[1, 2, 4, 6]] and found.scores.tolist() == [0.5]
        file.write_text(json.dumps([row | {"segmentation": [[1, 2, 4, 2, 4, 6]]}]))
        found = read_results(file, dataset)[0].instances
        assert (
            found.masks.area().tolist()
            == Masks.from_polygons([[np.array([[1, 2], [4, 2], [4, 6]])]], first.size).area().tolist()
        )


def test_coco_mini_reads_whole_in_all_three_kinds():
    counts = {}
    for split in data.splits(real("coco_mini")):
        dataset = data.read(real("coco_mini"), split)
        scenes = [dataset.scene(i) for i in range(len(dataset))]
        counts[split] = (
            len(scenes),
            sum(map(len, scenes)),
            sum(int(s.instances.ignore.sum()) for s in scenes),
            sum(int((s.instances.visibility > 0).any(1).sum()) for s in scenes),
            sum(len(s.captions) for s in scenes),
        )
    assert counts == {"train2017": (80, 739, 8, 86, 400), "val2017": (79, 624, 5, 68, 395)}
    everything = data.read(real("coco_mini"))
    assert len(everything) == 159 and everything.schema.skeleton.flip_pairs == COCO_PERSON.flip_pairs
    for i in range(159):
        assert everything.picture(i).shape[:2] == everything.scene(i).size


def test_one_file_is_read_alone():
    persons = data.read(real("coco_mini") / "annotations" / "person_keypoints_train2017.json")
    assert persons.schema.things.names == ("person",) and "captions" not in persons.fields
    assert sum(len(persons.scene(i)) for i in range(len(persons))) == 172
    captions = data.read(real("coco_mini") / "annotations" / "captions_train2017.json")
    assert captions.fields == {"captions"}
    assert persons.picture(3).shape[:2] == persons.scene(3).size


def test_every_mask_of_coco_mini_equals_pycocotools():
    judge = COCO(real("coco_mini") / "annotations" / "instances_val2017.json")
    dataset = data.read(real("coco_mini") / "annotations" / "instances_val2017.json")
    for i in range(0, len(dataset), 3):
        things = dataset.scene(i).instances
        expected = [judge.annToMask(judge.anns[n]) for n in things.ids.tolist()]
        assert not expected or np.array_equal(things.masks.bitmaps(), np.stack(expected))


def test_lvis_names_its_pictures_by_address(tmp_path):
    write_picture(tmp_path / "val2017" / "000000000139.png", np.zeros((20, 30, 3), np.uint8))
    image = {"id": 139, "coco_url": "http://images.host.org/val2017/000000000139.png", "height": 20, "width": 30}
    square = {"id": 1, "image_id": 139, "category_id": 7, "bbox": [2, 3, 8, 8], "area": 64}
    square["segmentation"] = [[2, 3, 10, 3, 10, 11, 2, 11]]
    content = {"images": [image | {"neg_category_ids": [3]}], "annotations": [square]}
    content["categories"] = [{"id": 7, "name": "teapot", "synset": "teapot.n.01", "frequency": "c"}]
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(content))
    assert data.find_format(tmp_path) == "coco" and data.splits(tmp_path) == ["val"]
    dataset = data.read(tmp_path, "val")
    assert dataset.path(0) == tmp_path / "val2017" / "000000000139.png" and dataset.repairs == ()
    assert dataset.scene(0).instances.boxes.tolist() == [[2, 3, 10, 11]]


FISH = {"id": 1, "name": "fish", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}


def _without_box(**more):
    return {k: v for k, v in box(1, 1, None, **more).items() if k != "bbox"}


def test_a_box_that_nobody_states_is_the_extent_of_what_is_drawn(tmp_path):
    run = {"size": [20, 30], "counts": [45, 5, 15, 5, 530]}  # columns 2 and 3, rows 5 to 9
    drawn = [
        _without_box(segmentation=[[2, 3, 10, 3, 10.5, 11]]),
        _without_box(segmentation=run),
        _without_box(keypoints=[3, 4, 2, 8, 9, 1], segmentation=[]),
    ]
    make(tmp_path, [row | {"id": n} for n, row in enumerate(drawn)], [FISH])
    dataset = data.read(tmp_path)
    expected = [[2, 3, 10.5, 11], [2, 5, 4, 10], [3.5, 4.5, 8.5, 9.5]]
    assert dataset.scene(0).instances.boxes.tolist() == expected
    assert dataset.repair_counts()["box that is not stated, taken from the outline"] == 3


def test_keypoints_without_visibility_are_seen_where_they_are_not_0(tmp_path):
    make(tmp_path, [box(1, 1, [0, 0, 9, 9], keypoints=[3, 4, 0, 0])], [FISH])
    things = data.read(tmp_path).scene(0).instances
    assert things.keypoints.tolist() == [[[3.5, 4.5], [0, 0]]] and things.visibility.tolist() == [[2, 0]]


def test_a_skeleton_that_counts_from_0_is_told_by_its_0(tmp_path):
    make(tmp_path, [box(1, 1, [0, 0, 9, 9], keypoints=[3, 4, 2, 5, 6, 2])], [FISH | {"skeleton": [[0, 1]]}])
    dataset = data.read(tmp_path)
    assert dataset.schema.skeleton.edges == ((0, 1),)
    assert dataset.repair_counts() == {"skeleton that counts from 0, read so": 1}


def test_ids_that_are_text_are_numbered_anew_in_their_order(tmp_path):
    names = [{"id": "n02", "name": "dog"}, {"id": "n01", "name": "cat"}]
    make(tmp_path, [box(1, "n01", [1, 1, 4, 4])], names)
    dataset = data.read(tmp_path)
    assert (dataset.schema.things.names, dataset.schema.things.source_ids) == (("dog", "cat"), (1, 2))
    assert dataset.scene(0).instances.labels.tolist() == [1]
    assert dataset.repair_counts() == {"category id that is no number, numbered anew": 1}


def test_categories_that_nobody_names_are_called_by_their_ids(tmp_path):
    make(tmp_path, [box(1, 9, [1, 1, 4, 4]), box(2, 3, [2, 2, 4, 4])])
    file = tmp_path / "annotations" / "instances_train.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"categories": []}))
    dataset = data.read(tmp_path)
    assert (dataset.schema.things.names, dataset.schema.things.source_ids) == (("category 3", "category 9"), (3, 9))
    assert dataset.scene(0).instances.labels.tolist() == [1, 0]


@pytest.mark.parametrize(("stated", "kept"), [(0, 49), (-3, 49), (5000, 49), (4.8, 49), (5, 5), (400, 400)])
def test_an_area_ten_times_off_its_mask_is_replaced(tmp_path, stated, kept):
    make(tmp_path, [box(1, 3, [2, 2, 7, 7], area=stated, segmentation=[[2, 2, 9, 2, 9, 9, 2, 9]])])
    assert data.read(tmp_path).scene(0).instances.areas.tolist() == [kept]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0.1, 0.2, 0.5, 0.5], [0, 0, 1, 1]], "the 2 boxes have numbers between 0 and 1; COCO counts pixels"),
        ([[10, 5, 28, 18], [12, 8, 29, 19]], "2 of 2 boxes leave their pictures, and all fit as corners"),
    ],
)
def test_boxes_that_mean_something_else_are_refused(tmp_path, boxes, message):
    make(tmp_path, [box(n, 3, numbers) for n, numbers in enumerate(boxes)])
    with pytest.raises(DataError, match=message):
        data.read(tmp_path)


def test_sizes_whose_sides_changed_places_are_refused(tmp_path):
    make(tmp_path, [box(1, 3, [1, 1, 4, 4])], height=30, width=20)
    with pytest.raises(
        DataError, match="image 7: height and width should be 20 and 30, as in the file, found 30 and 20"
    ):
        data.read(tmp_path)


def test_the_background_is_no_class_of_things(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 4}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}],
        "categories": [{"id": 0, "name": "_background_"}, {"id": 1, "name": "bus"}],
    }
    write_picture(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    dataset = data.read(tmp_path)
    assert dataset.schema.things.names == ("bus",)
    assert dataset.repair_counts() == {"category of the background, without annotations, left out": 1}
    content["annotations"][0]["category_id"] = 0  # somebody has drawn it
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert data.read(tmp_path).schema.things.names == ("_background_", "bus")


def test_a_report_with_counts_is_no_annotation_file(tmp_path):
    write_picture(tmp_path / "images" / "train" / "a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [x]\n")
    (tmp_path / "statistics.json").write_text(json.dumps({"train": {"images": 1, "annotations": 1, "categories": 1}}))
    assert data.find_format(tmp_path) == "yolo"


def test_few_outlines_among_boxes_are_left_out(tmp_path):
    rows = [{"id": n, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "segmentation": []} for n in range(3)]
    rows[0]["segmentation"] = [[0, 0, 2, 0, 2, 2]]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 4}],
        "annotations": rows,
        "categories": [{"id": 1, "name": "bus"}],
    }
    write_picture(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    dataset = data.read(tmp_path)
    assert "masks" not in dataset.fields and not dataset.scene(0).instances.ignore.any()
    assert dataset.repair_counts() == {"mask among boxes, left out": 1}
    rows[1]["segmentation"] = [[0, 0, 2, 0, 2, 2]]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert data.read(tmp_path).scene(0).instances.ignore.tolist() == [False, False, True]
