"""Reports of runs and evaluations, and the errors by kind that they tell of."""

import base64
import json
import re

import numpy as np
import pytest
import torch

from videre.data.blocks import blocks_dataset
from videre.evaluate import evaluate
from videre.evaluate.detection_page import choose_pictures
from videre.evaluate.errors import picture_errors
from videre.evaluate.page import write_evaluation_page, write_run_page
from videre.structures import Categories, Instances, Scene, Schema

SIZE = (600, 800)
A, B = [100.0, 100, 300, 300], [400.0, 100, 600, 300]


def scene(*things: tuple[list[float], int, float]) -> Scene:
    boxes, labels, scores = zip(*things)
    return Scene(SIZE, Instances(boxes=torch.tensor(boxes), labels=torch.tensor(labels), scores=torch.tensor(scores)))


def test_each_kind_of_error_is_named():
    half = [100.0, 100, 300, 180]
    found = scene(
        (A, 0, 0.9),
        (A, 0, 0.8),
        (half, 0, 0.7),
        (B, 0, 0.6),
        ([400.0, 100, 600, 180], 0, 0.5),
        ([700.0, 500, 790, 590], 1, 0.4),
        (A, 0, 0.05),
    )
    (outcome,) = picture_errors([found], [scene((A, 0, 1), (B, 1, 1))], Schema(things=Categories.of(["a", "b"])), 0.1)
    assert outcome.kinds == ("right", "duplicate", "localisation", "classification", "both", "background")
    assert outcome.missed == (1,)
    assert (outcome.right, outcome.false) == (1, 5)
    assert outcome.f1 == pytest.approx(2 / (2 + 5 + 1))
    assert str(outcome) == (
        "1 right, 1 badly placed, 1 wrong class, 1 wrong class and badly placed, 1 found twice, 1 nothing there, 1 missed"
    )


def test_galleries_go_from_worst_to_best_and_show_no_picture_twice():
    rng = np.random.default_rng(0)
    schema = Schema(things=Categories.of(["a"]))
    for count in (0, 1, 9, 13, 40):
        truths = [scene((A, 0, 1), (B, 0, 1)) for _ in range(count)]
        found = [scene((A, 0, 0.9), (B if rng.random() < 0.5 else [0.0, 0, 9, 9], 0, 0.9)) for _ in range(count)]
        groups = choose_pictures(picture_errors(found, truths, schema))
        shown = [o for group in groups.values() for o in group]
        assert len({o.picture for o in shown}) == len(shown) == min(count, 16)
        if len(groups) == 3:
            means = [np.mean([o.f1 for o in groups[name]]) for name in ("Worst", "Typical", "Best")]
            assert means == sorted(means)


@pytest.fixture(scope="module")
def evaluation():
    data = blocks_dataset(6, seed=3, size=(96, 96))
    truths = [data.scene(i) for i in range(len(data))]
    generator = torch.Generator().manual_seed(0)
    predictions = []
    for truth in truths:
        things = truth.instances
        boxes = things.boxes + torch.randn(things.boxes.shape, generator=generator)
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = torch.rand(len(things), generator=generator) / 2 + 0.5
        predictions.append(
            Scene(truth.size, Instances(boxes=boxes, labels=things.labels, masks=things.masks, scores=scores))
        )
    return data, predictions, truths, evaluate(predictions, truths, data.schema, bootstrap=20)


