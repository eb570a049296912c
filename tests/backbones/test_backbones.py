"""Backbones: parameters to the unit, shapes, freezing, weights."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from videre.backbones import Backbone, make_backbone
from videre.backbones.base import adapt_channels
from videre.backbones.mobilenet_v2 import MobileNetV2
from videre.backbones.resnet import ResNet
from videre.backbones.weights import BACKBONE_WEIGHTS, BackboneWeights, recognise_weights
from videre.errors import ConfigError, WeightsError
from videre.images.prepare import prepare
from videre.images.reading import read_picture
from videre.structures import Preprocess

SHARED = Path(__file__).parents[2].parent / "shared"
WEIGHTS = SHARED / "weights" / "mobilenet_v2_imagenet_fp16.safetensors"
ANTS_BEES = SHARED / "data" / "hymenoptera_data" / "val"


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("depth", "total", "classifier"),
    [
        (18, 11689512, 513000),
        (34, 21797672, 513000),
        (50, 25557032, 2049000),
        (101, 44549160, 2049000),
        (152, 60192808, 2049000),
    ],
)
def test_resnets_have_the_published_number_of_parameters(depth, total, classifier):
    with torch.device("meta"):
        assert count(make_backbone(f"resnet{depth}", norm="batch")) == total - classifier


def test_resnet_stages_have_the_published_number_of_parameters():
    net = ResNet(50, norm="batch")
    assert [count(s) for s in net.stages] == [9536, 215808, 1219584, 7098368, 14964736]
    assert count(ResNet(50, norm="batch", last=16)) == 8543296
    assert sum(b.numel() for b in ResNet(50).buffers()) == 2 * 53120  # affine numbers and statistics, all constant


def test_mobilenet_has_the_published_number_of_parameters():
    net = MobileNetV2(norm="batch")
    assert count(net) == 2223872
    assert len(net.state_dict()) == 312  # torchvision's file without its classifier
    assert {"features.0.1.running_var", "features.1.conv.1.weight", "features.17.conv.3.bias"} <= set(net.state_dict())


@pytest.mark.parametrize(
    # torchvision's mobilenet_v2(width_mult=...) without its classifier of 1000; .5: 1,968,680 in all, as Keras trains
    ("multiplier", "count", "widths"),
    [(1.0, 2_223_872, [24, 32, 96, 1280]), (0.5, 687_680, [16, 16, 48, 1280]), (1.4, 4_315_776, [32, 48, 136, 1792])],
)
def test_widths_of_mobilenet_v2(multiplier: float, count: int, widths: list[int]) -> None:
    backbone = MobileNetV2(norm="batch", multiplier=multiplier)
    assert sum(p.numel() for p in backbone.parameters()) == count and list(backbone.channels.values()) == widths
    assert [m.shape[1] for m in backbone(torch.zeros(1, 3, 64, 64)).values()] == widths
    narrow = MobileNetV2(norm="none", multiplier=multiplier, divisor=1, wide=False)
    assert narrow.channels[32] == round(320 * multiplier) and narrow(torch.zeros(1, 3, 64, 64))[32].shape[1:] == (
        round(320 * multiplier),
        2,
        2,
    )


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
@torch.no_grad()
def test_maps_at_their_strides_for_any_size(name):
    with torch.device("meta"):
        net = make_backbone(name).eval()
        for size in ((64, 96), (65, 97), (33, 47), (1, 1)):
            maps = net(torch.zeros(1, 3, *size))
            assert list(maps) == list(net.channels) == [4, 8, 16, 32]
            for stride, x in maps.items():
                assert x.shape == (1, net.channels[stride], *(-(-n // stride) for n in size))


@torch.no_grad()
def test_same_padding_gives_the_same_shapes():
    net = MobileNetV2(norm="none", padding="same").eval()
    for side in (64, 65, 37):
        assert [x.shape[2] for x in net(torch.zeros(1, 3, side, side)).values()] == [
            -(-side // s) for s in (4, 8, 16, 32)
        ]


def test_a_channel_equal_picture_gives_the_same_response():
    weight = torch.randn(8, 3, 7, 7)
    x = torch.randn(1, 1, 9, 9)
    expected = F.conv2d(x.expand(1, 3, 9, 9), weight)
    for channels in (1, 2, 3, 4, 6, 11):
        adapted = adapt_channels(weight, channels)
        assert adapted.shape == (8, channels, 7, 7)
        torch.testing.assert_close(F.conv2d(x.expand(1, channels, 9, 9), adapted), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(adapt_channels(weight, 3), weight)
    assert torch.equal(adapt_channels(weight, 6), torch.cat([weight, weight], 1) / 2)
    assert torch.equal(adapt_channels(weight, 4)[:, 1:3], weight[:, 1:])


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_freezing_counts_stages(name):
    net = make_backbone(name, norm="batch")
    stages = [count(s) for s in net.stages]
    assert sum(stages) == count(net)
    for frozen in range(len(stages) + 1):
        net.requires_grad_(True)
        net.freeze(frozen)
        assert sum(p.numel() for p in net.parameters() if p.requires_grad) == sum(stages[frozen:])
    for bad in (-1, len(stages) + 1):
        with pytest.raises(ConfigError, match=f"freeze must lie in 0..{len(stages)} stages, found {bad}"):
            net.freeze(bad)


def test_frozen_batch_norms_keep_their_statistics():
    net = make_backbone("resnet18", norm="batch")
    net.freeze(2)
    holder = nn.Sequential(net).train()
    before = {n: b.clone() for n, b in net.named_buffers() if n.endswith("running_mean")}
    holder(torch.randn(2, 3, 32, 32))
    moved = {n for n, b in net.named_buffers() if n in before and not torch.equal(b, before[n])}
    assert moved and not any(n.startswith(("bn1", "layer1")) for n in moved)
    assert {n.split(".")[0] for n in moved} == {"layer2", "layer3", "layer4"}
    net.freeze(0)
    assert all(m.training for m in net.modules())


def test_names_that_do_not_exist():
    with pytest.raises(ConfigError, match="no backbone named 'resnet51'; did you mean resnet50"):
        make_backbone("resnet51")
    with pytest.raises(ConfigError, match=r"depth must be one of .*18, 34, 50, 101, 152.*, found 20"):
        ResNet(20)


# weights ----------------------------------------------------------------------------------------------------------------


def tensors_of(net: Backbone) -> dict[str, torch.Tensor]:
    return {name: torch.full_like(value, 0.5) for name, value in net.state_dict().items()}


def test_weights_fill_everything_and_name_what_is_left():
    net = make_backbone("resnet18", norm="batch")
    tensors = {**tensors_of(net), "fc.weight": torch.zeros(2, 512), "fc.bias": torch.zeros(2)}
    del tensors["bn1.num_batches_tracked"]
    frozen = make_backbone("resnet18")
    assert frozen.load_weights({k: v for k, v in tensors.items() if "num_batches" not in k}) == ["fc.bias", "fc.weight"]
    assert net.load_weights({n: t.half() for n, t in tensors.items()}) == ["fc.bias", "fc.weight"]
    assert all((t == 0.5).all() for n, t in net.state_dict().items() if "num_batches" not in n)
    assert net.conv1.weight.dtype == torch.float32


def test_weights_for_three_channels_fill_a_stem_of_six():
    stem = torch.randn(64, 3, 7, 7)
    net = make_backbone("resnet18", channels=6)
    net.load_weights({**tensors_of(make_backbone("resnet18")), "conv1.weight": stem})
    assert torch.equal(net.conv1.weight, adapt_channels(stem, 6))


def test_weights_that_do_not_fit_are_named():
    net = make_backbone("resnet18")
    tensors = tensors_of(net)
    short = {k: v for k, v in tensors.items() if k not in ("bn1.bias", "layer4.1.conv2.weight")}
    with pytest.raises(WeightsError, match=r"ResNet: 2 tensors are missing, first bn1\.bias, layer4\.1\.conv2\.weight"):
        net.load_weights(short)
    with pytest.raises(WeightsError, match=r"bn1\.bias is \(3,\), not \(64,\)"):
        net.load_weights({**tensors, "bn1.bias": torch.zeros(3)})
    with pytest.raises(WeightsError, match=r"conv1\.weight is \(64, 5, 7, 7\), not \(64, 3, 7, 7\)"):
        net.load_weights({**tensors, "conv1.weight": torch.zeros(64, 5, 7, 7)})
    with pytest.raises(WeightsError, match=r"conv1\.weight is \(9,\)"):
        net.load_weights({**tensors, "conv1.weight": torch.zeros(9)})


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2"])
def test_a_kind_is_known_by_its_tensors(tmp_path, name):
    with torch.device("meta"):
        tensors = make_backbone(name).state_dict()
    (tmp_path / "w").write_bytes(b"unknown bytes")
    card = recognise_weights(tmp_path / "w", tensors)
    assert card.backbone == name and dict(card.options) == {"norm": "frozen"} and card.mean == (0.485, 0.456, 0.406)


def test_a_file_is_known_by_its_hash_whatever_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "renamed").write_bytes(b"some weights")
    digest = hashlib.sha256(b"some weights").hexdigest()
    known = BackboneWeights("mine", "resnet18", digest[:8], "", "MIT", "mine", None, options=(("eps", 1e-3),))
    monkeypatch.setattr("videre.backbones.weights.BACKBONE_WEIGHTS", (*BACKBONE_WEIGHTS, known))
    assert recognise_weights(tmp_path / "renamed", {}) is known


def test_a_file_of_unknown_kind_is_refused(tmp_path):
    (tmp_path / "w").write_bytes(b"unknown bytes")
    with torch.device("meta"):
        folded = make_backbone("mobilenet_v2", norm="none").state_dict()
    for tensors in ({}, {"weight": torch.zeros(1)}, folded):
        with pytest.raises(WeightsError, match="padding and normalisation cannot be read off them"):
            recognise_weights(tmp_path / "w", tensors)


def test_every_card_names_a_backbone_that_exists():
    for card in BACKBONE_WEIGHTS:
        with torch.device("meta"):
            assert isinstance(make_backbone(card.backbone, **dict(card.options)), Backbone)
        assert not card.url or card.sha256 in card.url  # torchvision's files carry their hash in the name
    assert len({c.name for c in BACKBONE_WEIGHTS}) == len(BACKBONE_WEIGHTS)


needs_weights = pytest.mark.skipif(not WEIGHTS.exists(), reason=f"the weights are not in {WEIGHTS}")


@needs_weights
def test_tensorflows_habits_travel_with_the_card():
    tensors = load_file(WEIGHTS)
    card = recognise_weights(WEIGHTS, tensors)
    assert card.name == "coral/mobilenet_v2" and card.mean == card.std == (0.5, 0.5, 0.5)
    assert dict(card.options) == {"norm": "none", "padding": "same"}
    net = make_backbone(card.backbone, **dict(card.options))
    assert net.load_weights(tensors) == ["classifier.1.bias", "classifier.1.weight"]


@needs_weights
@pytest.mark.skipif(not ANTS_BEES.exists(), reason=f"the pictures are not in {ANTS_BEES}")
@torch.inference_mode()
def test_ants_look_like_ants_and_bees_like_bees():
    """The file's own classifier over our features; the labels are ImageNet's."""
    tensors = load_file(WEIGHTS)
    card = recognise_weights(WEIGHTS, tensors)
    net = make_backbone(card.backbone, **dict(card.options)).eval()
    net.load_weights(tensors)
    classes = json.loads((SHARED / "weights" / "classes.json").read_text())["imagenet_1001"]
    index = {entry["short"]: entry["index"] for entry in classes}
    preprocess = Preprocess(short_side=None, long_side=None, divisor=1, mean=card.mean, std=card.std)
    pictures = [(p, kind) for kind in ("ant", "bee") for p in sorted((ANTS_BEES / f"{kind}s").glob("*.jpg"))[:6]]
    right = 0
    for path, kind in pictures:
        picture = read_picture(path)
        top, left = (max((n - 224) // 2, 0) for n in picture.shape[:2])
        image = prepare(picture[top : top + 224, left : left + 224], preprocess).image
        logits = F.linear(
            net(image)[32].mean((2, 3)), tensors["classifier.1.weight"].float(), tensors["classifier.1.bias"]
        )
        right += bool(logits[0, index[kind]] > logits[0, index["bee" if kind == "ant" else "ant"]])
    assert right >= 10  # of 12; chance finds 6
