"""torch.export's format: a graph of torch's operators and ours, so that it takes torch and `videre` to run."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from videre.export import operators  # noqa: F401 - the graph calls them
from videre.export.deployed import Deployed, trace
from videre.files import write_atomic

METADATA = "videre.json"
"""The extra file of the archive that holds the metadata."""


def write(model: Deployed, path: Path, metadata: Mapping[str, str]) -> None:
    """The file, the metadata in its extra file."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that of tensors which share memory the first is written for all
        torch.export.save(trace(model), data, extra_files={METADATA: json.dumps(dict(metadata))})
    write_atomic(path, data.getvalue())


def open_file(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Ready to run in torch."""
    module = torch.export.load(path).module()

    def run(picture: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            return {name: value.numpy() for name, value in module(torch.from_numpy(picture)).items()}

    return run
