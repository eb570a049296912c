"""How long `import videre` and `videre --help` take: `python benchmarks/startup.py`. Medians, least and most."""

import argparse
import statistics
import subprocess
import sys
import time


def seconds(code: str, rounds: int) -> list[float]:
    """Return how long a new Python takes to run `code`, less what an empty one takes."""
    found = []
    for _ in range(rounds):
        times = []
        for program in ("pass", code):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - began)
        found.append(times[1] - times[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    cases = (
        ("import videre", "import videre", 0.2),
        ("videre --help", "import sys; sys.argv = ['videre', '--help']; from videre.cli import main; main()", 0.5),
    )
    for name, code, goal in cases:
        times = seconds(code, rounds)
        middle = statistics.median(times)
        print(f"{name}: {middle:.3f} s ({min(times):.3f}..{max(times):.3f}); goal {goal} s, beside Python's own start")


if __name__ == "__main__":
    main()
