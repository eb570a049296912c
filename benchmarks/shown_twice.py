"""One thing shown under two names: what it costs, and from which overlap on two boxes are taken for one.

    python benchmarks/shown_twice.py MODEL DATA [--split val]

A model finds things by class; of two boxes of different classes on one thing both may reach their thresholds. For several overlaps
above which the weaker is not shown: how many go, and precision, recall and F1 of all things, at the thresholds that are best on
these pictures. `layers.detections.SHOWN_OVERLAP` was chosen so, on validation data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from videre import data
from videre.data.blocks import blocks_dataset
from videre.evaluate import coco_evaluate, evaluate_model
from videre.evaluate.thresholds import best_thresholds, decide
from videre.layers.detections import shown
from videre.predict import load
from videre.structures import Scene

OVERLAPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", help="a data set, or blocks:N, so many scenes of the blocks world")
    parser.add_argument("--split", default="val")
    args = parser.parse_args()
    predictor, pairs = load(args.model), []
    kind, _, count = args.data.partition(":")
    pictures = blocks_dataset(int(count), seed=10**6) if kind == "blocks" else data.read(Path(args.data), args.split)
    evaluate_model(predictor, pictures, bootstrap=0, watch=lambda found, truth: pairs.append((found, truth)))
    predictions, truths = (list(side) for side in zip(*pairs, strict=True))
    schema = predictor.model.schema
    thresholds = best_thresholds(coco_evaluate(predictions, truths, schema))
    least = torch.tensor([thresholds.get(name, 2.0) for name in schema.things or ()])
    before = None
    print(f"{'IoU':>5} {'shown':>6} {'gone':>5} {'precision':>10} {'recall':>7} {'F1':>6}")
    for overlap in OVERLAPS:
        seen = [_shown(scene, least, overlap) for scene in predictions]
        result = coco_evaluate(seen, truths, schema, max_detections=max(100, *map(len, seen)))
        found = list(decide(result, thresholds).values())
        right, wrong, missed = (sum(getattr(d, name) for d in found) for name in ("right", "wrong", "missed"))
        count_shown = sum(map(len, seen))
        before = count_shown if before is None else before
        precision, recall = right / max(1, right + wrong), right / max(1, right + missed)
        f1 = 2 * right / max(1, 2 * right + wrong + missed)
        print(f"{overlap:5.2f} {count_shown:6} {before - count_shown:5} {precision:10.3f} {recall:7.3f} {f1:6.3f}")


def _shown(scene: Scene, least: torch.Tensor, overlap: float) -> Scene:
    things = scene.instances
    if things is None or things.labels is None:
        return scene
    return scene.select(shown(things, least[things.labels], overlap))


if __name__ == "__main__":
    main()
