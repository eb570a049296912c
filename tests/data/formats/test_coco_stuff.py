"""COCO-Stuff: regions as run lengths, PNGs of category ids, stuff and thing maps; there and back."""

import json

import numpy as np
import pytest
import torch
from pycocotools import mask as judge
from pycocotools.coco import COCO

from videre import data
from videre.cli import main
from videre.data.formats import coco_stuff
from videre.data.splits import by_list
from videre.errors import DataError
from videre.images.reading import read_ids, write_picture
from videre.structures import VOID, Categories, Schema

CATEGORIES = [
    {"id": 157, "name": "sky-other", "supercategory": "sky", "color": [9, 80, 200]},
    {"id": 92, "name": "banner", "supercategory": "textile", "color": [255, 255, 128]},
    {"id": 183, "name": "other", "supercategory": "other", "color": [40, 40, 40]},
]
IDS = np.array([[157, 157, 157, 157], [92, 157, 183, 183], [92, 92, 0, 183]], np.uint8)
LABELS = [[0, 0, 0, 0], [1, 0, 2, 2], [1, 1, VOID, 2]]
LIST = "0: unlabeled\n1: person\n2: bicycle\n92: banner\n182: wood\n"


def picture(path, size=(3, 4)):
    write_picture(path, np.full((*size, 3), 90, np.uint8))


def region(identity, category, counts, image=139, size=(3, 4), **more):
    segmentation = {"size": list(size), "counts": counts}
    return {"id": identity, "image_id": image, "category_id": category, "segmentation": segmentation} | more


def make(root, change=lambda content: None, pixelmaps=False, pictures="train"):
    """A JSON of pictures a, with three regions, and b, with none; the runs go down the columns of IDS."""
    rows = [
        region(7, 92, [1, 2, 2, 1, 6]),
        region(5, 157, [0, 1, 2, 2, 1, 1, 2, 1, 2]),
        region(6, 183, judge.frPyObjects({"size": [3, 4], "counts": [7, 1, 2, 2]}, 3, 4)["counts"].decode()),
    ]
    images = [
        {"id": 139, "file_name": "a.png", "height": 3, "width": 4},
        {"id": 285, "file_name": "b.png", "height": 3, "width": 4},
    ]
    content = {"images": images, "annotations": rows, "categories": [dict(c) for c in CATEGORIES]}
    change(content)
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "stuff_train.json").write_text(json.dumps(content))
    for name in "ab":
        picture(root / pictures / f"{name}.png")
    if pixelmaps:
        write_picture(root / "annotations" / "stuff_train_pixelmaps" / "a.png", IDS)
    return root


def make_maps(root, maps="stuffthingmaps", pictures="val", labels=LIST, ids=IDS):
    """Stuff and thing maps of val: ids less 1, 255 where nothing is said."""
    picture(root / pictures / "a.jpg", ids.shape)
    write_picture(root / maps / "val" / "a.png", ids - 1)  # 0 - 1 is 255
    (root / "labels.txt").write_text(labels)
    return root


@pytest.mark.parametrize("pixelmaps", [False, True])
@pytest.mark.parametrize("pictures", ["train", "images/train", "images"])
def test_every_pixel_has_the_class_of_its_region(tmp_path, pictures, pixelmaps):
    make(tmp_path, pictures=pictures, pixelmaps=pixelmaps)
    assert data.find_format(tmp_path) == "coco-stuff" and data.splits(tmp_path) == ["train"]
    dataset = data.read(tmp_path, "train")
    classes = dataset.schema.pixels
    assert classes.names == ("sky-other", "banner", "other") and classes.source_ids == (157, 92, 183)
    assert classes.supercategories == ("sky", "textile", "other") and classes.colors[1] == (255, 255, 128)
    assert dataset.fields == {"segmentation"} and dataset.schema.things is None
    assert dataset.repair_counts() == {"picture without annotations, dropped": 1} and len(dataset) == 1
    scene = dataset.scene(0)
    assert scene.segmentation.dtype == torch.uint8 and scene.segmentation.tolist() == LABELS
    assert scene.meta["id"] == 139 and dataset.name(0) == "a.png" and dataset.picture(0).shape == (3, 4, 3)
    alone = data.read(tmp_path / "annotations" / "stuff_train.json")
    assert alone.scene(0).segmentation.tolist() == LABELS


