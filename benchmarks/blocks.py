"""How many pictures of the blocks world, with all truths, are rendered in a second: `python benchmarks/blocks.py`.

Prints one line per size and number of threads: pictures per second (median of five rounds, least and most), and the
processor they were measured on.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from videre.data.blocks import render
from videre.engine.device import describe_processor


def rate(size: tuple[int, int], threads: int, count: int, rounds: int = 5) -> list[float]:
    """Return pictures per second in each round, after one picture that compiles the kernels."""
    render(0, 0, size)
    found = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            start = time.perf_counter()
            list(pool.map(lambda i: render(0, i, size), range(count)))
            found.append(count / (time.perf_counter() - start))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="pictures a round")
    count = parser.parse_args().count
    print(describe_processor())
    for size in ((128, 128), (480, 640)):
        for threads in (1, 2):
            pictures = max(count * 128 * 128 // (size[0] * size[1]), 8)
            rates = rate(size, threads, pictures)
            middle = statistics.median(rates)
            print(
                f"{size[1]}x{size[0]}, {threads} threads: {middle:.1f} pictures/s ({min(rates):.1f}..{max(rates):.1f})"
            )


if __name__ == "__main__":
    main()
