"""ImageBatch and warp_scene: padding is zero, frames convert there and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videre.errors import ConfigError
from videre.structures import Camera, ImageBatch, Instances, Masks, Scene, invert, warp_scene


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
    moved = warp_scene(scene, np.array([[2.0, 0, 1], [0, 3, 0]]), (12, 14))
    assert moved.size == (12, 14) and moved.instances.boxes.tolist() == [[5, 3, 11, 9]]
    assert moved.instances.keypoints.tolist() == [[[6, 4.5]]] and moved.instances.areas.tolist() == [36]
    assert moved.instances.masks.boxes().tolist() == [[5, 3, 11, 9]] and moved.instances.masks.area().tolist() == [36]
    assert moved.proposals.tolist() == [[1, 0, 13, 12]] and moved.camera.intrinsics[:2, 2].tolist() == [7, 6]
    for name, outside in (("segmentation", 255), ("panoptic", 0), ("depth", 0)):
        old, new = getattr(scene, name), getattr(moved, name)
        assert new.dtype == old.dtype
        assert torch.equal(new[:, 1:13], old.repeat_interleave(3, 0).repeat_interleave(2, 1)), name
        assert (new[:, 0] == outside).all() and (new[:, 13] == outside).all()


@pytest.mark.parametrize("matrix", [[[-1, 0, 6], [0, 1, 0]], [[0, 1, 0], [-1, 0, 6]], [[1, 0.1, 0], [0, 1, 0]]])
def test_mirrors_turns_and_shears_are_refused(matrix):
    with pytest.raises(ConfigError, match=r"a\.png: only scales and shifts"):
        warp_scene(Scene((4, 6), meta={"path": "a.png"}), np.array(matrix, float), (4, 6))


@given(st.floats(0.3, 3), st.floats(0.3, 3), st.floats(-4, 4), st.floats(-4, 4))
def test_maps_take_the_pixel_under_each_centre(sx, sy, dx, dy):
    labels = torch.arange(35, dtype=torch.uint8).reshape(5, 7)
    matrix = np.array([[sx, 0, dx], [0, sy, dy]])
    moved = warp_scene(Scene((5, 7), segmentation=labels), matrix, (9, 8)).segmentation
    for y in range(9):
        for x in range(8):
            u, v = (x + 0.5 - dx) / sx, (y + 0.5 - dy) / sy
            if min(abs(u - round(u)), abs(v - round(v))) > 0.005:  # nearer to an edge either pixel is right
                inside = 0 <= u < 7 and 0 <= v < 5
                assert moved[y, x] == (labels[int(v), int(u)] if inside else 255)