def test_regions_are_what_pycocotools_decodes(tmp_path):
    random = np.random.default_rng(0)
    ids = random.choice([157, 92, 183], (50, 70)).astype(np.uint8)
    ids[20:40, 10:50] = 157
    regions = [judge.encode(np.asfortranarray(ids == c["id"]).astype(np.uint8)) for c in CATEGORIES]
    rows = [
        region(n, c["id"], r["counts"].decode(), size=(50, 70)) for n, (c, r) in enumerate(zip(CATEGORIES, regions))
    ]
    make(tmp_path, lambda content: content.update(annotations=rows) or content["images"][0].update(height=50, width=70))
    labels = data.read(tmp_path).scene(0).segmentation.numpy()
    assert np.array_equal(np.array([157, 92, 183])[labels], ids)


def test_what_is_said_of_crowds_is_void(tmp_path):
    make(tmp_path, lambda content: content["annotations"][2].update(iscrowd=1))
    wanted = np.array(LABELS)
    wanted[wanted == 2] = VOID
    assert data.read(tmp_path).scene(0).segmentation.tolist() == wanted.tolist()


@pytest.mark.parametrize("pixelmaps", [False, True])
def test_what_is_written_is_read_back(tmp_path, pixelmaps):
    before = data.read(make(tmp_path / "in", pixelmaps=pixelmaps), "train")
    assert data.write(before, tmp_path / "out", "coco-stuff", split="val2017") == []
    written = tmp_path / "out" / "annotations"
    assert np.array_equal(read_ids(written / "stuff_val2017_pixelmaps" / "a.png"), IDS)
    file = COCO(written / "stuff_val2017.json")
    rows = {row["category_id"]: row for row in file.anns.values()}
    assert set(rows) == {157, 92, 183} and {row["image_id"] for row in rows.values()} == {139}
    for category, row in rows.items():
        assert np.array_equal(file.annToMask(row), category == IDS) and row["area"] == (category == IDS).sum()
    assert rows[183]["bbox"] == [2, 1, 2, 2]
    for keep_maps in (True, False):
        if not keep_maps:
            (written / "stuff_val2017_pixelmaps").rename(tmp_path / "elsewhere")
        after = data.read(tmp_path / "out", "val2017")
        assert after.schema == before.schema and len(after) == 1 and after.scene(0).meta["id"] == 139
        assert torch.equal(after.scene(0).segmentation, before.scene(0).segmentation)
        assert np.array_equal(after.picture(0), before.picture(0))


def test_a_picture_that_is_void_all_over_keeps_its_map(tmp_path):
    make(tmp_path, pixelmaps=True)
    write_picture(tmp_path / "annotations" / "stuff_train_pixelmaps" / "b.png", np.zeros((3, 4), np.uint8))
    dataset = data.read(tmp_path)
    assert len(dataset) == 2 and not dataset.repairs and (dataset.scene(1).segmentation == VOID).all()
    data.write(dataset, tmp_path / "out", "coco-stuff")
    assert (data.read(tmp_path / "out").scene(1).segmentation == VOID).all()


