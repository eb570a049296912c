"""A trained model as one file that runs without this library, pre- and post-processing inside, and proof that it does.

    report = export_model(videre.load("blocks").model, "blocks.onnx", "onnx", pictures)
    assert report.passed, report.problems

One module, `deployed.Deployed`, is traced for all formats; each format has a file that writes and opens it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from videre.errors import ConfigError, DataError
from videre.export import onnx_file, openvino_file, torch_file
from videre.export.deployed import Deployed, deploy
from videre.export.parity import Report, compare
from videre.files import write_atomic
from videre.models import model_name
from videre.models.base import Model
from videre.version import __version__

Runner = Callable[[np.ndarray], dict[str, np.ndarray]]
"""A picture, uint8 [H, W, C], to results by name."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of file: how its name ends, the packages that it takes, how it is written, opened and called."""

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[Deployed, Path, Mapping[str, str]], None]
    open: Callable[[Path], Runner]


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime"), onnx_file.write, onnx_file.open_file),
    "openvino": Format(".xml", ("onnx", "onnxscript", "openvino"), openvino_file.write, openvino_file.open_file),
    "torch": Format(".pt2", (), torch_file.write, torch_file.open_file),
}


def find_format(name: str) -> Format:
    """The format of this name; ConfigError where there is none, or where what it takes is not installed."""
    if name not in FORMATS:
        raise ConfigError(f"no format {name!r}; there are: {', '.join(FORMATS)}")
    missing = [package for package in FORMATS[name].packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(f"{name} needs {', '.join(missing)}, not installed here: pip install 'videre[export]'")
    return FORMATS[name]


def export_model(
    model: Model,
    path: str | Path,
    format: str,
    pictures: Iterable[tuple[str, np.ndarray]],
    provenance: Mapping[str, Any] | None = None,
) -> Report:
    """Write a detector or a classifier to a file, and beside it the report of how far its results differ from ours.

    Args:
        model: it is moved to the CPU. path: of the file; the report is `path` + ".parity.md" and ".json".
        format: "onnx", "openvino" (.xml, and .bin beside it) or "torch".
        pictures: names and pictures, uint8 [H, W, C] with the channels that the net takes, to compare on.
        provenance: where the weights come from, their licence; stored in the file.

    Raises ConfigError for an unknown format, a package that is not installed, a system of another kind; DataError
    for no pictures.
    """
    kind, path, pictures = find_format(format), Path(path), list(pictures)
    if not pictures:
        raise DataError("there is no picture to compare on")
    model = model.to("cpu").eval()
    kind.write(deploy(model), path, describe(model, provenance or {}))
    report = compare(model, kind.open(path), pictures, path.name, format)
    write_atomic(path.with_name(f"{path.name}.parity.json"), (json.dumps(report.to_json(), indent=1) + "\n").encode())
    write_atomic(path.with_name(f"{path.name}.parity.md"), report.to_markdown().encode())
    return report


def describe(model: Model, provenance: Mapping[str, Any]) -> dict[str, str]:
    """What is stored in the file, each value as JSON: what its labels mean, and where it comes from."""
    schema = model.schema
    found = {
        "videre": __version__,
        "model": model_name(model),
        "classes": list((schema.pictures if "labels" in model.gives else schema.things) or ()),
        "keypoints": list(schema.skeleton.names)
        if schema.skeleton is not None and "keypoints" in model.gives
        else None,
        "thresholds": model.thresholds,
        "score_floor": model.limits.score_threshold or None,
        "preprocess": model.preprocess.to_json(),
        "config": model.config,
        "provenance": dict(provenance),
    }
    return {name: json.dumps(value) for name, value in found.items() if value is not None}
