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

from videre.data.dataset import Dataset, few
from videre.engine.plan import Plan, this_machine
from videre.errors import ConfigError
from videre.files import atomic, write_atomic
from videre.models.base import Model
from videre.models.checkpoint import save_checkpoint
from videre.models.stages import Descent
from videre.structures import ImageBatch, Scene
from videre.tensors import write_tensors
from videre.train.optimizer import Average
from videre.train.recipe import Recipe
from videre.train.state import Status, Trained, save_state

FREE = ("workers", "save_minutes")
"""Fields of a recipe that may change on resume: they change no number."""
CHANGES = ("lr",)
"""Fields of a recipe that may change on resume, and are noted: what a training that broke goes on with."""


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
        self.start = path / "state" / "start.safetensors"
        self.pictures = path / "state" / "pictures.json"
        self.saved: int | None = None  # step of the last state
        self._notes: list[str] = []
        self._new: tuple[str, dict[str, Any], Dataset] | None = None

    # beginning --------------------------------------------------------------------------------------------------------

    def begin(self, data: Dataset) -> None:
        """Make the folder. ConfigError when another run is in it."""
        if self.writes:
            if (self.path / "log.jsonl").exists() or self.state.exists():
                raise ConfigError(
                    f"{self.path}: there is a run already; go on with --resume, or name another folder with --out"
                )
            self._write_pictures(data)
            self._write_record()

    def resume(self, data: Dataset) -> tuple[bool, list[str]]:
        """Check that the run there is this one; whether pictures or labels were repaired or removed, and lines that say what
        is not as it was.

        ConfigError when there is nothing to resume, or it is another one.
        """
        before = recorded(self.path)
        if not self.writes:
            return False, []
        notes = self._same_run()
        changed = "" if before["data"]["hash"] == self.record["data"]["hash"] else self._changed(data)
        asked, self.record = self.record, before  # the checkpoints say how the run was begun, not how it was resumed
        for partial in self.path.rglob(".*.partial"):  # left by a kill
            partial.unlink(missing_ok=True)
        for name in CHANGES:
            self.record["recipe"][name] = asked["recipe"][name]
        self._notes, self._new = notes, (changed, asked["data"], data) if changed else None
        return bool(changed), [
            *notes,
            *([f"{changed}; what follows is not, to the bit, what it would have been"] if changed else []),
        ]

    def note(self, step: int) -> None:
        """Put into the record which settings are others from a step on; changes of the data follow with the next state,
        since a run that is killed before it must see them again."""
        if self.writes and self._notes:
            self._record_changes(step, self._notes)

    def _record_changes(self, step: int, notes: Sequence[str]) -> None:
        self.record.setdefault("changes", []).extend({"step": step, "what": note} for note in notes)
        with self._explained("run.json"):
            self._write_record()

    def cut_log(self, step: int) -> None:
        """Leave out of the log what came after the step of the state. A run that ended before its first save begins again."""
        self.saved = step or None
        if self.writes:
            log = self.path / "log.jsonl"
            lines = log.read_text().splitlines() if log.exists() else []
            write_atomic(log, "".join(line + "\n" for line in lines if _step_of(line) <= step).encode())

    def _same_run(self) -> list[str]:
        """ConfigError where the run there is another one; lines that say what may differ, and does."""
        plain = lambda record: json.loads(json.dumps(record))
        old, new = recorded(self.path), plain(self.record)
        old["recipe"] = plain(Recipe().to_json()) | old["recipe"]  # settings that came later have their plain values
        for field in ("model", "config", "preprocess", "recipe"):
            differ = [d for d in _differences(old.get(field), new[field]) if d.split()[0] not in (*FREE, *CHANGES)]
            if differ:
                raise self._another(field, differ)
        return [d for d in _differences(old["recipe"], new["recipe"]) if d.split()[0] in CHANGES]

    def _another(self, field: str, differ: Sequence[str]) -> ConfigError:
        return ConfigError(
            f"{self.path}: the run there has another {field}: {', '.join(differ)}; resume with the same, or start a new run"
        )

    def _changed(self, data: Dataset) -> str:
        """In words, which pictures or labels have changed since the run began. ConfigError where it is another set: of other
        classes, with more pictures, or with none that is as it was."""
        if not self.pictures.exists():  # of an older version
            raise self._another("data", _differences(recorded(self.path)["data"], self.record["data"]))
        known = json.loads(self.pictures.read_text())
        schema, before, now = json.loads(json.dumps(data.schema.to_json())), known["pictures"], data.fingerprints()
        if known["schema"] != schema:
            raise self._another("data", [f"classes or other names: {d}" for d in _differences(known["schema"], schema)])
        if added := [name for name in now if name not in before and name not in known["dropped"]]:
            raise self._another("data", [f"{len(added)} of {len(now)} pictures are new ({few(added)})"])
        removed = [name for name in before if name not in now]
        changed = [name for name in now if before.get(name, now[name]) != now[name]]
        back = [name for name in now if name not in before]
        words = [
            f"{len(names)} picture{'s' if len(names) > 1 else ''} {what} ({few(names)})"
            for names, what in ((removed, "removed"), (changed, "changed, or their labels"), (back, "repaired"))
            if names
        ]
        return f"since the run was begun: {' and '.join(words) or 'the order of the pictures changed'}"

    def _write_pictures(self, data: Dataset) -> None:
        dropped = sorted(
            {r.picture for r in data.repairs if r.action == "dropped"}
        )  # they may be repaired, and come back
        known = {"schema": data.schema.to_json(), "pictures": data.fingerprints(), "dropped": dropped}
        with self._explained(self.pictures.name):
            write_atomic(self.pictures, (json.dumps(known) + "\n").encode())

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
        if self._new is not None:
            note, self.record["data"], data = self._new
            self._write_pictures(data)
            self._record_changes(status.step, [note])
            self._new = None
        left_out = {"count": len(status.left_out), "pictures": status.left_out}
        if self.writes and self.record.get("left_out", {"count": 0, "pictures": {}}) != left_out:
            self.record["left_out"] = json.loads(json.dumps(left_out))
            with self._explained("run.json"):
                self._write_record()

    def keep_weights(self, name: str, trained: Trained, status: Status) -> None:
        """Write the averaged weights as a checkpoint."""
        if self.writes:
            provenance = {**self.record, "step": status.step, "metrics": status.metrics}
            with self._explained(f"{name}.safetensors"), averaged(trained.model, trained.average):
                save_checkpoint(trained.model, self.path / f"{name}.safetensors", provenance)

    def keep_start(self, model: Model) -> None:
        """Write the weights with which a later stage begins anew, as they are."""
        anew = tuple(name for stage in model.stages() if isinstance(stage, Descent) for name in stage.anew)
        if self.writes and anew:
            with self._explained(self.start.name):
                write_tensors(self.start, {k: v for k, v in model.state_dict().items() if k.startswith(anew)})

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

    def stands(self) -> str:
        """What there is to go on from."""
        return f"The state of step {self.saved} stands" if self.saved else "No state was saved yet"

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
