"""How long a training would take and how much memory, found by trying a step."""

from __future__ import annotations

import copy
import dataclasses
import time

import torch

from videre.data.dataset import Dataset
from videre.engine.device import choose_device
from videre.engine.plan import Plan
from videre.engine.training import planned
from videre.models.base import Model
from videre.structures import ImageBatch
from videre.train.optimizer import choose_trained, gradient_norm, make_optimizer
from videre.train.recipe import Recipe
from videre.train.samples import TrainingSamples


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
    """Try the second step of a training on a copy of the model; the first one warms up what is compiled and cached."""
    place = choose_device(device)
    model = copy.deepcopy(model).to(place).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    choose_trained(model, recipe)
    optimizer = make_optimizer(model, recipe)
    samples = TrainingSamples(data, model.preprocess, recipe)
    plan = plan or Plan.here()
    precision = plan.precision(place) if recipe.precision == "auto" else recipe.precision
    loading = computing = 0.0
    for step in range(2):
        began = time.perf_counter()
        group = [samples.sample(step * recipe.batch + n) for n in range(recipe.batch)]
        loading = time.perf_counter() - began
        batch = ImageBatch.cat([b for _, b, _ in group]).to(place)
        with torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16"), planned(plan):
            loss = torch.stack(list(model.losses(batch, [scene for _, _, scene in group]).values())).sum()
        loss.backward()
        gradient_norm([p for p in model.parameters() if p.requires_grad], recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for a GPU
        computing = time.perf_counter() - began - loading
    # pictures are loaded ahead on other threads: the slower of the two sets the pace
    seconds = max(computing, loading / recipe.workers) if recipe.workers else computing + loading
    memory = torch.cuda.max_memory_allocated(place) if place.type == "cuda" else _peak()
    return Estimate(samples.steps, seconds, recipe.batch / seconds, memory)


def _peak() -> int:
    """The most memory that this process has had, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
