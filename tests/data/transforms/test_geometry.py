"""Crops, scales and mirrors: what is drawn and then transformed equals what is transformed and then drawn."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.data.transforms import (
    Blur,
    ColorJitter,
    Compose,
    CropTo,
    Grey,
    HorizontalFlip,
    Invert,
    Noise,
    OneOf,
    QuarterTurns,
    RandomCrop,
    Resize,
    ScaleJitter,
    Sometimes,
    StainJitter,
    crop,
    from_json,
    generator,
    mirror_scene,
    to_json,
    turn_scene,
)
from videre.data.transforms.geometry import resize
from videre.errors import ConfigError, DataError
from videre.ops.crop_masks import crop_masks
from videre.structures import (
    COCO_PERSON,
    VOID,
    Box3D,
    Camera,
    Categories,
    Instances,
    Masks,
    Polygons,
    Relations,
    Scene,
    Schema,
    Skeleton,
)

SCHEMA = Schema(
    things=Categories.of(["cell", "left hand", "right hand"]),
    predicates=Categories.of(["left of", "right of", "above"]),
    skeleton=Skeleton(("nose", "left_eye", "right_eye"), flip_pairs=((1, 2),)),
)


@st.composite
def scenes(draw) -> tuple[np.ndarray, Scene]:
    """A picture whose pixels are the id map of its own instances, so that picture and truth can be compared."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = np.zeros((height, width), np.uint8)
    for n in range(draw(st.integers(0, 6))):
        y, x = rng.integers(0, height), rng.integers(0, width)
        ids[y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] = n + 1
    values = [v for v in np.unique(ids).tolist() if v]
    masks = Masks.from_label_map(ids, values)
    if draw(st.booleans()):
        masks = masks.as_rle()
    count = len(values)
    points = torch.from_numpy(rng.uniform(0, [width, height], (count, 3, 2)).astype(np.float32))
    pairs = [(s, o) for s in range(count) for o in range(count) if s != o]
    relations = Relations(*torch.tensor([(s, rng.integers(3), o) for s, o in pairs]).reshape(-1, 3).T)
    instances = Instances(
        masks.boxes(),
        torch.from_numpy(rng.integers(0, 3, count)),
        masks=masks,
        keypoints=points,
        visibility=torch.full((count, 3), 2),
        ids=torch.tensor(values, dtype=torch.int64),
    )
    scene = Scene((height, width), instances, relations=relations, segmentation=torch.from_numpy(ids % 4))
    return ids[:, :, None], scene


def check_against_pixels(picture: np.ndarray, scene: Scene) -> None:
    """Masks are where the picture has their id, boxes are their extents, points are in the picture or not labelled."""
    things = scene.instances
    assert things is not None and picture.shape[:2] == scene.size
    for mask, identity, box in zip(things.masks.bitmaps().numpy(), things.ids.tolist(), things.boxes.tolist()):
        assert np.array_equal(mask.astype(bool), picture[:, :, 0] == identity)
        rows, columns = np.nonzero(mask)
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    labelled = things.keypoints[things.visibility > 0]
    assert bool(((labelled >= 0) & (labelled <= torch.tensor(scene.size[::-1]))).all())


@settings(max_examples=60, deadline=None)
@given(scenes(), st.integers(-15, 15), st.integers(-15, 15), st.integers(1, 50), st.integers(1, 50))
def test_a_crop_of_the_truth_is_the_truth_of_the_crop(case, x, y, width, height):
    picture, scene = case
    ground = np.where(picture == 0, 0, picture)
    cut, truth = crop(ground, scene, (x, y, x + width, y + height), min_visible=1e-9)
    check_against_pixels(cut, truth)
    visible = set(np.unique(cut).tolist()) & set(scene.instances.ids.tolist())
    assert set(truth.instances.ids.tolist()) == visible
    padded = np.pad(scene.segmentation.numpy(), 80, constant_values=VOID)
    assert np.array_equal(truth.segmentation, padded[80 + y : 80 + y + height, 80 + x : 80 + x + width])
    # relations follow the instances that they are about
    name = lambda s: {
        (int(s.instances.ids[a]), int(p), int(s.instances.ids[b]))
        for a, p, b in zip(s.relations.subjects, s.relations.predicates, s.relations.objects)
    }
    assert name(truth) == {(a, p, b) for a, p, b in name(scene) if a in visible and b in visible}


