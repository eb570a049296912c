"""AlexNet, VGG, MobileNetV1: parameters to the unit, shapes, dilation, padding, stages, names of published files."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videre.backbones import VECTOR, make_backbone
from videre.backbones.alexnet import AlexNet
from videre.backbones.mobilenet_v1 import MobileNetV1
from videre.backbones.vgg import VGG
from videre.backbones.weights import BACKBONE_WEIGHTS, recognise_weights
from videre.engine.fuse import fuse
from videre.engine.plan import Plan
from videre.errors import ConfigError, ShapeError, WeightsError
from videre.layers.conv import SameConv2d
from videre.layers.norm import FrozenBatchNorm2d
from videre.models.base import Model
from videre.structures import Preprocess, Schema

VGGS = [f"vgg{depth}{norm}" for norm in ("", "_bn") for depth in (11, 13, 16, 19)]
NAMES = ("alexnet", "vgg16", "vgg11_bn", "mobilenet_v1")


def count(module):
    return sum(p.numel() for p in module.parameters())


def sides(maps):
    return {stride: tuple(x.shape[1:]) for stride, x in maps.items() if stride != VECTOR}


def ceiled(net, size):
    return {stride: (width, *(-(-n // stride) for n in size)) for stride, width in net.channels.items()}


# as published -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "total"),
    [
        ("alexnet", {}, 61100840),
        ("vgg11", {}, 132863336),
        ("vgg13", {}, 133047848),
        ("vgg16", {}, 138357544),
        ("vgg19", {}, 143667240),
        ("vgg11_bn", {"norm": "batch"}, 132868840),
        ("vgg13_bn", {"norm": "batch"}, 133053736),
        ("vgg16_bn", {"norm": "batch"}, 138365992),
        ("vgg19_bn", {"norm": "batch"}, 143678248),
        ("mobilenet_v1", {"norm": "batch"}, 4231976),
        ("mobilenet_v1", {"norm": "batch", "multiplier": 0.75}, 2585560),
        ("mobilenet_v1", {"norm": "batch", "multiplier": 0.5}, 1331592),
        ("mobilenet_v1", {"norm": "batch", "multiplier": 0.25}, 470072),
    ],
)
def test_parameters_of_the_classifier_are_the_published_number(name, options, total):
    with torch.device("meta"):
        net = make_backbone(name, vector=True, **options)
        assert count(net) + count(nn.Linear(net.width, 1000)) == total


def test_parameters_of_the_convolutions_are_the_published_number():
    with torch.device("meta"):
        assert [count(VGG(depth)) for depth in (11, 13, 16, 19)] == [9220480, 9404992, 14714688, 20024384]
        top = VGG(16, vector=True).top
        mobilenet = MobileNetV1(norm="batch")
        upto_11 = count(MobileNetV1(norm="batch", last=16))
    assert [count(layer) for layer in top if count(layer)] == [102764544, 16781312]
    convolutions = sum(count(m) for m in mobilenet.modules() if isinstance(m, nn.Conv2d))
    assert (convolutions, upto_11, count(mobilenet) - upto_11) == (3185088, 1613120, 1593856)


@pytest.mark.parametrize(
    ("depth", "norm", "indexes"),
    [
        (11, "none", [0, 3, 6, 8, 11, 13, 16, 18]),
        (16, "none", [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]),
        (13, "batch", [0, 3, 7, 10, 14, 17, 21, 24, 28, 31]),
        (19, "batch", [0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49]),
    ],
)
def test_convolutions_of_vgg_are_where_the_published_ones_are(depth, norm, indexes):
    with torch.device("meta"):
        net = VGG(depth, norm)
    assert [i for i, layer in enumerate(net.features) if isinstance(layer, nn.Conv2d)] == indexes
    norms = [i for i, layer in enumerate(net.features) if isinstance(layer, nn.BatchNorm2d)]
    assert norms == ([] if norm == "none" else [i + 1 for i in indexes])


@torch.no_grad()
def test_maps_at_224_are_the_published_ones():
    x = torch.zeros(1, 3, 224, 224, device="meta")
    with torch.device("meta"):
        assert sides(AlexNet()(x)) == {4: (64, 55, 55), 8: (192, 27, 27), 16: (256, 13, 13), 32: (256, 6, 6)}
        assert sides(VGG(16)(x)) == {4: (256, 56, 56), 8: (512, 28, 28), 16: (512, 14, 14), 32: (512, 7, 7)}
        assert sides(MobileNetV1()(x)) == {4: (128, 56, 56), 8: (256, 28, 28), 16: (512, 14, 14), 32: (1024, 7, 7)}
        quarter = sides(MobileNetV1(0.25)(x))
        assert quarter == {4: (32, 56, 56), 8: (64, 28, 28), 16: (128, 14, 14), 32: (256, 7, 7)}
        assert MobileNetV1(0.1).features[0][0].out_channels == 8  # never less


def test_linear_layers_of_vgg_start_as_published():
    net = VGG(11, vector=True)
    assert net.top[2].weight.std().item() == pytest.approx(0.01, rel=0.01) and not net.top[5].bias.any()
    assert net.features[3].weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)


# of any size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("alexnet", {"padding": "half"}),
        *((name, {}) for name in VGGS),
        ("mobilenet_v1", {}),
        ("mobilenet_v1", {"padding": "half", "multiplier": 0.5}),
    ],
)
@torch.no_grad()
def test_maps_at_their_strides_for_any_size(name, options):
    with torch.device("meta"):
        net = make_backbone(name, vector=True, **options).eval()
        for size in ((64, 96), (65, 97), (33, 47), (1, 1)):
            maps = net(torch.zeros(1, 3, *size))
            assert sides(maps) == ceiled(net, size) and list(net.channels) == [4, 8, 16, 32]
            assert maps[VECTOR].shape == (1, net.width)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_nothing_is_built_after_the_last_stride(name):
    with torch.device("meta"):
        whole = make_backbone(name)
        for last in (4, 8, 16, 32):
            net = make_backbone(name, last=last)
            assert (
                list(net(torch.zeros(1, 3, 64, 64))) == list(net.channels) == [s for s in whole.channels if s <= last]
            )
            assert count(net) <= count(whole) and set(net.state_dict()) <= set(whole.state_dict())
        early = make_backbone(name, last=16, vector=True)  # the published way goes from the last map only
        assert early(torch.zeros(1, 3, 64, 64))[VECTOR].shape == (1, early.width) == (1, early.channels[16])


def test_pictures_too_small_for_alexnet_are_refused():
    net = AlexNet()
    net(torch.zeros(1, 3, 63, 63))
    with pytest.raises(ShapeError, match=r"at least 63x63 pixels, found 70x62 \(height x width\); with padding=half"):
        net(torch.zeros(1, 3, 70, 62))


class Wrapped(Model):
    """A backbone as a model, for the engine."""

    def __init__(self, backbone):
        super().__init__(Schema(), Preprocess())
        self.backbone = backbone

    def forward(self, x):
        return self.backbone(x)


@pytest.mark.parametrize(
    ("name", "narrow"), [("alexnet", {}), ("vgg11_bn", {"multiplier": 0.25}), ("mobilenet_v1", {})]
)
@torch.inference_mode()
def test_the_engine_fuses_them_and_gives_the_same(name, narrow):
    torch.manual_seed(0)
    model = Wrapped(make_backbone(name, last=8, vector=True, **narrow)).eval()
    fused = fuse(model, Plan())
    assert not {type(m) for m in fused.modules()} & {nn.Conv2d, SameConv2d, FrozenBatchNorm2d}
    x = torch.randn(1, 3, 67, 75)
    expected, found = model(x), fused(x)
    assert list(found) == list(expected) == [4, 8, VECTOR]
    for stride, value in expected.items():
        assert (found[stride] - value).abs().max() <= 1e-4 * value.abs().max()
    if name == "alexnet":
        with pytest.raises(ShapeError, match="at least 63x63"):
            fused(x[:, :, :40])


# padding, dilation ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_mobilenet_pads_as_tensorflow_does():
    same, half = MobileNetV1(0.25), MobileNetV1(0.25, "half")
    spatial = [m for m in same.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(spatial) == 14 and all(isinstance(m, SameConv2d) for m in spatial)
    half.load_state_dict(same.state_dict())
    x = torch.randn(1, 3, 64, 64)
    stem = same.features[0][0]
    # an even side of stride 2: nothing before, one zero after
    torch.testing.assert_close(stem(x), F.conv2d(F.pad(x, (0, 1, 0, 1)), stem.weight, stride=2))
    assert not torch.allclose(stem(x), half.features[0][0](x), atol=1e-3)
    odd = x[:, :, :63, :63]  # one zero on both sides: the same as torch's
    torch.testing.assert_close(stem(odd), half.features[0][0](odd))


@pytest.mark.parametrize("name", ["vgg16", "vgg11_bn", "mobilenet_v1"])
@torch.no_grad()
def test_output_stride_keeps_weights_and_strides_before_it(name):
    with torch.device("meta"):
        whole = make_backbone(name)
        for output_stride in (8, 16):
            net = make_backbone(name, output_stride=output_stride)
            assert net.output_stride == output_stride
            assert {n: v.shape for n, v in net.state_dict().items()} == {
                n: v.shape for n, v in whole.state_dict().items()
            }
            for size in ((64, 96), (65, 97)):
                for stride, x in net(torch.zeros(1, 3, *size)).items():
                    reached = min(stride, output_stride)
                    assert x.shape == (1, net.channels[stride], *(-(-n // reached) for n in size))


@torch.no_grad()
def test_a_dilated_mobilenet_sees_what_the_published_one_sees():
    """With half padding, every second pixel of the dilated maps is the published map, inside the border's reach."""
    torch.manual_seed(0)
    whole = MobileNetV1(0.25, "half", norm="none").eval()
    for weight in whole.parameters():  # He's rule by fan-in: a depthwise layer keeps the scale of what it reads
        if weight.ndim == 4:
            nn.init.kaiming_normal_(weight)
    x = torch.randn(1, 3, 65, 65)
    for output_stride in (8, 16):
        net = MobileNetV1(0.25, "half", norm="none", output_stride=output_stride).eval()
        net.load_state_dict(whole.state_dict())
        expected, found = whole(x), net(x)
        for stride in (16, 32):
            step = stride // min(stride, output_stride)
            torch.testing.assert_close(found[stride][:, :, ::step, ::step], expected[stride], rtol=1e-4, atol=1e-5)
        assert expected[32].std() > 1e-3


