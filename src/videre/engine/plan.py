"""Which algorithm each layer runs, found by timing them here and kept for the next time.

A plan belongs to one processor, number of threads and versions of torch and videre: elsewhere other algorithms win.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videre.engine.device import describe_processor
from videre.engine.precision import fastest_precision
from videre.errors import ConfigError
from videre.files import cache_folder, write_atomic
from videre.version import __version__

ROUNDS = 5
"""Timed runs of each candidate, in turn, so that a busy moment meets them all; the fastest counts."""
HOPELESS = 1.5
"""A candidate that was this many times slower than the best in the first round is not timed again."""
GAIN = 1.02
"""How many times faster than the plain algorithm another must be: below that it is noise."""
CLOSE = 1e-3
"""Largest difference from the plain algorithm, relative to its largest output; bf16 has its own."""
CLOSE_BF16 = 5e-2
PLAIN = "direct"
PRECISION = "precision"
"""How the keys begin that hold a number format and no algorithm."""


class Plan:
    """Choices by layer, shape and number format.

    Args:
        choices: key -> algorithm. machine: what they were found on. path: where `save` writes them; None: nowhere.

    Attributes:
        asked: the choices that were asked for: what a record of a run needs to repeat it.
    """

    def __init__(self, choices: Mapping[str, str] | None = None, machine: str = "", path: Path | None = None) -> None:
        self.choices = dict(choices or {})
        self.machine = machine or this_machine()
        self.path = path
        self.asked: dict[str, str] = {}
        self._saved = len(self.choices)

    @classmethod
    def here(cls) -> Plan:
        """The plan of this machine, with what earlier runs have found."""
        machine = this_machine()
        name = hashlib.sha256(machine.encode()).hexdigest()[:12]
        path = cache_folder() / "plans" / f"{name}.json"
        try:
            found = cls.read(path).choices
        except ConfigError:  # none yet, or half a file: it is found anew
            found = {}
        return cls(found, machine, path)

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """A plan from a file; ConfigError when it is none."""
        try:
            data = json.loads(Path(path).read_text())
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}") from error
        except ValueError as error:
            raise ConfigError(f"{path}: not a plan ({error})") from error
        return cls.from_json(data, str(path))

    @classmethod
    def from_json(cls, data: Any, name: str = "plan") -> Plan:
        """The reverse of `to_json`; ConfigError, with `name`, where the fields are others."""
        if not isinstance(data, dict) or not isinstance(data.get("choices"), dict) or "machine" not in data:
            raise ConfigError(f"{name}: a plan has the fields machine and choices")
        return cls(data["choices"], data["machine"])

    def to_json(self) -> dict[str, Any]:
        return {"machine": self.machine, "choices": dict(sorted(self.choices.items()))}

    def save(self) -> None:
        """Write what was found since the last time, where this plan has a place.

        A place that cannot be written costs the next run its trials, not this one its work: a warning tells it once.
        """
        if self.path is not None and len(self.choices) > self._saved:
            self._saved = len(self.choices)
            try:
                write_atomic(self.path, (json.dumps(self.to_json(), indent=1) + "\n").encode())
            except OSError as error:
                warnings.warn(
                    f"{self.path}: the plan of the convolutions is not kept ({error.strerror or error}); "
                    "VIDERE_CACHE names another folder",
                    stacklevel=2,
                )
                self.path = None

    @property
    def layers(self) -> int:
        """Kinds of layers that have been timed."""
        return sum(not key.startswith(PRECISION) for key in self.choices)

    def precision(self, device: torch.device) -> str:
        """ "bf16" or "fp32", whichever is faster on the device."""
        key = f"{PRECISION} {device.type}"
        if key not in self.choices:
            self.choices[key] = fastest_precision(device)
        self.asked[key] = self.choices[key]
        return self.choices[key]

    def choose(self, key: str, candidates: Mapping[str, Callable[[], Tensor]]) -> str:
        """The algorithm for `key`: the one that the plan has, or the fastest, which it then has.

        Args:
            candidates: algorithms by name; the first is the plain one, which the others must agree with. One that fails
            or gives something else is out.
        """
        if self.choices.get(key) not in candidates:
            self.choices[key] = fastest(candidates)
        self.asked[key] = self.choices[key]
        return self.choices[key]


def fastest(candidates: Mapping[str, Callable[[], Tensor]]) -> str:
    """The name of the fastest candidate that agrees with the first."""
    plain, *others = candidates
    expected = candidates[plain]()
    close = CLOSE_BF16 if expected.dtype == torch.bfloat16 else CLOSE
    limit = float(expected.abs().max()) * close if expected.numel() else 0.0
    seconds: dict[str, float] = {plain: float("inf")}
    for name in others:
        try:
            found = candidates[name]()
        except (RuntimeError, AttributeError, NotImplementedError):
            continue
        if found.shape == expected.shape and float((found - expected).abs().max() if found.numel() else 0) <= limit:
            seconds[name] = float("inf")
    del expected
    for _ in range(ROUNDS):
        limit = HOPELESS * min(seconds.values())
        for name in [name for name, taken in seconds.items() if taken <= limit]:
            began = time.perf_counter()
            candidates[name]()
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    best = min(seconds, key=seconds.__getitem__)
    return best if seconds[best] * GAIN < seconds[plain] else plain


def this_machine() -> str:
    """What a plan holds for: processor, threads, torch, and videre, since a later one may know more algorithms."""
    return f"{describe_processor()}, torch {torch.__version__}, videre {__version__}"