@settings(max_examples=60, deadline=None)
@given(scenes(), st.floats(0.05, 1))
def test_instances_stay_when_enough_of_their_mask_does(case, min_visible):
    picture, scene = case
    height, width = scene.size
    window = (0, 0, max(1, width // 2), height)
    _, truth = crop(picture, scene, window, min_visible)
    parts = {n: (picture[:, : window[2]] == n).sum() / (picture == n).sum() for n in scene.instances.ids.tolist()}
    assert set(truth.instances.ids.tolist()) == {n for n, part in parts.items() if np.float32(part) >= min_visible}


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_a_mirror_of_the_truth_is_the_truth_of_the_mirror_and_twice_is_nothing(case):
    picture, scene = case
    mirrored = mirror_scene(scene, SCHEMA)
    check_against_pixels(picture[:, ::-1], mirrored)
    assert np.array_equal(mirrored.segmentation, scene.segmentation.numpy()[:, ::-1])
    back = mirror_scene(mirrored, SCHEMA)
    for name in ("boxes", "labels", "visibility", "ids"):
        assert torch.equal(getattr(back.instances, name), getattr(scene.instances, name))
    assert torch.allclose(back.instances.keypoints, scene.instances.keypoints, atol=1e-5)
    assert torch.equal(back.instances.masks.bitmaps(), scene.instances.masks.bitmaps())
    assert torch.equal(back.relations.predicates, scene.relations.predicates)


@settings(max_examples=40, deadline=None)
@given(scenes(), st.integers(0, 3))
def test_a_turn_of_the_truth_is_the_truth_of_the_turn(case, turns):
    picture, scene = case
    scene = scene.replace(relations=None)
    turned = turn_scene(scene, turns)
    check_against_pixels(np.rot90(picture, turns), turned)
    assert np.array_equal(turned.segmentation, np.rot90(scene.segmentation, turns))
    whole = turn_scene(turned, 4 - turns)
    assert torch.equal(whole.instances.boxes, scene.instances.boxes) and whole.size == scene.size
    pixels, same = QuarterTurns()(picture, scene, np.random.default_rng(turns), SCHEMA)
    check_against_pixels(pixels, same)
    with pytest.raises(DataError, match="captions: sentences cannot be turned"):
        turn_scene(scene.replace(captions=("up",)), 1)


@settings(max_examples=40, deadline=None)
@given(scenes(), st.integers(1, 4))
def test_growing_by_whole_factors_repeats_pixels(case, factor):
    picture, scene = case
    size = (scene.size[0] * factor, scene.size[1] * factor)
    _, truth = resize(picture, scene, size)
    check_against_pixels(picture.repeat(factor, 0).repeat(factor, 1), truth)


@settings(max_examples=30, deadline=None)
@given(scenes(), st.integers(0, 2**31))
def test_any_chain_is_repeatable_and_consistent(case, seed):
    picture, scene = case
    chain = Compose((HorizontalFlip(), ScaleJitter(0.5, 2), RandomCrop(0.4), CropTo(24, 31), HorizontalFlip(0.5)))
    first, truth = chain(picture, scene, generator(seed, 1, 2), SCHEMA)
    again, same = chain(picture, scene, generator(seed, 1, 2), SCHEMA)
    assert np.array_equal(first, again) and torch.equal(truth.instances.boxes, same.instances.boxes)
    assert first.shape == (24, 31, 1)
    # the grey ground is 114 (FILL), an id that no instance has
    check_against_pixels(first, truth)


def test_words_labels_and_predicates_change_sides():
    scene = Scene(
        (10, 20),
        Instances(
            torch.tensor([[1.0, 1, 4, 4], [10, 1, 14, 4]]), torch.tensor([1, 2]), captions=("Left one", "a RIGHT one")
        ),
        captions=("A man left of a car, the leftmost one.", "bright leftovers"),
        relations=Relations(torch.tensor([0]), torch.tensor([0]), torch.tensor([1])),
    )
    mirrored = mirror_scene(scene, SCHEMA)
    assert mirrored.captions == ("A man right of a car, the rightmost one.", "bright leftovers")
    assert mirrored.instances.captions == ("Right one", "a LEFT one")
    assert mirrored.instances.labels.tolist() == [2, 1]
    assert mirrored.instances.boxes.tolist() == [[16, 1, 19, 4], [6, 1, 10, 4]]
    assert mirrored.relations.predicates.tolist() == [1]


def test_keypoints_swap_left_and_right():
    points = torch.tensor([[[5.0, 5], [3, 4], [7, 4]]])
    seen = torch.tensor([[2, 1, 0]])
    scene = Scene((10, 12), Instances(keypoints=points, visibility=seen))
    mirrored = mirror_scene(scene, SCHEMA).instances
    assert mirrored.keypoints.tolist() == [[[7, 5], [5, 4], [9, 4]]]
    assert mirrored.visibility.tolist() == [[2, 0, 1]]


def test_a_mirror_that_would_lie_is_refused():
    scene = Scene((10, 12), Instances(keypoints=torch.ones(1, 3, 2)))
    with pytest.raises(DataError, match="without a skeleton"):
        mirror_scene(scene, Schema())
    with pytest.raises(DataError, match="flip_pairs"):
        mirror_scene(scene, Schema(skeleton=Skeleton(("a", "b", "c"), flip_pairs=None)))
    related = Scene((5, 5), Instances(torch.zeros(1, 4)), relations=Relations([0], [0], [0]))
    with pytest.raises(DataError, match=r"predicates \['left of'\] have no mirrored counterpart"):
        mirror_scene(related, Schema(predicates=Categories.of(["left of", "near"])))


def test_solids_project_to_the_mirrored_pixels():
    camera = Camera(torch.tensor([[50.0, 0, 18], [0, 50, 16], [0, 0, 1]]))
    box = Box3D(torch.tensor([[0.4, -0.2, 4.0]]), torch.tensor([[1.0, 0.6, 1.5]]), torch.tensor([0.7]))
    scene = Scene((32, 40), Instances(boxes3d=box), camera=camera)
    mirrored = mirror_scene(scene, Schema())
    before = scene.camera.project(box.corners()[0])
    after = mirrored.camera.project(mirrored.instances.boxes3d.corners()[0])
    before[:, 0] = 40 - before[:, 0]
    order = lambda p: p[np.lexsort(p.round(decimals=3).numpy().T)]
    assert torch.allclose(order(before), order(after), atol=1e-3)
    cut = crop(np.zeros((32, 40, 3), np.uint8), scene, (5, 3, 30, 30))[1]
    assert torch.allclose(cut.camera.project(box.centers), scene.camera.project(box.centers) - torch.tensor([5.0, 3]))


def test_polygons_stay_polygons_and_agree_with_their_bitmaps():
    ring = np.array([[2.0, 3], [17, 4], [15, 13], [4, 12]])
    masks = Masks.from_polygons([Polygons((ring,), (np.array([[6.0, 6], [9, 6], [9, 9], [6, 9]]),))], (20, 24))
    scene = Scene((20, 24), Instances(masks.boxes(), masks=masks))
    _, truth = crop(np.zeros((20, 24, 3), np.uint8), scene, (5, 5, 14, 16))
    assert truth.instances.masks.form == "polygons"
    expected = masks.bitmaps()[:, 5:16, 5:14]
    assert float((truth.instances.masks.bitmaps() != expected).float().mean()) < 0.03  # fifths of a pixel at the border
    assert torch.equal(truth.instances.boxes, truth.instances.masks.boxes())
    assert mirror_scene(scene, Schema()).instances.masks.form == "polygons"


def test_empty_masks_stay_empty_in_every_position():
    empty = Masks.from_bitmaps(np.zeros((2, 4, 7), np.uint8))
    scene = Scene((4, 7), Instances(masks=empty))
    moved = [mirror_scene(scene, SCHEMA), *(turn_scene(scene, turns) for turns in (1, 2, 3))]
    for masks in (m.instances.masks for m in moved):
        assert masks.area().tolist() == [0, 0] and not masks.bitmaps().any() and not masks.boxes().any()
        assert not crop_masks(*masks.packed(), masks.size, torch.tensor([[0.0, 0, 4, 4]] * 2), torch.arange(2), 2).any()


def test_ignored_regions_stay_while_anything_of_them_is_seen():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [8, 8, 10, 10]])
    scene = Scene((10, 10), Instances(boxes, torch.zeros(3), ignore=torch.tensor([True, False, True])))
    cut = crop(np.zeros((10, 10, 3), np.uint8), scene, (0, 0, 2, 2))[1]
    assert cut.instances.ignore.tolist() == [True]
    assert cut.instances.boxes.tolist() == [[0, 0, 2, 2]]


