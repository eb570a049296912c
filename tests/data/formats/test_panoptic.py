"""COCO panoptic: ids in three bytes, things and stuff, there and back."""

import json

import numpy as np
import pytest
import torch

from videre import data
from videre.data.formats import panoptic
from videre.errors import DataError
from videre.images.reading import write_picture
from videre.structures import VOID

CATEGORIES = [
    {"id": 1, "name": "person", "isthing": 1, "supercategory": "person"},
    {"id": 92, "name": "banner", "isthing": 0, "supercategory": "textile"},
    {"id": 3, "name": "car", "isthing": 1, "supercategory": "vehicle"},
]


def make(root, change=lambda content, ids: None):
    ids = np.zeros((8, 10), np.int64)
    ids[0:4] = 70000  # more than two bytes
    ids[4:8, 0:3], ids[4:8, 3:6], ids[6:8, 8:10] = 258, 9, 4
    rows = [
        {"id": 70000, "category_id": 92, "area": 40, "bbox": [0, 0, 10, 4], "iscrowd": 0},
        {"id": 258, "category_id": 1, "area": 12, "bbox": [0, 4, 3, 4], "iscrowd": 0},
        {"id": 9, "category_id": 1, "area": 12, "bbox": [3, 4, 3, 4], "iscrowd": 1},
        {"id": 4, "category_id": 3, "area": 4, "bbox": [8, 6, 2, 2], "iscrowd": 0},
    ]
    content = {
        "images": [
            {"id": 5, "file_name": "a.png", "width": 10, "height": 8},
            {"id": 6, "file_name": "b.png", "width": 10, "height": 8},
        ],
        "annotations": [{"image_id": 5, "file_name": "a.png", "segments_info": rows}],
        "categories": CATEGORIES,
    }
    change(content, ids)
    (root / "annotations" / "panoptic_val").mkdir(parents=True)
    (root / "val").mkdir()
    for name in "ab":
        write_picture(root / "val" / f"{name}.png", np.full((8, 10, 3), 90, np.uint8))
    colors = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], 2).astype(np.uint8)
    write_picture(root / "annotations" / "panoptic_val" / "a.png", colors)
    (root / "annotations" / "panoptic_val.json").write_text(json.dumps(content))
    return ids


def test_segments_are_things_and_classes_of_pixels(tmp_path):
    ids = make(tmp_path)
    assert data.find_format(tmp_path) == "panoptic" and data.splits(tmp_path) == ["val"]
    dataset = data.read(tmp_path, "val")
    assert dataset.repair_counts() == {"picture without segments, dropped": 1} and len(dataset) == 1
    assert dataset.schema.pixels.names == ("person", "banner", "car") and dataset.schema.things.names == (
        "person",
        "car",
    )
    scene = dataset.scene(0)
    wanted = np.full((8, 10), VOID, np.uint8)
    wanted[ids == 70000], wanted[(ids == 258) | (ids == 9)], wanted[ids == 4] = 1, 0, 2
    assert np.array_equal(scene.segmentation.numpy(), wanted) and np.array_equal(scene.panoptic.numpy(), ids)
    things = scene.instances
    order = things.ids.tolist()
    assert sorted(order) == [4, 9, 258] and things.ignore.tolist() == [i == 9 for i in order]
    assert [things.labels[order.index(i)].item() for i in (4, 9, 258)] == [1, 0, 0]
    assert things.boxes[order.index(258)].tolist() == [0, 4, 3, 8]
    for n, i in enumerate(order):
        assert np.array_equal(things.masks.bitmaps()[n].numpy() != 0, ids == i)


def test_what_is_written_is_read_back(tmp_path):
    make(tmp_path / "in")
    before = data.read(tmp_path / "in", "val")
    assert data.write(before, tmp_path / "out", "panoptic", split="val") == []
    after = data.read(tmp_path / "out", "val")
    assert after.schema.pixels.source_ids == (1, 92, 3) and after.schema.things == before.schema.things
    first, second = before.scene(0), after.scene(0)
    assert torch.equal(first.segmentation, second.segmentation)
    assert first.instances.ignore.sum() == second.instances.ignore.sum() == 1
    key = lambda s: sorted(
        (int(k), m.tobytes()) for k, m in zip(s.instances.labels, s.instances.masks.bitmaps().numpy())
    )
    assert key(first) == key(second)
    content = json.loads((tmp_path / "out" / "annotations" / "panoptic_val.json").read_text())
    rows = {row["category_id"]: row for row in content["annotations"][0]["segments_info"] if not row["iscrowd"]}
    assert rows[92]["area"] == 40 and rows[92]["bbox"] == [0, 0, 10, 4] and rows[3]["bbox"] == [8, 6, 2, 2]
    maps = data.write(before, tmp_path / "maps", "maps", lossy=True)
    assert set(maps) == {"boxes", "ignore", "instances.labels", "masks", "panoptic"}
    assert torch.equal(data.read(tmp_path / "maps", "train").scene(0).segmentation, first.segmentation)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c, ids: ids.__setitem__((7, 7), 77),
            r"a\.png: segment ids \[77\] are in the PNG, but not in segments_info",
        ),
        (
            lambda c, ids: c["annotations"][0]["segments_info"][0].update(category_id=8),
            r"image 5, segment \d+: category_id should be one of categories, found 8",
        ),
        (
            lambda c, ids: c["annotations"][0].pop("segments_info"),
            "segments_info should be a list of segments, but it is missing",
        ),
        (
            lambda c, ids: c["annotations"][0].update(image_id=99),
            r"annotations of 1 images that are not listed .*\[99\]",
        ),
        (lambda c, ids: c["annotations"].clear(), "no picture has segments"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path, change, message):
    make(tmp_path, change)
    with pytest.raises(DataError, match=message):
        panoptic.read(tmp_path, "val").scene(0)


def test_a_png_of_another_size_is_refused(tmp_path):
    make(tmp_path)
    write_picture(tmp_path / "annotations" / "panoptic_val" / "a.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(DataError, match=r"the segments are 5x4 \(width x height\), the picture .* is 10x8"):
        data.read(tmp_path, "val").scene(0)
