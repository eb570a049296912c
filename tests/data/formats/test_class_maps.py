"""One PNG of classes per picture: layouts, class lists, what is refused, and the way back."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from videre import data
from videre.data.formats.class_maps import as_palette, read_legend
from videre.errors import DataError
from videre.images.reading import write_picture
from videre.structures import Categories
from videre.structures.scene import VOID

from ..shared import real

CLASSES = {
    "classes": [
        {"id": 3, "name": "road", "color": [9, 9, 9]},
        {"id": 7, "name": "car", "color": [200, 0, 0]},
        {"id": 9, "name": "Void", "color": [0, 0, 0]},
    ],
    "void": 9,
}
IDS = np.array([[3, 3, 7], [9, 255, 7]], np.uint8)
LABELS = [[0, 0, 1], [VOID, VOID, 1]]


def put(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), ids)


def street(root: Path, ids: np.ndarray = IDS, layout: str = "camvid") -> Path:
    """One picture with its map."""
    picture, annotation = {
        "camvid": ("train/a.png", "trainannot/a.png"),
        "folders": ("images/train/a.jpg", "annotations/train/a.png"),
        "flat": ("images/a.jpg", "masks/a_mask.png"),
    }[layout]
    put(root / annotation, ids)
    (root / picture).parent.mkdir(parents=True, exist_ok=True)
    write_picture(root / picture, np.zeros((2, 3, 3), np.uint8))
    (root / "classes.json").write_text(json.dumps(CLASSES))
    return root


@pytest.mark.parametrize(("layout", "split"), [("camvid", "train"), ("folders", "train"), ("flat", None)])
def test_layouts_are_found_by_looking(tmp_path: Path, layout: str, split: str | None) -> None:
    root = street(tmp_path, layout=layout)
    assert data.find_format(root) == "maps" and data.splits(root) == ([split] if split else [])
    read = data.read(root, split)
    assert read.schema.pixels is not None and read.schema.pixels.names == ("road", "car")
    assert read.schema.pixels.source_ids == (3, 7) and read.schema.pixels.colors == ((9, 9, 9), (200, 0, 0))
    assert read.fields == {"segmentation"} and read.scene(0).segmentation.tolist() == LABELS


def test_colours_and_palettes_mean_the_same(tmp_path: Path) -> None:
    root = street(tmp_path)
    colors = {3: (9, 9, 9), 7: (200, 0, 0), 9: (0, 0, 0)}
    shades = np.array([[colors.get(i, (0, 0, 0)) for i in row] for row in IDS.tolist()], np.uint8)
    Image.fromarray(shades).save(root / "trainannot" / "a.png")
    assert data.read(root).scene(0).segmentation.tolist() == LABELS
    (root / "trainannot" / "a.png").write_bytes(as_palette(IDS, Categories.of([str(i) for i in range(10)])))
    assert data.read(root).scene(0).segmentation.tolist() == LABELS


def test_lists_of_classes(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("road\nunlabelled\ncar\n")
    legend = read_legend(tmp_path / "classes.txt")
    assert (legend.names, legend.ids, legend.void) == (("road", "car"), (0, 2), (1, 255))
    (tmp_path / "label_colors.txt").write_text("64 128 64\tAnimal\n0 0 0 \t Void\n")
    legend = read_legend(tmp_path / "label_colors.txt")
    assert (legend.names, legend.colors, legend.void_colors) == (("Animal",), ((64, 128, 64),), ((0, 0, 0),))
    for name, text, said in (
        ("classes.json", '{"classes": {}}', "a list with an object for each class is expected"),
        (
            "classes.json",
            '{"classes": [{"name": "road"}]}',
            "class at place 0: id should be a whole number, but it is missing",
        ),
        ("palette.txt", "300 0 0 road\n", r"the colour of 'road' is three numbers of 0 to 255, found \[300, 0, 0\]"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=said):
            read_legend(tmp_path / name)


def test_what_is_no_class_is_refused_with_its_pixels(tmp_path: Path) -> None:
    root = street(tmp_path, np.array([[3, 4, 4], [3, 12, 7]], np.uint8))
    with pytest.raises(
        DataError, match=r"a\.png: id 4 on 2 pixels, id 12 on 1 pixels; the class list has none of these"
    ):
        data.read(root).scene(0)
    Image.fromarray(np.full((2, 3, 3), (5, 6, 7), np.uint8)).save(root / "trainannot" / "a.png")
    with pytest.raises(DataError, match="colour 5 6 7 on 6 pixels"):
        data.read(root).scene(0)
    put(root / "trainannot" / "a.png", np.full((4, 4), 3, np.uint8))
    with pytest.raises(DataError, match=r"a\.png: the class map is 4x4 \(width x height\), the picture .* is 3x2"):
        data.read(root).scene(0)


def test_a_mask_of_0_and_255_is_read_where_255_is_named(tmp_path: Path) -> None:
    street(tmp_path, np.array([[0, 255, 255], [0, 0, 255]], np.uint8))
    rows = [{"id": 0, "name": "ground"}, {"id": 255, "name": "building"}]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": rows}))
    dataset = data.read(tmp_path, "train")
    assert dataset.schema.pixels.names == ("ground", "building")
    assert dataset.scene(0).segmentation.tolist() == [[0, 1, 1], [0, 0, 1]]
    (tmp_path / "classes.json").write_text(
        json.dumps({"classes": [{"id": 0, "name": "ground"}, {"id": 255, "name": "void"}]})
    )
    assert data.read(tmp_path, "train").scene(0).segmentation.tolist() == [[0, VOID, VOID], [0, 0, VOID]]


def test_void_everywhere_is_a_truth(tmp_path: Path) -> None:
    assert data.read(street(tmp_path, np.full((2, 3), 9, np.uint8))).scene(0).segmentation.tolist() == [[VOID] * 3] * 2


def test_pictures_without_a_map_are_counted(tmp_path: Path) -> None:
    root = street(tmp_path)
    write_picture(root / "train" / "b.png", np.zeros((2, 3, 3), np.uint8))
    read = data.read(root, "train")
    assert len(read) == 1 and [str(r) for r in read.repairs] == [
        "train/b.png, annotation -: picture without class map no map of its name, dropped"
    ]


def test_lists_of_several_classes_are_no_instances(tmp_path: Path) -> None:
    root = street(tmp_path, layout="flat")
    (root / "classes.json").unlink()
    (root / "classes.txt").write_text("cell\n")
    assert data.find_format(root) == "instances"
    (root / "classes.txt").write_text("a\nb\n")
    assert data.find_format(root) == "maps"


def test_voc(tmp_path: Path) -> None:
    put(tmp_path / "SegmentationClass" / "2007_000032.png", np.array([[0, 20, 255]], np.uint8))
    for name in ("2007_000032", "2007_000039"):
        (tmp_path / "JPEGImages").mkdir(exist_ok=True)
        write_picture(tmp_path / "JPEGImages" / f"{name}.jpg", np.zeros((1, 3, 3), np.uint8))
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n")
    assert data.find_format(tmp_path) == "maps" and data.splits(tmp_path) == ["train"]
    read = data.read(tmp_path, "train")
    assert len(read) == 1 and read.repairs == () and read.schema.pixels is not None and len(read.schema.pixels) == 21
    assert read.scene(0).segmentation.tolist() == [[0, 20, VOID]]


def test_a_folder_called_like_vocs_does_not_have_its_classes(tmp_path: Path) -> None:
    put(tmp_path / "SegmentationClass" / "leaf.png", np.array([[0, 1, 2]], np.uint8))
    (tmp_path / "JPEGImages").mkdir()
    write_picture(tmp_path / "JPEGImages" / "leaf.jpg", np.zeros((1, 3, 3), np.uint8))
    with pytest.raises(DataError, match=r"nothing names the classes of the maps.*classes\.txt, one a line, id 0 first"):
        data.read(tmp_path)
    (tmp_path / "class_names.txt").write_text("__ignore__\n_background_\nleaf\nspot\n")
    assert data.read(tmp_path).schema.pixels.names == ("_background_", "leaf", "spot")
    assert data.read(tmp_path).scene(0).segmentation.tolist() == [[0, 1, 2]]


def test_ids_of_maps_are_what_the_list_can_mean(tmp_path: Path) -> None:
    root = street(tmp_path, np.array([[0, 255, 255], [0, 0, 255]], np.uint8), "flat")
    (root / "classes.json").unlink()
    (root / "classes.txt").write_text("ground\ncrack\n")
    read = data.read(root)
    assert read.scene(0).segmentation.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert [str(r) for r in read.repairs] == [
        "-, annotation -: ids of class maps the maps have 0 and 255 alone, 255 read as crack"
    ]
    write_picture(root / "images" / "b.jpg", np.zeros((2, 3, 3), np.uint8))
    put(root / "masks" / "b_mask.png", np.array([[0, 1, 255], [0, 0, 255]], np.uint8))  # so that 255 is void
    read = data.read(root)
    assert read.repairs == () and read.scene(0).segmentation.tolist() == [[0, VOID, VOID], [0, 0, VOID]]
    (root / "classes.txt").write_text("a\nb\nc\n")
    for name in "ab":
        put(root / "masks" / f"{name}_mask.png", np.array([[1, 2, 3], [3, 255, 1]], np.uint8))
    read = data.read(root)
    assert read.scene(1).segmentation.tolist() == [[0, 1, 2], [2, VOID, 0]] and "counted from 1" in str(read.repairs[0])
    grey = np.repeat(np.array([[1, 2, 3], [3, 255, 1]], np.uint8)[:, :, None], 3, 2)
    Image.fromarray(grey).save(root / "masks" / "a_mask.png")  # the same, stored as RGB
    assert data.read(root).scene(0).segmentation.tolist() == [[0, 1, 2], [2, VOID, 0]]


def test_blurred_colours_are_called_so(tmp_path: Path) -> None:
    root = street(tmp_path, layout="flat")
    (root / "classes.json").unlink()
    (root / "palette.txt").write_text("0 0 0 ground\n128 64 128 road\n70 130 180 sky\n")
    colors = np.zeros((2, 9, 3), np.uint8)
    colors[:, 6:] = 128, 64, 128
    colors[:, 1:6] = np.arange(1, 6)[:, None] * (20, 10, 20)
    Image.fromarray(colors).save(root / "masks" / "a_mask.png")
    write_picture(root / "images" / "a.jpg", np.zeros((2, 9, 3), np.uint8))
    with pytest.raises(DataError, match="colour 20 10 20 on 2 pixels"):
        data.read(root).scene(0)
    colors[1, 1:6] = np.arange(1, 6)[:, None] * (9, 9, 8)
    Image.fromarray(colors).save(root / "masks" / "a_mask.png")
    with pytest.raises(DataError, match=r"and 5 more, between those of the list: the edges are blurred.*as PNG"):
        data.read(root).scene(0)


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 255), st.integers(0, 2**32 - 1))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, count: int, seed: int) -> None:
    root, rng = tmp_path_factory.mktemp("maps"), np.random.default_rng(seed)
    ids = rng.integers(0, count, (5, 4)).astype(np.uint8)
    ids[0, 0] = VOID
    names = [f"class {k}" for k in range(count)]
    (root / "in").mkdir()
    (root / "in" / "classes.txt").write_text("\n".join(names))
    put(root / "in" / "annotations" / "a.png", ids)
    (root / "in" / "images").mkdir()
    write_picture(root / "in" / "images" / "a.png", rng.integers(0, 255, (5, 4, 3), dtype=np.uint8))
    before = data.read(root / "in")
    assert data.write(before, root / "out", "maps", split="val") == []
    after = data.read(root / "out", "val")
    assert torch.equal(after.scene(0).segmentation, before.scene(0).segmentation)
    assert torch.equal(before.scene(0).segmentation, torch.from_numpy(ids))
    assert after.schema.pixels.names == tuple(names) and after.schema.pixels.colors == before.schema.pixels.colors
    assert np.array_equal(after.picture(0), before.picture(0))


def test_camvid_is_read_as_its_readme_says() -> None:
    root = real("camvid")
    assert {split: len(data.read(root, split)) for split in ("train", "val", "test")} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    read = data.read(root, "val")
    for i in (0, 50, 100):
        raw = cv2.imread(str(root / "valannot" / f"{Path(read.name(i)).stem}.png"), cv2.IMREAD_UNCHANGED)
        truth = read.scene(i).segmentation.numpy()
        assert np.array_equal(np.where(truth == VOID, 11, truth), raw)


def test_maps_beside_pictures_as_roboflow_exports_them(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        put(tmp_path / split / "a_jpg.rf.1_mask.png", np.array([[0, 2, 5]], np.uint8))
        write_picture(tmp_path / split / "a_jpg.rf.1.jpg", np.zeros((1, 3, 3), np.uint8))
        write_picture(tmp_path / split / "bare.jpg", np.zeros((1, 3, 3), np.uint8))
        (tmp_path / split / "_classes.csv").write_text("Pixel Value, Class\n0, background\n2, road\n5, sky\n")
    (tmp_path / "README.roboflow.txt").write_text("exported")
    assert data.find_format(tmp_path) == "maps" and data.splits(tmp_path) == ["train", "valid"]
    found = data.read(tmp_path, "valid")
    assert found.schema.pixels.names == ("background", "road", "sky") and len(found) == 1
    assert found.scene(0).segmentation.tolist() == [[0, 1, 2]]
    assert found.repair_counts() == {"picture without class map, dropped": 1}
    (tmp_path / "train" / "_classes.csv").write_text("Pixel Value, Class\n0, background\nx, road\n7\n")
    with pytest.raises(
        DataError, match=r"(?s)2 faults.*_classes\.csv: a line should be an id and a name, found 'x, road'"
    ):
        data.read(tmp_path)
