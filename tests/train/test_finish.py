"""What ends a training: what is chosen on the validation data is in the checkpoints and in the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from scenes import CONFIGS, SCHEMA

from videre.evaluate import evaluate_model
from videre.evaluate.model import count_model
from videre.models import find_model
from videre.models.checkpoint import read_checkpoint
from videre.predict import Predictor
from videre.train import train

from .tiny import SQUARE, tiny_data, tiny_recipe


def test_a_classifier_is_calibrated_where_it_is_trained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = find_model("classifier")(SCHEMA, SQUARE, **CONFIGS["classifier"])
    data = tiny_data()
    run = train(model, data, tiny_recipe(pictures=12, lr=1e-3), tmp_path, validation=data, progress="none")
    best, last = (read_checkpoint(tmp_path / f"{name}.safetensors") for name in ("best", "last"))
    assert 0.2 < model.temperature < 5 and model.temperature != 1
    assert best.tensors["temperature"] == last.tensors["temperature"] == model.temperature
    # the temperature of the least negative log likelihood: none beside it is better
    losses = {}
    for factor in (0.8, 1.0, 1.25):
        one = best.build()
        one.temperature.mul_(factor)
        losses[factor] = evaluate_model(Predictor(one, engine="plain"), data, bootstrap=0).metrics["log loss"]
    assert losses[1.0] == min(losses.values()), losses
    assert run.report is not None and (tmp_path / "report.html").exists()


def test_the_last_numbers_are_those_of_the_log(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = find_model("classifier")(SCHEMA, SQUARE, **CONFIGS["classifier"])
    data = tiny_data()
    run = train(model, data, tiny_recipe(pictures=12, lr=1e-3), tmp_path, validation=data, progress="none")
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    best = max(entry["metrics"]["top-1"] for entry in logged if "metrics" in entry)
    assert run.report is not None and run.report.metrics["top-1"] == best


def test_the_report_is_that_of_the_best_weights_without_a_second_pass(tmp_path: Path, monkeypatch) -> None:
    passes = []
    monkeypatch.setattr(
        "videre.train.finish.count_model", lambda *args, **named: passes.append(1) or count_model(*args, **named)
    )
    torch.manual_seed(0)
    model = find_model("classifier")(SCHEMA, SQUARE, **CONFIGS["classifier"])
    data = tiny_data()
    run = train(model, data, tiny_recipe(pictures=24, lr=1e-3), tmp_path, validation=data, progress="none")
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(passes) == sum("metrics" in entry for entry in logged)
    again = read_checkpoint(tmp_path / "best.safetensors").build()
    found = evaluate_model(Predictor(again, engine="plain"), data)
    assert run.report is not None and found.metrics == pytest.approx(run.report.metrics, abs=1e-6)
    assert found.intervals["top-1"] == run.report.intervals["top-1"]
