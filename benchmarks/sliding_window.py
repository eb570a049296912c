"""A sliding window, patch by patch and with shared computation: `python benchmarks/sliding_window.py [--size 180 240]`.

Seconds of both on the same picture, in turn, median of the rounds, and how far the answers lie apart.
"""

import argparse
import statistics
import time

import torch

from videre.engine.allocator import keep_memory
from videre.images.prepare import prepare
from videre.models.segment.sliding_window import SlidingWindow
from videre.structures import Categories, Schema
from videre.studies.speed.rule import picture


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(180, 240), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    keep_memory()
    torch.manual_seed(0)
    model = SlidingWindow(Schema(pixels=Categories.of([f"class {k}" for k in range(11)]))).eval()
    image = prepare(picture(tuple(args.size)), model.preprocess).image
    seconds: dict[str, list[float]] = {"by_patches": [], "dense": []}
    found = {}
    for _ in range(args.rounds):
        for name, taken in seconds.items():
            began = time.perf_counter()
            found[name] = getattr(model, name)(image)
            taken.append(time.perf_counter() - began)
    slow, fast = (statistics.median(taken) for taken in seconds.values())
    apart = float((found["by_patches"] - found["dense"]).abs().max() / found["dense"].abs().max())
    print(
        f"{args.size[1]}x{args.size[0]}, {torch.get_num_threads()} threads, fp32: patch by patch {slow:.1f} s, "
        f"shared {fast:.2f} s, x{slow / fast:.0f}; the largest difference is {apart:.1e} of the largest logit"
    )


if __name__ == "__main__":
    main()
