"""Damaged pictures and annotations, which must be read or refused in one line: `python benchmarks/fuzz.py`.

Each case is a small valid picture or data set that was changed at random (`tests/data/mutations.py`), a function of its
number alone. It fails by an error that is not videre's own, by a crash, more than SECONDS, more than MEMORY, a program
that is started, or a file that is changed. One worker process tries case after case, and is replaced when it dies.
One case again: `python benchmarks/fuzz.py --only annotations --seed 4711 --count 1`.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from pathlib import Path
from typing import Any

SECONDS = 10
MEMORY = 2 * 2**30
"""Bytes of address space that reading may take beyond what the imported libraries have."""
KINDS = ("pictures", "annotations")
AUDITED = 10
"""One in so many data sets is audited as well."""
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")
"""Events of programs that are started."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", choices=KINDS, help="only this kind; both by turns otherwise")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="where the failing inputs are written")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker)
        return
    began = time.perf_counter()
    failures: dict[tuple[str, str], list[tuple[str, int, str]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(Path(folder))
        for number in range(given.seed, given.seed + given.count):
            kind = given.only or KINDS[number % 2]
            found = worker.attempt(kind, number)
            if found is not None:
                error, place, message = found
                failures[error, place].append((kind, number, message))
                if given.keep:
                    shutil.copytree(Path(folder) / "case", given.keep / f"{kind}-{number}", dirs_exist_ok=True)
        worker.end()
    print(f"{given.count} cases in {time.perf_counter() - began:.0f} s, {sum(map(len, failures.values()))} failures")
    for (error, place), cases in sorted(failures.items(), key=lambda row: -len(row[1])):
        kind, number, message = cases[0]
        print(f"{len(cases):6}  {error:24} {place:44} {kind} {number}: {message:.120}")
    raise SystemExit(1 if failures else 0)


class Worker:
    """The process that tries cases. Its messages and its last words are files in `folder`, and so is the case."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def attempt(self, kind: str, number: int) -> tuple[str, str, str] | None:
        """The error, its place in videre and its message; None where all went well."""
        if self.process is None:
            (self.folder / "words").write_text("")
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--worker", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "VIDERE_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"},
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{kind} {number}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if answer:
            found = json.loads(answer)
            return None if found is None else (found[0], found[1], found[2])
        code = self.process.wait()
        self.process = None
        words = (self.folder / "words").read_text(errors="replace")
        calls = re.findall(r'File "([^"]*)", line (\d+) in', words)
        error = "took too long" if "Timeout" in words else f"ended with {code}"
        return error, innermost([(file, int(line)) for file, line in calls]), words.partition("\n")[0]

    def end(self) -> None:
        if self.process is not None:
            self.process.communicate()


def innermost(calls: list[tuple[str, int]]) -> str:
    """file:line of the first call that is videre's own, of calls from the innermost out."""
    own = [f"{file.rpartition('/src/videre/')[2]}:{line}" for file, line in calls if "/src/videre/" in file]
    return own[0] if own else "outside videre"


def work(folder: Path) -> None:
    """Try the cases that are asked for on standard input, and answer each with a line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries print their complaints
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    words = (folder / "words").open("w")
    faulthandler.enable(words)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "data"))
    import mutations
    import torch

    torch.set_num_threads(1)
    case = folder / "case"
    for kind in KINDS:  # imports and compiles what is needed, so that later memory is that of reading
        mutations.attempt(mutations.empty(case), "" if kind == "pictures" else "voc")
    for format, files in mutations.valid_datasets().items():
        mutations.put(files, mutations.empty(case))
        mutations.attempt(case, format.split()[0], audited=True)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    started: list[str] = []
    sys.addaudithook(lambda event, _: started.append(event) if event.startswith(STARTS) else None)
    for line in sys.stdin:
        kind, number = line.split()
        format = mutations.make(kind, int(number), mutations.empty(case))
        before = state(case)
        started.clear()
        found: tuple[str, str, str] | None = None
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=words)
        try:
            mutations.attempt(case, format, audited=int(number) // 2 % AUDITED == 0)
        except Exception as error:
            found = (type(error).__name__, place_of(error), str(error))
        faulthandler.cancel_dump_traceback_later()
        if found is None and started:
            found = ("started a program", "", str(started))
        if found is None and state(case) != before:
            found = ("changed a file", "", str(sorted(dict(set(state(case)) ^ set(before)))))
        print(json.dumps(found), file=answers, flush=True)


def place_of(error: BaseException) -> str:
    """Where in videre an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    return innermost([(frame.filename, frame.lineno or 0) for frame in reversed(frames)])


def state(folder: Path) -> list[tuple[str, Any]]:
    """Every file with its size and time."""
    return [
        (str(p.relative_to(folder)), (s.st_size, s.st_mtime_ns)) for p in sorted(folder.rglob("*")) for s in [p.stat()]
    ]


if __name__ == "__main__":
    main()
