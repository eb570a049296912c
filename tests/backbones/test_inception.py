"""Inception V2, V3 and Inception-ResNet V2: parameters to the unit, shapes, dilation, freezing, names."""

import re

import pytest
import torch

from videre.backbones import VECTOR, make_backbone
from videre.backbones.inception_v2 import InceptionV2
from videre.backbones.inception_v3 import ConvNorm, InceptionV3, Pool, mean3x3
from videre.backbones.weights import BACKBONE_WEIGHTS
from videre.data.blocks import blocks_dataset
from videre.errors import ConfigError, WeightsError
from videre.layers.conv import SameConv2d
from videre.layers.norm import NORMS
from videre.train.build import prepare_training

NAMES = ("inception_v2", "bn_inception", "inception_v3", "inception_resnet_v2")


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "options", "total"),
    [
        ("inception_v2", {}, 11188288),
        ("inception_v2", {"variant": "dense"}, 11194984),
        ("bn_inception", {}, 11295240),
        ("inception_v3", {}, 23834568),
        ("inception_resnet_v2", {}, 55843464),
    ],
)
def test_parameters_are_the_published_number(name, options, total):
    with torch.device("meta"):
        net = make_backbone(name, norm="batch", **options)
    assert count(net) + (net.channels[32] + 1) * 1000 == total  # with a last layer for 1000 classes


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("inception_v2", [4261656, 5901632]),  # the split of TensorFlow's Faster R-CNN, after Mixed_4e
        ("inception_v3", [8965856, 12819712]),  # after Mixed_6e
        ("inception_resnet_v2", [26873312, 27433152]),  # after PreAuxLogits
    ],
)
def test_parameters_before_and_after_stride_16_are_the_published_numbers(name, parts):
    with torch.device("meta"):
        net = make_backbone(name, norm="batch")
        assert [sum(count(s) for s in net.stages[:4]), count(net.stages[4])] == parts
        assert count(make_backbone(name, norm="batch", last=16)) == parts[0]


@pytest.mark.parametrize(
    ("name", "options", "size", "expected"),
    [
        ("inception_v2", {"padding": "same"}, 224, [(192, 56), (320, 28), (576, 14), (1024, 7)]),
        ("bn_inception", {}, 224, [(192, 56), (320, 28), (608, 14), (1024, 7)]),
        ("inception_v3", {"padding": "valid"}, 299, [(192, 71), (288, 35), (768, 17), (2048, 8)]),
        ("inception_resnet_v2", {"padding": "valid"}, 299, [(192, 71), (320, 35), (1088, 17), (1536, 8)]),
    ],
)
@torch.no_grad()
def test_maps_are_the_published_ones_at_the_published_size(name, options, size, expected):
    with torch.device("meta"):
        net = make_backbone(name, vector=True, **options).eval()
        maps = net(torch.zeros(2, 3, size, size))
    assert list(maps) == [4, 8, 16, 32, VECTOR] and list(net.channels) == [4, 8, 16, 32]
    for (stride, width), (channels, side) in zip(net.channels.items(), expected):
        assert width == channels and maps[stride].shape == (2, channels, side, side)
    assert maps[VECTOR].shape == (2, net.width) and net.width == expected[-1][0]


