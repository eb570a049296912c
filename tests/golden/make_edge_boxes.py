"""Golden proposals of OpenCV's Edge Boxes and BING, of made edge maps and pictures.

Run in the environment with OpenCV's contrib modules: ./run peers && .venv-contrib/bin/python
tests/golden/make_edge_boxes.py. Writes edge_boxes.npz and bing.npz beside this file, with their inputs. BING's filters
are made, too: drawn at random, and written as the files that OpenCV reads.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).parent
SETTINGS = {
    "default": {},
    "fine": {"alpha": 0.75, "beta": 0.85, "minScore": 0.02, "maxBoxes": 300},
    "eta": {"beta": 0.9, "eta": 0.99, "minBoxArea": 400, "maxAspectRatio": 2},
    "merge": {"edgeMinMag": 0.2, "edgeMergeThr": 0.3, "clusterMinMag": 1, "gamma": 1, "kappa": 1.2},
}


def shapes(height: int, width: int, seed: int) -> np.ndarray:
    """(H, W, 3) uint8: ellipses and boxes on noise."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 40, (height, width, 3)).astype(np.uint8)
    for k in range(6):
        x, y = (int(v) for v in rng.integers(0, (width, height)))
        a, b = (int(v) for v in rng.integers(8, height // 2, 2))
        color = [int(v) for v in rng.integers(40, 256, 3)]
        if k % 2:
            cv2.ellipse(picture, (x, y), (a, b), 30 * k, 0, 360, color, -1)
        else:
            cv2.rectangle(picture, (x, y), (x + a, y + b), color, -1)
    return cv2.GaussianBlur(picture, (0, 0), 0.8)


def edge_map(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thin edges in 0 .. 1 and the orientation of their normals, (H, W) float32."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.hypot(dx, dy) / np.hypot(dx, dy).max()
    thin = cv2.Canny(picture, 40, 80) > 0
    return (strength * thin).round(3), (np.arctan2(dy, dx) % np.pi).round(3)


def write_model(folder: Path, weights: np.ndarray, sizes: np.ndarray, calibration: np.ndarray) -> None:
    """As OpenCV stores a trained model, the parts of each colour space."""
    for k, space in enumerate(("MAXBGR", "HSV", "I")):
        stem = f"ObjNessB2W8{space}"
        for part, value, kind in (("idx", sizes[:, None], "i"), ("wS1", weights[k], "f"), ("wS2", calibration[k], "f")):
            data = ", ".join(f"{v}" if kind == "i" else f"{v:.9g}" for v in value.reshape(-1))
            text = f"%YAML:1.0\n{stem}: !!opencv-matrix\n   rows: {value.shape[0]}\n   cols: {value.shape[1]}\n"
            text += f"   dt: {kind}\n   data: [ {data} ]\n"
            (folder / f"{stem}.{part}.yml.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def main() -> None:
    golden: dict[str, np.ndarray] = {}
    for name, settings in SETTINGS.items():
        for k in range(2):
            edges, orientation = edge_map(shapes(100 + 20 * k, 160 - 30 * k, k))
            golden |= {f"edges_{k}": edges, f"orientation_{k}": orientation}
            boxes, scores = cv2.ximgproc.createEdgeBoxes(**settings).getBoundingBoxes(edges, orientation)
            golden |= {f"{name}_{k}_boxes": np.int16(boxes), f"{name}_{k}_scores": scores.reshape(-1)}
            print(name, k, len(boxes))
    np.savez_compressed(HERE / "edge_boxes.npz", **golden)

    rng = np.random.default_rng(2)
    weights = rng.normal(0, 1e-3, (3, 8, 8)).astype(np.float32)
    sizes = np.array([0, 1, 2, 6, 7, 8, 9, 13, 14, 15, 20, 21, 22, 27, 28, 35])
    calibration = np.stack([rng.uniform(0.1, 5, (3, 16)), rng.normal(-1, 0.02, (3, 16))], 2).astype(np.float32)
    golden = {"weights": weights, "sizes": sizes, "calibration": calibration}
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), weights, sizes, calibration)
        for k, size in enumerate([(90, 120), (53, 37), (100, 160)]):
            picture = shapes(*size, 10 + k)
            saliency = cv2.saliency.ObjectnessBING_create()
            saliency.setTrainingPath(folder)
            boxes = np.array(saliency.computeSaliency(picture)[1]).reshape(-1, 4)
            golden |= {f"picture_{k}": picture[:, :, ::-1], f"boxes_{k}": np.int16(boxes)}
            golden[f"values_{k}"] = np.float32(saliency.getobjectnessValues())
    np.savez_compressed(HERE / "bing.npz", **golden)


if __name__ == "__main__":
    main()
