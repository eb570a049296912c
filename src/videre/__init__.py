"""videre: structured prediction in vision, one library from picture classification to meshes.

`import videre` is light: torch and the rest are loaded when something is used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "load": "videre.predictor",
    "Predictor": "videre.predictor",
    "train": "videre.train",
    "evaluate": "videre.evaluate",
    "draw": "videre.draw",
    "read": "videre.data",
    "Dataset": "videre.data",
    "Scene": "videre.structures",
    "Instances": "videre.structures",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'videre' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
