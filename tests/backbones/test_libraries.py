"""Backbones of timm and transformers behind our names; with random weights, without a network."""

import copy
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from videre.backbones import VECTOR, Backbone, find_backbone, make_backbone
from videre.backbones.base import cut_into_stages
from videre.data.blocks import blocks_dataset
from videre.engine.fuse import fuse
from videre.engine.plan import Plan
from videre.errors import ConfigError
from videre.images.prepare import prepare
from videre.layers.norm import FrozenBatchNorm2d, exchange_norms
from videre.models.checkpoint import read_checkpoint, save_checkpoint
from videre.models.classify.classifier import Classifier
from videre.structures import Categories, Preprocess, Schema
from videre.train.build import prepare_training
from videre.zoo.weights import find_weights

PREPROCESS = Preprocess(short_side=64, long_side=None)
SCHEMA = Schema(pictures=Categories(("ant", "bee")))


def needs(library):
    """Skips a test where the library is absent, or does not go with the torch that is here."""
    try:
        return __import__(library)
    except Exception as error:
        pytest.skip(f"{library}: {error}")


def lively(net):
    """Statistics that are not 0 and 1, so that they show."""
    for m in net.modules():
        if getattr(m, "running_var", None) is not None:
            nn.init.uniform_(m.running_var, 0.5, 2)
            nn.init.uniform_(m.running_mean, -1, 1)
    return net


def holds_to_the_contract(net: Backbone, channels: int = 3) -> None:
    net.eval()
    with torch.no_grad():
        maps = net(torch.zeros(2, channels, 64, 96))
    vector = maps.pop(VECTOR)
    assert list(maps) == list(net.channels) == sorted(net.channels)
    for stride, x in maps.items():
        assert x.shape == (2, net.channels[stride], 64 // stride, 96 // stride)
    assert vector.shape == (2, net.width) and net.width == net.channels[net.output_stride]
    count = lambda module: sum(p.numel() for p in module.parameters())
    assert sum(map(count, net.stages)) == count(net) and all(map(count, net.stages))
    for frozen in range(len(net.stages) + 1):
        net.requires_grad_(True)
        net.freeze(frozen)
        assert sum(p.numel() for p in net.parameters() if p.requires_grad) == sum(map(count, net.stages[frozen:]))


def comes_back(backbone: str, folder: Path) -> None:
    """A classifier on it is saved, rebuilt by the name in its config, and answers as before, fused too."""
    torch.manual_seed(0)
    model = lively(Classifier(SCHEMA, PREPROCESS, backbone=backbone)).eval()
    save_checkpoint(model, folder / "model.safetensors", {})
    again = read_checkpoint(folder / "model.safetensors").build().eval()
    batch = prepare(torch.randint(0, 255, (64, 80, 3), dtype=torch.uint8).numpy(), PREPROCESS)
    with torch.inference_mode():
        expected = model(batch)["logits"]
        assert torch.equal(again(batch)["logits"], expected)
        torch.testing.assert_close(fuse(model, Plan())(batch)["logits"], expected, atol=1e-4, rtol=1e-4)
        fuse(model, Plan(), torch.bfloat16)(batch)


# timm -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "strides", "stages"),
    [
        ("resnet10t", [2, 4, 8, 16, 32], 5),
        ("test_resnet.r160_in1k", [2, 4, 8, 16, 32], 5),
        ("test_efficientnet", [2, 4, 8, 16, 32], 5),  # norms that activate
        ("test_convnext", [4, 8, 16, 32], 4),
        ("test_vit", [16], 6),  # any size of picture
        ("swin_tiny_patch4_window7_224", [4, 8, 16, 32], 4),  # channels last
    ],
)
def test_nets_of_timm_hold_to_the_contract(name, strides, stages):
    needs("timm")
    net = make_backbone(f"timm:{name}", channels=4, vector=True)
    assert list(net.channels) == strides and len(net.stages) == stages
    holds_to_the_contract(net, channels=4)


