"""The contract: what every system can do, so that every verb of the library works on every system."""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from videre.backbones.base import Backbone
from videre.errors import ConfigError, DataError, WeightsError
from videre.layers.detections import SHOWN_OVERLAP, shown
from videre.models.stages import Descent, Stage
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits
from videre.structures.scene import locate

Outputs = dict[str, Any]
"""Tensors and `Ragged` tensors by name: a pytree, so that it can be compiled and exported."""
DEFAULT_THRESHOLD = 0.5
"""Least score shown where a model has no thresholds of its own."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """The first axis of a head's tensor runs over named things, so that it can be carried over by name.

    Args:
        kind: "things" or "skeleton": where in the schema the names are.
        each: rows a name takes, one after another.
        axis: the axis, where it is not the first. Rows beyond the names (background) are carried over as they are.
        groups: how often the axis runs over all of them (once for each anchor of a cell).
    """

    kind: str
    each: int = 1
    axis: int = 0
    groups: int = 1

    def names(self, schema: Schema) -> tuple[str, ...]:
        return schema.names.get(self.kind, ())

    def copy(self, old: Tensor, new: Tensor, source: Schema, target: Schema) -> tuple[Tensor, list[str]]:
        """`new` with the rows of the names that both know taken from `old`; and those names."""
        if old.shape[self.axis] % self.groups:
            return new.clone(), []
        new, old = self._names_first(new.clone()), self._names_first(old.to(new.dtype))
        there, here = self.names(source), self.names(target)
        shared = [name for name in here if name in there] if old.shape[1:] == new.shape[1:] else []
        for name in shared:
            a, b = here.index(name) * self.each, there.index(name) * self.each
            new[a : a + self.each] = old[b : b + self.each]
        rest, rest_old = len(here) * self.each, len(there) * self.each
        if shared and len(new) - rest == len(old) - rest_old:
            new[rest:] = old[rest_old:]
        return new.movedim(0, 1).flatten(0, 1).movedim(0, self.axis), shared

    def _names_first(self, x: Tensor) -> Tensor:
        """The rows of a group, then groups, then the other axes."""
        return x.movedim(self.axis, 0).unflatten(0, (self.groups, -1)).movedim(1, 0)


class Model(nn.Module):
    """A system: from pictures to scenes. Its constructor takes a schema, a preprocess, and keyword arguments that are plain
    JSON: they are the configuration, and rebuild it.

    Attributes:
        takes: fields of `Scene` that it uses as input beside the picture; accepts: those that it uses where they are given.
        needs: fields of a true `Scene` that training uses beside those that it takes. gives: fields of a predicted `Scene`
            that it fills. All are qualified names (see `Scene.get`), checked when the class is made.
        inner_systems: submodules that are systems themselves, by the name of the system: {"detector": "faster-rcnn"}. Keyword
            arguments that the constructor does not name are theirs; their weights load into it, and its into them.
        recipe: fields of the recipe that are others by default: {"lr": 1e-4}, or an augmentation of its own,
            {"augment": transforms as `data.transforms.to_json` writes them}. Where weights start at random, those for that count more.
        recipe_from_weights: the same where the backbone comes from a published classifier and the heads start at random.
        headline: the metrics that are listed first, the first of which `best` follows; those it does not name come as the
            evaluation orders them.
        usual: how pictures are prepared where nothing else is asked for.
        mixes_formats: whether its own code, between its layers, works on what they give in bfloat16; else the engine gives
            it float32.
        schema, preprocess: what its labels mean, how its pictures are prepared; saved with the weights.
        config: the constructor's other keyword arguments, plain JSON; rebuilds the model.
        limits: how many things it gives, from which score on.
        thresholds: least score by class name for `predict`; chosen on validation data, saved with the weights.
        shown_overlap: IoU of boxes above which two things are one, whatever their classes, and the weaker is not shown; 1: both are.
    """

    takes: ClassVar[frozenset[str]] = frozenset()
    accepts: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str]] = frozenset()
    inner_systems: ClassVar[Mapping[str, str]] = {}
    recipe: ClassVar[Mapping[str, Any]] = {}
    recipe_from_weights: ClassVar[Mapping[str, Any]] = {}
    headline: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[Preprocess] = Preprocess()
    mixes_formats: ClassVar[bool] = False

    config: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for names in ("takes", "accepts", "needs", "gives"):
            for field in getattr(cls, names):
                try:
                    locate(field)
                except ConfigError as error:
                    raise ConfigError(f"{cls.__name__}.{names}: {error}") from None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Capture the keyword arguments, defaults included, before the constructor can change them."""
        model = super().__new__(cls)
        given = {name: value for name, value in kwargs.items() if name not in ("schema", "preprocess")}
        defaults = {name: p.default for name, p in arguments(cls).items() if p.default is not inspect.Parameter.empty}
        model.__dict__["config"] = json.loads(json.dumps({**defaults, **given}))  # as a checkpoint gives it back
        return model

    def __init__(self, schema: Schema, preprocess: Preprocess | None = None) -> None:
        super().__init__()
        self.schema, self.preprocess = schema, preprocess or self.usual
        self.limits = Limits()
        self.thresholds: dict[str, float] = {}
        self.shown_overlap = SHOWN_OVERLAP

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module | nn.Parameter) and hasattr(type(self), name):  # which the class would hide
            raise ConfigError(
                f"{type(self).__name__}.{name}: every Model has a {name} of its own; call this part otherwise"
            )
        super().__setattr__(name, value)

    # predicting -------------------------------------------------------------------------------------------------------

    def forward(self, batch: ImageBatch) -> Outputs:
        """The net: tensors in the batch's frame. `batch.given` holds the fields named by `takes`, and no others."""
        raise NotImplementedError

    def decode(self, outputs: Outputs, batch: ImageBatch) -> Outputs:
        """What comes after the net and is neither fused nor compiled: a beam search, NMS over all pictures."""
        return outputs

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """One predicted scene per picture, in the pixels of the original picture."""
        raise NotImplementedError

    def predict(self, batch: ImageBatch) -> list[Scene]:
        """Forward, decode and postprocess: the scenes of prepared pictures."""
        return self.postprocess(self.decode(self(batch), batch), batch)

    def decide(self, scene: Scene, threshold: float | None = None) -> Scene:
        """What is shown of a prediction: things whose score reaches the threshold, and of two that are one under two names (see
        `shown_overlap`) the better. None: the threshold of their class; 0: everything."""
        things, classes = scene.instances, self.schema.things
        if things is None or things.scores is None:
            return scene
        least = torch.tensor(DEFAULT_THRESHOLD if threshold is None else threshold)
        if threshold is None and things.labels is not None and classes is not None:
            least = torch.tensor(list(self.shown_from(classes.names).values()))[things.labels]
        return scene.select(shown(things, least, 1.0 if threshold == 0 else self.shown_overlap))

    def shown_from(self, names: Iterable[str]) -> dict[str, float]:
        """The least score of each class that is shown: the model's own, else `DEFAULT_THRESHOLD`."""
        return {name: self.thresholds.get(name, DEFAULT_THRESHOLD) for name in names}

    # training ---------------------------------------------------------------------------------------------------------

    def target(self, truth: Scene) -> Any:
        """What of a target does not depend on the prediction, from a true scene in its batch's frame; made by the threads
        that load. By default the scene itself."""
        return truth

    def losses(self, batch: ImageBatch, targets: Sequence[Any]) -> dict[str, Tensor]:
        """Named scalar losses, already weighted; their sum is trained. `targets` are what `target` made, one a picture."""
        raise NotImplementedError

    def stages(self) -> Sequence[Stage]:
        """The parts of a training, in order; one that trains everything trainable, unless a system says otherwise."""
        return (Descent(),)

    def notes(self, truths: Iterable[Scene]) -> list[str]:
        """What a user should know of a training on these true scenes (in their own pixels) before it begins, a line each."""
        return []

    def reset_calibration(self) -> None:
        """Forget what `calibrate` has chosen."""
        self.thresholds = {}

    def calibrate(self, report: Any) -> tuple[Any, dict[str, Tensor]]:
        """Choose on validation data what the net does not learn: thresholds, a temperature.

        Args:
            report: an `evaluate.Report` of this model without thresholds.

        Returns:
            the report as it is with them, and the tensors of the state dict that have changed.
        """
        self.thresholds = report.best_thresholds()
        return report.decided(self.thresholds, chosen_here=True), {}

    # weights ----------------------------------------------------------------------------------------------------------

    def start_from(self, tensors: dict[str, Tensor]) -> list[str]:
        """Fill the backbone with a published classifier's tensors; returns the names that were not used.

        Raises WeightsError where they do not fit, or there is no backbone.
        """
        backbone = next((m for m in self.modules() if isinstance(m, Backbone)), None)
        if backbone is None:
            raise WeightsError(f"a {type(self).__name__} has no backbone that weights could be loaded into")
        return backbone.load_weights(tensors)

    def named_rows(self) -> dict[str, Rows]:
        """Tensors (by name in the state dict) whose rows belong to classes or keypoints."""
        return {}

    @classmethod
    def findable(cls) -> frozenset[str]:
        """Of the fields that it takes those that a setting of the same name names a method for (proposals)."""
        return cls.takes & arguments(cls).keys()

    @property
    def finders(self) -> dict[str, str]:
        """By each of these fields the method that finds it where it is not given; those that have one."""
        methods = {field: self.config.get(field) for field in type(self).findable()}
        return {field: str(method) for field, method in methods.items() if method}

    def find_by(self, field: str, method: str) -> None:
        """Let another method find a field. ConfigError where nothing finds it."""
        if field not in type(self).findable():
            raise ConfigError(f"a {type(self).__name__} takes no {field} that a method could find")
        self.config[field] = method

    @classmethod
    def require(cls, fields: Iterable[str], source: str = "the data set") -> None:
        """Raise DataError when truth of `fields` cannot train this model."""
        there = set(fields)
        missing = sorted((cls.needs | cls.takes) - there)
        if missing:
            hints = {
                "segmentation": "; masks become one by `videre data convert DATA maps OUT --to-pixels`"
                * ("masks" in there),
                "proposals": "; name a method or a file with --proposals (data.given.with_proposals)",
            }
            raise DataError(
                f"{cls.__name__} trains on {', '.join(sorted(cls.needs | cls.takes))}; {source} has no "
                f"{', '.join(missing)} (it has: {', '.join(sorted(there)) or 'nothing'})"
                + (hints.get(missing[0], "") if len(missing) == 1 else "")
            )