def test_vgg_at_stride_8_is_largefov():
    with torch.device("meta"):
        net = VGG(16, output_stride=8)
    pools = [m for m in net.features if isinstance(m, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride) for p in pools] == [(2, 2)] * 3 + [(3, 1)] * 2
    rates = [m.dilation[0] for m in net.features if isinstance(m, nn.Conv2d)]
    assert rates == [1] * 10 + [2] * 3


# training ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stages"), [("alexnet", 6), *((name, 6) for name in ("vgg11", "vgg16_bn")), ("mobilenet_v1", 5)]
)
def test_freezing_counts_stages(name, stages):
    with torch.device("meta"):
        net = make_backbone(name, vector=True, **({} if name in ("alexnet", "vgg11") else {"norm": "batch"}))
        assert len(make_backbone(name).stages) == 5  # without the fully connected layers
    sizes = [count(s) for s in net.stages]
    assert len(sizes) == stages and sum(sizes) == count(net) and min(sizes) > 0
    for frozen in range(stages + 1):
        net.requires_grad_(True)
        net.freeze(frozen)
        assert sum(p.numel() for p in net.parameters() if p.requires_grad) == sum(sizes[frozen:])
    assert not any(m.training for stage in net.stages for layer in stage for m in layer.modules())
    with pytest.raises(ConfigError, match=f"freeze must lie in 0..{stages} stages, found {stages + 1}"):
        net.freeze(stages + 1)


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "mobilenet_v1"])
@pytest.mark.parametrize("norm", ["frozen", "batch", "group", "none"])
def test_gradients_reach_every_parameter_with_every_norm(name, norm):
    net = make_backbone(name, norm=norm, channels=2, last=16)
    maps = net(torch.randn(2, 2, 64, 64))
    maps[16].square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_pictures_of_any_number_of_channels(name):
    for channels in (1, 6):
        net = make_backbone(name, channels=channels, last=4)
        assert net(torch.zeros(1, channels, 64, 64))[4].shape[:2] == (1, net.channels[4])
        assert net.load_weights(make_backbone(name, last=4).state_dict()) == []


