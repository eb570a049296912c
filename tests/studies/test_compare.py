"""The comparison: which go on, which are on the front, what is said of them; and a small one end to end."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from videre.backbones.weights import BACKBONE_WEIGHTS
from videre.data.blocks import blocks_dataset
from videre.errors import ConfigError
from videre.evaluate import coco_evaluate
from videre.evaluate.intervals import bootstrap_ap, resampled_ap
from videre.models import find_model
from videre.models.checkpoint import save_checkpoint
from videre.structures import Categories, Instances, Scene, Schema
from videre.studies.compare import compare
from videre.studies.compare.candidates import candidates, own_sides
from videre.studies.compare.chart import chart
from videre.studies.compare.halving import minutes_each, promising, rungs
from videre.studies.compare.row import Row, difference, front
from videre.studies.compare.words import recommendation, table, takeaways

DRAWS = np.linspace(-0.05, 0.05, 101)


def row(name: str, ap: float, seconds: float, draws: np.ndarray = DRAWS, **more) -> Row:
    """A row whose interval is 0.095 wide; of equal draws the difference is sure."""
    numbers = {"ap50": ap, "small": math.nan, "medium": ap, "large": ap, "memory": 2**28, "parameters": 10**6}
    known = {
        "system": name.partition("-")[0],
        "backbone": "net",
        "side": 320,
        "rung": 0,
        "two_stage": False,
        "proposals": 0,
        "pictures": 100,
        "minutes": 1.0,
        "weights": f"{name}.safetensors",
    }
    return Row(name=name, ap=ap, seconds=seconds, draws=ap + draws, **{**numbers, **known, **more})


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (2, [2]), (3, [3, 1]), (10, [10, 4, 2]), (27, [27, 9, 3, 1])])
def test_a_third_goes_on_and_every_round_has_the_same_share(count: int, sizes: list[int]) -> None:
    assert rungs(count) == sizes
    each = minutes_each(count, 90.0)
    assert [size * length for size, length in zip(sizes, each)] == pytest.approx([90 / len(sizes)] * len(sizes))


def test_too_few_minutes_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(ConfigError, match=r"10 candidates get 0.10 minutes each .*--minutes 15 at least"):
        minutes_each(10, 3.0)
    assert minutes_each(10, 15.0)[0] == pytest.approx(0.5)


def test_what_goes_on_is_fast_or_accurate() -> None:
    fast, middle, slow = row("a", 0.3, 0.01), row("b", 0.5, 0.03), row("c", 0.6, 0.1)
    beaten, twice = row("d", 0.4, 0.05), row("e", 0.45, 0.2)
    rows = [beaten, twice, slow, fast, middle]
    assert {r.name for r in promising(rows, 3)} == {"a", "b", "c"}
    assert [r.name for r in promising(rows, 5)] == ["c", "b", "a", "d", "e"]  # e is beaten by two
    assert [r.name for r in front(rows)] == ["a", "b", "c"]


def test_a_difference_is_taken_on_the_same_pictures() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 400)
    better, worse = row("a", 0.52, 1.0, noise), row("b", 0.5, 1.0, noise)
    gain = difference([(better, worse)])
    assert gain.value == pytest.approx(0.02) and gain.low == pytest.approx(0.02) and gain.is_sure
    other = row("c", 0.5, 1.0, noise[::-1])
    assert not difference([(better, other)]).is_sure  # though the value is the same


def test_resampled_ap_draws_what_the_interval_is_made_of() -> None:
    schema, rng = Schema(things=Categories.of(["cell"])), np.random.default_rng(1)
    truths, found = [], []
    for _ in range(12):
        box = np.sort(rng.uniform(0, 100, (2, 2)), 0).reshape(1, 4) + np.array([0, 0, 20, 20])
        truths.append(Scene((130, 130), Instances(boxes=box.tolist(), labels=[0])))
        moved = (box + rng.uniform(-8, 8, 4)).tolist()
        found.append(Scene((130, 130), Instances(boxes=moved, labels=[0], scores=[float(rng.uniform())])))
    rankings = coco_evaluate(found, truths, schema).rankings
    draws, interval = resampled_ap(rankings, 12, 300), bootstrap_ap(rankings, 300)["AP"]
    assert np.quantile(draws, [0.025, 0.975]) == pytest.approx([interval.low, interval.high])


def test_what_to_take_leaves_out_gains_that_may_be_luck() -> None:
    wide = np.random.default_rng(0).normal(0, 0.05, 400)
    rows = [
        row("ssd-net-320", 0.4, 0.01, wide),
        row("yolox-net-320", 0.41, 0.02, wide[::-1]),
        row("retinanet-net-320", 0.6, 0.05, wide),
    ]
    said = "\n".join(recommendation(rows))
    assert "up to 10 ms take ssd-net-320: AP 0.400" in said
    assert "up to 50 ms take retinanet-net-320: AP 0.600; +0.200 [+0.200, +0.200] for 5.0 times the time" in said
    assert "may be luck: yolox-net-320" in said


def test_what_huang_found_is_asked_of_pairs_that_differ_in_one_thing() -> None:
    two = {"two_stage": True, "proposals": 300}
    rows = [
        row("faster-net-320", 0.6, 0.06, **two),
        row("faster-net-640", 0.55, 0.2, side=640, **two),
        row("ssd-net-320", 0.4, 0.01),
        row("yolox-net-320", 0.5, 0.02, rung=1),  # longer trained: beside no other
        row("faster-net-320, 30 proposals", 0.59, 0.03, two_stage=True, proposals=30),
    ]
    said = takeaways(rows)
    assert any(
        "two stages are more accurate than one: yes, AP +0.200" in line and "one pair; 6.0 times as slow" in line
        for line in said
    )
    assert any("larger pictures help: no, the contrary, AP -0.050" in line for line in said)
    assert any("larger backbones help: not asked" in line for line in said)
    assert any(
        "30 proposals for 300 (faster-net-320): AP -0.010" in line and "2.00 times as fast" in line for line in said
    )


def test_rows_survive_their_file_and_the_table_marks_the_front() -> None:
    rows = [row("ssd-net-320", 0.4, 0.01), row("r-net-320", 0.3, 0.02, minutes=math.nan, pictures=0)]
    again = [Row.from_json(json.loads(json.dumps(r.to_json()))) for r in rows]
    assert table(again) == table(rows) and math.isnan(again[1].minutes)
    lines = table(rows)
    assert lines[1].startswith("* ssd-net-320") and lines[2].startswith("  r-net-320") and " — " in lines[2]


@pytest.mark.parametrize(("longest", "sides"), [(640, [416, 640]), (4000, [416, 640]), (320, [224, 320]), (20, [32])])
def test_sides_follow_the_pictures(longest: int, sides: list[int]) -> None:
    assert own_sides(longest) == sides


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny detectors of two kinds, of random weights."""
    folder = tmp_path_factory.mktemp("nets")
    torch.manual_seed(0)
    schema = blocks_dataset(2).schema
    tiny = {"backbone": "mobilenet_v2", "norm": "group", "multiplier": 0.25, "width": 16, "score_threshold": 0.0}
    wide = {"hidden": 16, "rpn_pre_nms": [60, 60], "rpn_post_nms": [40, 40], "roi_batch": 16}
    for name, kind, more in (
        ("one", "retinanet", {"layers": 1}),
        ("two", "faster-rcnn", wide),
        ("three", "retinanet", {"layers": 1, "octaves": 1}),
    ):
        model = find_model(kind)(schema, find_model(kind).usual, **tiny, **more)
        save_checkpoint(model.eval(), folder / f"{name}.safetensors")
    return {path.stem: path for path in folder.iterdir()}


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One picture is timed once, and memory, which takes a process a row, is not asked for."""
    monkeypatch.setattr("videre.studies.compare.study.TIMED", 1)
    monkeypatch.setattr("videre.studies.compare.study.ROUNDS", 1)
    monkeypatch.setattr("videre.studies.compare.study.peak_memory", lambda weights: 2**28)


SETTINGS = {"": {"pictures": 4, "batch": 2, "precision": "fp32"}}


def test_a_comparison_end_to_end(nets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, held_out = blocks_dataset(4, size=(72, 96)), blocks_dataset(3, seed=100, size=(72, 96))
    chosen = candidates(data, [str(nets[name]) for name in ("one", "two", "three")], sides=[64], settings=SETTINGS)
    assert [one.name for one in chosen] == ["retinanet-one-64", "faster-rcnn-two-64", "retinanet-three-64"]
    assert chosen[0].settings["long_side"] == 64 and chosen[0].settings["short_side"] == 48  # as the pictures are
    said: list[str] = []
    out = tmp_path / "study"
    quick(monkeypatch)
    found = compare(data, held_out, chosen, out, minutes=60, log=said.append)
    names = {r.name for r in found.rows}
    assert {one.name for one in chosen} < names
    fewer = [r for r in found.rows if ", " in r.name]
    assert [(r.name, r.proposals) for r in sorted(fewer, key=lambda r: -r.proposals)] == [
        ("faster-rcnn-two-64, 30 proposals", 30),
        ("faster-rcnn-two-64, 10 proposals", 10),
    ]
    assert all(r.seconds > 0 and r.parameters > 0 and r.memory > 0 for r in found.rows)
    assert [r.seconds for r in found.rows] == sorted(r.seconds for r in found.rows)
    trained = sorted(path.name for path in (out / "runs").iterdir() if path.is_dir())
    assert len(trained) == 3 + 1 and sum(name.startswith("2-") for name in trained) == 1
    longest = next(r for r in found.rows if r.rung == 1 and ", " not in r.name)
    assert longest.pictures == 4 and Path(longest.weights).parent.name == f"2-{longest.name}"
    assert chart(found)[:4] == b"\x89PNG"
    assert "up to" in "\n".join(found.lines())

    # again: nothing is trained, and the numbers are the same
    monkeypatch.setattr("videre.studies.compare.study.train", None)
    with pytest.raises(ConfigError, match="holds a comparison already"):
        compare(data, held_out, chosen, out, minutes=60)
    again = compare(data, held_out, chosen, out, minutes=60, resume=True)
    assert {r.name: r.ap for r in again.rows} == {r.name: r.ap for r in found.rows}
    with pytest.raises(ConfigError, match="has other candidates, minutes"):
        compare(data, held_out, chosen[:1], out, minutes=61, resume=True)

    # runs that are there are judged as they were then
    alone = compare(data, held_out, [], tmp_path / "alone", runs=[Path(longest.weights).parent, nets["one"]])
    of = {r.name: r for r in alone.rows}
    assert of[f"2-{longest.name}"].ap == pytest.approx(longest.ap) and of[f"2-{longest.name}"].pictures == 4
    assert of["one"].pictures == 0 and math.isnan(of["one"].minutes)


def test_one_that_was_stopped_goes_on(nets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import videre.studies.compare.study as study

    data, held_out = blocks_dataset(4, size=(72, 96)), blocks_dataset(2, seed=100, size=(72, 96))
    chosen = candidates(data, [str(nets["one"])], sides=[64, 96], settings=SETTINGS)
    quick(monkeypatch)
    whole, calls = study.train, []

    def stopping(model, *args, **kwargs):
        calls.append(args[2].name)
        run = whole(model, *args, **kwargs)
        return dataclasses.replace(run, finished=len(calls) != 2)

    monkeypatch.setattr(study, "train", stopping)
    with pytest.raises(KeyboardInterrupt):
        compare(data, held_out, chosen, tmp_path / "study", minutes=60)
    found = compare(data, held_out, chosen, tmp_path / "study", minutes=60, resume=True)
    assert calls == ["1-retinanet-one-64", "1-retinanet-one-96", "1-retinanet-one-96"]
    assert len(found.rows) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    (
        ({"systems": ["retinanets"]}, "retinanet"),
        ({"systems": ["unet"]}, "unet is no detector that can be compared here"),
        ({"systems": ["fast-rcnn"]}, "must find boxes in a picture alone"),
        ({"sides": [64, 64]}, "two candidates are called retinanet-one-64"),
    ),
)
def test_what_cannot_be_compared_is_refused(
    nets: dict[str, Path], words: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [str(nets["one"])]
    if "systems" in words:
        sources = ["a classifier's"]
        monkeypatch.setattr("videre.studies.compare.candidates.find_weights", lambda source: (BACKBONE_WEIGHTS[0], {}))
    with pytest.raises(ConfigError, match=message):
        candidates(blocks_dataset(2), sources, **words)


def test_a_detector_stands_for_its_own_system_alone(nets: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="a retinanet, which is not among the systems compared"):
        candidates(blocks_dataset(2), [str(nets["one"])], systems=["ssd"])


def test_every_system_with_a_classifiers_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videre.studies.compare.candidates.find_weights", lambda source: (BACKBONE_WEIGHTS[0], {}))
    made = candidates(
        blocks_dataset(2, size=(72, 96)), ["w"], sides=[320], settings={"": {"turn": True}, "ssd": {"light": True}}
    )
    assert [one.system for one in made] == ["faster-rcnn", "r-fcn", "retinanet", "ssd", "yolox"]
    by_system = {one.system: one.settings for one in made}
    assert by_system["ssd"]["size"] == [240, 320] and by_system["ssd"]["light"] is True and by_system["ssd"]["turn"]
    assert by_system["yolox"]["long_side"] == 320 and "light" not in by_system["yolox"]


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is nothing to compare"):
        compare(blocks_dataset(4, size=(72, 96)), None, [], tmp_path)
