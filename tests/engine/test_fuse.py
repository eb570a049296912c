"""The fused copy answers as the model does; what it may not fuse it leaves alone."""

from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F
from scenes import CONFIGS, PREPROCESS, SCHEMA, picture_and_truth, small
from torch import Tensor, nn

from videre.backbones import Backbone, make_backbone
from videre.engine import convolution, linear
from videre.engine import fuse as fuse_module
from videre.engine.convolution import TILES, Convolution
from videre.engine.fuse import fuse, make_fast
from videre.engine.linear import Dense
from videre.engine.plan import Plan
from videre.errors import ConfigError
from videre.layers.conv import SameConv2d, conv_block
from videre.models import MODELS, Model, find_model
from videre.predict import Predictor


def lively(module: nn.Module) -> nn.Module:
    """Norms whose statistics are not 0 and 1, so that folding them wrongly shows."""
    for m in module.modules():
        if getattr(m, "running_mean", None) is not None:
            for name, low, high in (
                ("running_mean", -1, 1),
                ("running_var", 0.5, 2),
                ("weight", 0.3, 0.6),
                ("bias", -1, 1),
            ):
                nn.init.uniform_(getattr(m, name), low, high)
    return module.eval()


class Wrapped(Model):
    """Any module as a model."""

    mixes_formats = True

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(SCHEMA, PREPROCESS)
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.inner(x)


def fused_and_plain(module: nn.Module, x: Tensor, plan: Plan | None = None) -> tuple[Tensor, Tensor, Model]:
    model = Wrapped(lively(module)).eval()
    plain = model(x)
    fast = fuse(model, plan or Plan())
    with torch.inference_mode():
        return fast(x), plain, fast


@pytest.fixture(scope="module")
def plan() -> Plan:
    """One for many tests: the same layer at the same size is timed once, and not with each norm and system again."""
    return Plan()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("norm", ["frozen", "batch", "group", "none"])
def test_backbones_give_the_same_maps(name: str, norm: str, plan: Plan) -> None:
    torch.manual_seed(0)
    backbone = lively(make_backbone(name, norm=norm, multiplier=0.5))
    x = torch.randn(2, 3, 64, 96)
    fused = fuse(Wrapped(backbone).eval(), plan)
    with torch.inference_mode():
        plain, fast = backbone(x), fused.inner(x)
    for stride, value in plain.items():
        assert (fast[stride] - value).abs().max() <= 1e-4 * value.abs().max(), stride
    if norm != "group":
        kinds = {type(m).__name__ for m in fused.modules()}
        assert not kinds & {"FrozenBatchNorm2d", "BatchNorm2d", "Conv2d"}


