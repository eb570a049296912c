"""Put a trained checkpoint into the wheel: `python benchmarks/zoo.py RUN NAME DATA --split test --licence ... --for ...`.

Stores the run's last averaged weights in half precision, evaluates that very file, and writes the card beside it:
what it finds, its numbers with intervals, the data and their licence, the command that trained it.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from videre.data import read
from videre.engine import load
from videre.evaluate import evaluate_model
from videre.models.checkpoint import read_checkpoint, save_checkpoint
from videre.structures import Categories
from videre.zoo import FOLDER

LIMIT = 12 * 2**20
"""Most bytes of a checkpoint in the wheel."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument("name")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--max-detections", type=int, default=100)
    parser.add_argument("--for", dest="purpose", required=True, help="what to use it on, in a few words")
    parser.add_argument("--trained-on", required=True, help="the data set by name")
    parser.add_argument("--data-licence", required=True)
    parser.add_argument("--classes", help="other names of the classes, with commas")
    parser.add_argument("--out", type=Path, default=FOLDER)
    a = parser.parse_args()

    trained = read_checkpoint(a.run / "last.safetensors")
    path = a.out / f"{a.name}.safetensors"
    model = trained.build()
    if a.classes:
        model.schema = dataclasses.replace(model.schema, things=Categories.of(a.classes.split(",")))
        model.thresholds = dict(zip(a.classes.split(","), model.thresholds.values()))
    save_checkpoint(model, path, trained.provenance, half=True)
    if path.stat().st_size > LIMIT:
        parser.error(f"{path.name} has {path.stat().st_size / 2**20:.1f} MiB; the wheel takes {LIMIT / 2**20:g}")
    report, _, _ = evaluate_model(load(path), read(a.data, a.split), max_detections=a.max_detections)
    found = report.to_json()
    numbers = {
        name: {"value": round(found["metrics"][name], 4), "interval": [round(x, 4) for x in interval]}
        for name, interval in found["intervals"].items()
    }
    headline = "mask AP" if "mask AP" in numbers else "box AP"
    low, high = numbers[headline]["interval"]
    limit = "" if a.max_detections == 100 else f" at {a.max_detections} detections"
    card: dict[str, Any] = {
        "model": trained.model,
        "for": a.purpose,
        "metric": f"{headline} {numbers[headline]['value']:.3f} [{low:.3f}, {high:.3f}]{limit}",
        "measured": {"pictures": report.pictures, "max_detections": a.max_detections, "numbers": numbers},
        "licence": "Apache-2.0",
        "data": a.trained_on,
        "data_licence": a.data_licence,
        "command": trained.provenance["command"],
        "processor": trained.provenance["processor"],
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    print(f"{path.name}: {path.stat().st_size / 2**20:.1f} MiB, {card['metric']}")


if __name__ == "__main__":
    main()
