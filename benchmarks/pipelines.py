"""From JPEG files to boxes: two small detectors through ours, ONNX Runtime and OpenVINO.

    pip install '.[export]'
    python benchmarks/pipelines.py yolox-nano W.safetensors PICTURES [--rounds 7]
    python benchmarks/pipelines.py ssd-mobilenet W.safetensors PICTURES

PICTURES: a folder of JPEG files; W: the weights, as in `benchmarks/released.py`. Around the other runtimes is what people write around
them: OpenCV reads, resizes and suppresses, NumPy does the rest; scores and boxes of all places are the net's own work, inside the ONNX file. They
read either in turn or, "ahead", on two threads while the net runs, which ours does by itself. Each side is a process of its own, and they take
turns: the folder whole, then picture by picture. Pictures a second are medians of the rounds, milliseconds of all pictures. "same":
detections that the fp32 model has too, with an IoU above .9 and a score within .05.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from released import NETS
from videre.layers.box_head import BOX_WEIGHTS
from videre.models.base import Model
from videre.models.detect.ssd import SSD
from videre.ops.boxes import box_iou, decode_boxes
from videre.structures import Preprocess
from videre.structures.limits import Limits

SIDES = {
    "videre": "torch",
    "onnxruntime": "onnxruntime",
    "onnxruntime, ahead": "onnxruntime",
    "openvino": "openvino",
    "openvino, ahead": "openvino",
    "videre bf16": "torch",
    "openvino bf16": "openvino",
    "openvino bf16, ahead": "openvino",
}
"""And the module that each needs."""
LEAST = 0.25
"""Score from which detections are kept, as people run them."""
LONG = 416
AHEAD = 2
"""Threads that read ahead."""
Found = list[tuple[int, float, list[float]]]
"""Class, score and box of each detection."""


class Places(nn.Module):
    """What the net says of all places: boxes [M, 4] in its input's pixels and scores [M, K]."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(self.model, SSD):
            classes, objectness, boxes, _, _ = self.model.look(image)  # type: ignore[operator]
            return boxes[0], classes[0].sigmoid() * objectness[0].sigmoid()[:, None]
        logits, deltas, grids = self.model.look(image)
        defaults = self.model.boxes((image.shape[2], image.shape[3]), grids, image.device)
        return decode_boxes(deltas[0], defaults, BOX_WEIGHTS), logits[0, :, :-1].sigmoid()


def prepared(path: str, preprocess: Preprocess) -> tuple[np.ndarray, tuple[int, int]]:
    """The net's input, and the size (height, width) of the picture."""
    picture = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    size = picture.shape[:2]
    height, width = preprocess.resized(size)
    shrunk = cv2.INTER_AREA if preprocess.antialias else cv2.INTER_LINEAR
    small = cv2.resize(picture, (width, height), interpolation=shrunk).astype(np.float32)
    side = (LONG, LONG) if preprocess.size is None else (height, width)
    image = np.zeros((*side, 3), np.float32)
    image[:height, :width] = (small / 255 - preprocess.mean) / preprocess.std
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None]), size


def detections(
    boxes: np.ndarray, scores: np.ndarray, size: tuple[int, int], scale: tuple[float, float], overlap: float
) -> Found:
    """Of what the net says of all places."""
    place, label = np.nonzero(scores > LEAST)
    score = scores[place, label]
    corners = boxes[place] / (scale[1], scale[0], scale[1], scale[0])
    corners = corners.clip(0, (size[1], size[0], size[1], size[0]))
    sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    keep = cv2.dnn.NMSBoxesBatched(sides.tolist(), score.tolist(), label.tolist(), LEAST, overlap)
    best = sorted(keep, key=lambda k: -score[k])[:100]
    return [(int(label[k]), float(score[k]), corners[k].tolist()) for k in best]


def of_runtime(name: str, model: Model, onnx: str) -> Callable[[list[str]], list[Found]]:
    """The detections of some files, by another runtime."""
    preprocess, overlap = model.preprocess, float(model.nms)  # type: ignore[arg-type]
    net = onnx_runtime(onnx) if name.startswith("onnxruntime") else open_vino(onnx, "bf16" if "bf16" in name else "f32")

    def one(read: tuple[np.ndarray, tuple[int, int]]) -> Found:
        image, size = read
        height, width = preprocess.resized(size)
        boxes, scores = net(image)
        return detections(boxes, scores, size, (height / size[0], width / size[1]), overlap)

    def run(paths: list[str]) -> list[Found]:
        if not name.endswith("ahead") or len(paths) == 1:
            return [one(prepared(path, preprocess)) for path in paths]
        with ThreadPoolExecutor(AHEAD) as pool:
            return [one(read) for read in in_order(pool, paths, preprocess)]

    return run


def in_order(
    pool: ThreadPoolExecutor, paths: list[str], preprocess: Preprocess
) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """What is read, a few files ahead."""
    waiting = []
    for path in paths:
        waiting.append(pool.submit(prepared, path, preprocess))
        if len(waiting) > 2 * AHEAD:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def onnx_runtime(onnx: str) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    return lambda image: tuple(session.run(None, {"image": image}))  # type: ignore[return-value]


def open_vino(onnx: str, precision: str) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """precision: "f32" or "bf16"."""
    import openvino

    hints = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.compile_model(openvino.Core().read_model(onnx), "CPU", hints).create_infer_request()

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        request.infer([image], share_inputs=True)
        return request.output_tensors[0].data, request.output_tensors[1].data

    return run


