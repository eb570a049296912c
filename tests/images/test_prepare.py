"""prepare: torch's interpolation, exact frames, any depth of pixels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.data.transforms.geometry import resize
from videre.errors import DataError
from videre.images.prepare import prepare, prepare_truth
from videre.structures import Instances, Preprocess, Scene

PLAIN = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


def noise(height, width, channels=3, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random((height, width, channels), np.float32)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_equals_torchs_bilinear_interpolation(height, width, new_height, new_width):
    picture = noise(height, width)
    preprocess = Preprocess(size=(new_height, new_width), antialias=False)
    batch = prepare(picture, preprocess, seed=3)
    image = torch.from_numpy(picture).permute(2, 0, 1).float()[None] / 255
    image = (image - torch.tensor(preprocess.mean)[:, None, None]) / torch.tensor(preprocess.std)[:, None, None]
    expected = F.interpolate(image, size=(new_height, new_width), mode="bilinear", align_corners=False)
    torch.testing.assert_close(batch.image[:, :, :new_height, :new_width], expected, atol=3e-5, rtol=1e-5)
    assert (batch.image[:, :, new_height:] == 0).all() and (batch.image[:, :, :, new_width:] == 0).all()
    assert batch.image.shape[2:] == preprocess.padded((height, width)) and batch.seeds == (3,)
    assert batch.image.is_contiguous(memory_format=torch.channels_last)


def test_shrinking_with_antialias_averages():
    picture = noise(40, 60)
    image = prepare(picture, Preprocess(size=(20, 30), divisor=1, **PLAIN)).image[0]
    expected = torch.from_numpy(picture.reshape(20, 2, 30, 2, 3).mean((1, 3)) / 255).permute(2, 0, 1).float()
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "channels"), [((10, 90), 3), ((80, 15), 1), ((10, 15), 3), ((80, 120), 1), ((10, 30), 3)]
)
def test_sides_that_shrink_are_averaged_though_the_other_grows(size, channels):
    picture = noise(40, 30, channels, np.float32)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None]
    means = F.avg_pool2d(image, tuple(max(1, n // m) for n, m in zip((40, 30), size)))  # whole factors
    expected = F.interpolate(means, size=size, mode="bilinear", align_corners=False)
    plain = {"mean": (0.0,) * channels, "std": (1.0,) * channels, "channels": "any"}
    result = prepare(picture, Preprocess(size=size, divisor=1, **plain)).image
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    augmented, _ = resize(picture, Scene((40, 30)), size)  # augmentation has the same rule
    assert np.array_equal(augmented, result[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
@pytest.mark.parametrize("size", [None, (5, 9)])
def test_every_depth_means_the_same_light(dtype, largest, size):
    sized = Preprocess(short_side=None, long_side=None, size=size, divisor=1, **PLAIN)
    assert torch.allclose(prepare(np.full((6, 7, 3), largest, dtype), sized).image, torch.ones(1))
    assert torch.allclose(prepare(np.full((6, 7, 3), largest * 0.2, dtype), sized).image, torch.full((1,), 0.2))


def test_channels_as_the_net_wants_them():
    same = {"short_side": None, "long_side": None, "divisor": 1}
    picture = noise(4, 5)
    rgb = prepare(picture, Preprocess(**same, **PLAIN)).image
    assert torch.equal(prepare(picture, Preprocess(channels="bgr", **same, **PLAIN)).image, rgb.flip(1))
    grey = prepare(picture, Preprocess(channels="grey", mean=(0,), std=(1,), **same)).image
    torch.testing.assert_close(grey[0, 0], (rgb[0] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0))
    one = prepare(picture[:, :, :1], Preprocess(**same, **PLAIN)).image
    assert torch.equal(one, rgb[:, :1].expand_as(rgb))
    many = Preprocess(size=(8, 9), channels="any", mean=(0,) * 6, std=(1,) * 6)
    assert prepare(noise(4, 5, 6, np.uint16), many).image.shape == (1, 6, 32, 32)


@pytest.mark.parametrize(
    ("picture", "channels", "says"),
    [
        (noise(4, 5).astype(np.float64), "rgb", "uint8, uint16 or float32 in .* found float64"),
        (noise(4, 5).astype(np.int32), "rgb", "found int32"),
        (noise(4, 5)[:, :, 0], "rgb", r"\[height, width, channels\] and has pixels, found shape \(4, 5\)"),
        (noise(4, 5)[:0], "rgb", r"found shape \(0, 5, 3\)"),
        (noise(4, 5, 4), "rgb", r"the net takes 3 channels \(rgb\), the picture has 4"),
        (noise(4, 5, 4), "any", "the net takes 3 channels, the picture has 4"),
    ],
)
def test_what_is_no_picture_for_this_net(picture, channels, says):
    with pytest.raises(DataError, match=says):
        prepare(picture, Preprocess(channels=channels))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(8, 90))
def test_truths_go_into_the_batch_and_exactly_back(height, width, short):
    batch = prepare(noise(height, width), Preprocess(short_side=short, long_side=120))
    rng = np.random.default_rng(height)
    corners = np.sort(rng.random((5, 2, 2)) * [width, height], axis=1).reshape(5, 4)
    scene = Scene((height, width), Instances(boxes=corners, keypoints=corners.reshape(5, 2, 2)))
    moved = prepare_truth(scene, batch)
    assert moved.size == batch.sizes[0]
    limit = torch.tensor(batch.sizes[0]).flip(0).float()
    assert (moved.instances.boxes.view(-1, 2, 2) <= limit + 1e-3).all()
    inverse = torch.as_tensor(batch.inverse(0), dtype=torch.float32)
    back = moved.instances.keypoints * inverse.diagonal() + inverse[:, 2]
    torch.testing.assert_close(back, scene.instances.keypoints, atol=1e-4, rtol=1e-5)