def test_keypoints_outside_a_crop_are_not_labelled():
    scene = Scene((10, 10), Instances(keypoints=torch.tensor([[[1.0, 1], [8, 8], [2, 2]]]), visibility=[[2, 2, 0]]))
    cut = crop(np.zeros((10, 10, 3), np.uint8), scene, (0, 0, 5, 5))[1]
    assert cut.instances.visibility.tolist() == [[2, 0, 0]]
    assert len(crop(np.zeros((10, 10, 3), np.uint8), scene, (4, 0, 8, 5))[1]) == 0


def test_empty_scenes_go_through_everything():
    scene = Scene((9, 7), Instances(torch.zeros(0, 4), torch.zeros(0), masks=Masks.from_bitmaps(torch.zeros(0, 9, 7))))
    picture = np.zeros((9, 7, 3), np.uint8)
    chain = Compose(
        (HorizontalFlip(1.0), ScaleJitter(), RandomCrop(), Resize(size=(11, 5)), ColorJitter(), Noise(), Blur())
    )
    picture, scene = chain(picture, scene, np.random.default_rng(0), Schema())
    assert picture.shape == (11, 5, 3) and len(scene) == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(
    "transform", [ColorJitter(1, 1, 1, 0.5), Noise(0.5), Blur(3), Grey(1.0), Invert(1.0), StainJitter(1.0)]
)
def test_colours_keep_shape_and_depth(dtype, channels, transform):
    picture = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (13, 11, channels), dtype=dtype)
    scene = Scene((13, 11))
    before = picture.copy()
    changed, same = transform(picture, scene, np.random.default_rng(1), Schema())
    assert changed.shape == picture.shape and changed.dtype == dtype and same is scene
    assert np.array_equal(picture, before), "the picture given must not change"


