"""Feature pyramid and RoI pooling over it."""

import math

import pytest
import torch
import torch.nn.functional as F

from videre.layers.fpn import FeaturePyramid
from videre.layers.roi_pooler import RoIPooler
from videre.ops.roi_align import roi_align

CHANNELS = {4: 8, 8: 12, 16: 16, 32: 20}


def maps(height, width, batch=2):
    torch.manual_seed(0)
    return [torch.randn(batch, c, -(-height // s), -(-width // s)) for s, c in CHANNELS.items()]


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 31), (1, 1), (127, 40)])
def test_shapes_on_odd_sizes(size):
    neck = FeaturePyramid(CHANNELS, 16)
    features = maps(*size)
    out = neck(features)
    assert neck.strides == [4, 8, 16, 32, 64]
    assert [o.shape[2:] for o in out[:4]] == [x.shape[2:] for x in features]
    assert all(o.shape[:2] == (2, 16) for o in out)
    assert torch.equal(out[4], F.max_pool2d(out[3], 1, 2))  # torchvision's extra level
    assert len(FeaturePyramid(CHANNELS, 16, extra=False)(features)) == 4


def test_each_level_is_its_lateral_and_all_above_it():
    neck = FeaturePyramid(CHANNELS, 16)
    features = maps(32, 32)
    inner = [lateral(x) for lateral, x in zip(neck.lateral, features)]
    up = lambda x, times: x.repeat_interleave(times, 2).repeat_interleave(times, 3)
    finest = inner[0] + up(inner[1], 2) + up(inner[2], 4) + up(inner[3], 8)
    torch.testing.assert_close(neck(features)[0], neck.output[0](finest))


def test_parameters_as_published():
    """Laterals 256 * (256 + 512 + 1024 + 2048) and outputs 4 * 9 * 256^2, with biases."""
    neck = FeaturePyramid({4: 256, 8: 512, 16: 1024, 32: 2048})
    assert sum(p.numel() for p in neck.parameters()) == 256 * 3840 + 4 * 9 * 256**2 + 8 * 256
    assert all(not m.bias.any() for m in neck.modules() if isinstance(m, torch.nn.Conv2d))
    assert not any(n.endswith("0.bias") for n, _ in FeaturePyramid(CHANNELS, 16, norm="batch").named_parameters())


# RoI pooling ------------------------------------------------------------------------------------------------------------


def rois(*sides, picture=0):
    return torch.tensor([[picture, 1.0, 2.0, 1 + w, 2 + h] for w, h in sides])


@pytest.mark.parametrize(
    ("side", "stride"),
    [(0, 4), (1, 4), (111.9, 4), (112, 8), (223.9, 8), (224, 16), (447.9, 16), (448, 32), (5000, 32)],
)
def test_the_level_is_floor_of_4_plus_log2_of_side_over_224(side, stride):
    pooler = RoIPooler([4, 8, 16, 32], 7)
    assert pooler.strides[pooler.levels(rois((side, side)))] == stride
    assert pooler.levels(rois((side / 2, side * 2))).item() == pooler.levels(rois((side, side))).item()
    if side:
        level = min(max(math.floor(4 + math.log2(side / 224) + 1e-6), 2), 5)
        assert 2**level == stride


def test_levels_of_a_part_of_the_pyramid():
    assert RoIPooler([8, 16], 7).levels(rois((5, 5), (200, 200), (250, 250), (900, 900))).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("aligned", [False, True])
def test_each_roi_is_read_from_its_level_in_its_place(aligned):
    pooler = RoIPooler([4, 8, 16, 32], 3, 2, aligned)
    torch.manual_seed(0)
    features = [torch.randn(2, 5, 512 // s, 512 // s) for s in (4, 8, 16, 32)]
    boxes = torch.cat(
        [rois((300, 300), (20, 30), (500, 490), (120, 130), (0, 0)), rois((60, 10), (450, 470), picture=1)]
    )
    out = pooler(features, boxes)
    for i, level in enumerate(pooler.levels(boxes).tolist()):
        alone = roi_align(features[level], boxes[i : i + 1], 3, 1 / pooler.strides[level], 2, aligned)
        torch.testing.assert_close(out[i], alone[0])


def test_no_rois_still_reach_every_level():
    features = [torch.randn(1, 5, 8, 8, requires_grad=True) for _ in range(4)]
    out = RoIPooler([4, 8, 16, 32], 7)(features, torch.zeros(0, 5))
    assert out.shape == (0, 5, 7, 7)
    out.sum().backward()
    assert all(f.grad is not None and not f.grad.any() for f in features)
    assert RoIPooler([16], 7)([features[0]], torch.zeros(0, 5)).shape == (0, 5, 7, 7)