def test_a_classifier_says_the_same() -> None:
    torch.manual_seed(0)
    model = lively(find_model("classifier")(SCHEMA, PREPROCESS, **CONFIGS["classifier"]))
    picture = picture_and_truth((64, 80), 3)[0]
    said = {e: Predictor(model, engine=e, plan=Plan()).predict(picture, threshold=0) for e in ("plain", "fp32", "bf16")}
    assert torch.equal(said["fp32"].labels, said["plain"].labels)
    torch.testing.assert_close(said["fp32"].label_scores, said["plain"].label_scores, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(said["bf16"].label_scores, said["plain"].label_scores, atol=0.03, rtol=0.1)


ALIKE = {
    "window-detector": ("scores",),
    "retinanet": ("head.logits",),
    "yolo": ("classifier", "locator"),
    "yolox": tuple(f"head.{part}_preds.{k}" for part in ("cls", "obj") for k in range(3)),
}
"""Last layers of systems with thousands of windows or places, whose scores begin within a millionth of each other, or below the least
that is kept: NMS would draw lots."""


@pytest.mark.parametrize("name", [name for name in MODELS if "boxes" in find_model(name).gives])
def test_systems_find_the_same(name: str, plan: Plan) -> None:
    torch.manual_seed(0)
    model = lively(find_model(name)(SCHEMA, small(find_model(name)), **CONFIGS[name]))
    for layer in map(model.get_submodule, ALIKE.get(name, ())):
        nn.init.normal_(layer.weight, std=0.3)
        nn.init.constant_(layer.bias, 0.5)
    picture = picture_and_truth((64, 80), 3)[0]
    plain, fast = (Predictor(model, engine=e, plan=plan).predict(picture, threshold=0) for e in ("plain", "fp32"))
    assert len(plain) == len(fast) > 0
    torch.testing.assert_close(fast.instances.boxes, plain.instances.boxes, atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(fast.instances.scores, plain.instances.scores, atol=1e-4, rtol=1e-3)
    bf16 = Predictor(model, engine="bf16", plan=plan).predict(picture, threshold=0)
    assert bf16.instances.scores.dtype == torch.float32
    best = min(len(bf16), len(plain), 5)
    torch.testing.assert_close(bf16.instances.scores[:best], plain.instances.scores[:best], atol=0.05, rtol=0.1)


def test_the_model_itself_stays_as_it_was() -> None:
    model = Wrapped(lively(make_backbone("resnet18"))).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fuse(model, Plan())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Scaled(nn.Conv2d):
    """An heir that does more than its parent, as other libraries have them."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * super().forward(x)


class Active(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sigmoid()


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_heirs_that_do_more_are_left_alone() -> None:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 3), Active(8), Scaled(8, 8, 3), nn.BatchNorm2d(8), nn.Flatten(1), Doubled(288, 5)]
    fast, plain, model = fused_and_plain(nn.Sequential(*parts), torch.randn(2, 3, 10, 10))
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)
    kinds = [type(m).__name__ for m in model.modules()]
    assert kinds.count("Convolution") == 1 and {"Scaled", "Active", "Doubled"} <= set(kinds)


class Odd(Backbone):
    """Another library's net: it multiplies by a layer's weights itself, in one case so that it cannot be traced."""

    foreign = True

    def __init__(self, asks: bool) -> None:
        super().__init__()
        self.conv, self.linear, self.asks = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), asks

    @property
    def stages(self) -> list[nn.Module]:
        return [self.conv, self.linear]

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        y = self.conv(x).mean((2, 3))
        if self.asks and y.sum() > 1e9:
            return y
        return y @ self.linear.weight.T + self.linear.bias


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nets_of_other_libraries_stay_whole_and_exact(asks: bool, dtype: torch.dtype) -> None:
    model, x = Wrapped(Odd(asks)).eval(), torch.randn(2, 3, 16, 16)
    fast = fuse(model, Plan(), dtype)
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), model(x))
    assert any(isinstance(m, Convolution) for m in fast.modules()) is not asks


class Twice(nn.Module):
    """The convolution's own result is asked for a second time: nothing may be fused behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return F.relu(self.norm(y)) + y


class Branches(nn.Module):
    """A shortcut that lives on after the sum, and a sum with a number."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.a(x)
        y = F.relu(self.b(x) + shortcut)
        return (y + 1) * shortcut


class Decides(nn.Module):
    """Looks at values: cannot be traced, though its part can."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6())

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x) if x.sum() < 1e9 else x


@pytest.mark.parametrize("kind", [Twice, Branches, Decides])
def test_only_what_may_be_fused_is(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    fast, plain, _ = fused_and_plain(kind(), torch.randn(1, 8, 12, 13))
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "silu", "hardswish"])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize(
    "how", [{"padding": 1}, {"padding": 2, "dilation": 2}, {"stride": 2}, {"padding": 1, "groups": 32}]
)
def test_every_algorithm_of_a_convolution_agrees(
    how: dict[str, int], added: bool, activation: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 64, 3, **how)
    scale, shift = torch.rand(64) + 0.5, torch.randn(64)
    layer = Convolution(conv, scale, shift, activation, Plan(), dtype)
    x = torch.randn(2, 32, 17, 15).to(dtype).contiguous(memory_format=torch.channels_last)
    close = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.06, "rtol": 0.01}
    with torch.inference_mode():
        y = conv(x.float()) * scale[:, None, None] + shift[:, None, None]
        residual = torch.randn_like(y).to(dtype).contiguous(memory_format=torch.channels_last) if added else None
        y = y if residual is None else y + residual
        y = {
            "none": y,
            "relu": y.relu(),
            "relu6": y.clamp(0, 6),
            "silu": y * y.sigmoid(),
            "hardswish": y * (y + 3).clamp(0, 6) / 6,
        }[activation]
        kept = None if residual is None else residual.clone()
        candidates = layer._candidates(x, residual, layer.padding)
        if dtype in TILES:
            tile = f"winograd{TILES[dtype][0]}"
            assert (tile in candidates) == (how.get("stride", 1) == 1 and how.get("groups", 1) == 1)
        for name in candidates:
            found = layer._by(name, x, residual, layer.padding)
            assert found.dtype == dtype
            torch.testing.assert_close(found.float(), y, **close, msg=lambda text, name=name: f"{name}: {text}")
        assert residual is None or torch.equal(residual, kept)
        layer._keep("direct")
        assert layer._packed is None and not layer._bases
        torch.testing.assert_close(layer(x, residual, replace=True).float(), y, **close)


