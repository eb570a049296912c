"""Put a trained checkpoint into the wheel, with its card.

    python benchmarks/zoo.py RUN NAME DATA --split test --for "..." --trained-on "..." --data-licence ...

Stores the run's last averaged weights in half precision, evaluates that very file, and writes the card beside it:
what it finds, its numbers with intervals, the data and their licence, the commands that trained it. With `--average RUN`
(as often as there are runs) it is the mean of the weights of several runs that began from the same ones (Wortsman et al.,
Model soups, 2022), and the thresholds are chosen anew on the split `--val`.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from videre.data import read
from videre.evaluate import evaluate_model
from videre.evaluate.coco import USUAL
from videre.files import write_atomic
from videre.models.base import Model
from videre.models.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from videre.predict import Predictor, load
from videre.zoo import FOLDER

LIMIT = 12 * 2**20
"""Most bytes of a checkpoint in the wheel."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument("name")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--average", type=Path, action="append", default=[], help="folder of a further run")
    parser.add_argument("--val", default="val", help="split for the thresholds of averaged weights")
    parser.add_argument("--for", dest="purpose", required=True, help="what to use it on, in a few words")
    parser.add_argument("--trained-on", required=True, help="the data set by name")
    parser.add_argument("--data-licence", required=True)
    parser.add_argument("--out", type=Path, default=FOLDER)
    a = parser.parse_args()

    runs = [read_checkpoint(run / "last.safetensors") for run in [a.run, *a.average]]
    trained = runs[0]
    record = json.loads((a.run / "run.json").read_text())
    command = " && ".join(commands(record))
    if a.average:
        command += f"  # and the mean of the weights of {', '.join(run.name for run in [a.run, *a.average])}"
    provenance = {**trained.provenance, "command": command, "processor": record["processor"]}
    model = average(runs)
    if a.average:
        model.calibrate(evaluate_model(Predictor(model), read(a.data, a.val)))
    with tempfile.TemporaryDirectory() as folder:  # into the wheel only what has been measured
        file = Path(folder) / f"{a.name}.safetensors"
        save_checkpoint(model, file, provenance, half=True)
        weights = file.read_bytes()
        if len(weights) > LIMIT:
            parser.error(f"{file.name} has {len(weights) / 2**20:.1f} MiB; the wheel takes {LIMIT / 2**20:g}")
        report = evaluate_model(load(file), read(a.data, a.split))
    found = report.to_json()
    numbers = {
        name: {"value": round(found["metrics"][name], 4), "interval": [round(x, 4) for x in interval]}
        for name, interval in found["intervals"].items()
    }
    headline = "mask AP" if "mask AP" in numbers else "box AP"
    low, high = numbers[headline]["interval"]
    most = report.sections["things"].results["boxes"].evaluator.params.max_dets[-1]  # type: ignore[attr-defined]
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


def average(runs: list[Checkpoint]) -> Model:
    """The model whose weights are the mean of those of all runs."""
    weights = [run.build().state_dict() for run in runs]
    model = runs[0].build()
    model.load_state_dict(
        {
            name: torch.stack([w[name].double() for w in weights]).mean(0).to(value.dtype)
            for name, value in weights[0].items()
        }
    )
    return model


def commands(record: dict[str, Any]) -> list[str]:
    """That of each training that led here, the first one first."""
    start = record.get("from") or {}
    before = start.get("provenance") or {}
    return [*(commands(before) if "command" in before else []), record["command"]]


if __name__ == "__main__":
    main()