# published files --------------------------------------------------------------------------------------------------------


def published(name):
    """The tensors of torchvision's file, by its names."""
    net = make_backbone(name, vector=True)
    linear = (
        {"classifier.1": "3", "classifier.4": "6"} if name == "alexnet" else {"classifier.0": "2", "classifier.3": "5"}
    )
    tensors = {}
    for full, value in net.state_dict().items():
        for theirs, ours in linear.items():
            full = full.replace(f"top.{ours}.", f"{theirs}.")
        tensors[full] = value
    return {**tensors, "classifier.6.weight": torch.zeros(1000, 4096), "classifier.6.bias": torch.zeros(1000)}


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn"])
def test_a_published_file_fills_all_but_leaves_the_logits(name):
    with torch.device("meta"):
        net = make_backbone(name, vector=True)
        tensors = published(name)
    assert {"features.0.bias", "classifier.6.bias"} < set(tensors) and not any(n.startswith("top") for n in tensors)
    assert net.load_weights(tensors) == ["classifier.6.bias", "classifier.6.weight"]
    first = "classifier.1.weight" if name == "alexnet" else "classifier.0.weight"
    with pytest.raises(WeightsError, match=r"1 tensors are missing, first top\."):
        net.load_weights({n: v for n, v in tensors.items() if n != first})
    with torch.device("meta"):
        unused = make_backbone(name).load_weights(tensors)  # a detector's backbone
    assert len(unused) == 6 and all(n.startswith("classifier.") for n in unused)


