"""What eight bits give YOLOX-nano: time and AP of a statically quantised net in ONNX Runtime and OpenVINO.

    pip install '.[export]'
    python benchmarks/eight_bits.py W.safetensors coco_mini [--split val2017] [--calibrate train2017]

The convolutions alone are quantised, each output channel of the weights with a scale of its own; calibrated by the least and largest
activations on 60 pictures. Around the nets is what `benchmarks/pipelines.py` has.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import pipelines
from videre.data import Dataset, read
from videre.evaluate.report import evaluate
from videre.structures import Instances, Preprocess, Scene

LEAST = 0.001
"""Score from which detections count for AP."""
PICTURES, ROUNDS = 60, 3


class Pictures(CalibrationDataReader):
    """Pictures to calibrate on."""

    def __init__(self, data: Dataset, preprocess: Preprocess) -> None:
        self.preprocess = preprocess
        self.paths = iter([str(data.path(i)) for i in range(min(PICTURES, len(data)))])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next one, as the net takes it."""
        path = next(self.paths, None)
        return None if path is None else {"image": pipelines.prepared(path, self.preprocess)[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val2017")
    parser.add_argument("--calibrate", default="train2017")
    args = parser.parse_args()
    model = pipelines.the_model("yolox-nano", args.weights)
    data = read(args.data, args.split)
    inputs = [pipelines.prepared(str(data.path(i)), model.preprocess) for i in range(len(data))]
    with tempfile.TemporaryDirectory() as scratch:
        whole, shaped, small = (f"{scratch}/{name}.onnx" for name in ("whole", "shaped", "small"))
        pipelines.export(model, whole)
        quant_pre_process(whole, shaped)
        quantize_static(
            shaped,
            small,
            Pictures(read(args.data, args.calibrate), model.preprocess),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )
        nets = {
            "ONNX Runtime fp32": pipelines.onnx_runtime(whole),
            "ONNX Runtime int8": pipelines.onnx_runtime(small),
            "OpenVINO bf16": pipelines.open_vino(whole, "bf16"),
            "OpenVINO int8": pipelines.open_vino(small, "bf16"),
        }
    seconds: dict[str, list[float]] = {name: [] for name in nets}
    for _ in range(ROUNDS):
        for image, _ in inputs:
            for name, net in nets.items():
                began = time.perf_counter()
                net(image)
                seconds[name].append(time.perf_counter() - began)
    pipelines.LEAST = LEAST
    truths = [data.scene(i) for i in range(len(data))]
    for name, net in nets.items():
        scenes = []
        for image, size in inputs:
            height, width = model.preprocess.resized(size)
            found = pipelines.detections(*net(image), size, (height / size[0], width / size[1]), float(model.nms))  # type: ignore[arg-type]
            labels, scores, boxes = ([each[k] for each in found] for k in range(3))
            things = Instances(
                boxes=torch.tensor(boxes).reshape(-1, 4),
                labels=torch.tensor(labels, dtype=torch.long),
                scores=torch.tensor(scores),
            )
            scenes.append(Scene(size, things))
        metrics = evaluate(scenes, truths, model.schema, bootstrap=0).metrics
        print(
            f"{name:18} {1e3 * statistics.median(seconds[name]):5.1f} ms  AP {metrics['box AP']:.3f}  AP50 {metrics['box AP50']:.3f}"
        )


if __name__ == "__main__":
    main()
