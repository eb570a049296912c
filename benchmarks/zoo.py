"""Put a trained checkpoint into the wheel, with its card.

    python benchmarks/zoo.py RUN NAME DATA --split test --for "..." --trained-on "..." --data-licence ...

Stores the run's last averaged weights in half precision, evaluates that very file, and writes the card beside it:
what it finds, its numbers with intervals, the data and their licence, the command that trained it.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from videre.data import read
from videre.engine import load
from videre.evaluate import evaluate_model
from videre.evaluate.coco import USUAL
from videre.files import write_atomic
from videre.models.checkpoint import read_checkpoint, save_checkpoint
from videre.zoo import FOLDER

LIMIT = 12 * 2**20
"""Most bytes of a checkpoint in the wheel."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument("name")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--for", dest="purpose", required=True, help="what to use it on, in a few words")
    parser.add_argument("--trained-on", required=True, help="the data set by name")
    parser.add_argument("--data-licence", required=True)
    parser.add_argument("--out", type=Path, default=FOLDER)
    a = parser.parse_args()

    trained = read_checkpoint(a.run / "last.safetensors")
    record = json.loads((a.run / "run.json").read_text())
    provenance = {**trained.provenance, "command": record["command"], "processor": record["processor"]}
    with tempfile.TemporaryDirectory() as folder:  # into the wheel only what has been measured
        file = Path(folder) / f"{a.name}.safetensors"
        save_checkpoint(trained.build(), file, provenance, half=True)
        weights = file.read_bytes()
        if len(weights) > LIMIT:
            parser.error(f"{file.name} has {len(weights) / 2**20:.1f} MiB; the wheel takes {LIMIT / 2**20:g}")
        report, _, _ = evaluate_model(load(file), read(a.data, a.split))
    found = report.to_json()
    numbers = {
        name: {"value": round(found["metrics"][name], 4), "interval": [round(x, 4) for x in interval]}
        for name, interval in found["intervals"].items()
    }
    headline = "mask AP" if "mask AP" in numbers else "box AP"
    low, high = numbers[headline]["interval"]
    most = report.main.evaluator.params.max_dets[-1]
    limit = "" if most == USUAL else f" at {most} detections"
    card: dict[str, Any] = {
        "model": trained.model,
        "for": a.purpose,
        "metric": f"{headline} {numbers[headline]['value']:.3f} [{low:.3f}, {high:.3f}]{limit}",
        "measured": {"pictures": report.pictures, "max_detections": most, "numbers": numbers},
        "licence": "Apache-2.0",
        "data": a.trained_on,
        "data_licence": a.data_licence,
        "command": provenance["command"],
        "processor": provenance["processor"],
    }
    path = a.out / f"{a.name}.safetensors"
    write_atomic(path, weights)
    write_atomic(path.with_suffix(".json"), (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    print(f"{path.name}: {len(weights) / 2**20:.1f} MiB, {card['metric']}")


if __name__ == "__main__":
    main()