def test_norms_of_timm_are_exchanged():
    timm = needs("timm")
    theirs = lively(timm.create_model("test_efficientnet", features_only=True)).eval()
    x = torch.randn(1, 3, 64, 64)
    for norm, kind in (("frozen", FrozenBatchNorm2d), ("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)):
        ours = make_backbone("timm:test_efficientnet", norm=norm).eval()
        assert {type(m) for m in ours.modules() if "Norm" in type(m).__name__} == {kind}
        exchange_norms(exchanged := copy.deepcopy(theirs), norm)
        if norm != "group":
            for a, b in zip(exchanged.eval()(x), theirs(x)):
                torch.testing.assert_close(a, b)
    with pytest.raises(ConfigError, match="norm must be one of frozen, batch, sync, group"):
        make_backbone("timm:resnet10t", norm="none")
    assert {m.eps for m in make_backbone("timm:resnet10t", eps=0.25).modules() if isinstance(m, FrozenBatchNorm2d)} == {
        0.25
    }


def test_nets_of_timm_take_a_last_stride_and_an_output_stride():
    needs("timm")
    net = make_backbone("timm:resnet10t", last=8, vector=True)
    assert list(net.channels) == [2, 4, 8] and (net.output_stride, net.width) == (8, 128)
    assert not any("layer4" in name for name, _ in net.named_modules())
    dilated = make_backbone("timm:resnet10t", output_stride=8, vector=True).eval()
    assert list(dilated.channels) == [2, 4, 8, 16, 32] and dilated.output_stride == 8
    with torch.no_grad():
        maps = dilated(torch.zeros(1, 3, 64, 64))
    assert [maps[stride].shape[2] for stride in dilated.channels] == [32, 16, 8, 8, 8]
    with pytest.raises(
        ConfigError, match=r"timm:test_vit cannot be built for its maps with output_stride=8: .*output_stride"
    ):
        make_backbone("timm:test_vit", output_stride=8)
    with pytest.raises(ConfigError, match=r"timm:test_vit has maps at strides \[16, .*\], none up to last=8"):
        make_backbone("timm:test_vit", last=8)


def test_checkpoints_on_nets_of_timm_come_back(tmp_path):
    needs("timm")
    comes_back("timm:test_resnet", tmp_path)


def test_published_weights_of_timm_bring_their_mean_and_spread(tmp_path):
    timm = needs("timm")
    net = lively(timm.create_model("test_resnet"))
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    said = {"mean": mean, "std": std, "input_size": [3, 160, 160], "license": "mit", "num_classes": 1000}
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "test_resnet", "num_classes": 1000, "pretrained_cfg": said})
    )
    name = f"timm:local-dir:{tmp_path}"
    card, tensors = find_weights(name)
    assert (card.backbone, card.mean, card.std, card.side, card.licence) == (name, tuple(mean), tuple(std), 160, "mit")
    backbone = make_backbone(name, **dict(card.options)).eval()
    backbone.load_weights(tensors)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)[32], net.eval().forward_features(x), atol=1e-5, rtol=1e-5)


def test_mistakes_with_timm_are_one_line():
    needs("timm")
    with pytest.raises(ConfigError, match="timm has no net named 'resnet10x'; did you mean resnet10t"):
        make_backbone("timm:resnet10x")
    with pytest.raises(ConfigError, match="backbone timm:resnet10t has no setting 'padding'"):
        make_backbone("timm:resnet10t", padding="same")


# transformers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def configs(tmp_path):
    """Folders with tiny configurations."""
    library = needs("transformers")
    sizes = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
    made = {
        "resnet": library.ResNetConfig(embedding_size=8, layer_type="basic", **sizes),
        "convnext": library.ConvNextConfig(**sizes),
        "swin": library.SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
        "dinov2": library.Dinov2Config(hidden_size=32, num_hidden_layers=3, num_attention_heads=2, patch_size=16),
        "bert": library.BertConfig(),
    }
    for name, config in made.items():
        config.save_pretrained(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "strides", "stages"),
    [("resnet", [4, 8, 16, 32], 4), ("convnext", [4, 8, 16, 32], 4), ("swin", [4, 8, 16, 32], 4), ("dinov2", [16], 3)],
)
def test_nets_of_transformers_hold_to_the_contract(configs, kind, strides, stages):
    net = make_backbone(f"hf:{configs / kind}", channels=4, vector=True)
    assert list(net.channels) == strides and len(net.stages) == stages
    holds_to_the_contract(net, channels=4)