def test_a_layer_with_a_sum_is_tried_for_itself() -> None:
    """It passes over one map more than a layer of the same size without: another algorithm may be faster."""
    plan = Plan()
    fused_and_plain(nn.Sequential(nn.Conv2d(8, 8, 1), Branches()), torch.randn(1, 8, 12, 13), plan)
    keys = set(plan.choices)
    assert keys == {f"conv 8-8 {kind} 2^8 fp32" for kind in ("1x1/1", "3x3/1 sum relu")} or not convolution.has_onednn()


@pytest.mark.parametrize("after_sum", [False, True])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish])
def test_activations_are_taken_up(activation: type[nn.Module], after_sum: bool) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = conv_block(8, 8, 3, norm="none", activation=None), activation()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.conv(x) + x) if after_sum else x + self.act(self.conv(x))

    torch.manual_seed(0)
    fast, plain, model = fused_and_plain(nn.Sequential(Block(), Block()), 4 * torch.randn(1, 8, 12, 13))
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-4)
    left = [m for m in model.modules() if isinstance(m, activation)]
    assert bool(left) == (after_sum and activation is not nn.ReLU)  # oneDNN knows no other behind a sum


def test_small_and_large_maps_of_one_layer_choose_for_themselves() -> None:
    plan, layer = Plan(), nn.Conv2d(8, 8, 3, padding=1)
    fused = Convolution(layer, None, None, "relu", plan)
    for side in (4, 5, 40, 41):
        x = torch.randn(1, 8, side, side)
        with torch.inference_mode():
            torch.testing.assert_close(fused(x), layer(x).relu(), atol=1e-5, rtol=1e-4)
    if convolution.has_onednn():
        assert set(plan.choices) == {f"conv 8-8 3x3/1 relu 2^{size} fp32" for size in (5, 11)}


def test_tensorflow_padding_is_kept() -> None:
    torch.manual_seed(0)
    for side in (15, 16):
        fast, plain, _ = fused_and_plain(nn.Sequential(SameConv2d(3, 8, 3, 2)), torch.randn(1, 3, side, side))
        torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-4)


def test_without_the_private_operators_the_public_ones_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "has_onednn", lambda: False)
    monkeypatch.setattr(linear, "has_onednn", lambda: False)
    plan = Plan()
    module = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    fast, plain, _ = fused_and_plain(module, torch.randn(2, 8, 6, 6), plan)
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-4)
    assert set(plan.choices.values()) <= {"direct"}


