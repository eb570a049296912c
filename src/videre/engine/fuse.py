"""A model made ready for prediction: norms folded into convolutions, sums and activations fused to them.

Each part of a model that is plain arithmetic from one tensor to others (a backbone, a block) is traced with torch.fx;
in its graph every convolution takes up the norm that follows it, then the sum with another branch, then the
activation. What cannot be traced, because it decides by values or takes lists, stays as it is; its children are tried.
"""

from __future__ import annotations

import copy
import operator
import os
import shutil
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from videre.backbones import Backbone
from videre.engine.convolution import SUMMED, Cast, Convolution
from videre.engine.linear import Dense
from videre.engine.plan import Plan
from videre.errors import ConfigError
from videre.layers.conv import ConvReLU, SameConv2d
from videre.layers.norm import FrozenBatchNorm2d
from videre.models.base import Model

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d, nn.GroupNorm)
CONVOLUTIONS = (nn.Conv2d, SameConv2d, ConvReLU)
CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d)
SUMS = (operator.add, operator.iadd, torch.add)
ACTIVATIONS = {
    "relu": (F.relu, torch.relu, nn.ReLU),
    "relu6": (F.relu6, nn.ReLU6),
    "silu": (F.silu, nn.SiLU),
    "hardswish": (F.hardswish, nn.Hardswish),
}
"""How each is written."""

ENGINES = ("auto", "fp32", "bf16", "compile", "plain")
COMPILERS = ("g++", "clang++")
"""What torch.compile calls for a processor, where the variable CXX names none."""


