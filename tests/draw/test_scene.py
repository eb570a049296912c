"""Drawing scenes: what is drawn where, on any kind of picture, without labels that cover each other."""

import time

import numpy as np
import pytest
import torch

from videre.draw import draw_scene
from videre.draw.canvas import Canvas, to_rgb
from videre.draw.text import Label, place_labels
from videre.errors import ShapeError
from videre.structures import (
    COCO_PERSON,
    Box3D,
    Camera,
    Categories,
    Instances,
    Masks,
    Relations,
    Scene,
    Schema,
    palette,
)

THINGS = Categories.of(["cat", "dog"])
SCHEMA = Schema(things=THINGS, pixels=THINGS, pictures=THINGS, predicates=Categories.of(["on"]), skeleton=COCO_PERSON)
SIZE = (600, 800)
GREY = np.full((*SIZE, 3), 128, np.uint8)


def disc(size: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def boxes_of(*boxes: tuple[float, ...]) -> Scene:
    return Scene(SIZE, Instances(boxes=torch.tensor(boxes), labels=torch.zeros(len(boxes), dtype=torch.int64)))


def test_a_mask_colours_its_inside_and_nothing_far_outside():
    mask = disc(SIZE, 400, 300, 100)
    scene = Scene(SIZE, Instances(labels=[0], masks=Masks.from_bitmaps(mask[None])))
    changed = (draw_scene(GREY, scene, SCHEMA, show={"masks"})[: SIZE[0]] != 128).any(2)
    assert changed[mask].all()
    # the label stands above the disc; the outline is two pixels wide
    assert not changed[~disc(SIZE, 400, 300, 103) & (np.arange(SIZE[0]) > 205)[:, None]].any()


@pytest.mark.parametrize("form", ["rle", "polygons", "bitmaps"])
def test_all_forms_of_a_mask_draw_alike(form):
    bitmaps = Masks.from_bitmaps(disc(SIZE, 400, 300, 100)[None])
    masks = {"bitmaps": bitmaps, "rle": bitmaps.as_rle(), "polygons": Masks.from_polygons(bitmaps.polygons(), SIZE)}[
        form
    ]
    draw = lambda m: draw_scene(GREY, Scene(SIZE, Instances(masks=m)), SCHEMA)
    differs = (draw(masks) != draw(bitmaps)).any(2)
    edge = disc(SIZE, 400, 300, 104) & ~disc(SIZE, 400, 300, 96)
    assert not differs[~edge].any()
    assert not differs.any() or form == "polygons"  # which follow the stairs of the pixels


def test_a_hole_in_a_mask_stays_clear():
    ring = disc(SIZE, 400, 300, 150) & ~disc(SIZE, 400, 300, 60)
    scene = Scene(SIZE, Instances(labels=[0], masks=Masks.from_bitmaps(ring[None])))
    drawn = draw_scene(GREY, scene, SCHEMA, show={"masks"})
    assert (drawn[300, 400] == 128).all()
    assert (drawn[300, 300] != 128).any()


def test_a_box_is_drawn_in_the_colour_of_its_class():
    scene = boxes_of((100, 100, 300, 200))
    drawn = draw_scene(GREY, scene, SCHEMA)
    assert tuple(drawn[150, 100]) == THINGS.colors[0]
    assert (drawn[150, 200] == 128).all()


def test_class_colours_do_not_depend_on_what_else_is_there():
    one = draw_scene(GREY, boxes_of((100, 100, 300, 200)), SCHEMA)[150, 100]
    two = draw_scene(GREY, boxes_of((500, 300, 600, 400), (100, 100, 300, 200)), SCHEMA)[150, 100]
    assert (one == two).all()
    assert palette(3) == palette(5)[:3]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_channel_count_and_depth(channels, dtype):
    picture = np.random.default_rng(0).integers(0, 4000 if dtype == np.uint16 else 255, (*SIZE, channels)).astype(dtype)
    drawn = draw_scene(picture, boxes_of((100, 100, 300, 200)), SCHEMA)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (*SIZE, 3)


def test_a_plain_array_and_floats_are_pictures_too():
    assert draw_scene(np.zeros(SIZE), Scene(SIZE), SCHEMA).shape == (*SIZE, 3)
    assert draw_scene(np.zeros(SIZE, np.uint8), Scene(SIZE), SCHEMA).shape == (*SIZE, 3)


def test_dim_16_bit_pictures_are_stretched():
    picture = np.linspace(100, 1100, 64 * 64).reshape(64, 64, 1).astype(np.uint16)
    seen = to_rgb(picture)
    assert seen.min() == 0
    assert seen.max() == 255


def test_nothing_in_the_picture_leaves_it_alone():
    empty = Scene(SIZE, Instances(boxes=torch.zeros((0, 4)), labels=torch.zeros(0), masks=Masks.from_rle([], SIZE)))
    for scene in (Scene(SIZE), empty):
        assert (draw_scene(GREY, scene, SCHEMA) == GREY).all()


@pytest.mark.parametrize(("size", "factor"), [((128, 128), 4), ((256, 200), 2), ((600, 800), 1), ((1, 1), 512)])
def test_small_pictures_are_enlarged_by_a_whole_factor(size, factor):
    drawn = draw_scene(np.zeros((*size, 3), np.uint8), Scene(size), SCHEMA)
    assert drawn.shape == (size[0] * factor, size[1] * factor, 3)


def test_large_pictures_get_thicker_lines():
    assert Canvas(np.zeros((2700, 3600, 1), np.uint8)).width(2) == 4 * Canvas(GREY).width(2)


def test_another_size_is_refused():
    with pytest.raises(ShapeError, match=r"600x800 .*700x800"):
        draw_scene(GREY, Scene((700, 800)), SCHEMA)


def test_threshold_hides_what_is_below_it():
    things = Instances(boxes=[[100, 100, 300, 200], [400, 300, 600, 500]], labels=[0, 1], scores=[0.9, 0.4])
    scene = Scene(SIZE, things)
    drawn = lambda threshold: (draw_scene(GREY, scene, SCHEMA, threshold=threshold) != 128).any(2)
    assert drawn(None)[400, 400]
    assert not drawn(0.5)[400, 400]
    assert drawn(0.5)[150, 100]
    assert not drawn({"cat": 0.95, "dog": 0.3})[150, 100]
    assert drawn({"cat": 0.95, "dog": 0.3})[400, 400]


def test_ignored_regions_are_hatched():
    things = Instances(boxes=[[100, 100, 500, 500]], labels=[0], ignore=[True])
    inside = (draw_scene(GREY, Scene(SIZE, things), SCHEMA)[150:450, 150:450] != 128).any(2)
    assert 0.05 < inside.mean() < 0.5


def test_joints_that_nobody_labelled_are_not_drawn():
    points = torch.full((1, 17, 2), 300.0)
    points[0, 5] = torch.tensor([100.0, 100.0])
    points[0, 7] = torch.tensor([700.0, 500.0])
    visibility = torch.zeros((1, 17), dtype=torch.uint8)
    visibility[0, 5] = 2
    draw = lambda: draw_scene(GREY, Scene(SIZE, Instances(keypoints=points, visibility=visibility)), SCHEMA)
    assert (draw()[100, 100] != 128).any()
    assert (draw()[500, 700] == 128).all()
    visibility[0, 7] = 2  # an elbow: its limb to the shoulder appears
    assert (draw()[300, 400] != 128).any()


def test_words_stand_below_the_picture():
    said = Scene(
        SIZE, labels=torch.tensor([1, 0]), label_scores=torch.tensor([0.8, 0.1]), captions=["a dog on a mat " * 20]
    )
    drawn = draw_scene(GREY, said, SCHEMA)
    assert (drawn[: SIZE[0]] == 128).all()
    assert len(drawn) > SIZE[0] + 60  # labels, and the sentence on two lines


def test_a_segmentation_tints_all_but_the_void():
    classes = torch.zeros(SIZE, dtype=torch.uint8)
    classes[:, 400:] = 255
    drawn = draw_scene(GREY, Scene(SIZE, segmentation=classes), SCHEMA)
    assert (drawn[300, 200] != 128).any()
    assert (drawn[300, 600] == 128).all()
    void = draw_scene(GREY, Scene(SIZE, segmentation=torch.full(SIZE, 255, dtype=torch.uint8)), SCHEMA)
    assert (void == GREY).all()


def test_what_is_asked_for_is_drawn():
    camera = Camera(torch.tensor([[500.0, 0, 400], [0, 500, 300], [0, 0, 1]]))
    solids = Box3D(torch.tensor([[0.0, 0, 4], [1, 0, 5]]), torch.ones(2, 3), torch.zeros(2))
    things = Instances(boxes=[[300, 200, 500, 400], [500, 250, 620, 370]], labels=[0, 1], boxes3d=solids)
    scene = Scene(
        SIZE,
        things,
        relations=Relations([0], [0], [1]),
        proposals=torch.tensor([[10.0, 10, 90, 90]]),
        camera=camera,
        depth=torch.ones(SIZE),
        panoptic=torch.ones(SIZE, dtype=torch.int64),
    )
    for field in ("relations", "proposals", "boxes3d", "depth", "panoptic"):
        assert (draw_scene(GREY, scene, SCHEMA, show={field}) != GREY).any(), field
    assert (draw_scene(GREY, scene, SCHEMA, show=set()) == GREY).all()


def test_labels_never_overlap_nor_leave_the_canvas():
    rng = np.random.default_rng(0)
    for count in (1, 5, 40, 200):
        low = rng.uniform(0, 500, (count, 2))
        boxes = np.concatenate([low, low + rng.uniform(2, 200, (count, 2))], axis=1)
        placed = place_labels([Label(tuple(b), ("some name 0.97", "name"), n) for n, b in enumerate(boxes)], SIZE, 13)
        painted = np.zeros(SIZE, int)
        for p in placed:
            assert p.x >= 0
            assert p.y >= 0
            assert p.x + p.width <= SIZE[1]
            assert p.y + p.height <= SIZE[0]
            painted[p.y : p.y + p.height, p.x : p.x + p.width] += 1
        assert painted.max() == 1
        assert len(placed) >= min(count, 5)
        assert len({p.owner for p in placed}) == len(placed)


def test_labels_get_shorter_before_they_are_left_out():
    texts = ("a name that is much too long for this little canvas", "dog")
    assert [p.text for p in place_labels([Label((10, 40, 60, 90), texts, 0)], (120, 120), 13)] == ["dog"]


def test_five_hundred_instances_are_quick():
    rng = np.random.default_rng(0)
    centres = rng.uniform(10, 990, (500, 2))
    bitmaps = np.zeros((1000, 1000), np.int64)
    for n, (x, y) in enumerate(centres, start=1):
        rows, columns = slice(int(y) - 8, int(y) + 8), slice(int(x) - 8, int(x) + 8)
        bitmaps[rows, columns] = n
    masks = Masks.from_label_map(bitmaps)
    scene = Scene((1000, 1000), Instances(boxes=masks.boxes(), labels=[0] * len(masks), masks=masks.as_rle()))
    draw_scene(np.zeros((1000, 1000, 1), np.uint8), scene, SCHEMA)  # compiles the run-length kernels
    started = time.perf_counter()
    drawn = draw_scene(np.zeros((1000, 1000, 1), np.uint8), scene, Schema(things=Categories.of(["nucleus"])))
    assert time.perf_counter() - started < 3
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 300  # hues tell neighbours apart
