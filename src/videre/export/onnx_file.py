"""ONNX: standard operators only, so that any runtime of opset 18 or later can take it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videre.export.deployed import Deployed, trace
from videre.files import write_atomic

INPUT = "picture"


def write(model: Deployed, path: Path, metadata: Mapping[str, str]) -> None:
    """The file, the metadata in its `metadata_props`."""
    proto = to_onnx(model)
    for name, value in metadata.items():
        proto.metadata_props.add(key=name, value=value)
    write_atomic(path, proto.SerializeToString())


def to_onnx(model: Deployed) -> Any:
    """The traced module as an ONNX ModelProto."""
    from videre.export.onnx_operators import OPSET, TRANSLATIONS  # which needs onnxscript

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells that torchvision is not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own use of what it has deprecated
            program = torch.onnx.export(
                trace(model),
                dynamo=True,
                opset_version=OPSET,
                custom_translation_table=TRANSLATIONS,
                input_names=[INPUT],
                output_names=model.outputs,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    proto = program.model_proto
    _tidy(proto.graph)
    for value, sides in [
        (proto.graph.input[0], ("height", "width")),
        *((v, ("detections",)) for v in proto.graph.output if "boxes" in model.outputs),
    ]:
        for side, name in zip(value.type.tensor_type.shape.dim, sides):
            side.dim_param = name
    return proto


def _tidy(graph: Any) -> None:
    """Without what only torch reads: where each node came from, and shapes that are formulas of formulas."""
    del graph.value_info[:]
    for node in graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _tidy(attribute.g)


def open_file(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Ready to run in onnxruntime, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda picture: dict(zip(names, session.run(names, {INPUT: picture})))
