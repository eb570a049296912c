"""A training that dies by SIGKILL: `python -m train.killed FOLDER MODEL WHERE`, in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from videre.train import folder, train

from .tiny import CASES, detector, measure, register, toy


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(out: Path, kind: str, where: str) -> None:
    register()
    model = {"toy": toy, "detector": detector}[kind]()
    last = 5 if kind == "toy" else 3
    if where == "step":  # in the middle of the last step, after the save at the end of the first epoch
        whole, calls = model.losses, []

        def losses(batch: object, truths: object) -> object:
            calls.append(1)
            return die() if len(calls) == last else whole(batch, truths)  # type: ignore[arg-type]

        model.losses = losses  # type: ignore[assignment]
    else:  # second save: last.safetensors is written, the state is not
        whole_save, saves = folder.save_state, []

        def save_state(*arguments: object) -> object:
            saves.append(1)
            return die() if len(saves) == 2 else whole_save(*arguments)  # type: ignore[arg-type]

        folder.save_state = save_state  # type: ignore[assignment]
    train(model, *CASES[kind], out, evaluate=measure, progress="none")


main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
