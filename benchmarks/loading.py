"""Pictures a second that are read, augmented and prepared for a training on one thread: `python benchmarks/loading.py DATA`.

With the default recipe of a Faster R-CNN and targets made; the median of rounds over the same pictures.
"""

import argparse
import statistics
import time

from videre.data import read
from videre.models import find_model
from videre.train import Recipe
from videre.train.samples import TrainingSamples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a data set with boxes")
    parser.add_argument("--split", help="part of it")
    parser.add_argument("--count", type=int, default=100, help="pictures a round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    data = read(given.data, given.split)
    model = find_model("faster-rcnn")(data.schema, backbone="mobilenet_v2")
    samples = TrainingSamples(data, model, Recipe())
    found = []
    for number in range(given.rounds + 1):
        began = time.perf_counter()
        for position in range(given.count):
            samples.sample(position)
        if number:  # the first one compiles
            found.append(given.count / (time.perf_counter() - began))
    print(f"{statistics.median(found):.1f} pictures/s ({min(found):.1f} to {max(found):.1f})")


if __name__ == "__main__":
    main()
