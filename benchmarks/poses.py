"""Poses with and without averaging over the mirrored picture: `python benchmarks/poses.py DATA WEIGHTS [WEIGHTS...] [--split test]`.

PCK and PCKh of each, with intervals, by joint for the last one.
"""

import argparse
from pathlib import Path

import videre.engine
from videre.data import read
from videre.evaluate.pck import PCK, PCKH, evaluate_pose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    data = read(args.data, args.split)
    truths = [data.scene(i) for i in range(len(data))]
    result = None
    for weights in args.weights:
        for flip in (False, True):
            predictor = videre.load(weights, engine="fp32")
            predictor.running.flip = flip  # type: ignore[assignment]
            found = [predictor.predict(data.picture(i), threshold=0) for i in range(len(data))]
            for measure in (PCK, PCKH):
                result = evaluate_pose(found, truths, predictor.model.schema.skeleton, measure)
                if result is not None:
                    words = "with the mirrored picture" if flip else "as it is"
                    print(
                        f"{weights.parent.name}, {words}: {measure.name} {result.intervals['mean']}, mean pose {result.baseline:.3f}"
                    )
            if weights == args.weights[-1] and flip:
                pose = evaluate_pose(found, truths, predictor.model.schema.skeleton, PCK)
                print(*(pose.lines() if pose is not None else []), sep="\n")


if __name__ == "__main__":
    main()
