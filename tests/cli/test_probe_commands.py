"""Systems of a user's own, of shapes that the library has none of, from the command line: the probes, on `scenes` data."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import probes
import pytest
import torch
from scenes import SCHEMA, clip_and_truth, picture_and_truth

from videre.data import Dataset, write
from videre.data.scene_lines import read_scenes
from videre.evaluate.mean import MeanMetric
from videre.evaluate.metrics import METRICS
from videre.models import MODELS
from videre.models.checkpoint import read_checkpoint
from videre.structures import AnyClip, Scene

from .conftest import videre

FEW = [
    word
    for setting in ("pictures=4", "batch=2", "lr=0.01", "tune=scratch", "precision=fp32", "short_side=64")
    for word in ("-o", setting)
]


class Memory:
    """Pictures or clips that lie in memory."""

    def __init__(self, make: object, fields: set[str]) -> None:
        self.items = [make(size, seed, things=1 + seed % 2) for seed, size in enumerate(SIZES)]
        self.fields = frozenset(fields)

    def __len__(self) -> int:
        return len(self.items)

    def name(self, i: int) -> str:
        return f"item-{i}"

    def path(self, i: int) -> Path | None:
        return None

    def size(self, i: int) -> tuple[int, int]:
        return self.items[i][1].size

    def scene(self, i: int) -> Scene:
        return self.items[i][1]

    def picture(self, i: int) -> object:
        return self.items[i][0]


class Exact(MeanMetric):
    name, predicted, true = "exact", frozenset({"captions"}), frozenset({"captions"})

    def measure(self, prediction: Scene, truth: Scene) -> float:
        """Share of pictures whose caption is one of the true ones."""
        return float(prediction.captions[0] in truth.captions)


class Found(MeanMetric):
    name, predicted, true = "found", frozenset({"events"}), frozenset({"events"})

    def measure(self, prediction: Scene, truth: Scene) -> float:
        """Share of the true events inside which one of the same class is predicted."""
        inside = lambda event, true: event.label == true.label and true.start <= event.start <= true.end
        hits = [any(inside(event, true) for event in prediction.events) for true in truth.events]
        return sum(hits) / len(hits) if hits else float("nan")


class Triplets(MeanMetric):
    name, predicted, true = "triplets", frozenset({"relations"}), frozenset({"relations"})

    def measure(self, prediction: Scene, truth: Scene) -> float:
        """Share of the true triplets that are predicted."""
        triples = lambda r: set(zip(r.subjects.tolist(), r.predicates.tolist(), r.objects.tolist(), strict=True))
        true = triples(truth.relations)
        return len(true & triples(prediction.relations)) / len(true) if true else float("nan")


class Away(MeanMetric):
    name, predicted, true = "away", frozenset({"meshes"}), frozenset({"meshes"})

    def measure(self, prediction: Scene, truth: Scene) -> float:
        """Distance of the middles of all meshes."""
        middle = lambda scene: torch.cat([mesh.vertices for mesh in scene.instances.meshes]).mean(0)
        return float((middle(prediction) - middle(truth)).norm())


SIZES = ((64, 80), (50, 64), (64, 64), (80, 60))
PROBES = {"Regions": "box AP50", "Captioner": "exact", "Moments": "found", "Graph": "triplets", "Shapes": "away"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pictures` and `clips` in the scenes format, each split in train and val."""
    folder = tmp_path_factory.mktemp("probes")
    clip = lambda size, seed, things: clip_and_truth((48, 64), seed, things)  # a file has frames of one size
    everything = set(picture_and_truth((64, 80), 0)[1].present())
    for name, make, fields in (("pictures", picture_and_truth, everything), ("clips", clip, {"events", "duration"})):
        for split in ("train", "val"):
            write(Dataset(Memory(make, fields), SCHEMA, title=name), folder / name, "scenes", split)
    return folder


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_is_trained_evaluated_and_used(
    folder: Path, probe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for metric in (Exact, Found, Triplets, Away):
        monkeypatch.setitem(METRICS, metric.name, metric)
    kind = getattr(probes, probe)
    data = folder / ("clips" if probe == "Moments" else "pictures")
    small = [*FEW[:-1], "short_side=32"] if probe == "Moments" else FEW

    trained = videre("train", f"probes:{probe}", data, "--out", "run", *small)
    assert trained.code == 0, trained.err
    steps = 2 + 4 * (probe == "Regions")  # two passes over four pictures, two at a time
    assert f"\n{steps} steps into run" in trained.err, trained.err
    again = videre("train", f"probes:{probe}", data, "--from", "run/last.safetensors", "--out", "again", *small, "-q")
    assert again.code == 0, again.err
    model = "run/last.safetensors"
    assert read_checkpoint(Path(model)).model == f"probes:{probe}"

    evaluated = videre("--import", "probes", "evaluate", model, data, "--split", "val", "--out", "report", "-q")
    assert evaluated.code == 0, evaluated.err
    numbers = json.dumps(json.loads(Path("report/metrics.json").read_text()))
    assert f'"{PROBES[probe]}"' in numbers and Path("report/report.html").exists()

    given = ["--given", data / "val.scenes.jsonl"] if kind.takes else []
    predicted = videre("--import", "probes", "predict", data / "pictures", "-m", model, "--out", "found", *given)
    assert predicted.code == 0, predicted.err
    schema = read_checkpoint(Path(model)).build().schema
    lines = [json.loads(line) for line in Path("found/predictions.jsonl").read_text().splitlines()]
    scenes = dict(read_scenes("found/predictions.jsonl", schema))
    assert len(scenes) == 4 and all(scene.present() >= kind.gives - {"scores"} for scene in scenes.values())
    assert [{"picture": name, **scene.to_json(schema.names)} for name, scene in scenes.items()] == lines
    assert len(list(Path("found").glob("*.drawn.jpg"))) == 4

    refused = videre("--import", "probes", "export", model, "--format", "onnx", "--out", "net.onnx")
    assert refused.code == 2 and probe in refused.err and refused.err.count("\n") == 1, refused.err
    if kind.takes:
        bare = videre("--import", "probes", "predict", data / "pictures", "-m", model, "--out", "bare")
        assert bare.code in (1, 2) and next(iter(sorted(kind.takes))) in bare.err, bare.err


def test_a_checkpoint_of_a_class_that_is_not_imported_says_what_to_do(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("train", "probes:Graph", folder / "pictures", "--out", "run", *FEW, "-q")
    blind = videre(*command)
    assert blind.code == 2 and "no metric compares what a Graph gives" in blind.err and "--val none" in blind.err
    assert videre(*command, "--val", "none").code == 0
    monkeypatch.delitem(sys.modules, "probes")
    done = videre("predict", folder / "pictures", "-m", "run/last.safetensors", "--out", "found")
    assert done.code == 2 and "--import probes" in done.err and done.err.count("\n") == 1


def test_an_error_in_a_users_own_module_is_told_as_that(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faulty.py").write_text(
        "from probes import Graph\n\n\nclass Faulty(Graph):\n    def losses(self, batch, targets):\n        return {'a': 1 / 0}\n"
    )
    done = videre("train", "faulty:Faulty", folder / "pictures", "--out", "run", *FEW, "--val", "none", "-q")
    assert done.code == 2 and "faulty.py, line 6 (ZeroDivisionError" in done.err and done.err.count("\n") == 1, done.err


def test_a_run_goes_on_whatever_its_system_is_called(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("videre.models.MODELS", {**MODELS, "graph": probes.Graph})
    for name in ("graph", "probes:Graph"):
        resume = ["--resume"] if name != "graph" else []
        done = videre("train", name, folder / "pictures", "--out", "run", *FEW, "--val", "none", "-q", *resume)
        assert done.code == 0, done.err


def test_clips_are_checked_and_shown(folder: Path, tmp_path: Path) -> None:
    checked = videre("data", "check", folder / "clips", "--out", tmp_path / "check.html")
    # as they are, by their bytes: of two of them the still shows nothing
    assert checked.code == 1 and "4  picture in two splits" in checked.out, checked.err
    shown = videre("data", "show", folder / "clips", "--split", "val", "--out", tmp_path / "clips.jpg")
    assert shown.code == 0 and (tmp_path / "clips.jpg").stat().st_size > 1000, shown.err


def test_clips_come_back_as_they_were_written(folder: Path) -> None:
    from videre.data import read

    data = read(folder / "clips", "val")
    clip, true = clip_and_truth((48, 64), 0, 1)
    assert isinstance(data.picture(0), AnyClip) and data.scene(0).events == true.events
    assert abs(data.picture(0).duration - clip.duration) < 1e-6
    bright = [frame.mean() > 200 for frame in data.picture(0).sample(16).frames]
    assert bright == [frame.mean() > 200 for frame in clip.frames]
