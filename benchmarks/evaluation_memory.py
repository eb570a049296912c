"""Whether evaluating many pictures takes no more memory than few: `python benchmarks/evaluation_memory.py`.

Evaluates a small U-Net of random weights on made pictures of 320x240 with class maps, and prints the most memory that the
process has held (above the imports) as the pictures go by, and pictures a second. `--out curve.png` draws it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from videre.data import Dataset
from videre.engine.allocator import keep_memory
from videre.evaluate import evaluate_model
from videre.models import find_model
from videre.predict import Predictor
from videre.structures import Categories, Scene, Schema
from videre.studies.speed.sides import forget_peak, memory

SIZE, CLASSES = (240, 320), 11


class Made:
    """Pictures of noise in squares, each with the class of its square's brightness."""

    fields = frozenset({"segmentation"})

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def name(self, i: int) -> str:
        return str(i)

    def path(self, i: int) -> Path | None:
        return None

    def size(self, i: int) -> tuple[int, int]:
        return SIZE

    def classes(self, i: int) -> np.ndarray:
        squares = np.random.default_rng(i).integers(0, CLASSES, (SIZE[0] // 20, SIZE[1] // 20), np.uint8)
        return squares.repeat(20, 0).repeat(20, 1)

    def picture(self, i: int) -> np.ndarray:
        return np.repeat(self.classes(i)[..., None] * 20, 3, 2)

    def scene(self, i: int) -> Scene:
        return Scene(SIZE, segmentation=torch.from_numpy(self.classes(i)))


def curve(count: int) -> tuple[list[tuple[int, float]], float]:
    """(pictures done, most MiB so far) every hundredth of the way, and pictures a second."""
    keep_memory()
    schema = Schema(pixels=Categories.of([f"class {k}" for k in range(CLASSES)]))
    predictor = Predictor(find_model("unet")(schema, width=4, norm="group"), device="cpu", engine="fp32")
    predictor.predict(Made(1).picture(0))
    imported, points = memory("VmRSS"), []
    forget_peak()

    def note(done: int) -> None:
        if done % max(1, count // 100) == 0:
            points.append((done, (memory("VmHWM") - imported) / 2**20))

    began = time.perf_counter()
    evaluate_model(predictor, Dataset(Made(count), schema, title="made"), tick=note)
    return points, count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="pictures")
    parser.add_argument("--out", type=Path, help="draw the curve")
    given = parser.parse_args()
    points, pace = curve(given.count)
    for done, mib in points[9::10]:
        print(f"{done:6} pictures: {mib:6.0f} MiB at most")
    print(f"{pace:.1f} pictures/s")
    if given.out is not None:
        from matplotlib.figure import Figure

        from videre.draw.curves import SERIES, to_png

        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        axes.plot(*zip(*points, strict=True), color=SERIES[0])
        axes.set(xlabel="pictures evaluated", ylabel="MiB above the imports, at most", ylim=(0, None))
        given.out.write_bytes(to_png(figure))


if __name__ == "__main__":
    main()