@pytest.mark.parametrize(
    ("maps", "pictures"),
    [
        ("stuffthingmaps", "val"),
        ("stuffthingmaps", "images/val"),
        ("annotations", "images/val"),
    ],
)
def test_stuff_and_thing_maps_hold_ids_less_one(tmp_path, maps, pictures):
    ids = np.array([[1, 2, 2], [92, 182, 0]], np.uint8)
    make_maps(tmp_path, maps, pictures, ids=ids)
    picture(tmp_path / pictures / "c.jpg")
    write_picture(tmp_path / maps / "val" / "d.png", ids)
    write_picture(tmp_path / maps / "train" / "e.png", ids)  # of the other half, without its pictures
    assert data.find_format(tmp_path) == "coco-stuff" and data.splits(tmp_path) == ["val"]
    dataset = data.read(tmp_path)
    assert dataset.schema.pixels.names == ("person", "bicycle", "banner", "wood")
    assert dataset.schema.pixels.source_ids == (1, 2, 92, 182)
    assert dataset.scene(0).segmentation.tolist() == [[0, 1, 1], [2, 3, VOID]]
    assert dataset.repair_counts() == {"picture without map, dropped": 1, "map without picture, dropped": 1}
    data.write(dataset, tmp_path / "out", "coco-stuff", split="val")
    after = data.read(tmp_path / "out", "val")
    assert after.schema == dataset.schema and torch.equal(after.scene(0).segmentation, dataset.scene(0).segmentation)


def test_ids_of_pictures_are_kept_in_the_names_of_maps(tmp_path):
    make_maps(tmp_path, ids=np.array([[1, 2]], np.uint8))
    (tmp_path / "val" / "a.jpg").rename(tmp_path / "val" / "000000000139.jpg")
    (tmp_path / "stuffthingmaps" / "val" / "a.png").rename(tmp_path / "stuffthingmaps" / "val" / "000000000139.png")
    data.write(data.read(tmp_path), tmp_path / "out", "coco-stuff")
    assert COCO(tmp_path / "out" / "annotations" / "stuff_train.json").getImgIds() == [139]


def test_formats_are_told_apart(tmp_path):
    make_maps(tmp_path, ids=np.array([[1, 2]], np.uint8))
    make(tmp_path)
    plain = {"images": [], "annotations": [], "categories": []}
    assert data.splits(tmp_path) == ["train"]  # the JSON goes first
    assert data.splits(tmp_path / "stuffthingmaps") == ["val"] == data.splits(tmp_path / "stuffthingmaps", "coco-stuff")
    assert data.read(tmp_path / "stuffthingmaps").schema.pixels.names[0] == "person"
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(plain))
    with pytest.raises(DataError, match=r"coco: instances_train\.json; coco-stuff: stuff_train\.json\); say which"):
        data.find_format(tmp_path)
    assert data.splits(tmp_path, "coco") == ["train"] == data.splits(tmp_path, "coco-stuff")
    assert data.find_format(tmp_path / "annotations" / "instances_train.json") == "coco"
    assert data.find_format(tmp_path / "annotations" / "stuff_train.json") == "coco-stuff"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "stuff_settings.json").write_text('{"images": 3}')
    assert coco_stuff.recognise(tmp_path / "other") == ""
    (tmp_path / "other" / "panoptic_val").mkdir()
    (tmp_path / "other" / "panoptic_val.json").write_text('{"images": [], "annotations": [{"segments_info": []}]}')
    assert data.find_format(tmp_path / "other") == "panoptic"


