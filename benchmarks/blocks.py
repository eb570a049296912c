"""How many pictures of the blocks world, with all truths, are rendered in a second: `python benchmarks/blocks.py`.

Prints one line per size and number of threads: pictures per second (median of five rounds, least and most), and the
processor they were measured on.
"""

import argparse
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from videre.data.blocks import render


def processor() -> str:
    """Return the processor's name and the number of its cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{name}, {cores} cores"


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
    print(processor())
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