def make_fast(model: Model, engine: str, plan: Plan, device: torch.device) -> Model:
    """The model that answers for `model`: itself where the engine is "plain", else a fused copy.

    Args:
        engine: "fp32", "bf16", "compile", "plain", or "auto": on a CPU the faster of the two number formats, elsewhere
            fp32.

    Raises ConfigError for another word, or where there is nothing to compile with.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine must be one of {', '.join(ENGINES)}; found {engine!r}")
    if engine == "plain" or not has_products(model):
        return model
    if engine == "compile":
        return compile_parts(model, device)
    precision = engine if engine != "auto" else plan.precision(device) if device.type == "cpu" else "fp32"
    return fuse(model, plan, torch.bfloat16 if precision == "bf16" else torch.float32)


def fuse(model: Model, plan: Plan, dtype: torch.dtype = torch.float32) -> Model:
    """A copy of a model that predicts the same faster; the model itself is left as it is.

    The copy has the model's own weights in memory where it needs them as they are: make it anew when they change.

    Args:
        model: in eval mode, on its device. plan: of the algorithms. dtype: of convolutions and products; what they give
            stays in it until the model itself asks for float32, as under autocast.
    """
    fused = _copy(model)
    _fuse_children(fused, plan, dtype, gives_float32=dtype != torch.float32 and not model.mixes_formats)
    return fused


def compile_parts(model: Model, device: torch.device) -> Model:
    """A copy whose parts that are plain arithmetic go through torch.compile, each size of picture on its first run.

    Raises ConfigError on a CPU without a C++ compiler.
    """
    named = os.environ.get("CXX")
    if device.type == "cpu" and not any(shutil.which(name) for name in ((named,) if named else COMPILERS)):
        raise ConfigError("engine compile needs a C++ compiler (g++, clang++, or what CXX names); the others need none")
    compiled = _copy(model)
    _compile_children(compiled)
    return compiled


def _copy(model: Model) -> Model:
    """Another model with the same weights in memory."""
    own = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, own).eval()


def _compile_children(parent: nn.Module) -> None:
    for child in parent.children():
        if has_products(child):
            if _trace(child) is not None:
                child.compile(options={"freezing": True})
            else:
                _compile_children(child)


def _fuse_children(parent: nn.Module, plan: Plan, dtype: torch.dtype, gives_float32: bool) -> None:
    """Replace what can be fused among the children of a module that is not traced itself. gives_float32: whether its own
    code shall get float32 of them."""
    for name, child in list(parent.named_children()):
        layer = _layer(child, plan, dtype)
        if layer is not None:
            setattr(parent, name, _ending_in_float32(layer) if gives_float32 else layer)
        elif is_torch_block(child):
            _keep_format(child)
        elif not has_products(child):
            _fuse_children(child, plan, dtype, gives_float32)
        elif (graph := _trace(child)) is not None:
            _fuse_graph(graph, plan, torch.float32 if _is_foreign(child) else dtype)
            setattr(parent, name, _ending_in_float32(graph) if gives_float32 else graph)
        elif not _is_foreign(child):
            _fuse_children(child, plan, dtype, gives_float32)


def is_torch_block(module: nn.Module) -> bool:
    """Whether torch defines it and reads its weights itself: attention, a transformer's layers, recurrent nets.

    Not those that are fused (ask `_layer` first), not norms, which take any format, and not containers."""
    if isinstance(module, (*NORMS, nn.GroupNorm, nn.LayerNorm)) or not any(True for _ in module.parameters()):
        return False
    homes = [kind.__module__ for kind in type(module).__mro__ if kind not in CONTAINERS]
    return any(home.startswith("torch.nn.modules.") for home in homes) and not isinstance(module, CONTAINERS[1:])


def _ending_in_float32(module: nn.Module) -> nn.Module:
    """The module, whose results are float32 whatever it computes in."""
    widen = lambda x: x.float() if isinstance(x, Tensor) and x.dtype == torch.bfloat16 else x
    module.register_forward_hook(lambda _, __, found: tree_map(widen, found))
    return module


def _keep_format(module: nn.Module) -> None:
    """Run a block of torch's in the format of its weights, whatever the layers before it give."""
    dtype = next(p.dtype for p in module.parameters() if p.is_floating_point())

    def cast(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        as_weights = lambda x: x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x
        return tree_map(as_weights, (inputs, named))

    module.register_forward_pre_hook(cast, with_kwargs=True)


def _is_foreign(module: nn.Module) -> bool:
    """Whether it holds code of others, who may multiply by the weights of their layers themselves: in float32, and with
    the layers in place."""
    return isinstance(module, Backbone) and module.foreign


def _computes_as(module: nn.Module, kinds: Sequence[type[nn.Module]]) -> bool:
    """Whether it does what one of the kinds does; subclasses in another library may pad, scale or activate beside."""
    return isinstance(module, tuple(kinds)) and type(module).forward in [kind.forward for kind in kinds]


def has_products(module: nn.Module) -> bool:
    """Whether there is anything to gain."""
    return any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) for m in module.modules())


def _layer(module: nn.Module, plan: Plan, dtype: torch.dtype) -> nn.Module | None:
    """What stands in for a single layer."""
    if (
        isinstance(module, nn.Conv2d)
        and _computes_as(module, CONVOLUTIONS)
        and not isinstance(module.padding, str)
        and module.padding_mode == "zeros"
    ):
        return Convolution(module, None, None, "relu" if isinstance(module, ConvReLU) else "none", plan, dtype)
    if isinstance(module, nn.ConvTranspose2d):
        return Cast(module, dtype)
    if isinstance(module, nn.Linear) and _computes_as(module, (nn.Linear,)):
        return Dense(module, "none", plan, dtype)
    return None


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LAYERS) or super().is_leaf_module(m, module_qualified_name)


def _trace(module: nn.Module) -> fx.GraphModule | None:
    """The module as a graph with one input; None where it is not plain arithmetic from a tensor."""
    try:
        graph = _Tracer().trace(module)
    except Exception:  # whatever the code does with a tensor that is none
        return None
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    return fx.GraphModule(module, graph) if len(inputs) == 1 else None