def test_another_list_of_ids_beside_annotations_is_not_taken_for_coco_stuffs(tmp_path):
    make_maps(tmp_path, "annotations", "images/val", "0: unlabeled\n1: road\n2: car\n")
    assert data.find_format(tmp_path) == "maps"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(category_id=93), r"train\.json: id 93 on 3 pixels; categories has none"),
        (lambda c: c["annotations"][0].update(image_id=1), r"annotations of 1 images that are not listed .*\[1\]"),
        (
            lambda c: c["annotations"][0].pop("image_id"),
            "annotation 7: image_id should be a number or text, .* missing",
        ),
        (lambda c: c["annotations"][0].pop("category_id"), "annotation 7: category_id should be .* missing"),
        (lambda c: c["annotations"][0].pop("segmentation"), "7: segmentation should be run lengths .*found None"),
        (
            lambda c: c["annotations"][0].update(segmentation=[[0, 0, 4, 0, 4, 3]]),
            r"annotation 7: segmentation should be run lengths .*found \[\[0, .*instances_",
        ),
        (lambda c: c["annotations"][0]["segmentation"].pop("size"), "annotation 7: segmentation should be run lengths"),
        (lambda c: c["annotations"][0]["segmentation"].update(counts=[1, -2]), "segmentation should be run lengths"),
        (
            lambda c: c["annotations"][0]["segmentation"].update(size=[4, 3]),
            r"annotation 7: the region is 3x4 \(width x height\), the picture .*a\.png is 4x3",
        ),
        (
            lambda c: c["annotations"][0]["segmentation"].update(counts=[1, 2]),
            r"image 139 \(a\.png\): .* run lengths sum to 3",
        ),
        (
            lambda c: c["annotations"][0]["segmentation"].update(counts="~"),
            r"image 139 \(a\.png\): .*not compressed run",
        ),
        (
            lambda c: c["annotations"][0]["segmentation"].update(counts=[0, 4, 8]),
            r"image 139 \(a\.png\): 2 pixels lie in more than one region",
        ),
        (lambda c: c.pop("categories"), "annotations and categories is expected; it has no categories"),
        (lambda c: c["categories"][0].pop("name"), "category 157: name should be text, .* missing"),
        (lambda c: c["categories"][0].update(id=92), "source_ids repeat"),
        (
            lambda c: c["categories"][0].update(color=[300, 0, 0]),
            "category 157: color should be three numbers of 0 to 255",
        ),
        (lambda c: c["categories"].extend({"id": i, "name": str(i)} for i in range(300, 560)), "263 categories; a map"),
        (lambda c: c["images"][0].pop("file_name"), "image 139: file_name should be text"),
        (lambda c: c["images"][1].update(id=139), "image 139: has the id of another"),
        (lambda c: c["annotations"].clear(), "no picture has annotations"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path, change, message):
    make(tmp_path, change)
    with pytest.raises(DataError, match=message):
        data.read(tmp_path, "train").scene(0)


def test_pixelmaps_that_do_not_fit_are_refused(tmp_path):
    make(tmp_path, pixelmaps=True)
    dataset, png = data.read(tmp_path), tmp_path / "annotations" / "stuff_train_pixelmaps" / "a.png"
    write_picture(png, np.where(IDS == 92, 94, IDS))
    with pytest.raises(DataError, match=r"a\.png: id 94 on 3 pixels; .*stuff_train\.json has none of these"):
        dataset.scene(0)
    write_picture(png, IDS[:2])
    with pytest.raises(DataError, match=r"pixelmaps/a\.png: the map is 4x2 .*train/a\.png is 4x3"):
        dataset.scene(0)
    png.unlink()
    with pytest.raises(DataError, match=r"pixelmaps: 1 pictures with annotations have no map there \(a\.png, …\)"):
        data.read(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("0: unlabeled\n1 person\n", r"labels\.txt: line 2: should be an id, a colon and a name .*'1 person'"),
        ("0: sky\n1: person\n", r"ids of classes are 1 to 255, found \[0\]"),
        ("1: person\n256: sky\n", r"ids of classes are 1 to 255, found \[256\]"),
        ("1: person\n2: person\n", "repeated"),
        ("0: unlabeled\n1: person\n", r"a\.png: id 92 on 3 pixels; .*labels\.txt has none of these"),
    ],
)
def test_lists_and_maps_that_do_not_fit_are_refused(tmp_path, labels, message):
    make_maps(tmp_path, labels=labels, ids=np.where(IDS == 92, 92, 1).astype(np.uint8))
    with pytest.raises(DataError, match=message):
        data.read(tmp_path).scene(0)


def test_a_map_of_another_size_is_refused(tmp_path):
    make_maps(tmp_path)
    picture(tmp_path / "val" / "a.jpg", (5, 6))
    with pytest.raises(DataError, match=r"val/a\.png: the map is 4x3 .*val/a\.jpg is 6x5"):
        data.read(tmp_path).scene(0)