def test_norms_of_transformers_are_exchanged(configs):
    for norm, kind in (("frozen", FrozenBatchNorm2d), ("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)):
        net = make_backbone(f"hf:{configs / 'resnet'}", norm=norm)
        assert {type(m) for m in net.modules() if "Norm" in type(m).__name__} == {kind}


def test_nets_of_transformers_take_a_last_stride_and_weights_when_asked(configs):
    library = needs("transformers")
    folder = configs / "resnet"
    config = library.AutoConfig.from_pretrained(folder)
    library.AutoBackbone.from_config(config).save_pretrained(folder)
    one, other = (make_backbone(f"hf:{folder}", pretrained=True, last=16).eval() for _ in range(2))
    assert list(one.channels) == [4, 8, 16] and one.output_stride == 16
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(one(x).values(), other(x).values()))
        assert not torch.equal(make_backbone(f"hf:{folder}").eval()(x)[4], one(x)[4])
    with pytest.raises(ConfigError, match="its weights are for 3 channels, not 4"):
        make_backbone(f"hf:{folder}", pretrained=True, channels=4)


def test_published_weights_of_transformers_bring_their_mean_and_spread(configs, tmp_path):
    library = needs("transformers")
    folder = configs / "resnet"
    library.AutoBackbone.from_config(library.AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    with pytest.raises(ConfigError, match=r"resnet: no preprocessor_config.json says how its pictures are prepared"):
        find_weights(f"hf:{folder}")
    said = {
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
        "image_processor_type": "ConvNextImageProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    start = prepare_training("faster-rcnn", blocks_dataset(2, size=(64, 64)), source=f"hf:{folder}")
    assert (start.model.preprocess.mean, start.model.preprocess.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    ours, theirs = start.model.backbone.state_dict(), make_backbone(f"hf:{folder}", pretrained=True).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "ConvNextImageProcessor"}))
    with pytest.raises(ConfigError, match="nothing says what mean and std its three channels want"):
        find_weights(f"hf:{folder}")


def test_checkpoints_on_nets_of_transformers_come_back(configs, tmp_path):
    comes_back(f"hf:{configs / 'resnet'}", tmp_path)


def test_mistakes_with_transformers_are_one_line(configs):
    for name, message in (
        (configs / "bert", "bert: a net of type bert is no backbone in transformers"),
        (configs / "nowhere", "nowhere cannot be built: "),
    ):
        with pytest.raises(ConfigError, match=message) as raised:
            make_backbone(f"hf:{name}")
        assert "\n" not in str(raised.value)


# without them -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "library"), [("timm:resnet10t", "timm"), ("hf:a/b", "transformers")])
def test_a_library_that_is_absent_or_broken_is_named(monkeypatch, tmp_path, name, library):
    for loaded in [m for m in sys.modules if m == library or m.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    (tmp_path / f"{library}.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ConfigError, match=f"{library} is installed, but cannot be imported: RuntimeError: operator torchv"
    ):
        make_backbone(name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"need {library}, not installed here: pip install 'videre\[{library}\]'"):
        make_backbone(name)


def test_names_of_libraries_are_known_by_their_prefix():
    assert find_backbone("timm:x").__name__ == "TimmBackbone"
    assert find_backbone("hf:x").__name__ == "TransformersBackbone"
    for name in ("timm:", "keras:x"):
        with pytest.raises(
            ConfigError, match=f"no backbone named {name!r}.* and timm:NAME and hf:NAME of other libraries"
        ):
            find_backbone(name)


def test_stages_hold_every_parameter_once():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.zeros(7))
            self.stem = nn.Linear(1, 1)
            self.blocks = nn.ModuleList(nn.Linear(n, 1, bias=False) for n in (2, 3, 4))
            self.pool, self.norm = nn.Identity(), nn.LayerNorm(5)

    count = lambda ends: [sum(p.numel() for p in s.parameters()) for s in cut_into_stages(Net(), ends)]
    assert count(["blocks.0", "blocks.1", "blocks.2"]) == [7 + 2 + 2, 3, 4 + 10]
    assert count(["stem", "blocks"]) == [9, 9 + 10] and count(["nowhere"]) == [28]
    assert count(["stem", "blocks", "pool"]) == [9, 9, 10] and count(["blocks", "norm"]) == [18, 10]