def _fuse_graph(part: fx.GraphModule, plan: Plan, dtype: torch.dtype) -> None:
    """Replace every convolution and product, with what follows it, in place."""
    modules = dict(part.named_modules())
    _drop_identities(part.graph, modules)
    order = {node: i for i, node in enumerate(part.graph.nodes)}
    made: set[fx.Node] = set()
    for number, node in enumerate(list(part.graph.nodes)):
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, nn.Linear) and _computes_as(layer, (nn.Linear,)):
            last, activation = _take_activation(node, modules, ("relu",))
            fresh: nn.Module = Dense(layer, activation, plan, dtype)
            arguments: tuple[fx.Node, ...] = (node.args[0],)  # type: ignore[assignment]
        elif isinstance(layer, nn.Conv2d) and _layer(layer, plan, dtype) is not None:
            scale = shift = None
            last, norm = node, _only_user(node)
            if norm is not None and (found := modules.get(str(norm.target))) and _computes_as(found, NORMS):
                scale, shift = _affine(found)
                last = norm
            total, other = _take_sum(last, order)
            last = total or last
            known = SUMMED if total is not None else tuple(ACTIVATIONS)
            last, activation = (last, "relu") if isinstance(layer, ConvReLU) else _take_activation(last, modules, known)
            fresh = Convolution(layer, scale, shift, activation, plan, dtype)
            arguments = (node.args[0],)  # type: ignore[assignment]
            if other is not None and total is not None:
                dead = other in made and max(order[user] for user in other.users) == order[total]
                arguments = (*arguments, other, dead)  # type: ignore[assignment]
        elif isinstance(layer, nn.ConvTranspose2d):
            fresh, arguments, last = Cast(layer, dtype), (node.args[0],), node  # type: ignore[assignment]
        elif layer is not None and is_torch_block(layer):
            _keep_format(layer)
            continue
        else:
            continue
        name = f"fused{number}"
        part.add_submodule(name, fresh)
        with part.graph.inserting_after(last):
            replacement = part.graph.call_module(name, arguments)
        last.replace_all_uses_with(replacement)
        order[replacement] = order[last]
        made.add(replacement)
    part.graph.eliminate_dead_code()
    part.graph.lint()
    part.delete_all_unused_submodules()
    part.recompile()


def _drop_identities(graph: fx.Graph, modules: dict[str, nn.Module]) -> None:
    """A norm that is "none" must not stand between a convolution and its activation."""
    for node in list(graph.nodes):
        if node.op == "call_module" and type(modules[str(node.target)]) is nn.Identity:
            node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
            graph.erase_node(node)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _take_sum(node: fx.Node, order: dict[fx.Node, int]) -> tuple[fx.Node | None, fx.Node | None]:
    """The sum that this result alone flows into, and its other part, where that is there in time."""
    total = _only_user(node)
    if total is None or total.op != "call_function" or total.target not in SUMS or total.kwargs:
        return None, None
    others = [n for n in total.args if n is not node]
    if len(total.args) != 2 or len(others) != 1 or not isinstance(others[0], fx.Node):
        return None, None
    return (total, others[0]) if order[others[0]] < order[node] else (None, None)


def _take_activation(node: fx.Node, modules: dict[str, nn.Module], known: Sequence[str]) -> tuple[fx.Node, str]:
    """The activation that follows, if it is one of the known, or the node itself and "none"."""
    user = _only_user(node)
    if user is not None:
        what = type(modules[str(user.target)]) if user.op == "call_module" else user.target
        for name in known:
            if what in ACTIVATIONS.get(name, ()):
                return user, name
    return node, "none"


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of a norm with fixed statistics."""
    mean, variance = (getattr(norm, name).double() for name in ("running_mean", "running_var"))
    weight, bias = (getattr(norm, name) for name in ("weight", "bias"))
    scale = (variance + norm.eps).rsqrt() * (1 if weight is None else weight.detach().double())  # type: ignore[operator]
    shift = (0 if bias is None else bias.detach().double()) - mean * scale
    return scale.float(), shift.float()