def test_pictures_that_are_missing_are_named(tmp_path):
    make(tmp_path / "sized")
    (tmp_path / "sized" / "train" / "a.png").unlink()
    dataset = data.read(tmp_path / "sized")
    assert dataset.scene(0).segmentation.tolist() == LABELS  # the JSON has its size
    with pytest.raises(DataError, match=r"train/a\.png: there is no such file"):
        dataset.picture(0)

    def unsized(content):
        content["images"][0].pop("height")
        content["annotations"].append(region(8, 157, [0, 12], 285))

    make(tmp_path / "unsized", unsized)
    (tmp_path / "unsized" / "train" / "a.png").unlink()
    dataset = data.read(tmp_path / "unsized")
    assert dataset.repair_counts() == {"picture unreadable, dropped": 1} and dataset.name(0) == "b.png"
    assert (dataset.scene(0).segmentation == 0).all() and dataset.scene(0).meta["id"] == 285
    make_maps(tmp_path / "maps")
    (tmp_path / "maps" / "val" / "a.jpg").unlink()
    with pytest.raises(DataError, match="no picture has a map in"):
        data.read(tmp_path / "maps")


def test_splits_are_joined_and_lists_choose(tmp_path):
    make_maps(tmp_path, ids=np.array([[1, 2]], np.uint8))
    picture(tmp_path / "train" / "b.jpg", (1, 2))
    write_picture(tmp_path / "stuffthingmaps" / "train" / "b.png", np.array([[91, 255]], np.uint8))
    dataset = data.read(tmp_path)
    assert [dataset.name(i) for i in range(2)] == ["b.jpg", "a.jpg"] and len(data.read(tmp_path, "val")) == 1
    (tmp_path / "some.txt").write_text("a.jpg\n")
    assert by_list(dataset, tmp_path / "some.txt").scene(0).segmentation.tolist() == [[0, 1]]


def test_a_set_without_one_class_a_pixel_is_refused(tmp_path):
    class Empty:
        fields = frozenset()

        def __len__(self):
            return 0

    with pytest.raises(DataError, match=r"COCO-Stuff needs a segmentation; data has \[\]"):
        data.write(data.Dataset(Empty(), Schema()), tmp_path, "coco-stuff")
    Empty.fields = frozenset({"segmentation"})
    several = Schema(pixels=Categories.of(["cell", "nucleus"]), overlap=True)
    with pytest.raises(DataError, match=r"COCO-Stuff holds one class a pixel, those of data overlap"):
        data.write(data.Dataset(Empty(), several), tmp_path, "coco-stuff")


def test_ids_that_maps_cannot_hold_are_numbered_anew(tmp_path):
    make(tmp_path / "in", lambda content: content["categories"][0].update(id=900) or content["annotations"].pop(1))
    data.write(data.read(tmp_path / "in"), tmp_path / "out", "coco-stuff")
    after = data.read(tmp_path / "out")
    assert after.schema.pixels.source_ids == (1, 2, 3) and after.schema.pixels.names == ("sky-other", "banner", "other")
    assert after.scene(0).segmentation.tolist()[1] == [1, VOID, 2, 2]


def test_class_maps_become_coco_stuff_and_back(tmp_path, monkeypatch, capsys):
    def convert(source, format, out):
        monkeypatch.setattr(
            "sys.argv", ["videre", "data", "convert", str(tmp_path / source), format, str(tmp_path / out)]
        )
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, capsys.readouterr().err

    make(tmp_path / "in")
    code, err = convert("in", "maps", "maps")
    assert code == 0 and "1 × picture without annotations, dropped" in err
    assert convert("maps", "coco-stuff", "stuff") == (0, "") == convert("stuff", "maps", "back")
    assert data.find_format(tmp_path / "stuff") == "coco-stuff"
    maps, stuff, back = (data.read(tmp_path / name, "train") for name in ("maps", "stuff", "back"))
    assert stuff.schema.pixels.names == maps.schema.pixels.names and stuff.schema.pixels.source_ids == (1, 2, 3)
    assert back.schema == maps.schema and stuff.schema.pixels.colors == maps.schema.pixels.colors
    for dataset in (maps, stuff, back):
        assert dataset.scene(0).segmentation.tolist() == LABELS
    code, err = convert("stuff", "coco", "no")
    assert code == 2 and "cannot hold segmentation" in err