def of_videre(model: Model, engine: str) -> Callable[[list[str]], list[Found]]:
    """The detections of some files, as a user of ours gets them."""
    from videre.engine.allocator import keep_memory
    from videre.predict import Predictor

    keep_memory()
    predictor = Predictor(model, device="cpu", engine=engine)

    def run(paths: list[str]) -> list[Found]:
        scenes: Any = predictor.predict(paths[0] if len(paths) == 1 else paths, threshold=0.0)
        things = [scene.instances for scene in (scenes if len(paths) > 1 else [scenes])]
        return [list(zip(t.labels.tolist(), t.scores.tolist(), t.boxes.tolist(), strict=True)) for t in things]

    return run


def serve(name: str, net: str, weights: str, onnx: str, paths: list[str]) -> None:
    """A line that is asked: the folder, or picture by picture; a line that is answered: seconds, and what was found."""
    model = the_model(net, weights)
    run = of_videre(model, "bf16" if "bf16" in name else "fp32") if "videre" in name else of_runtime(name, model, onnx)
    for line in sys.stdin:
        found, seconds = [], []
        for some in [paths] if line.strip() == "folder" else [[path] for path in paths]:
            began = time.perf_counter()
            found += run(some)
            seconds.append(time.perf_counter() - began)
        print(json.dumps({"seconds": seconds, "found": found}), flush=True)


def the_model(net: str, weights: str) -> Model:
    model = NETS[net](load_file(weights), LONG)
    model.limits = Limits(LEAST, 100)
    return model


def export(model: Model, path: str) -> None:
    side = (LONG, LONG) if model.preprocess.size is None else model.preprocess.size
    example = (torch.zeros(1, 3, *side),)
    torch.onnx.export(Places(model).eval(), example, path, input_names=["image"], dynamo=True, verbose=False)


def agreement(found: list[Found], truth: list[Found]) -> float:
    """Share of the detections of both that have a counterpart."""
    same = total = 0
    for a, b in zip(found, truth, strict=True):
        total += len(a) + len(b)
        if a and b:
            iou = box_iou(torch.tensor([box for *_, box in a]), torch.tensor([box for *_, box in b])) > 0.9
            labels = torch.tensor([x[0] for x in a])[:, None] == torch.tensor([x[0] for x in b])
            scores = (torch.tensor([x[1] for x in a])[:, None] - torch.tensor([x[1] for x in b])).abs() < 0.05
            pairs = iou & labels & scores
            same += int(pairs.any(1).sum() + pairs.any(0).sum())
    return same / max(total, 1)


def ask(process: subprocess.Popen[str], what: str) -> dict[str, Any]:
    print(what, file=process.stdin, flush=True)
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def rows(
    names: Iterable[str], folder: dict[str, list[float]], one: dict[str, list[float]], count: int
) -> dict[str, tuple[float, float]]:
    """Pictures a second, and milliseconds of one."""
    return {name: (count / statistics.median(folder[name]), 1e3 * statistics.median(one[name])) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", choices=list(NETS))
    parser.add_argument("weights")
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    paths = [str(path) for path in sorted(args.pictures.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg")]
    if args.serve:
        return serve(args.serve[0], args.net, args.weights, args.serve[1], paths)

    from videre.engine.device import describe_processor

    print(f"{describe_processor()}, {torch.get_num_threads()} threads; {len(paths)} pictures")
    there = [name for name, module in SIDES.items() if importlib.util.find_spec(module)]
    if missing := sorted({SIDES[name] for name in SIDES} - {SIDES[name] for name in there}):
        print(f"left out, not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as scratch:
        onnx = str(Path(scratch) / "net.onnx")
        if len(there) > 2:
            export(the_model(args.net, args.weights), onnx)
        command = [sys.executable, __file__, args.net, args.weights, str(args.pictures), "--serve"]
        pipes: dict[str, Any] = {"text": True, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        sides = {name: subprocess.Popen([*command, name, onnx], **pipes) for name in there}
        whole: dict[str, list[float]] = {name: [] for name in there}
        single: dict[str, list[float]] = {name: [] for name in there}
        first = {name: ask(side, "one") for name, side in sides.items()}  # compiles, and finds its plan
        for _ in range(args.rounds):
            for name, side in sides.items():
                whole[name] += ask(side, "folder")["seconds"]
                single[name] += ask(side, "one")["seconds"]
        for side in sides.values():
            side.kill()
            side.wait()
    table = rows(there, whole, single, len(paths))
    best = {
        number: [
            (max if i == 0 else min)(
                row[i] for name, row in table.items() if "videre" not in name and ("bf16" in name) == number
            )
            for i in (0, 1)
        ]
        for number in {"bf16" in name for name in there if "videre" not in name}
    }
    for name, (speed, latency) in table.items():
        of = best.get("bf16" in name)
        ratio = f"x{speed / of[0]:.2f} and x{of[1] / latency:.2f} of the best other" if of and "videre" in name else ""
        same = agreement(first[name]["found"], first["videre"]["found"])
        print(f"{name:22} {speed:6.1f} a second  {latency:6.1f} ms one  same {same:.1%}  {ratio}")


if __name__ == "__main__":
    main()