@pytest.mark.parametrize("name", ["alexnet", *VGGS])
def test_a_kind_is_known_by_its_tensors(tmp_path, name):
    with torch.device("meta"):
        tensors = make_backbone(name).state_dict()
    (tmp_path / "w").write_bytes(b"unknown bytes")
    card = recognise_weights(tmp_path / "w", tensors)
    assert card.backbone == name and card.mean == (0.485, 0.456, 0.406)
    assert dict(card.options) == {"norm": "frozen" if name.endswith("_bn") else "none"}
    with torch.device("meta"):
        assert make_backbone(card.backbone, **dict(card.options)).load_weights(tensors) == []


def test_every_published_net_of_torchvision_has_a_card():
    cards = {card.name: card for card in BACKBONE_WEIGHTS}
    for name in ("alexnet", *VGGS):
        card = cards[f"torchvision/{name}-v1"]
        assert card.backbone == name and dict(card.options)["norm"] == ("frozen" if name.endswith("_bn") else "none")
    assert cards["torchvision/alexnet-v1"].url.endswith("/alexnet-owt-7be5be79.pth")
    assert cards["torchvision/vgg16_bn-v1"].url.endswith("/vgg16_bn-6c64b313.pth")
    assert cards["torchvision/mobilenet_v2-v2"].top1 == 72.154


def test_names_of_mobilenet_are_those_that_its_table_says():
    with torch.device("meta"):
        names = set(MobileNetV1(norm="batch").state_dict())
    layers = {"features.0.", *(f"features.{n}.{kind}." for n in range(1, 14) for kind in ("depthwise", "pointwise"))}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert names == {f"{layer}0.weight" for layer in layers} | {
        f"{layer}1.{tensor}" for layer in layers for tensor in norm
    }


def test_settings_that_cannot_be():
    with pytest.raises(ConfigError, match=r"VGG depth must be one of \[11, 13, 16, 19\], found 12"):
        VGG(12)
    with pytest.raises(ConfigError, match="padding must be valid or half, found 'same'"):
        AlexNet(padding="same")
    for family in (VGG, MobileNetV1):
        with pytest.raises(ConfigError, match="output_stride must be 8, 16 or 32, found 4"):
            family(output_stride=4)
    with pytest.raises(ConfigError, match="norm must be one of"):
        VGG(norm="layer")
