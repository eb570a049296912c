"""The blocks world against geometry worked out by hand, brute force, and itself."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from videre.data.blocks import Truth, render, truth_of
from videre.data.blocks.materials import COLOURS, MATERIALS, TEXTURES
from videre.data.blocks.raytrace import Studio, View, photograph, trace
from videre.data.blocks.solids import (
    CONE,
    CUBE,
    CYLINDER,
    SHAPES,
    SOLID,
    SPHERE,
    TORUS,
    distance,
    hit,
    mesh,
    nearest,
    reach,
    span,
)
from videre.data.blocks.truth import KEYPOINT_FLIPS, PIXELS, observe
from videre.data.blocks.words import ATTRIBUTES, BEHIND, FRONT, LEFT, NEAR, ON, PREDICATES, RIGHT, UNDER, Looks, names
from videre.data.blocks.world import LYING, SIZES, UPRIGHT, World, gaps, intervals, random_studio, rest, turned
from videre.errors import ConfigError

SIZE = (96, 128)
EXTENTS = {
    CUBE: (0.4, 0.3, 0.5),
    SPHERE: (0.5, 0.5, 0.5),
    CYLINDER: (0.3, 0.3, 0.5),
    CONE: (0.4, 0.4, 0.5),
    TORUS: (0.4, 0.15, 0.15),
}


def make_solid(shape: int, rotation: np.ndarray | None = None, centre: tuple = (0.0, 0.0, 0.0), **fields) -> np.ndarray:
    solids = np.zeros(1, SOLID)
    one = solids[0]
    one["shape"], one["extent"], one["reach"] = shape, EXTENTS[shape], reach(shape, EXTENTS[shape])
    one["rotation"], one["centre"], one["cells"] = np.eye(3) if rotation is None else rotation, centre, 5
    one["colour"] = 0.5
    for name, value in fields.items():
        one[name] = value
    return solids


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def level_view(size: tuple[int, int] = SIZE, focal: float = 110.0, height: float = 0.5, away: float = 4.0) -> View:
    """A camera at (0, -away, height) that looks along world y."""
    return View((0.0, -away, height), (1.0, 0, 0), (0, 0, -1.0), (0, 1.0, 0), focal, size[1] / 2, size[0] / 2)


def look(solids: np.ndarray, view: View, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    who, depth, whole = np.empty(size, np.int16), np.empty(size, np.float32), np.zeros(len(solids), np.int64)
    trace(solids, view, who, depth, whole)
    return who, depth, whole


def world_of(solids: np.ndarray, view: View, poses: list[int] | None = None, support: list[int] | None = None) -> World:
    count = len(solids)
    studio = random_studio(np.random.default_rng(0), view)
    return World(
        solids,
        np.arange(count),
        np.ones(count, np.int64),
        np.array(poses or [UPRIGHT] * count),
        np.array(support or [-1] * count),
        view,
        studio,
    )


def truth_about(world: World, size: tuple[int, int] = SIZE, min_pixels: int = 12) -> Truth:
    return observe(world, *look(world.solids, world.view, size), np.random.default_rng(0), min_pixels)


@pytest.fixture(scope="module")
def pictures() -> list[tuple[np.ndarray, Truth]]:
    return [render(3, i, SIZE) for i in range(24)]


# ------------------------------------------------------------------------------------------------------------- geometry
@pytest.mark.parametrize("shape", range(5), ids=SHAPES)
def test_rays_stop_where_the_distance_is_zero_and_not_before(shape):
    rng = np.random.default_rng(shape)
    solid = make_solid(shape, random_rotation(rng), (0.3, -0.2, 0.4))[0]
    hits = 0
    for _ in range(300):
        origin = rng.normal(size=3)
        origin *= 3 / np.linalg.norm(origin)
        aim = solid["centre"] + rng.uniform(-0.6, 0.6, 3)
        ray = (aim - origin) / np.linalg.norm(aim - origin)
        t = hit(solid, tuple(origin), tuple(ray))
        along_ray = [distance(solid, tuple(origin + s * ray)) for s in np.linspace(0, min(t, 8.0), 80)[:-1]]
        assert min(along_ray) > -1e-6  # never inside on the way
        if t < math.inf:
            hits += 1
            assert abs(distance(solid, tuple(origin + t * ray))) < 2e-6
    assert hits > 60


@pytest.mark.parametrize("shape", range(5), ids=SHAPES)
def test_distance_equals_the_distance_to_a_fine_mesh(shape):
    trimesh = pytest.importorskip("trimesh")
    rng = np.random.default_rng(shape)
    solid = make_solid(shape)[0]
    vertices, faces = mesh(solid, 256)
    surface = trimesh.Trimesh(vertices, faces, process=False)
    points, _ = trimesh.sample.sample_surface(surface, 40_000, seed=1)
    for p in rng.uniform(-0.9, 0.9, (40, 3)):
        brute = np.linalg.norm(points - p, axis=1).min()
        assert abs(distance(solid, tuple(p))) == pytest.approx(brute, abs=0.02)


@pytest.mark.parametrize("shape", range(5), ids=SHAPES)
def test_meshes_are_closed_and_face_outwards_and_span_their_extent(shape):
    trimesh = pytest.importorskip("trimesh")
    rng = np.random.default_rng(shape)
    solid = make_solid(shape, random_rotation(rng))[0]
    vertices, faces = mesh(solid, 128)
    surface = trimesh.Trimesh(vertices, faces, process=False)
    assert surface.is_watertight and surface.is_winding_consistent
    a, b, c = EXTENTS[shape]
    volume = (
        8 * a * b * c,
        4 / 3 * math.pi * a**3,
        math.pi * a * a * 2 * c,
        math.pi * a * a * 2 * c / 3,
        2 * math.pi**2 * a * b * b,
    )[shape]
    assert surface.volume == pytest.approx(volume, rel=0.01)  # positive: outwards
    axes = rng.normal(size=(6, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    along = (vertices @ solid["rotation"].T) @ axes.T
    assert np.allclose(span(solid, axes), np.stack([along.min(0), along.max(0)], 1), atol=3e-3)


def test_a_sphere_projects_to_its_analytic_outline():
    solids = make_solid(SPHERE, centre=(0.7, 0.3, 0.5))
    view = level_view()
    who, _, _ = look(solids, view)
    to = np.array([0.7, -0.5 + 0.5, 4.3])  # camera frame: x right, y down, z forward
    v, u = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    rays = np.stack([(u - view.cx) / view.focal, (v - view.cy) / view.focal, np.ones(SIZE)], -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    inside = rays @ to / np.linalg.norm(to) >= math.cos(math.asin(0.5 / np.linalg.norm(to)))  # the cone that touches it
    assert inside.sum() > 300
    assert ((who == 0) == inside).all()


def test_depth_is_the_hand_worked_intersection():
    view = level_view(height=1.0)
    _, depth, _ = look(make_solid(SPHERE, centre=(0.0, 0.0, 1.0)), view, (97, 129))
    assert depth[48, 64] == pytest.approx(3.5, abs=1e-3)  # 4 m away, radius 0.5; half a pixel off the axis
    row, column = 80, 20
    view = view._replace(cx=64.5, cy=48.5)
    _, depth, _ = look(make_solid(SPHERE, centre=(0.0, 0.0, 1.0)), view, (97, 129))
    assert depth[row, column] == pytest.approx(1.0 / ((row + 0.5 - 48.5) / view.focal), rel=1e-5)  # the floor


def test_the_nearer_solid_hides_the_farther_one():
    solids = np.concatenate([make_solid(CUBE, centre=(0, 1.5, 0.5)), make_solid(CUBE, centre=(0, 0, 0.5))])
    who, depth, whole = look(solids, level_view())
    assert whole[0] > 100 and (who == 0).sum() < 0.3 * whole[0]
    assert (who == 1).sum() == whole[1]
    assert depth[48, 64] == pytest.approx(3.7, abs=1e-4)


# --------------------------------------------------------------------------------------------------------------- truths
def test_boxes_masks_and_maps_agree(pictures):
    for picture, truth in pictures:
        assert picture.shape == (*SIZE, 3) and picture.dtype == np.uint8
        for mask, box, label in zip(truth.masks, truth.boxes, truth.labels):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert (truth.segmentation[mask] == label).all()
            assert mask.sum() >= 12
        assert set(np.unique(truth.segmentation[truth.ids < 0])) <= {5, 6, 255}
        assert PIXELS[5:] == ("ground", "backdrop")
        assert np.isfinite(truth.depth).all() and truth.depth.min() > 0.5


def test_solids_stand_on_something_and_never_cut_into_each_other(pictures):
    for _, truth in pictures:
        points = [v @ s["rotation"].T + s["centre"] for s in truth.world.solids for v in [mesh(s, 24)[0]]]
        for i, (own, below) in enumerate(zip(points, truth.world.support)):
            low = points[below][:, 2].max() if below >= 0 else 0.0
            assert own[:, 2].min() == pytest.approx(low, abs=0.02)
            for j, other in enumerate(truth.world.solids):
                if i != j:
                    assert min(distance(other, tuple(p)) for p in own[::3]) > -1e-4


def test_every_world_shows_its_solids(pictures):
    for _, truth in pictures:
        assert 3 <= len(truth) <= 8
        assert truth.shown.min() > 0.25 and truth.shown.max() <= 1


def test_boxes3d_are_tight_around_the_meshes(pictures):
    for _, truth in pictures[:8]:
        for (vertices, _), center, size, turn in zip(truth.meshes, truth.centers3d, truth.sizes3d, truth.rotations3d):
            assert np.linalg.det(turn) == pytest.approx(1)
            inside = (vertices - center) @ turn
            assert np.allclose(inside.max(0), size / 2, atol=0.02) and np.allclose(inside.min(0), -size / 2, atol=0.02)


def test_projected_box_corners_surround_the_visible_mask(pictures):
    for _, truth in pictures:
        low, high = truth.keypoints[:, :8].min(1), truth.keypoints[:, :8].max(1)
        assert (low <= truth.boxes[:, :2] + 1).all() and (high >= truth.boxes[:, 2:] - 1).all()


def test_camera_projects_the_boxes_centres_into_their_keypoints(pictures):
    for _, truth in pictures:
        middle = truth.keypoints[:, 8:].mean(1)  # of top and base: close to the projected centre
        projected = truth.centers3d @ truth.intrinsics.T
        assert np.abs(projected[:, :2] / projected[:, 2:] - middle).max() < 6
        eye = truth.rotation @ np.array(truth.world.view.eye) + truth.translation
        assert np.allclose(eye, 0) and np.allclose(truth.rotation @ truth.rotation.T, np.eye(3))


def test_keypoint_visibility_agrees_with_the_depth_map(pictures):
    checked = 0
    for _, truth in pictures:
        for places, seen, center, size, turn in zip(
            truth.keypoints, truth.visibility, truth.centers3d, truth.sizes3d, truth.rotations3d
        ):
            for j in range(8):
                place = np.array([1 - 2 * (j >> 1 & 1), 1 - 2 * (j >> 2 & 1), -1 + 2 * (j & 1)])
                point = center + turn @ (place * size / 2)
                u, v = places[j]
                outside = not (0 <= u < SIZE[1] and 0 <= v < SIZE[0])
                assert (seen[j] == 0) == outside
                if outside:
                    continue
                i, k = int(v), int(u)
                around = truth.depth[max(i - 1, 0) : i + 2, max(k - 1, 0) : k + 2]
                if point[2] < around.min() - 0.15:
                    assert seen[j] == 2
                    checked += 1
                elif point[2] > around.max() + 0.15:
                    assert seen[j] == 1
                    checked += 1
    assert checked > 300


def test_the_front_faces_the_camera_where_a_turn_changes_nothing():
    view = level_view()
    for yaw in np.linspace(-3, 3, 13):
        cube = make_solid(CUBE, turned(CUBE, UPRIGHT, EXTENTS[CUBE], yaw, 0.0), centre=(0, 0, 0.5))
        turn = truth_about(world_of(cube, view)).rotations3d[0]
        assert -turn[2, 0] >= math.cos(math.pi / 4) - 1e-9  # the front's direction against the optical axis
        cone = make_solid(CONE, turned(CONE, LYING, EXTENTS[CONE], yaw, 0.0))
        rest(cone[0], 0, 0)
        truth = truth_about(world_of(cone, view, [LYING]))
        apex = np.array([math.cos(yaw), 0, math.sin(yaw)])  # level camera: right is x, forward is y
        assert np.allclose(truth.rotations3d[0][:, 0], apex, atol=1e-9)
        assert math.cos(truth.yaw[0]) == pytest.approx(apex[0]) and math.sin(truth.yaw[0]) == pytest.approx(-apex[2])


@pytest.mark.parametrize("shape, pose", [(CUBE, UPRIGHT), (CYLINDER, LYING), (CONE, LYING), (TORUS, UPRIGHT)])
def test_a_mirrored_world_has_flipped_keypoints(shape, pose):
    view = level_view()
    for yaw in (0.4, 1.9, -2.5):
        pair = []
        for mirrored in (False, True):
            angle = math.pi - yaw if mirrored else yaw
            solid = make_solid(shape, turned(shape, pose, EXTENTS[shape], angle, 0.0), extent=(0.3, 0.3, 0.3))
            solid[0]["extent"][1] = 0.3 if shape != TORUS else 0.1
            rest(solid[0], -0.5 if mirrored else 0.5, 0.0)
            pair.append(truth_about(world_of(solid, view, [pose])).keypoints[0])
        order = np.arange(10)
        for a, b in KEYPOINT_FLIPS:
            order[[a, b]] = b, a
        flipped = pair[0][order] * [-1, 1] + [SIZE[1], 0]
        assert np.allclose(flipped, pair[1], atol=1e-2)


def test_small_specks_are_void_and_unlabelled():
    solids = np.concatenate([make_solid(CUBE, centre=(0, 0, 0.5)), make_solid(SPHERE, centre=(0.8, 6.0, 0.5))])
    world = world_of(solids, level_view())
    seen = (look(solids, world.view)[0] == 1).sum()
    assert 12 < seen < 300
    truth = truth_about(world, min_pixels=seen + 1)
    assert truth.labels.tolist() == [CUBE] and truth.tracks.tolist() == [0]
    assert (truth.segmentation == 255).sum() == seen and "sphere" not in " ".join(truth.captions)
    assert len(truth_about(world, min_pixels=seen)) == 2


def test_no_labelled_solid_is_no_error():
    truth = truth_about(world_of(make_solid(SPHERE, centre=(0, 5, 0.5)), level_view()), min_pixels=10_000)
    assert len(truth) == 0 and truth.masks.shape == (0, *SIZE) and truth.relations.shape == (0, 3)


# ---------------------------------------------------------------------------------------------------------------- words
def test_relations_follow_from_positions():
    places = {"middle": (0, 0), "left": (-1.5, 0.2), "near": (0.1, -1.4), "far": (0.3, 1.6), "diagonal": (1.5, 1.5)}
    solids = np.concatenate([make_solid(CUBE, centre=(*p, 0.5)) for p in places.values()])
    found = {tuple(row) for row in truth_about(world_of(solids, level_view()), min_pixels=0).relations}
    assert {(1, LEFT, 0), (0, RIGHT, 1), (2, FRONT, 0), (0, BEHIND, 2), (3, BEHIND, 0)} <= found
    assert not any({a, b} == {0, 4} for a, _, b in found)  # on the diagonal: nothing is said


def test_stacked_and_near_solids_are_related_so():
    solids = np.concatenate(
        [
            make_solid(CUBE, centre=(0, 0, 0.5)),
            make_solid(SPHERE, centre=(0, 0, 1.2), extent=(0.2, 0.2, 0.2), reach=0.2),
            make_solid(CUBE, centre=(0.9, 0, 0.5)),
        ]
    )
    found = truth_about(world_of(solids, level_view(), support=[-1, 0, -1]), min_pixels=0).relations.tolist()
    assert [1, ON, 0] in found and [0, UNDER, 1] in found
    assert sum({a, b} == {0, 1} for a, _, b in found) == 2  # nothing else about a stacked pair
    assert [0, NEAR, 2] in found and [2, NEAR, 0] in found  # 0.1 m between them


def test_relations_of_rendered_worlds_have_their_opposites(pictures):
    opposite = {LEFT: RIGHT, RIGHT: LEFT, FRONT: BEHIND, BEHIND: FRONT, ON: UNDER, UNDER: ON, NEAR: NEAR}
    for _, truth in pictures:
        rows = {tuple(r) for r in truth.relations}
        assert rows == {(b, opposite[p], a) for a, p, b in rows}
        for a, p, b in rows:
            x = truth.keypoints[[a, b], 8:, 0].mean(1)
            if p in (LEFT, RIGHT):
                assert (x[0] < x[1]) == (p == LEFT)


def test_region_captions_name_the_right_things(pictures):
    for _, truth in pictures:
        for i, caption in enumerate(truth.region_captions):
            colour = tuple(COLOURS)[truth.world.colour[i]]
            solid = truth.world.solids[i]
            own = caption.split(" under ")[0].split(" on top of ")[0]
            assert own.split()[0] in ("a", "an")
            assert colour in own.split() and SHAPES[solid["shape"]] in own.split()
            assert MATERIALS[solid["material"]] in own.split() and SIZES[truth.world.large[i]] in own.split()
            assert set(own.split()) & set(COLOURS) == {colour}
            columns = {ATTRIBUTES[k] for k in np.flatnonzero(truth.attributes[i])}
            assert {colour, MATERIALS[solid["material"]], TEXTURES[solid["texture"]]} <= columns
            assert len(columns) == 5


def test_picture_captions_state_relations_that_hold(pictures):
    checked = 0
    for _, truth in pictures:
        short = names(truth.looks)
        assert len(set(short)) == len(short)
        for caption in truth.captions[1:]:
            for k, predicate in enumerate(PREDICATES):
                how = " next to " if k == NEAR else f" {predicate} "
                if how not in caption:
                    continue
                left, right = caption.split(how)
                pairs = truth.relations[truth.relations[:, 1] == k]
                assert any(
                    _tells(left, truth.looks[a], short[a]) and _tells(right, truth.looks[b], short[b])
                    for a, _, b in pairs
                )
                checked += 1
    assert checked > 20


def _tells(text: str, one: Looks, short: str) -> bool:
    bare = one.phrase(size=False)
    return any(p in text for p in (one.phrase(), bare, f"the {short}"))


def test_answers_are_right(pictures):
    numbers = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
    for _, truth in pictures:
        for question, answer in zip(truth.questions, truth.answers):
            if question.startswith("how many"):
                asked = question.split()[2]
                shape = next(k for k, s in enumerate(SHAPES) if asked in (s + "s", "tori" if s == "torus" else ""))
                assert answer == numbers[(truth.labels == shape).sum()]
            elif question.startswith("what colour"):
                assert answer in COLOURS


# ---------------------------------------------------------------------------------------------------------- the picture
def test_same_seed_same_pixels_on_any_number_of_threads():
    alone = [render(5, i, (64, 64)) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: render(5, i, (64, 64)), range(12)))
    for (a, s), (b, t) in zip(alone, together):
        assert (a == b).all() and (s.depth == t.depth).all() and s.captions == t.captions
    assert (render(6, 0, (64, 64))[0] != alone[0][0]).any()


def test_the_truth_alone_equals_the_truth_with_its_picture():
    _, with_picture = render(5, 3, (64, 80))
    alone = truth_of(5, 3, (64, 80))
    assert (alone.ids == with_picture.ids).all() and alone.captions == with_picture.captions
    assert (alone.keypoints == with_picture.keypoints).all() and (alone.relations == with_picture.relations).all()


@pytest.mark.parametrize("size", [(16, 16), (33, 57), (160, 64)])
def test_any_size(size):
    picture, truth = render(1, 0, size, solids=(1, 2), min_pixels=1)
    assert picture.shape == (*size, 3) and truth.depth.shape == size and 1 <= len(truth) <= 2


@pytest.mark.parametrize("wrong", [{"solids": (0, 3)}, {"solids": (5, 4)}, {"solids": (3, 40)}, {"size": (8, 128)}])
def test_impossible_wishes_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"solids \d-\d+: give|size="):
        render(0, 0, **wrong)


def _studio(view: View) -> Studio:
    plain = random_studio(np.random.default_rng(1), view)
    lamp = (math.sqrt(0.5), 0.0, math.sqrt(0.5))  # from the right, 45 degrees up
    return plain._replace(lamp=lamp, lamp_size=0.05, floor_kind=3, polish=0.0)


def test_shadows_fall_away_from_the_lamp():
    view = View((0, 0, 6.0), (1.0, 0, 0), (0, -1.0, 0), (0, 0, -1.0), 110.0, 64, 48)  # from straight above
    picture, who, _, _ = photograph(
        make_solid(CUBE, centre=(0, 0, 0.5)), view, _studio(view), SIZE, np.random.default_rng(0)
    )
    left, right = picture[44:52, 44:52].mean(), picture[44:52, 76:84].mean()  # about 0.85 m to either side
    assert (who[44:52, 44:52] < 0).all() and (who[44:52, 76:84] < 0).all()
    assert left < 0.75 * right


@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_a_rubber_ball_shows_its_colour(colour):
    view = level_view()
    tone = np.array(COLOURS[colour]) / 255
    solids = make_solid(SPHERE, centre=(0, 0, 0.5), colour=tone**2.2)
    picture, who, _, _ = photograph(solids, view, _studio(view), SIZE, np.random.default_rng(0))
    assert picture[who == 0].mean(0).argmax() == ("red", "green", "blue").index(colour)


def test_gaps_never_exceed_the_true_distance():
    rng = np.random.default_rng(0)
    for _ in range(30):
        a = make_solid(CUBE, turned(CUBE, UPRIGHT, EXTENTS[CUBE], rng.uniform(0, 6), 0.0))
        b = make_solid(CYLINDER, centre=(*rng.uniform(0.8, 1.5, 2), 0.0))
        found = gaps(intervals(a[0]), intervals(b[0])[None])[0]
        points = mesh(b[0], 64)[0] + b[0]["centre"]
        true = min(distance(a[0], tuple(p)) for p in points)
        assert found <= true + 1e-3 and found > true - 0.12


def test_nearest_finds_the_first_of_many():
    solids = np.concatenate([make_solid(s, centre=(0, 2.0 * s, 0)) for s in (SPHERE, CONE, CUBE)])
    t, which = nearest(solids, (0.0, -5.0, 0.0), (0.0, 1.0, 0.0), -1)
    assert which == 2 and t == pytest.approx(4.7)
    t, which = nearest(solids, (0.0, -5.0, 0.0), (0.0, 1.0, 0.0), 2)
    assert which == 0 and t == pytest.approx(6.5)