@pytest.mark.parametrize("module", [convolution, linear])
def test_private_operators_are_tried_before_they_are_trusted(module, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __getattr__(self, name: str):
            raise AttributeError(name)

    module.has_onednn.cache_clear()
    monkeypatch.setattr(module.torch.ops, "mkldnn", Broken(), raising=False)
    assert module.has_onednn() is False
    module.has_onednn.cache_clear()


def test_a_linear_layer_by_every_algorithm() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(40, 12)
    x = torch.randn(7, 40)
    with torch.inference_mode():
        fast = Dense(layer, "relu", Plan())
        torch.testing.assert_close(fast._direct(x), layer(x).relu())
        if linear.has_onednn():
            torch.testing.assert_close(fast._onednn(x), layer(x).relu(), atol=1e-5, rtol=1e-5)
        assert fast(torch.zeros(0, 40)).shape == (0, 12)


@pytest.mark.skipif(not any(map(shutil.which, fuse_module.COMPILERS)), reason="there is no C++ compiler here")
def test_compiled_parts_give_the_same() -> None:
    torch.manual_seed(0)
    model = Wrapped(lively(Decides())).eval()
    fast = make_fast(model, "compile", Plan(), torch.device("cpu"))
    with torch.inference_mode():
        for size in ((12, 13), (20, 9)):
            x = torch.randn(1, 8, *size)
            torch.testing.assert_close(fast(x), model(x), atol=1e-5, rtol=1e-4)


def test_nothing_to_compile_with_is_said(monkeypatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match="needs a C\\+\\+ compiler"):
        make_fast(Wrapped(Decides()), "compile", Plan(), torch.device("cpu"))


class Between(nn.Module):
    """A block of torch's between layers that are fused, called as its kind is called."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.before, self.after = kind, nn.Linear(24, 32), nn.Linear(32, 8)
        make = {
            "attention": lambda: nn.MultiheadAttention(32, 4, batch_first=True),
            "own attention": lambda: OwnAttention(32, 4, batch_first=True),
            "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2),
            "decoder": lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(32, 4, 64, batch_first=True), 2),
            "lstm": lambda: nn.LSTM(32, 32, batch_first=True),
            "cell": lambda: nn.GRUCell(32, 32),
            "in a sequence": lambda: nn.Sequential(nn.Linear(32, 32), nn.TransformerEncoderLayer(32, 4, 64)),
        }
        self.block = make[kind]()

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        if "attention" in self.kind:
            x = self.block(x, x, x, need_weights=False)[0]
        elif self.kind == "decoder":
            x = self.block(x, memory=x)
        elif self.kind == "lstm":
            x = self.block(x)[0]
        elif self.kind == "cell":
            x = torch.stack([self.block(row) for row in x])
        else:
            x = self.block(x)
        return self.after(x)


class OwnAttention(nn.MultiheadAttention):
    """As users derive it."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["attention", "own attention", "encoder", "decoder", "lstm", "cell", "in a sequence"])
def test_blocks_of_torch_read_their_own_weights(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Wrapped(Between(kind)).eval()
    x = torch.randn(3, 7, 24)
    fast = fuse(model, Plan(), dtype)
    with torch.inference_mode():
        expected, found = model(x), fast(x).float()
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(found, expected, atol=tolerance * float(expected.abs().max()), rtol=0)
    assert sum(isinstance(m, Dense) for m in fast.modules()) >= 2, "what stands beside is fused"


class Plain(Model):
    """As a user writes it, who thinks of no number format."""

    def __init__(self) -> None:
        super().__init__(SCHEMA, PREPROCESS)
        self.before, self.after = nn.Conv2d(3, 16, 3), nn.Linear(16, 4)
        self.register_buffer("table", torch.randn(16, 16))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.after(self.before(x).mean((2, 3)) @ self.table)


def test_code_that_thinks_of_no_format_gets_float32() -> None:
    torch.manual_seed(0)
    model, x = Plain().eval(), torch.randn(2, 3, 20, 20)
    fast = fuse(model, Plan(), torch.bfloat16)
    with torch.inference_mode():
        found, expected = fast(x), model(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.05)