def run_folder(path):
    record = {
        "videre": "0.1.0",
        "torch": "2",
        "processor": "a fast one",
        "model": "mask-rcnn",
        "config": {"backbone": "resnet18"},
        "recipe": {"batch": 4, "lr": 0.00123},
        "preprocess": {"short_side": 480},
        "steps": 30,
        "data": {"title": "blocks 3", "pictures": 6, "hash": "abcdef0123456789"},
        "command": "videre train mask-rcnn <data>",
    }
    lines = [{"step": s, "loss": 2 / s, "box": 1 / s, "lr": 0.1, "norm": 1.0, "seconds": s * 2.0} for s in range(1, 31)]
    lines += [{"step": s, "metrics": {"mask AP": s / 100, "AP/cube": 0.1}} for s in (15, 30)]
    (path / "run.json").write_text(json.dumps(record))
    (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 31, "lo')
    return path


def self_contained(page: str) -> bool:
    targets = re.findall(r'(?:src|href)="([^"]*)"', page)
    return all(t.startswith("data:") for t in targets) and not re.search(r"<script|@import|url\(", page)


def test_a_run_page_tells_all_of_the_run(tmp_path, evaluation):
    data, _, _, report = evaluation
    path = write_run_page(run_folder(tmp_path), report, data)
    page = path.read_text()
    assert path == tmp_path / "report.html"
    for text in (
        "videre train mask-rcnn &lt;data&gt;",
        "mask-rcnn · resnet18",
        "abcdef012345",
        "a fast one",
        "0.00123",
        "1.0 minutes",
    ):
        assert text in page
    for name in ("AP", "AP50"):
        assert str(report.intervals[f"mask {name}"]) in page
    for result in report.sections["things"].results.values():
        assert result.protocol in page
    for name in data.schema.things:
        assert name in page
    assert page.count("data:image/jpeg") == len(data)
    assert self_contained(page)
    assert path.stat().st_size < 8_000_000
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_a_run_page_needs_no_evaluation(tmp_path):
    page = write_run_page(run_folder(tmp_path)).read_text()
    assert "Loss" in page
    assert "Pictures" not in page


def test_a_metric_of_nought_is_a_point_of_the_curve_and_no_value_is_a_gap(tmp_path):
    def points(first: float | None) -> int:
        folder = run_folder(tmp_path)
        lines = [{"step": s, "metrics": {"box AP": v}} for s, v in ((15, first), (30, 0.5))]
        with (folder / "log.jsonl").open("w") as log:
            log.write("".join(json.dumps(line) + "\n" for line in ({"step": 1, "loss": 1.0}, *lines)))
        charts = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", write_run_page(folder).read_text())
        return sum(base64.b64decode(chart).count(b"<use") for chart in charts)  # markers, and ticks

    assert points(0.0) == points(0.1) == points(None) + 1


def test_a_run_that_never_stepped_still_has_a_page(tmp_path):
    run_folder(tmp_path)
    (tmp_path / "log.jsonl").unlink()
    assert "mask-rcnn" in write_run_page(tmp_path).read_text()


def test_an_evaluation_page_says_whose_thresholds_it_shows(tmp_path, evaluation):
    data, predictions, truths, report = evaluation
    page = write_evaluation_page(tmp_path / "new", report, data).read_text()
    assert "Evaluation on blocks 3" in page
    assert "chosen on these very pictures" in page
    assert self_contained(page)
    own = evaluate(predictions, truths, data.schema, bootstrap=0, thresholds={"cube": 0.77})
    page = write_evaluation_page(tmp_path / "new", own, data).read_text()
    assert "0.77" in page and "the model&#39;s own" in page and "chosen on these" not in page


def test_a_model_that_finds_nothing_has_a_page_too(tmp_path, evaluation):
    data, _, truths, _ = evaluation
    nothing = Instances(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64), scores=torch.zeros(0))
    predictions = [Scene(t.size, nothing) for t in truths]
    report = evaluate(predictions, truths, data.schema, bootstrap=20)
    assert "missed" in write_evaluation_page(tmp_path, report, data).read_text()


def test_an_evaluation_of_weights_in_a_run_tells_how_they_were_trained(tmp_path, evaluation):
    data, _, _, report = evaluation
    run = tmp_path / "run"
    run.mkdir()
    page = write_evaluation_page(tmp_path, report, data, run_folder(run)).read_text()
    assert "How it was trained" in page and "Learning rate" in page and "videre train mask-rcnn &lt;data&gt;" in page
    alone = write_evaluation_page(tmp_path, report, data, tmp_path).read_text()
    assert "How it was trained" not in alone
