"""The contract: what every system can do, so that every verb of the library works on every system."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from videre.backbones.base import Backbone
from videre.errors import DataError, WeightsError
from videre.structures import ImageBatch, Preprocess, Scene, Schema

Outputs = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One part of a training: its name and the parameters that it trains (names as in `named_parameters`)."""

    name: str
    parameters: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Rows:
    """The first axis of a head's tensor runs over named things, so that it can be carried over by name.

    Args:
        kind: "things" or "skeleton": where in the schema the names are.
        each: rows a name takes, one after another.
        axis: the axis, where it is not the first. Rows beyond the names (background) are carried over as they are.
    """

    kind: str
    each: int = 1
    axis: int = 0

    def names(self, schema: Schema) -> tuple[str, ...]:
        named = getattr(schema, self.kind)
        return () if named is None else named.names

    def copy(self, old: Tensor, new: Tensor, source: Schema, target: Schema) -> tuple[Tensor, list[str]]:
        """`new` with the rows of the names that both know taken from `old`; and those names."""
        new, old = new.clone().movedim(self.axis, 0), old.to(new.dtype).movedim(self.axis, 0)
        there, here = self.names(source), self.names(target)
        shared = [name for name in here if name in there] if old.shape[1:] == new.shape[1:] else []
        for name in shared:
            a, b = here.index(name) * self.each, there.index(name) * self.each
            new[a : a + self.each] = old[b : b + self.each]
        rest, rest_old = len(here) * self.each, len(there) * self.each
        if shared and len(new) - rest == len(old) - rest_old:
            new[rest:] = old[rest_old:]
        return new.movedim(0, self.axis), shared


class Model(nn.Module):
    """A system: from pictures to scenes.

    Attributes:
        takes: fields of `Scene` used as input beside the picture.
        needs: fields of a true `Scene` that training uses, as `Scene.has` names them; boxes come with their labels.
        gives: fields of a predicted `Scene` that it fills.
        usual: how pictures are prepared where nothing else is asked for.
        schema, preprocess: what its labels mean, how its pictures are prepared; saved with the weights.
        config: the constructor's other keyword arguments, plain JSON; rebuilds the model.
        thresholds: least score by class name for `predict`; chosen on validation data, saved with the weights.
    """

    takes: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str]] = frozenset()
    usual: ClassVar[Preprocess] = Preprocess()

    def __init__(self, schema: Schema, preprocess: Preprocess, config: dict[str, Any]) -> None:
        super().__init__()
        self.schema, self.preprocess = schema, preprocess
        self.config: dict[str, Any] = json.loads(json.dumps(config))  # as a checkpoint gives it back
        self.thresholds: dict[str, float] = {}

    def forward(self, batch: ImageBatch, given: Sequence[Scene] | None = None) -> Outputs:
        """Predict: a flat dict of tensors in the batch's frame. `given` holds the fields named by `takes`."""
        raise NotImplementedError

    def losses(self, batch: ImageBatch, truths: Sequence[Scene]) -> dict[str, Tensor]:
        """Named scalar losses, already weighted; their sum is trained. `truths` are in the batch's frame."""
        raise NotImplementedError

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """One predicted scene per picture, in the pixels of the original picture."""
        raise NotImplementedError

    def start_from(self, tensors: dict[str, Tensor]) -> list[str]:
        """Fill the backbone with a published classifier's tensors; returns the names that were not used.

        Raises WeightsError where they do not fit, or there is no backbone.
        """
        backbone = next((m for m in self.modules() if isinstance(m, Backbone)), None)
        if backbone is None:
            raise WeightsError(f"a {type(self).__name__} stands on no backbone that weights could be put into")
        return backbone.load_weights(tensors)

    def stages(self) -> Iterable[Stage]:
        """The parts of a training, in order; one that trains everything trainable, unless a system says otherwise."""
        yield Stage("all", tuple(name for name, p in self.named_parameters() if p.requires_grad))

    def named_rows(self) -> dict[str, Rows]:
        """Tensors (by name in the state dict) whose rows belong to classes or keypoints."""
        return {}

    @classmethod
    def require(cls, fields: Iterable[str], source: str = "the data set") -> None:
        """Raise DataError when truth of `fields` cannot train this model."""
        missing = sorted(cls.needs - set(fields))
        if missing:
            hint = "; masks become one by `videre data convert DATA maps OUT --to-pixels`"
            raise DataError(
                f"{cls.__name__} trains on {', '.join(sorted(cls.needs))}; {source} has no "
                f"{', '.join(missing)} (it has: {', '.join(sorted(fields)) or 'nothing'})"
                + (hint if missing == ["segmentation"] and "masks" in set(fields) else "")
            )


def picture_generators(batch: ImageBatch) -> list[torch.Generator]:
    """One random generator per picture, from its seed: no choice depends on the batch or the process."""
    seeds = batch.seeds or tuple(range(len(batch)))
    return [torch.Generator().manual_seed(seed) for seed in seeds]
