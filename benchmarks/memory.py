"""Whether predicting many pictures takes no more memory than predicting few: `python benchmarks/memory.py`.

Predicts 1,000 small pictures of changing sizes with a tiny detector of random weights and prints the resident memory
of the process after 100 and after all.
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from videre.models import find_model
from videre.predict import Predictor
from videre.structures import Categories, Preprocess, Schema


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def pictures(count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Give named pictures of noise, of seven sizes in turn."""
    rng = np.random.default_rng(0)
    for n in range(count):
        yield f"{n}", rng.integers(0, 255, (48 + 8 * (n % 7), 64, 3), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="pictures")
    count = parser.parse_args().count
    schema = Schema(things=Categories.of(["thing"]))
    settings = {"backbone": "mobilenet_v2", "norm": "group", "width": 16, "hidden": 32, "score_threshold": 0.0}
    predictor = Predictor(find_model("faster-rcnn")(schema, Preprocess(short_side=64, long_side=96), **settings))
    began, first = time.perf_counter(), 0.0
    for number, _ in enumerate(predictor.stream(pictures(count), threshold=0), start=1):
        if number == min(100, count):
            first = resident()
            print(f"after {number:5} pictures: {first:.0f} MiB resident")
    last = resident()
    seconds = time.perf_counter() - began
    print(f"after {count:5} pictures: {last:.0f} MiB resident ({last - first:+.0f}), {count / seconds:.1f} pictures/s")


if __name__ == "__main__":
    main()