def test_no_jitter_is_no_change():
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    changed, _ = ColorJitter(0, 0, 0, 0)(picture, Scene((8, 8)), np.random.default_rng(0), Schema())
    assert np.array_equal(changed, picture)


def test_the_negative_of_the_negative_is_the_picture():
    for dtype, top in ((np.uint8, 255), (np.uint16, 65535)):
        picture = np.array([[[0], [top], [top // 5]]], dtype)
        once, _ = Invert(1.0)(picture, Scene((1, 3)), np.random.default_rng(0), Schema())
        assert once.ravel().tolist() == [top, 0, top - top // 5]
        assert np.array_equal(Invert(1.0)(once, Scene((1, 3)), np.random.default_rng(0), Schema())[0], picture)
    assert np.array_equal(Invert(0.0)(picture, Scene((1, 3)), np.random.default_rng(0), Schema())[0], picture)


class Drawn:
    """Stands in for a generator: gives these numbers, in turn."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def uniform(self, low: float, high: float, size: int | tuple[int, ...] | None = None) -> Any:
        number = self.numbers.pop(0)
        return number if size is None else np.full(size, number)


def test_three_times_each_dye_lets_the_cube_of_the_light_through():
    """Beer and Lambert: a dye twice as thick takes the same share of the light again."""
    picture = np.array([[[200, 100, 150], [255, 255, 255], [60, 180, 220]]], np.uint8)
    stained, _ = StainJitter(1.0)(picture, Scene((1, 3)), Drawn(1, 0, 0), Schema())
    assert np.abs(stained - 255.0 * (picture / 255.0) ** 3).max() <= 0.5
    same, _ = StainJitter(0.0)(picture, Scene((1, 3)), np.random.default_rng(0), Schema())
    assert np.array_equal(same, picture)


def test_pink_turns_brown_and_nuclei_stay_blue():
    absorbed = np.array([[[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]])
    picture = np.rint(255 * np.exp(-absorbed)).astype(np.uint8)
    (nucleus, brown), before = StainJitter(1.0)(picture, Scene((1, 2)), Drawn(0, 1, 0), Schema())[0][0], picture[0]
    assert np.abs(nucleus - before[0].astype(int)).max() <= 1
    dab = np.array([0.27, 0.57, 0.78]) / np.linalg.norm([0.27, 0.57, 0.78])
    assert np.abs(brown - 255 * np.exp(-dab)).max() <= 3
    grey = np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8, 1), 3, axis=2)
    assert StainJitter(1.0)(grey, Scene((8, 8)), np.random.default_rng(0), Schema())[0] is grey
    with pytest.raises(ConfigError, match="stain jitter"):
        StainJitter(2)


def test_resize_by_sides():
    picture, scene = np.zeros((40, 100, 3), np.uint8), Scene((40, 100), Instances(torch.tensor([[10.0, 4, 50, 20]])))
    picture, scene = Resize(20, 40)(picture, scene, np.random.default_rng(0), Schema())
    assert picture.shape == (16, 40, 3) and scene.size == (16, 40)
    assert torch.allclose(scene.instances.boxes, torch.tensor([[4, 1.6, 20, 8]]))


def test_chains_survive_json():
    chain = Compose(
        (
            HorizontalFlip(0.3),
            Sometimes(ColorJitter(), 0.8),
            OneOf((Resize(size=(3, 4)), ScaleJitter(0.2, 3))),
            CropTo(9, 8),
        )
    )
    assert from_json(json.loads(json.dumps(to_json(chain)))) == chain
    with pytest.raises(ConfigError, match=r"no transform 'Shear'\. There are: Blur, "):
        from_json({"name": "Shear"})
    with pytest.raises(ConfigError, match="transform Noise"):
        from_json({"name": "Noise", "strength": 3})


def test_settings_out_of_range_are_refused():
    for make in (
        lambda: ScaleJitter(0, 1),
        lambda: ScaleJitter(2, 1),
        lambda: RandomCrop(0),
        lambda: Sometimes(Noise(), 2),
        lambda: ColorJitter(hue=0.6),
        lambda: Resize(),
        lambda: Resize(3, size=(2, 2)),
    ):
        with pytest.raises(ConfigError):
            make()


def test_coco_person_mirrors_twice_to_itself():
    points = torch.rand(2, 17, 2) * 30
    scene = Scene((30, 30), Instances(keypoints=points, visibility=torch.randint(0, 3, (2, 17))))
    schema = Schema(skeleton=COCO_PERSON)
    back = mirror_scene(mirror_scene(scene, schema), schema)
    assert torch.allclose(back.instances.keypoints, points, atol=1e-5)
    assert torch.equal(back.instances.visibility, scene.instances.visibility)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 3), st.booleans())
def test_planes_of_classes_go_where_their_map_goes(seed: int, turns: int, mirrored: bool) -> None:
    """Classes that overlap are planes; where they happen not to, planes of the moved map are the moved planes."""
    rng = np.random.default_rng(seed)
    schema = Schema(pixels=Categories.of(["left lung", "right lung", "heart"]))
    classes = torch.from_numpy(rng.choice(np.array([0, 1, 2, VOID], np.uint8), (9, 13)))
    as_planes = lambda m: torch.where(m == VOID, VOID, (m == torch.arange(3)[:, None, None]).to(torch.uint8))
    one, many = Scene((9, 13), segmentation=classes), Scene((9, 13), segmentation=as_planes(classes))
    if mirrored:
        one, many = mirror_scene(one, schema), mirror_scene(many, schema.replace(overlap=True))
    one, many = turn_scene(one, turns), turn_scene(many, turns)
    picture = rng.integers(0, 255, (*one.size, 3), dtype=np.uint8)
    window = (-2, 1, 6, 7)
    (_, one), (_, many) = (crop(picture, scene, window) for scene in (one, many))
    (_, one), (_, many) = (resize(np.zeros((*scene.size, 3), np.uint8), scene, (11, 5)) for scene in (one, many))
    assert torch.equal(many.segmentation, as_planes(one.segmentation).to(torch.uint8))
