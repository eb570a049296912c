"""Broken pictures and truths in a training: left out, named, counted, and the same ones whenever and wherever it runs."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probes import Regions
from torch import Tensor

from videre.data import Dataset
from videre.errors import ConfigError, DataError
from videre.evaluate.page import write_run_page
from videre.models import Fit, Stage
from videre.structures import Categories, ImageBatch, Scene
from videre.train import Run, train
from videre.train.samples import TrainingSamples

from .test_resume import TESTS, killed_in_step, same
from .tiny import PREPROCESS as PICTURES
from .tiny import SCHEMA, Parts, TinySource, measure, tiny_recipe, toy


class Broken(TinySource):
    """Tiny pictures of which some cannot be read, and the truths of some are broken."""

    def __init__(self, count: int = 6, pictures: tuple[int, ...] = (), truths: tuple[int, ...] = ()) -> None:
        super().__init__(count)
        self.pictures, self.truths, self.asked = pictures, truths, list[int]()

    def picture(self, i: int) -> np.ndarray:
        self.asked.append(i)
        if i in self.pictures:
            raise DataError(f"tiny-{i}: the picture is damaged")
        return super().picture(i)

    def scene(self, i: int) -> Scene:
        if i in self.truths:
            raise DataError(f"labels of tiny-{i}: nonsense")
        return super().scene(i)


def broken(pictures: tuple[int, ...] = (), count: int = 6, truths: tuple[int, ...] = (), skip: bool = False) -> Dataset:
    data = Dataset(Broken(count, pictures, truths), SCHEMA, title="tiny")
    data.skip_broken = skip
    return data


def run(data: Dataset, out: Path, resume: bool = False, **changes: object) -> Run:
    return train(toy(), data, tiny_recipe(**changes), out, evaluate=measure, resume=resume, progress="none")


def left_out(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())["left_out"]


@pytest.mark.parametrize("workers", [0, 3])
def test_a_broken_picture_is_left_out_named_once_and_counted(tmp_path: Path, capfd, workers: int) -> None:
    done = run(broken((1, 4)), tmp_path, workers=workers, pictures=36)
    assert done.finished and done.left_out == {f"tiny-{i}": f"tiny-{i}: the picture is damaged" for i in (1, 4)}
    err = capfd.readouterr().err
    for i in (1, 4):
        assert err.count(f"videre: tiny-{i}: the picture is damaged; left out of the training\n") == 1
    assert left_out(tmp_path) == {"count": 2, "pictures": done.left_out}
    page = write_run_page(tmp_path).read_text()
    assert "2 pictures that could not be read (tiny-1, tiny-4)" in page


def test_a_picture_of_another_size_than_its_annotation_says_is_left_out(tmp_path: Path) -> None:
    data = broken()
    whole = data.source.picture
    data.source.picture = lambda i: whole(i)[: 20 if i == 3 else None]  # type: ignore[method-assign]
    assert list(run(data, tmp_path).left_out) == ["tiny-3"]


def test_the_others_take_its_place_whoever_asks_and_when(tmp_path: Path) -> None:
    """A pure function of the position, whether it is known that the picture is broken or not; batches stay full."""
    recipe = tiny_recipe(flip=0.5, scale_min=0.5, scale_max=1.5, augment=["Mosaic"])
    data = broken((0, 5))
    whole_scene = data.source.scene
    data.source.scene = lambda i: whole_scene(i).only({"boxes", "instances.labels"})  # type: ignore[method-assign]
    forward, backward = (TrainingSamples(data, toy(), recipe) for _ in range(2))
    ahead = [forward.sample(position) for position in range(18)]
    behind = [backward.sample(position) for position in reversed(range(18))][::-1]
    for (name, batch, _), (other, same_batch, _) in zip(ahead, behind, strict=True):
        assert name == other and name not in ("tiny-0", "tiny-5") and (batch.image == same_batch.image).all()
    halves = [list(forward.batches(0, 6, rank, 2)) for rank in (0, 1)]
    whole = [name for group in forward.batches(0, 6) for name, _, _ in group]
    assert [group[0][0] for pair in zip(*halves) for group in pair] == whole


@pytest.mark.parametrize("step", [2, 5])
def test_a_killed_training_with_broken_pictures_resumes_bit_for_bit(tmp_path: Path, monkeypatch, step: int) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(broken((1, 4)), whole)
    monkeypatch.setattr(sys.modules[killed_in_step.__module__], "tiny_data", lambda: broken((1, 4)))
    killed_in_step(step, cut)
    data = broken((1, 4))
    done = run(data, cut, resume=True)
    same(whole, cut)
    assert left_out(cut) == left_out(whole) and len(done.left_out) == 2
    if step == 5:  # an epoch was saved, in which both were found: they are not tried again
        assert not {1, 4} & set(data.source.asked)  # type: ignore[attr-defined]


def test_too_many_broken_pictures_stop_with_the_first_five(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        run(broken(tuple(range(12)), count=60), tmp_path, pictures=600)
    message = str(caught.value)
    assert message.startswith("tiny: 10 of its 60 pictures cannot be used: tiny-") and message.count("damaged") == 5
    assert message.endswith("; then go on with --resume") and "; …. Repair or remove these files" in message
    run(broken(tuple(range(9)), count=60), tmp_path / "nine", pictures=600)  # fewer than ten
    run(broken(tuple(range(12)), count=130), tmp_path / "share", pictures=1300)  # fewer than a tenth
    with pytest.raises(DataError, match="3 of its 3 pictures cannot be used"):
        run(broken((0, 1, 2), count=3), tmp_path / "all")


def test_a_broken_truth_stops_unless_the_broken_are_skipped(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels of tiny-2: nonsense"):
        run(broken(truths=(2,)), tmp_path / "stops")
    for empty in (True, False):
        done = run(broken(truths=(3,), skip=True), tmp_path / f"goes-on-{empty}", empty=empty)
        assert done.left_out == {"tiny-3": "labels of tiny-3: nonsense"}
    part = broken(truths=(3,), skip=True).subset(range(4))
    assert part.skip_broken and part.over(part.source, SCHEMA).skip_broken
    assert Dataset.cat([part, Dataset(TinySource(), SCHEMA)]).skip_broken


def test_what_a_stage_is_given_stays_with_its_picture(tmp_path: Path) -> None:
    """The scenes that the stage before has found are fewer than the pictures."""
    recipe = tiny_recipe(pictures=24, batch=2, optimizer="sgd", ema=0.0)
    done = train(Parts(SCHEMA, PICTURES), broken((1,)), recipe, tmp_path, evaluate=measure, progress="none")
    assert done.finished and list(done.left_out) == ["tiny-1"]
    assert len((tmp_path / "state/given-net.jsonl").read_text().splitlines()) == 5


class Means(Regions):
    """Gathers the mean of every picture, once."""

    seen: list[list[float]]
    interrupts = False

    def stages(self) -> Sequence[Stage]:
        return (Fit("means", self.gather_means, self.tell),)

    def gather_means(self, state: dict[str, Tensor], batch: ImageBatch, targets: Sequence[Any]) -> dict[str, Tensor]:
        means = torch.cat([state.get("means", torch.zeros(0)), batch.image.mean((1, 2, 3))])
        if self.interrupts and len(means) > 2:
            signal.raise_signal(signal.SIGTERM)
        return {"means": means}

    def tell(self, state: dict[str, Tensor]) -> None:
        self.seen = [state["means"].tolist()]


def means(out: Path, data: Dataset, interrupts: bool = False, resume: bool = False) -> tuple[Run, list[list[float]]]:
    torch.manual_seed(0)
    model = Means(SCHEMA, PICTURES)
    model.interrupts, model.seen = interrupts, []
    done = train(model, data, tiny_recipe(), out, evaluate=measure, resume=resume, progress="none")
    return done, model.seen


def test_a_fit_leaves_out_the_broken_and_resumes_with_the_same(tmp_path: Path) -> None:
    whole, (seen,) = means(tmp_path / "whole", broken((1, 4)))
    assert len(seen) == 4 and len(whole.left_out) == 2
    stopped, nothing = means(tmp_path / "cut", broken((1, 4)), interrupts=True)
    assert stopped.signal == signal.SIGTERM and not nothing
    done, again = means(tmp_path / "cut", broken((1, 4)), resume=True)
    assert again == [seen] and done.left_out == whole.left_out


def test_a_fit_over_pictures_that_changed_begins_again(tmp_path: Path) -> None:
    part = broken().subset(range(1, 6))
    _, (seen,) = means(tmp_path / "whole", part)
    means(tmp_path / "cut", broken(), interrupts=True)
    _, again = means(tmp_path / "cut", part, resume=True)
    assert again == [seen] and len(seen) == 5


# going on after a repair -----------------------------------------------------------------------------------------------


def test_pictures_that_were_repaired_or_removed_do_not_hinder_a_resume(tmp_path: Path, capfd) -> None:
    """What the message says, to the letter."""
    with pytest.raises(DataError, match="Repair or remove these files"):
        run(broken(tuple(range(12)), count=60), tmp_path, pictures=60)
    repaired = Dataset(Changed(60, pictures=(1,), changed=(0, *range(2, 12))), SCHEMA, title="tiny")
    removed = repaired.subset([0, *range(2, 60)])
    say = lambda data: train(toy(), data, tiny_recipe(pictures=60), tmp_path, resume=True, progress="plain")
    assert say(removed).finished
    err = capfd.readouterr().err
    assert (
        "since the run was begun: 1 picture removed (tiny-1) and 11 pictures changed, or their labels (tiny-0, " in err
    )
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["data"]["pictures"] == 59 and record["changes"][0]["what"].startswith(
        "since the run was begun: 1 pic"
    )
    assert record.get("left_out", {"count": 0})["count"] == 0 and len(record["changes"]) == 1
    assert say(removed).finished and "since the run" not in capfd.readouterr().err


def test_a_repaired_picture_is_shown_again(tmp_path: Path) -> None:
    assert run(broken((1, 4)), tmp_path).left_out
    whole = Dataset(Changed(6, changed=(1, 4)), SCHEMA, title="tiny")
    done = run(whole, tmp_path, resume=True)
    assert done.finished and done.left_out == {}


def test_another_set_is_refused(tmp_path: Path) -> None:
    run(broken(), tmp_path)
    other = Dataset(TinySource(6), SCHEMA, title="tiny")
    other.source.name = lambda i: f"other-{i}"  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=r"another data: 6 of 6 pictures are new \(other-0, "):
        run(other, tmp_path, resume=True)
    names = dataclasses.replace(SCHEMA, things=Categories(("one", "two", "three")))
    with pytest.raises(ConfigError, match="another data: classes or other names: things was"):
        run(Dataset(TinySource(6), names, title="tiny"), tmp_path, resume=True)


class Changed(Broken):
    """Some of the truths are others."""

    def __init__(self, count: int, pictures: tuple[int, ...] = (), changed: tuple[int, ...] = ()) -> None:
        super().__init__(count, pictures)
        self.changed = changed

    def scene(self, i: int) -> Scene:
        scene = super().scene(i)
        return scene.replace(captions=("repaired",)) if i in self.changed else scene


TWO = """
import sys
from pathlib import Path
from train import test_broken, tiny
tiny.register()
out = Path(sys.argv[1])
done = test_broken.run(test_broken.broken((1, 4)), out, batch=2, workers=0, optimizer="sgd", pictures=24)
rank = __import__("os").environ["RANK"]
(out / f"rank-{rank}.txt").write_text(" ".join(done.left_out))
"""


def test_two_processes_leave_out_the_same(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO)
    paths = os.pathsep.join([str(TESTS), str(TESTS / "models"), os.environ.get("PYTHONPATH", "")])
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / f"run/rank-{r}.txt").read_text() for r in (0, 1)] == ["tiny-1 tiny-4"] * 2
    assert left_out(tmp_path / "run")["count"] == 2
    assert all(done.stderr.count(f"tiny-{i}: the picture is damaged; left out") == 1 for i in (1, 4))