@pytest.mark.parametrize(
    ("name", "padding"),
    [(name, padding) for name in NAMES for padding in ("half", "same")] + [("bn_inception", "ceil")],
)
@torch.no_grad()
def test_maps_at_their_strides_for_any_size(name, padding):
    with torch.device("meta"):
        net = make_backbone(name, padding=padding).eval()
        for size in ((64, 96), (65, 97), (33, 47), (70, 83), (1, 1)):
            for stride, x in net(torch.zeros(1, 3, *size)).items():
                assert x.shape == (1, net.channels[stride], *(-(-n // stride) for n in size))


@pytest.mark.parametrize(
    ("name", "padding"),
    [
        ("inception_v2", "half"),
        ("bn_inception", "half"),
        ("inception_v3", "same"),
        ("inception_resnet_v2", "same"),
        ("mobilenet_v2", "same"),
        ("mobilenet_v2", "half"),
    ],
)
@torch.inference_mode()
def test_dilation_reads_the_same_places(name, padding):
    """On sides 2^n + 1 the dilated map holds the coarse one, every second place or every fourth."""
    nets = {stride: make_backbone(name, padding=padding, output_stride=stride).eval() for stride in (32, 16, 8)}
    x = torch.randn(1, 3, 65, 65)
    coarse = nets[32](x)
    for output_stride in (16, 8):
        net = nets[output_stride]
        net.load_state_dict(nets[32].state_dict())
        assert net.output_stride == output_stride
        for stride, found in net(x).items():
            step = max(1, stride // output_stride)
            scale = coarse[stride].abs().max()
            torch.testing.assert_close(found[..., ::step, ::step] / scale, coarse[stride] / scale, rtol=1e-4, atol=1e-5)


def test_a_dilated_mean_counts_what_is_inside():
    x = torch.rand(1, 3, 7, 6)
    inside = mean3x3(x, 2, zeros=False)
    assert torch.allclose(inside[0, :, 0, 0], x[0, :, :3:2, :3:2].mean((1, 2)))
    assert torch.allclose(mean3x3(x, 2, zeros=True)[0, :, 0, 0], x[0, :, :3:2, :3:2].sum((1, 2)) / 9)
    assert torch.allclose(inside[0, :, 3, 3], x[0, :, 1:6:2, 1:6:2].mean((1, 2)))


@pytest.mark.parametrize("side", [6, 7])
def test_strided_pools_read_where_they_should(side):
    x = -torch.rand(1, 1, side, side) - 1  # below zero: padding must never win
    windows = {
        "half": [slice(max(2 * i - 1, 0), 2 * i + 2) for i in range(-(-side // 2))],
        "ceil": [slice(2 * i, 2 * i + 3) for i in range(-(-side // 2))],
        "valid": [slice(2 * i, 2 * i + 3) for i in range((side - 1) // 2)],
    }
    windows["same"] = windows["ceil" if side % 2 == 0 else "half"]
    for padding, places in windows.items():
        expected = torch.stack([torch.stack([x[0, 0, a, b].max() for b in places]) for a in places])
        assert torch.equal(Pool("max", 2, padding)(x)[0, 0], expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", NORMS)
@torch.inference_mode()
def test_every_norm(name, norm):
    net = make_backbone(name, norm=norm, last=8).eval()
    layers = [m for m in net.modules() if isinstance(m, ConvNorm)]
    assert all((m.conv.bias is not None) == (norm == "none" or name == "bn_inception") for m in layers)
    assert all(x.isfinite().all() and x.std() > 0 for x in net(torch.randn(1, 3, 40, 40)).values())


def test_epsilons_are_the_published_ones():
    with torch.device("meta"):
        found = {name: {m.bn.eps for m in make_backbone(name).modules() if isinstance(m, ConvNorm)} for name in NAMES}
    assert found == {"bn_inception": {1e-5}} | {n: {1e-3} for n in NAMES if n != "bn_inception"}


@pytest.mark.parametrize("name", NAMES)
def test_freezing_counts_stages(name):
    with torch.device("meta"):
        net = make_backbone(name, norm="batch", channels=5)
    stages = [count(s) for s in net.stages]
    assert len(stages) == 5 and sum(stages) == count(net) and min(stages) > 0
    for frozen in range(6):
        net.requires_grad_(True)
        net.freeze(frozen)
        assert sum(p.numel() for p in net.parameters() if p.requires_grad) == sum(stages[frozen:])
    with pytest.raises(ConfigError, match=r"freeze must lie in 0\.\.5 stages, found 6"):
        net.freeze(6)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_pictures_of_any_number_of_channels(name):
    with torch.device("meta"):
        for channels in (1, 6):
            net = make_backbone(name, channels=channels, last=4)
            assert net(torch.zeros(1, channels, 32, 32))[4].shape == (1, 192, 8, 8)
    if name != "inception_v2":  # whose first layer sees each channel by itself
        tensors = make_backbone(name, last=4).state_dict()
        make_backbone(name, last=4, channels=6).load_weights(tensors)


def test_same_padding_reaches_every_convolution():
    for name in ("inception_v2", "inception_v3", "inception_resnet_v2"):
        with torch.device("meta"):
            net = make_backbone(name, padding="same")
        larger = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d) and max(m.kernel_size) > 1]
        assert larger and all(isinstance(m, SameConv2d) for m in larger)


def test_weights_by_the_names_of_the_caffe_net():
    net = make_backbone("bn_inception", last=8)
    ours = {n: torch.randn(v.shape) for n, v in net.state_dict().items()}
    theirs = {
        re.sub(r"\.(\dx\d|double|pool)", r"_\1", n).replace(".conv.", ".").replace(".bn.", "_bn."): v
        for n, v in ours.items()
    }
    assert {
        "conv1_7x7_s2.weight",
        "conv2_3x3_reduce_bn.running_var",
        "inception_3a_double_3x3_1.bias",
        "inception_3b_pool_proj_bn.weight",
    } <= set(theirs)
    assert net.load_weights({**theirs, "last_linear.weight": torch.zeros(3, 1024)}) == ["last_linear.weight"]
    assert all(torch.equal(v, ours[n]) for n, v in net.state_dict().items())
    assert net.load_weights(ours) == []  # and by our own
    with pytest.raises(WeightsError, match=r"the weights do not fit InceptionV2: .*inception_3a\.1x1\.conv\.weight"):
        net.load_weights({n: v for n, v in theirs.items() if n != "inception_3a_1x1.weight"})


def test_names_are_the_published_ones():
    with torch.device("meta"):
        v3 = set(make_backbone("inception_v3", norm="batch").state_dict())
        residual = set(make_backbone("inception_resnet_v2", norm="batch").state_dict())
    assert {
        "Conv2d_1a_3x3.conv.weight",
        "Mixed_5b.branch3x3dbl_3.bn.running_mean",
        "Mixed_6a.branch3x3.conv.weight",
        "Mixed_6e.branch7x7dbl_5.bn.weight",
        "Mixed_7c.branch3x3_2b.conv.weight",
    } <= v3
    assert {
        "conv2d_1a.bn.bias",
        "mixed_5b.branch0.conv.weight",
        "mixed_5b.branch3.1.conv.weight",
        "repeat.9.branch2.2.bn.weight",
        "repeat_1.19.conv2d.bias",
        "mixed_7a.branch2.2.conv.weight",
        "block8.branch1.2.bn.weight",
        "conv2d_7b.conv.weight",
    } <= residual


def test_a_detector_on_the_caffe_net_gets_its_colour_order(monkeypatch):
    card = next(card for card in BACKBONE_WEIGHTS if card.backbone == "bn_inception")
    tensors = make_backbone("bn_inception").state_dict()
    monkeypatch.setattr("videre.train.build.find_weights", lambda source: (card, tensors))
    model = prepare_training("faster-rcnn", blocks_dataset(2, size=(64, 64)), source="bn_inception.pth").model
    assert model.preprocess.channels == "bgr"
    assert [round(255 * m) for m in model.preprocess.mean] == [104, 117, 128]  # blue, green, red, of 0..255
    assert [round(255 * s) for s in model.preprocess.std] == [1, 1, 1]


def test_settings_that_cannot_be():
    with pytest.raises(ConfigError, match="variant must be one of separable, dense, caffe; found 'slim'"):
        InceptionV2("slim")
    with pytest.raises(ConfigError, match="padding must be one of half, same, ceil; found 'valid'"):
        InceptionV2(padding="valid")
    with pytest.raises(ConfigError, match="padding must be one of half, same, valid; found 'ceil'"):
        InceptionV3(padding="ceil")
    with pytest.raises(ConfigError, match="output_stride must be 8, 16 or 32, found 4"):
        make_backbone("inception_resnet_v2", output_stride=4)
    for name, padding in (("inception_resnet_v2", "valid"), ("bn_inception", "ceil")):
        with pytest.raises(ConfigError, match=f"output_stride 16 needs padding half or same, found {padding}"):
            make_backbone(name, output_stride=16, padding=padding)
