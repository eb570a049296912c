"""The stages of a training, as a model describes them and the loop runs them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from videre.structures import ImageBatch, Scene

Losses = Callable[[ImageBatch, Sequence[Any]], dict[str, Tensor]]
State = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Descent:
    """A stage that is trained by gradient descent: losses, an optimizer, many steps over shuffled, augmented pictures.

    Args:
        name: in the log, the state and messages.
        parameters: beginnings of the names of the parameters that it trains ("rpn.", "box_head.scores"), of those that
            `Recipe.tune` leaves; None: all of them.
        recipe: fields of the recipe that are other in this stage: {"epochs": 4, "lr": 1e-4}. What a user sets counts more.
        losses: None: the model's own. target: what it compares with; None: the model's own.
        given: fields that the model as it is before the stage finds in every picture of the training, in the picture's own
            pixels, and that are given to it from then on: proposals of the stage before. None: only what the data have.
        anew: beginnings of the names of the weights that are again as they were before the training when the stage begins.
        evaluates: whether the model can be evaluated during the stage; else only what follows it says how good it is.
        share: of the length that the recipe asks for.
    """

    name: str = "all"
    parameters: Sequence[str] | None = None
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    losses: Losses | None = None
    target: Callable[[Scene], Any] | None = None
    given: Callable[[ImageBatch], Sequence[Scene]] | None = None
    anew: Sequence[str] = ()
    evaluates: bool = True
    share: float = 1.0

    def trains(self, name: str) -> bool:
        """Whether a parameter is one of its own."""
        return self.parameters is None or name.startswith(tuple(self.parameters))


@dataclasses.dataclass(frozen=True)
class Fit:
    """A stage that is solved: statistics or features gathered batch by batch over the training pictures, unaugmented and in
    their order, then one solution (ridge regression, support vector machines).

    In several processes each does the whole of it, and all come to the same.

    Args:
        name: in the log, the state and messages.
        add: (state, batch, targets) -> state: what has been gathered, and one batch more. The state begins empty; it is
            saved with the run, so it holds all that `solve` needs.
        solve: writes the solution for a state into the model. It is called after each pass; True asks for another pass
            (hard negatives, judged by the solution so far), with the state that the first gathered.
        passes: at most so many. target, given, evaluates: as of `Descent`, evaluates: after it.
    """

    name: str
    add: Callable[[State, ImageBatch, Sequence[Any]], State]
    solve: Callable[[State], bool | None]
    passes: int = 1
    target: Callable[[Scene], Any] | None = None
    given: Callable[[ImageBatch], Sequence[Scene]] | None = None
    evaluates: bool = True


Stage = Descent | Fit
