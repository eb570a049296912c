"""ImageBatch, and scenes that move with the picture: padding is zero, frames convert there and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videre.errors import DataError
from videre.structures import Affine, Box3D, Camera, ImageBatch, Instances, Masks, Relations, Scene, invert


def batch(height, width, value, seed=0):
    matrix = np.array([[[2.0, 0, 0], [0, 3.0, 0]]])
    return ImageBatch(torch.full((1, 3, height, width), value), ((height, width),), ((5, 5),), matrix, (seed,))


def test_cat_pads_with_zeros_right_and_bottom():
    joined = ImageBatch.cat([batch(4, 6, 1.0, 7), batch(5, 3, 2.0, 8)])
    assert joined.image.shape == (2, 3, 5, 6) and joined.image.is_contiguous(memory_format=torch.channels_last)
    assert joined.sizes == ((4, 6), (5, 3)) and joined.seeds == (7, 8) and len(joined) == 2
    assert (joined.image[0, :, :4] == 1).all() and (joined.image[0, :, 4:] == 0).all()
    assert (joined.image[1, :, :, :3] == 2).all() and (joined.image[1, :, :, 3:] == 0).all()
    assert ImageBatch.cat([batch(4, 6, 1.0)], (8, 5)).image.shape == (1, 3, 8, 6)
    assert np.array_equal(joined.matrices[1] @ [1, 1, 1], [2, 3])


@given(st.lists(st.floats(0.05, 20), min_size=2, max_size=2), st.lists(st.floats(-50, 50), min_size=4, max_size=4))
def test_the_inverse_is_exact(scales, others):
    matrix = np.array([[scales[0], others[0] / 100, others[1]], [others[2] / 100, scales[1], others[3]]])
    if abs(np.linalg.det(matrix[:, :2])) < 1e-3:
        return
    points = np.random.default_rng(0).random((10, 2)) * 1000
    there = points @ matrix[:, :2].T + matrix[:, 2]
    back = invert(matrix)
    np.testing.assert_allclose(there @ back[:, :2].T + back[:, 2], points, atol=1e-6)


def test_everything_in_a_scene_follows_the_warp():
    bitmaps = np.zeros((1, 4, 6), bool)
    bitmaps[0, 1:3, 2:5] = True
    scene = Scene(
        (4, 6),
        Instances(boxes=[[2, 1, 5, 3]], keypoints=[[[2.5, 1.5]]], masks=Masks.from_bitmaps(bitmaps), areas=[6.0]),
        segmentation=torch.arange(24, dtype=torch.uint8).reshape(4, 6),
        panoptic=torch.arange(24).reshape(4, 6) + 2**40,
        depth=torch.rand(4, 6),
        proposals=torch.tensor([[0.0, 0, 6, 4]]),
        camera=Camera([[10.0, 0, 3], [0, 10, 2], [0, 0, 1]]),
    )
    moved = scene.moved(Affine(np.array([[2.0, 0, 1], [0, 3, 0]]), scene.size, (12, 14)))
    assert moved.size == (12, 14) and moved.instances.boxes.tolist() == [[5, 3, 11, 9]]
    assert moved.instances.keypoints.tolist() == [[[6, 4.5]]] and moved.instances.areas.tolist() == [36]
    assert moved.instances.masks.boxes().tolist() == [[5, 3, 11, 9]] and moved.instances.masks.area().tolist() == [36]
    assert moved.proposals.tolist() == [[1, 0, 13, 12]] and moved.camera.intrinsics[:2, 2].tolist() == [7, 6]
    for name, outside in (("segmentation", 255), ("panoptic", 0), ("depth", 0)):
        old, new = getattr(scene, name), getattr(moved, name)
        assert new.dtype == old.dtype
        assert torch.equal(new[:, 1:13], old.repeat_interleave(3, 0).repeat_interleave(2, 1)), name
        assert (new[:, 0] == outside).all() and (new[:, 13] == outside).all()


LEVEL = {
    "camera": dict(camera=Camera(torch.eye(3))),
    "3D boxes": dict(instances=Instances(boxes3d=Box3D([[0.0, 0, 5]], [[1.0, 1, 1]], [0.0]))),
}


@pytest.mark.parametrize("what", LEVEL)
@pytest.mark.parametrize("matrix", [[[0, 1, 0], [-1, 0, 6]], [[1, 0.1, 0], [0, 1, 0]], [[-1, 0, 6], [0, -1, 4]]])
def test_what_must_stay_level_is_not_turned(what, matrix):
    scene = Scene((4, 6), meta={"path": "a.png"}, **LEVEL[what])
    with pytest.raises(DataError, match=rf"a\.png: .*{what}s? cannot be turned by \d+ degrees"):
        scene.moved(Affine(np.array(matrix, float), (4, 6), (4, 6)))


def test_what_is_said_may_lean_but_not_lie_down():
    scene = Scene((4, 6), Instances(ids=[1, 2]), captions=["left of it"], relations=Relations([0], [0], [1]))
    turn = lambda degrees: Affine(
        np.array(
            [
                [np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0],
                [-np.sin(np.radians(degrees)), np.cos(np.radians(degrees)), 0],
            ]
        ),
        (4, 6),
        (4, 6),
    )
    assert scene.moved(turn(30)).captions == scene.captions
    for degrees in (90, 180, -60):
        with pytest.raises(DataError, match=f"cannot be turned by {abs(degrees)} degrees"):
            scene.moved(turn(degrees))


@given(st.integers(0, 3), st.booleans())
def test_pixels_boxes_and_points_turn_alike(turns, mirrored):
    """Each pixel of a map, the unit box over it and the point in its middle stay together."""
    size = (3, 4)
    ids = torch.arange(12, dtype=torch.uint8).reshape(size)
    middles = torch.tensor([[x + 0.5, y + 0.5] for y in range(3) for x in range(4)])
    boxes = torch.cat([middles - 0.5, middles + 0.5], 1)
    bitmaps = torch.nn.functional.one_hot(ids.long().flatten(), 12).T.reshape(12, *size)
    things = Instances(boxes=boxes, keypoints=middles[:, None], masks=Masks.from_bitmaps(bitmaps))
    scene = Scene(size, things, segmentation=ids)
    scene = scene.moved(Affine.mirror(size)) if mirrored else scene
    for _ in range(turns):
        scene = scene.moved(Affine.quarter(scene.size))
    expected = np.rot90(ids.numpy()[:, ::-1] if mirrored else ids.numpy(), turns)
    assert np.array_equal(scene.segmentation.numpy(), expected)
    x, y = (scene.instances.keypoints[:, 0] - 0.5).long().unbind(1)
    assert expected[y, x].tolist() == list(range(12))
    assert torch.equal(scene.instances.boxes, scene.instances.masks.boxes())
    assert torch.equal(scene.instances.boxes[:, :2] + 0.5, scene.instances.keypoints[:, 0])


@given(st.floats(0.3, 3), st.floats(0.3, 3), st.floats(-4, 4), st.floats(-4, 4))
def test_maps_take_the_pixel_under_each_centre(sx, sy, dx, dy):
    labels = torch.arange(35, dtype=torch.uint8).reshape(5, 7)
    matrix = np.array([[sx, 0, dx], [0, sy, dy]])
    moved = Scene((5, 7), segmentation=labels).moved(Affine(matrix, (5, 7), (9, 8))).segmentation
    for y in range(9):
        for x in range(8):
            u, v = (x + 0.5 - dx) / sx, (y + 0.5 - dy) / sy
            if min(abs(u - round(u)), abs(v - round(v))) > 0.005:  # nearer to an edge either pixel is right
                inside = 0 <= u < 7 and 0 <= v < 5
                assert moved[y, x] == (labels[int(v), int(u)] if inside else 255)
