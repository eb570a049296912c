"""A training of two stages that dies by SIGKILL: `python -m train.killed_stages FOLDER WHERE`, in a process of its own."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

from videre.train import loop, train

from .tiny import measure, regions, tiny_data, tiny_recipe


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(out: Path, where: str) -> None:
    model, adds = regions(), itertools.count(1)
    losses, gather = model.losses, model.gather
    if where == "descent":  # in the second of three steps
        calls = itertools.count(1)
        model.losses = lambda *a: die() if next(calls) == 2 else losses(*a)  # type: ignore[method-assign]
    elif where == "between":  # the second stage has begun, nothing of it is done
        loop._Training._fit = lambda *a: die()  # type: ignore[assignment]
    else:  # in the second batch of the first or the second pass over three
        last = 2 if where == "fit" else 5
        model.gather = lambda *a: die() if next(adds) == last else gather(*a)  # type: ignore[method-assign]
    recipe = tiny_recipe(pictures=6, ema=0.0, save_minutes=0.0)
    train(model, tiny_data(), recipe, out, evaluate=measure, progress="none")


main(Path(sys.argv[1]), sys.argv[2])
