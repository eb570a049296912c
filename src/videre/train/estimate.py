"""How long a training would take and how much memory, found by trying a step."""

from __future__ import annotations

import copy
import dataclasses
import time

import torch

from videre.data.dataset import Dataset
from videre.engine.device import choose_device
from videre.engine.plan import Plan
from videre.models.base import Model
from videre.models.stages import Descent
from videre.structures import ImageBatch
from videre.train.optimizer import choose_trained, make_optimizer
from videre.train.recipe import Recipe
from videre.train.samples import TrainingSamples, stage_steps
from videre.train.step import LossModule, Step

LEAST, MOST = 3, 10
"""Steps that are tried: until the last two took about as long, the first ones compile kernels and make plans."""
STEADY = 1.25
"""Times the shorter of these that the longer may take."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a training would cost.

    Args:
        steps: of the whole training. seconds: a step. pictures: a second. memory: peak, in bytes.
    """

    steps: int
    seconds: float
    pictures: float
    memory: int

    def __str__(self) -> str:
        minutes = self.steps * self.seconds / 60
        return (
            f"{self.seconds:.2f} s a step, {self.pictures:.1f} pictures/s, peak memory {self.memory / 2**30:.1f} GiB, "
            f"about {minutes:.0f} minutes in all ({self.steps} steps), evaluations not counted"
        )


def estimate(model: Model, data: Dataset, recipe: Recipe, device: str = "auto", plan: Plan | None = None) -> Estimate:
    """Try steps of a training on a copy of the model, until those that warm up what is compiled and cached are over."""
    place = choose_device(device)
    model = copy.deepcopy(model).to(place).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    stage = next((s for s in model.stages() if isinstance(s, Descent)), Descent())
    choose_trained(model, recipe, stage)
    samples = TrainingSamples(data, model, recipe, stage.target)
    plan = plan or Plan.here()
    precision = plan.precision(place) if recipe.precision == "auto" else recipe.precision
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = make_optimizer(model, recipe)
    step = Step(LossModule(model, stage.losses), optimizer, trained, precision, plan, clip=recipe.clip)
    loading: list[float] = []
    computing: list[float] = []
    for number in range(MOST):
        began = time.perf_counter()
        group = [samples.sample(number * recipe.batch + n) for n in range(recipe.batch)]
        loading.append(time.perf_counter() - began)
        batch = ImageBatch.cat([b for _, b, _ in group]).to(place)
        parts = step(batch, [target for _, _, target in group])
        torch.stack(list(parts.values())).sum().item()  # waits for a GPU
        computing.append(time.perf_counter() - began - loading[-1])
        if number + 1 >= LEAST and max(computing[-2:]) <= STEADY * min(computing[-2:]):
            break
    load, compute = sum(loading[1:]) / len(loading[1:]), sum(computing[-2:]) / 2
    if not recipe.workers:
        seconds = compute + load
    elif place.type == "cpu":  # the threads that load share the cores with those that compute
        seconds = compute + load / torch.get_num_threads()
    else:
        seconds = max(compute, load / recipe.workers)
    memory = torch.cuda.max_memory_allocated(place) if place.type == "cuda" else _peak()
    return Estimate(sum(stage_steps(model, data, recipe)), seconds, recipe.batch / seconds, memory)


def within_minutes(
    model: Model, data: Dataset, recipe: Recipe, device: str = "auto", plan: Plan | None = None
) -> Recipe:
    """The recipe with as many pictures as `recipe.minutes` are enough for here; itself where it has none, or has pictures."""
    if recipe.minutes is None or recipe.pictures is not None:
        return recipe
    seconds = estimate(model, data, recipe.replace(pictures=recipe.batch), device, plan).seconds
    return recipe.replace(pictures=max(1, int(60 * recipe.minutes / seconds)) * recipe.batch)


def _peak() -> int:
    """The most memory that this process has had, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
