"""One of two processes under torchrun: `-m train.several FOLDER`. A detector for three steps, then an early stop."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from videre.models import Model
from videre.train import train
from videre.train.loop import _Training
from videre.train.processes import leave

from .tiny import PREPROCESS as PICTURES
from .tiny import SCHEMA, Parts, detector, measure, register, tiny_data, tiny_recipe, toy


def unsampled() -> Model:
    """A detector that trains on every anchor and proposal: which ones are sampled may hang on the last digit of one."""
    every = {"rpn_batch": 100_000, "roi_batch": 1000, "rpn_pre_nms": (2000, 100), "rpn_post_nms": (2000, 20)}
    return detector(preprocess=PICTURES, **every)


def unvaried() -> Model:
    """A toy without dropout, whose random numbers differ from process to process."""
    model = toy()
    model.body[3].p = 0.0
    return model


def main(out: Path) -> None:
    register()
    asked = []

    def evaluate(model: object) -> dict[str, float]:
        asked.append(1)
        return {"box AP": 0.5}

    dist.init_process_group("gloo")
    train(unsampled(), *THREE_STEPS, out / "detector", evaluate=measure, progress="none")
    early = train(
        toy(), tiny_data(), tiny_recipe(pictures=600, patience=2), out / "toy", evaluate=evaluate, progress="none"
    )
    alone = []
    with_none = DistributedDataParallel.no_sync
    DistributedDataParallel.no_sync = lambda wrapped: alone.append(1) or with_none(wrapped)  # type: ignore[method-assign]
    train(unvaried(), *ACCUMULATED, out / "accumulated", evaluate=measure, progress="none")
    rank = dist.get_rank()
    (out / f"alone-{rank}").write_text(str(len(alone)))
    found = _Training._found
    _Training._found = lambda *args: time.sleep(3 * rank) or found(*args)  # the second looks when the first is done
    torch.manual_seed(0)
    train(Parts(SCHEMA, PICTURES), *PARTS, out / "parts", evaluate=measure, progress="none")
    (out / f"asked-{rank}").write_text(f"{len(asked)} {early.metrics} {os.getpid()}")
    dist.barrier()
    leave()


# Adam would hide a difference in size, and blow up one in sign where a gradient is nearly nothing
THREE_STEPS = (tiny_data(4), tiny_recipe(pictures=12, batch=4, workers=0, optimizer="sgd", lr=0.01))
ACCUMULATED = (
    tiny_data(4),
    tiny_recipe(pictures=24, batch=4, accumulate=3, workers=0, optimizer="sgd", lr=0.01, ema=0.0),
)
PARTS = (tiny_data(4), tiny_recipe(pictures=8, batch=4, workers=0, optimizer="sgd", ema=0.0))

if __name__ == "__main__":
    main(Path(sys.argv[1]))
