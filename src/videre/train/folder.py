"""The files of a run, and how they survive a kill, a full disk, and a second start.

run.json (everything to repeat it), log.jsonl (a line a step or evaluation), last.safetensors and best.safetensors
(averaged weights, ready for prediction), state/state.safetensors (to resume).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from videre.engine.plan import Plan, this_machine
from videre.errors import ConfigError
from videre.files import atomic, write_atomic
from videre.models.base import Model
from videre.models.checkpoint import save_checkpoint
from videre.structures import ImageBatch, Scene
from videre.tensors import write_tensors
from videre.train.optimizer import Average
from videre.train.recipe import Recipe
from videre.train.state import Status, Trained, save_state

FREE = ("workers", "save_minutes")
"""Fields of a recipe that may change on resume: they change no number."""


def recorded(path: Path) -> dict[str, Any]:
    """run.json of the run in a folder; ConfigError when there is none."""
    file = path / "run.json"
    if not file.exists():
        raise ConfigError(f"{path}: there is no state to resume (run.json); start without --resume")
    return json.loads(file.read_text())


def plan_of(record: dict[str, Any]) -> Plan | None:
    """The plan that a run has followed; None where it has none, or was made on another machine."""
    if "plan" not in record or record["plan"].get("machine") != this_machine():
        return None
    return Plan.from_json(record["plan"], "run.json: plan")


class RunFolder:
    """The folder of one training.

    Args:
        path: of the folder. record: goes into run.json and every checkpoint. writes: the first process alone does.
    """

    def __init__(self, path: Path, record: dict[str, Any], writes: bool = True) -> None:
        self.path, self.record, self.writes = path, record, writes
        self.state = path / "state" / "state.safetensors"
        self.saved: int | None = None  # step of the last state

    # beginning --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make the folder. ConfigError when another run is in it."""
        if self.writes:
            if (self.path / "log.jsonl").exists() or self.state.exists():
                raise ConfigError(
                    f"{self.path}: there is a run already; go on with --resume, or name another folder with --out"
                )
            self._write_record()

    def resume(self) -> None:
        """Check that the run there is this one. ConfigError when there is nothing to resume, or it is another one."""
        before = recorded(self.path)
        if self.writes:
            self._same_run()
            self.record = before  # the checkpoints say how the run was begun, not how it was resumed
            for partial in self.path.rglob(".*.partial"):  # left by a kill
                partial.unlink(missing_ok=True)

    def cut_log(self, step: int) -> None:
        """Leave out of the log what came after the step of the state. A run that ended before its first save begins again."""
        self.saved = step or None
        if self.writes:
            log = self.path / "log.jsonl"
            lines = log.read_text().splitlines() if log.exists() else []
            write_atomic(log, "".join(line + "\n" for line in lines if _step_of(line) <= step).encode())

    def _same_run(self) -> None:
        plain = lambda record: json.loads(json.dumps(record))
        old, new = recorded(self.path), plain(self.record)
        old["recipe"] = plain(Recipe().to_json()) | old["recipe"]  # settings that came later have their plain values
        for field in ("model", "config", "preprocess", "recipe", "data"):
            differ = [name for name in _differences(old.get(field), new[field]) if name.split()[0] not in FREE]
            if differ:
                raise ConfigError(
                    f"{self.path}: the run there has another {field}: {', '.join(differ)}; resume with the same, or "
                    "start a new run"
                )

    # writing ----------------------------------------------------------------------------------------------------------

    def keep_plan(self, plan: Plan) -> None:
        """Write the choices that have been made since the last time, into the record and for other runs."""
        if self.writes and len(plan.asked) > len(self.record.get("plan", {}).get("choices", {})):
            self.record["plan"] = Plan(plan.asked, plan.machine).to_json()
            with self._explained("run.json"):
                self._write_record()
            plan.save()

    def _write_record(self) -> None:
        write_atomic(self.path / "run.json", (json.dumps(self.record, indent=2) + "\n").encode())

    def log(self, entry: dict[str, Any]) -> None:
        """Add a line to log.jsonl; it is in the file when this returns."""
        if self.writes:
            with self._explained("log.jsonl"), (self.path / "log.jsonl").open("ab", buffering=0) as file:
                file.write((json.dumps(entry) + "\n").encode())

    def keep(self, trained: Trained, status: Status) -> None:
        """Write last.safetensors and the state, as they are now. All processes call it."""
        self.keep_weights("last", trained, status)
        with self._explained("state/state.safetensors"):
            save_state(self.state, trained, status, self.writes)
        self.saved = status.step

    def keep_weights(self, name: str, trained: Trained, status: Status) -> None:
        """Write the averaged weights as a checkpoint."""
        if self.writes:
            provenance = {**self.record, "step": status.step, "metrics": status.metrics}
            with self._explained(f"{name}.safetensors"), averaged(trained.model, trained.average):
                save_checkpoint(trained.model, self.path / f"{name}.safetensors", provenance)

    def keep_scenes(self, path: Path, scenes: Iterable[tuple[str, Scene]]) -> None:
        """Write scenes by the names of their pictures, a line each, whole or not at all."""
        with self._explained(path.name), atomic(path) as file:
            for name, scene in scenes:
                file.write((json.dumps({"picture": name, **scene.to_json()}) + "\n").encode())

    def keep_batch(self, step: int, names: Sequence[str], batch: ImageBatch, parts: dict[str, Tensor]) -> Path:
        """Write the pictures of a step as the net saw them, with their names and losses; returns the file."""
        rank = os.environ.get("RANK", "0")
        path = self.path / (f"not-finite-step-{step}" + (f"-process-{rank}" if rank != "0" else "") + ".safetensors")
        header = {
            "names": json.dumps(list(names)),
            "sizes": json.dumps(batch.sizes),
            "losses": json.dumps({name: value.item() for name, value in parts.items()}),
        }
        write_tensors(path, {"image": batch.image}, header)
        return path

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """An OSError with the file's name, and what the user still has."""
        try:
            yield
        except OSError as error:
            stands = f"; the state of step {self.saved} stands: make room and go on with --resume" if self.saved else ""
            raise OSError(
                error.errno, f"could not be written ({error.strerror}){stands}", str(self.path / name)
            ) from error


@contextlib.contextmanager
def averaged(model: Model, average: Average | None) -> Iterator[None]:
    """Inside, the model has its averaged weights."""
    if average is None:
        yield
        return
    raw = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average.values)
    try:
        yield
    finally:
        model.load_state_dict(raw)


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf  # cut off in the middle by the kill


def _differences(old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted(n for n in {*old, *new} if old.get(n) != new.get(n))
        return [f"{n} was {old.get(n)!r}, is {new.get(n)!r}" for n in names]
    return [] if old == new else [f"it was {old!r}, is {new!r}"]