def arguments(kind: type[Model]) -> dict[str, inspect.Parameter]:
    """The keyword arguments of a system's constructor with their types and defaults, those of its inner systems included."""
    from videre.models import find_model

    parameters = inspect.signature(kind.__init__).parameters
    hints = typing.get_type_hints(kind.__init__)
    own = {
        name: p.replace(annotation=hints.get(name, Any))
        for name, p in parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        for system in kind.inner_systems.values():
            own = arguments(find_model(system)) | own
    return own


@runtime_checkable
class Blendable(Protocol):
    """A model whose "logits" [B, K, H, W] are maps of the picture, which can be looked at several times and averaged."""

    preprocess: Preprocess

    def __call__(self, batch: ImageBatch) -> Outputs: ...

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of each class at each place, [B, K, H, W]."""

    def as_logits(self, probabilities: Tensor) -> Tensor:
        """Logits whose probabilities these are."""


@runtime_checkable
class Deployable(Protocol):
    """A model whose results can be computed in tensors alone, so that it can be exported with them."""

    def deployed(self, outputs: Outputs, batch: ImageBatch) -> dict[str, Tensor]:
        """The results of the one picture of a batch in its own pixels, whose sizes may be symbols: boxes [D, 4], scores
        [D], labels [D]; masks [D, H, W] of 0 and 1, keypoints [D, J, 3]; or scores [K] and labels [K] of the picture."""


def picture_generators(batch: ImageBatch) -> list[torch.Generator]:
    """One random generator per picture, from its seed: no choice depends on the batch or the process."""
    seeds = batch.seeds or tuple(range(len(batch)))
    return [torch.Generator().manual_seed(seed) for seed in seeds]
