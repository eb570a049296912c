"""A window detector's two forms on one picture: every window by itself, and shared. The same answers, how much sooner.

    python benchmarks/windows.py [PICTURE] [--short-side 120] [--rounds 3]

Prints how many windows there are, seconds of both forms (medians, by turns), and the largest difference of their logits.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from videre.data.blocks import blocks_dataset
from videre.images.prepare import prepare
from videre.images.reading import read_picture
from videre.models.detect.window_detector import WindowDetector, resized
from videre.structures import Categories, Preprocess, Schema


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, nargs="?")
    parser.add_argument("--short-side", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    picture = read_picture(args.picture) if args.picture else blocks_dataset(1, size=(360, 480)).picture(0)
    torch.manual_seed(0)
    preprocess = Preprocess(short_side=args.short_side, long_side=4 * args.short_side)
    model = WindowDetector(Schema(things=Categories.of(["a", "b"])), preprocess).eval()
    batch = prepare(picture, preprocess)
    (size,) = batch.sizes
    levels = [resized(batch.image[:, :, : size[0], : size[1]], level) for level in model.levels(size)]
    seconds: dict[str, list[float]] = {"crops": [], "shared": []}
    worst = 0.0
    for _ in range(args.rounds):
        answers = {}
        for form, times in seconds.items():
            began = time.perf_counter()
            answers[form] = [getattr(model, form)(level)[0] for level in levels]
            times.append(time.perf_counter() - began)
        gaps = [float((a - b).abs().max()) for a, b in zip(answers["crops"], answers["shared"], strict=True)]
        worst = max(worst, *gaps)
    alone, together = (statistics.median(times) for times in seconds.values())
    print(f"{model.windows(size):,} windows of {len(levels)} sizes and shapes in {size[1]}x{size[0]}")
    print(
        f"one by one {alone:.2f} s, shared {together:.3f} s (x{alone / together:.0f}); logits differ by at most {worst:.1e}"
    )


if __name__ == "__main__":
    main()
