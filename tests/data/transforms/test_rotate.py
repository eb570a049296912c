"""Rotations: by a quarter they are quarter turns; by any angle the truth follows the picture."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.data.transforms import Rotate, from_json, rotate, to_json, turn_scene
from videre.errors import ConfigError, DataError
from videre.structures import VOID, Camera, Categories, Instances, Masks, Scene, Schema

SCHEMA = Schema(things=Categories.of(["cell"]))


def scene_of(size: tuple[int, int], windows: list[tuple[int, int, int, int]]) -> Scene:
    """Filled rectangles, the last one a hole of void in the segmentation."""
    maps = np.zeros((len(windows), *size), bool)
    for n, (x1, y1, x2, y2) in enumerate(windows):
        maps[n, y1:y2, x1:x2] = True
    masks = Masks.from_bitmaps(torch.from_numpy(maps))
    segmentation = torch.from_numpy(maps.any(0).astype(np.uint8))
    middles = torch.tensor([[(x1 + x2) / 2, (y1 + y2) / 2] for x1, y1, x2, y2 in windows])
    things = Instances(
        torch.tensor(windows).float(),
        torch.zeros(len(windows), dtype=torch.int64),
        masks=masks,
        keypoints=middles[:, None].float(),
        visibility=torch.full((len(windows), 1), 2, dtype=torch.uint8),
    )
    return Scene(size, things, segmentation=segmentation, proposals=torch.tensor(windows).float())


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_of_a_square_is_a_quarter_turn(turns: int) -> None:
    rng = np.random.default_rng(turns)
    picture = rng.integers(0, 256, (30, 30, 5), dtype=np.uint8)
    before = scene_of((30, 30), [(2, 3, 9, 12), (15, 1, 29, 6)])
    turned, scene = rotate(picture, before, 90 * turns)
    assert np.array_equal(turned, np.rot90(picture, turns))
    wanted = turn_scene(before, turns)
    assert torch.equal(scene.segmentation, wanted.segmentation)
    assert torch.equal(scene.instances.masks.bitmaps(), wanted.instances.masks.bitmaps())
    for ours, theirs in (
        (scene.instances.boxes, wanted.instances.boxes),
        (scene.instances.keypoints, wanted.instances.keypoints),
        (scene.proposals, wanted.proposals),
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.floats(-180, 180), st.integers(20, 60), st.integers(20, 60))
def test_a_spot_and_what_is_true_of_it_stay_together(degrees: float, height: int, width: int) -> None:
    x, y = width // 2 + 3, height // 2 - 4
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    turned, scene = rotate(picture, scene_of((height, width), [(x - 2, y - 2, x + 3, y + 3)]), degrees)
    white = np.argwhere(turned[:, :, 0] > 200)[:, ::-1] + 0.5
    middle = torch.tensor(white.mean(0)).float()
    torch.testing.assert_close(scene.instances.keypoints[0, 0], middle, atol=0.3, rtol=0)
    box = scene.instances.boxes[0]
    torch.testing.assert_close((box[:2] + box[2:]) / 2, middle, atol=1.0, rtol=0)
    inside = scene.segmentation.numpy()[tuple(np.floor(white).astype(int).T[::-1])]
    assert (inside == 1).mean() > 0.9


def test_what_leaves_the_picture_is_dropped_and_the_corners_are_void() -> None:
    before = scene_of((40, 80), [(0, 20, 6, 26), (38, 18, 44, 24)])
    _, scene = rotate(np.zeros((40, 80, 3), np.uint8), before, 45)
    assert len(scene) == 1 and torch.allclose(scene.instances.keypoints[0, 0], torch.tensor([41.4, 20.3]), atol=0.8)
    assert scene.segmentation[0, 0] == VOID and scene.segmentation[20, 40] != VOID
    half = scene_of((40, 80), [(72, 14, 80, 26)])  # about half of it is inside when turned by 30 degrees
    assert len(rotate(np.zeros((40, 80, 3), np.uint8), half, 30, min_visible=0.05)[1]) == 1
    assert len(rotate(np.zeros((40, 80, 3), np.uint8), half, 30, min_visible=0.95)[1]) == 0


def test_cameras_are_refused_and_settings_checked() -> None:
    camera = Camera(torch.tensor([[50.0, 0, 20], [0, 50, 20], [0, 0, 1]]))
    with pytest.raises(DataError, match=r"cameras cannot be turned by 10 degrees; .*rotate=0"):
        rotate(np.zeros((40, 40, 3), np.uint8), Scene((40, 40), camera=camera), 10)
    with pytest.raises(ConfigError, match="degrees lie within 0 and 180, found 200"):
        Rotate(200)
    same = from_json(to_json(Rotate(25)))
    assert same == Rotate(25)
    picture, scene = np.zeros((20, 20, 3), np.uint8), scene_of((20, 20), [(5, 5, 12, 12)])
    first = same(picture, scene, np.random.default_rng(3), SCHEMA)[1].instances.keypoints
    assert torch.equal(first, same(picture, scene, np.random.default_rng(3), SCHEMA)[1].instances.keypoints)
