"""OpenVINO's own format, made from the ONNX graph: PATH.xml with the graph, PATH.bin with the weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from videre.export.deployed import Deployed
from videre.export.onnx_file import to_onnx
from videre.files import write_atomic


def write(model: Deployed, path: Path, metadata: Mapping[str, str]) -> None:
    """Both files, in full precision; the metadata is in `rt_info`, under "videre"."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        source.write_bytes(to_onnx(model).SerializeToString())
        convert(source, path, metadata)


def convert(source: Path, path: Path, metadata: Mapping[str, str]) -> None:
    """From an ONNX file."""
    import openvino

    network = openvino.Core().read_model(source)
    for name, value in metadata.items():
        network.set_rt_info(value, ["videre", name])
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.xml"
        openvino.save_model(network, target, compress_to_fp16=False)
        write_atomic(path.with_suffix(".bin"), target.with_suffix(".bin").read_bytes())
        write_atomic(path, target.read_bytes())


def open_file(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Ready to run on the CPU in float32, with as many threads as torch has."""
    import openvino

    # by itself it computes in bf16 where the processor can
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
    network = openvino.Core().compile_model(path, "CPU", settings)
    names = [output.get_any_name() for output in network.outputs]

    def run(picture: np.ndarray) -> dict[str, np.ndarray]:
        found = network([picture])
        return {name: np.array(found[name]) for name in names}

    return run
