"""Golden regions of OpenCV's graph segmentation, on pictures that are made here or come with scikit-image.

Run in an environment with opencv-contrib-python-headless, after the pictures were written by one with scikit-image:
    python tests/golden/make_proposals.py pictures
    .venv-contrib/bin/python tests/golden/make_proposals.py
Both write graph_segmentation.npz beside this file: `<name>` is the picture, `<name>_ids` its regions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

FILE = Path(__file__).with_name("graph_segmentation.npz")
SETTINGS = {"cat": (0.8, 100.0, 50), "noise": (0.5, 300.0, 100), "coins": (0.8, 50.0, 20)}
"""sigma, k, min_size of each picture."""


def write_pictures() -> None:
    from skimage import data

    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    coins = cv2.resize(data.coins(), (150, 120), interpolation=cv2.INTER_AREA)[..., None].repeat(3, 2)
    cat = cv2.resize(data.chelsea(), (160, 106), interpolation=cv2.INTER_AREA)
    np.savez_compressed(FILE, cat=cat, noise=noise, coins=coins)


def write_regions() -> None:
    golden = dict(np.load(FILE))
    for name, (sigma, k, min_size) in SETTINGS.items():
        search = cv2.ximgproc.segmentation.createGraphSegmentation(sigma, k, min_size)
        golden[f"{name}_ids"] = search.processImage(golden[name]).astype(np.int16)
    np.savez_compressed(FILE, **golden)


if __name__ == "__main__":
    write_pictures() if "pictures" in sys.argv else write_regions()
