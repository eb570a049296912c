"""videre: structured prediction in vision, one library from picture classification to meshes.

    import videre

    predictor = videre.load("run/best.safetensors")
    scene = predictor.predict("cells.png")

    data = videre.read("my-data", "train")
    videre.train.train(model, data)           # folders of the library are modules: videre.train, videre.evaluate,
    videre.evaluate.evaluate_model(...)       # videre.draw, videre.data, …; each holds its verbs
    videre.draw.draw_scene(...)

`import videre` is light: torch and the rest are loaded when something is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from videre.version import __version__

if TYPE_CHECKING:
    from videre import data, draw, engine, evaluate, models, structures, train
    from videre.data import Dataset, read, write
    from videre.errors import VidereError
    from videre.predict import Predictor, load
    from videre.structures import Categories, Instances, Scene, Schema
    from videre.train import Recipe

__all__ = [
    "Categories",
    "Dataset",
    "Instances",
    "Predictor",
    "Recipe",
    "Scene",
    "Schema",
    "VidereError",
    "__version__",
    "data",
    "draw",
    "engine",
    "evaluate",
    "export",
    "load",
    "models",
    "predict",
    "read",
    "structures",
    "train",
    "write",
]

_MODULES = ("data", "draw", "engine", "evaluate", "export", "models", "predict", "structures", "train")
_NAMES = {
    "load": "videre.predict",
    "Predictor": "videre.predict",
    "read": "videre.data",
    "write": "videre.data",
    "Dataset": "videre.data",
    "Recipe": "videre.train",
    "VidereError": "videre.errors",
    "Categories": "videre.structures",
    "Instances": "videre.structures",
    "Scene": "videre.structures",
    "Schema": "videre.structures",
}
"""No name is a function here and a module there: importing a module would replace the function."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"videre.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'videre' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
