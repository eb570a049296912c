"""The ResNet-50 pyramid in fp32 and bf16: ours, fused, beside ONNX Runtime and OpenVINO where they are installed.

    pip install '.[export]'
    python benchmarks/runtimes.py [--rounds 7]

A picture of 800x1088 to the five pyramid maps, the same weights. Each side is a process of its own, and they take turns.
Ours and OpenVINO give the maps channels-last and in the number format that they compute in, as what follows in a detector
would read them; to turn OpenVINO's to float32 and NCHW would cost it some hundredths more.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

SHAPE = (1, 3, 800, 1088)
RUNTIMES = {
    "plain": "torch",
    "videre": "torch",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "videre bf16": "torch",
    "openvino bf16": "openvino",
}
"""Sides, and the module that each needs."""


class Pyramid(nn.Module):
    """Backbone and neck of a detector."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.detector.features(image)  # type: ignore[operator, no-any-return]


def detector() -> nn.Module:
    from videre.models import find_model
    from videre.structures import Categories, Schema
    from videre.studies.speed.rule import draw_weights

    model = find_model("faster-rcnn")(Schema(things=Categories.of(["thing"])), backbone="resnet50")
    draw_weights(model, background=0.0)
    return model.eval()


def side(name: str, onnx: str) -> Callable[[Tensor], list[Tensor]]:
    """What runs the pyramid."""
    if name == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        return lambda x: [torch.from_numpy(y) for y in session.run(None, {"image": x.numpy()})]
    if name.startswith("openvino"):
        return openvino_side(onnx, "bf16" if name.endswith("bf16") else "f32")
    from videre.engine.allocator import keep_memory
    from videre.predict import Predictor

    keep_memory()
    engine = {"plain": "plain", "videre": "fp32", "videre bf16": "bf16"}[name]
    predictor = Predictor(detector(), device="cpu", engine=engine)  # type: ignore[arg-type]
    pyramid = Pyramid(predictor.running)

    def run(x: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            found = pyramid(x.contiguous(memory_format=torch.channels_last))
        predictor.plan.save()
        return found

    return run


def openvino_side(onnx: str, precision: str) -> Callable[[Tensor], list[Tensor]]:
    """precision: "f32" or "bf16"."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    model = openvino.Core().read_model(onnx)
    ends = PrePostProcessor(model)
    for i in range(len(model.outputs)):
        ends.output(i).model().set_layout(openvino.Layout("NCHW"))
        ends.output(i).tensor().set_layout(openvino.Layout("NHWC")).set_element_type(getattr(openvino.Type, precision))
    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    request = openvino.compile_model(ends.build(), "CPU", hints).create_infer_request()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def run(x: Tensor) -> list[Tensor]:
        request.infer([x.numpy()], share_inputs=True)
        maps = [torch.from_numpy(y.data).view(dtype) for y in request.output_tensors]  # NumPy calls bfloat16 float16
        return [y.permute(0, 3, 1, 2) for y in maps]

    return run


def serve(name: str, onnx: str) -> None:
    run, x = side(name, onnx), torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    for _ in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        found = run(x)
        numbers = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
        print(json.dumps(numbers | {"means": [float(y.float().abs().mean()) for y in found]}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(*args.serve)

    from videre.engine.device import describe_processor

    print(describe_processor())
    there = [name for name, module in RUNTIMES.items() if importlib.util.find_spec(module)]
    with tempfile.TemporaryDirectory() as folder:
        onnx = str(Path(folder) / "pyramid.onnx")
        if {"onnxruntime", "openvino"} & set(there):
            model = Pyramid(detector()).eval()
            torch.onnx.export(model, (torch.zeros(SHAPE),), onnx, input_names=["image"], dynamo=True, verbose=False)
        command = lambda name: [sys.executable, __file__, "--serve", name, onnx]
        pipes = {"text": True, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        sides = {name: subprocess.Popen(command(name), **pipes) for name in there}  # type: ignore[call-overload]
        runs: dict[str, list[dict[str, object]]] = {name: [] for name in there}
        for _ in range(args.rounds + 1):  # the first compiles
            for name, process in sides.items():
                print(file=process.stdin, flush=True)
                runs[name].append(json.loads(process.stdout.readline()))
        for process in sides.values():
            process.kill()
            process.wait()
    median = lambda name, key: statistics.median(run[key] for run in runs[name][1:])
    means = runs["plain"][0]["means"]
    for name in there:
        off = max(abs(a - b) / b for a, b in zip(runs[name][0]["means"], means))  # type: ignore[call-overload]
        print(
            f"{name:13} {1e3 * median(name, 'seconds'):7.0f} ms  CPU {median(name, 'cpu'):.2f} s  "
            f"x{median('plain', 'seconds') / median(name, 'seconds'):.2f}  maps' means within {off:.0e}"
        )


if __name__ == "__main__":
    main()
