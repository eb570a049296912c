"""Detectors on one user's data: which is best at which speed.

Meta-architectures, backbones, sizes of pictures and numbers of proposals, after Huang et al., Speed/accuracy Trade-offs for Modern
Convolutional Object Detectors, 2017; there with a cluster for COCO, here within a budget of minutes on the pictures that matter. Every
row can be had again by one `videre train`: the settings are in its run's folder.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from videre.data.dataset import Dataset
from videre.data.splits import by_ratio
from videre.engine.device import describe_processor
from videre.errors import ConfigError, DataError
from videre.evaluate.detection import DetectionSection
from videre.evaluate.intervals import resampled_ap
from videre.evaluate.model import evaluate_model
from videre.evaluate.report import Report
from videre.files import write_atomic
from videre.models.checkpoint import read_checkpoint, save_checkpoint
from videre.predict.predictor import Predictor, load
from videre.studies.compare.candidates import Candidate, is_two_stage
from videre.studies.compare.halving import minutes_each, promising, rungs
from videre.studies.compare.row import NUMBERS, Row, front
from videre.studies.compare.words import recommendation, table, takeaways
from videre.studies.speed.sides import Side
from videre.train.build import prepare_training, resume_training
from videre.train.folder import recorded
from videre.train.loop import train

HELD_OUT = 0.25
"""Share of the pictures that is held out where the data have no other to judge by."""
COMMON: dict[str, Any] = {"evaluate_every": 10**6, "save_minutes": 1.0}
"""Of every training: judged once, in the end."""
PROPOSALS = (100, 30, 10)
"""Numbers of proposals that the best two-stage detector is tried with, beside its own."""
SAMPLES = 500
TIMED, ROUNDS = 8, 3
"""Pictures that all rows look at by turns, and how often."""

Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What came of it.

    Args:
        rows: the longest training of each candidate, runs that were there before, and the best two-stage one with fewer proposals;
            fastest first. held_out: what was judged on, in words. pictures: how many these are. minutes: of all trainings.
    """

    rows: Sequence[Row]
    held_out: str
    pictures: int
    minutes: float

    @property
    def front(self) -> list[Row]:
        """The rows that no faster one reaches in AP, fastest first."""
        return front(self.rows)

    def lines(self) -> list[str]:
        """The table as plain text; below it what to take, and what of Huang's findings shows here."""
        head = f"box AP on {self.held_out}, {self.pictures} pictures [95% interval over them]; {describe_processor()}"
        words = [*recommendation(self.rows), "", *takeaways(self.rows)]
        return [head, *table(self.rows), "", *words]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "held_out": self.held_out,
            "pictures": self.pictures,
            "processor": describe_processor(),
            "minutes": self.minutes,
            "front": [row.name for row in self.front],
            "recommendation": recommendation(self.rows),
            "takeaways": takeaways(self.rows),
            "rows": [row.to_json() for row in self.rows],
        }


def compare(
    data: Dataset,
    held_out: Dataset | None,
    chosen: Sequence[Candidate],
    out: str | Path,
    *,
    minutes: float = 60.0,
    runs: Sequence[str | Path] = (),
    resume: bool = False,
    device: str = "auto",
    log: Log = lambda line: None,
) -> Comparison:
    """Run the study; `out` gets study.json, a record a run, and the runs.

    Args:
        data: to train on. held_out: pictures to judge on; None: a quarter of `data`. chosen: see `candidates`.
        minutes: of all trainings together; judging comes on top. runs: folders of trainings that are there, or checkpoints: judged, not
            trained. resume: go on with what is in `out`. log: gets a line whenever something is done.

    Raises:
        ConfigError: `out` holds another comparison, or too few minutes. DataError: the data lack what a system needs.
    """
    out = Path(out)
    if held_out is None:
        parts = by_ratio(data, {"train": 1 - HELD_OUT, "held out": HELD_OUT})
        title = f"a quarter of {data.title}"
        data, held_out = parts["train"], parts["held out"]
        held_out.title = title
    if not chosen and not runs:
        raise ConfigError(
            "there is nothing to compare: name weights to start from (--from), or runs that are there (--runs)"
        )
    each = minutes_each(len(chosen), minutes) if chosen else []
    _begin(out, data, held_out, chosen, minutes, resume)
    work = _Work(data, held_out, out, device, log)
    rows = {Path(run).name: work.existing(Path(run)) for run in runs}
    left = list(chosen)
    for rung, (size, length) in enumerate(zip(rungs(len(chosen)) if chosen else [], each, strict=True)):
        if rung:
            kept = work.going_on(rung, [rows[one.name] for one in left], size)
            left = [one for one in left if one.name in kept]
        log(f"round {rung + 1} of {len(each)}: {size} trainings of {length:.1f} minutes")
        for one in left:
            rows[one.name] = work.trained(one, rung, length)
        rows = work.timed(rows)
    best = max((row for row in rows.values() if row.two_stage), key=lambda row: row.ap, default=None)
    for count in PROPOSALS:
        if best is not None and count < best.proposals:
            fewer = work.with_proposals(best, count)
            rows[fewer.name] = fewer
    found = sorted(work.timed(rows).values(), key=lambda row: row.seconds)
    found = [dataclasses.replace(row, memory=peak_memory(row.weights)) for row in found]
    records = [json.loads(file.read_text()) for file in sorted((out / "runs").glob("*/record.json"))]
    study = Comparison(found, held_out.title, len(held_out), sum(record["minutes"] for record in records))
    write_atomic(out / "study.json", (json.dumps(study.to_json(), indent=2) + "\n").encode())
    return study


def _begin(
    out: Path, data: Dataset, held_out: Dataset, chosen: Sequence[Candidate], minutes: float, resume: bool
) -> None:
    """Make the folder, or see that what is in it is the same comparison."""
    asked = {
        "train": f"{data.title}, {len(data)} pictures",
        "judge": f"{held_out.title}, {len(held_out)} pictures",
        "minutes": minutes,
        "candidates": [dataclasses.asdict(one) for one in chosen],
    }
    asked, file = json.loads(json.dumps(asked)), out / "asked.json"
    if not file.exists():
        write_atomic(file, (json.dumps(asked, indent=2) + "\n").encode())
        return
    if not resume:
        raise ConfigError(f"{out}: holds a comparison already; go on with --resume, or name another --out")
    before = json.loads(file.read_text())
    if odd := sorted(key for key in asked if asked[key] != before.get(key)):
        raise ConfigError(
            f"{out}: the comparison there has other {', '.join(odd)}; leave these as they were, or name another --out"
        )


@dataclasses.dataclass
class _Work:
    """What every row of the study needs."""

    data: Dataset
    held_out: Dataset
    out: Path
    device: str
    log: Log

    def trained(self, one: Candidate, rung: int, minutes: float) -> Row:
        """The row of a training, which is made where it is not there."""
        folder = self.out / "runs" / f"{rung + 1}-{one.name}"
        record = folder / "record.json"
        if record.exists():
            return Row.from_json(json.loads(record.read_text()))
        began = (folder / "state" / "state.safetensors").exists()
        if began:
            start = resume_training(one.system, self.data, None, None, {}, recorded(folder))
        else:
            settings = {**COMMON, "minutes": minutes, **one.settings}
            start = prepare_training(one.system, self.data, None, one.source, None, settings)
        run = train(
            start.model,
            self.data,
            start.recipe,
            folder,
            validation=self.held_out,
            resume=began,
            device=self.device,
            progress="none",
            provenance=start.provenance,
        )
        if not run.finished or run.report is None:
            raise KeyboardInterrupt
        seen, took = trained_for(folder)
        row = self._row(one.name, run.report, folder / "best.safetensors", one.system, one.backbone, one.side)
        row = dataclasses.replace(row, rung=rung, pictures=seen, minutes=took)
        write_atomic(record, json.dumps(row.to_json()).encode())
        low, high = row.interval
        self.log(f"{one.name}: AP {row.ap:.3f} [{low:.3f}, {high:.3f}] after {took:.1f} minutes, {seen:,} pictures")
        return row

    def going_on(self, rung: int, rows: Sequence[Row], count: int) -> list[str]:
        """The names of those that a round trains; kept in a file, since the clock may say otherwise another time."""
        file = self.out / "rounds.json"
        rounds: dict[str, list[str]] = json.loads(file.read_text()) if file.exists() else {}
        if str(rung) not in rounds:
            rounds[str(rung)] = [row.name for row in promising(rows, count)]
            write_atomic(file, (json.dumps(rounds, indent=2) + "\n").encode())
        self.log(f"going on: {', '.join(rounds[str(rung)])}")
        return rounds[str(rung)]

    def existing(self, run: Path) -> Row:
        """The row of a run that is there."""
        weights = next((w for w in (run / "best.safetensors", run / "last.safetensors", run) if w.is_file()), None)
        if weights is None:
            raise ConfigError(f"{run}: neither a run's folder nor a checkpoint")
        report = evaluate_model(load(weights, self.device, engine="plain"), self.held_out, bootstrap=0)
        found = read_checkpoint(weights)
        shape = found.preprocess.size or (found.preprocess.long_side, found.preprocess.short_side)
        seen, took = trained_for(run) if run.is_dir() else (0, math.nan)
        backbone = str(found.config.get("backbone") or "its own")
        row = self._row(run.stem, report, weights, found.model, backbone, max(side or 0 for side in shape))
        self.log(f"{run.stem}: AP {row.ap:.3f}, a run that was there")
        return dataclasses.replace(row, pictures=seen, minutes=took)

    def with_proposals(self, row: Row, count: int) -> Row:
        """The row of the same net with fewer proposals; its checkpoint is kept."""
        found = read_checkpoint(row.weights)
        kept = [found.config["rpn_post_nms"][0], count]
        model = dataclasses.replace(found, config={**found.config, "rpn_post_nms": kept}).build()
        weights = self.out / "runs" / f"{row.name}-{count}-proposals.safetensors"
        save_checkpoint(model, weights, found.provenance)
        report = evaluate_model(Predictor(model, self.device, engine="plain"), self.held_out, bootstrap=0)
        fewer = self._row(f"{row.name}, {count} proposals", report, weights, row.system, row.backbone, row.side)
        self.log(f"{fewer.name}: AP {fewer.ap:.3f}")
        return dataclasses.replace(fewer, rung=row.rung, pictures=row.pictures, minutes=row.minutes)

    def _row(self, name: str, report: Report, weights: Path, system: str, backbone: str, side: int) -> Row:
        things = next((s for s in report.sections.values() if isinstance(s, DetectionSection)), None)
        if things is None or "boxes" not in things.results:
            raise DataError(f"{self.held_out.title}: it has no boxes that {name} could be judged by")
        two_stage = is_two_stage(system)
        checkpoint = read_checkpoint(weights)
        return Row(
            name=name,
            system=system,
            backbone=backbone,
            side=side,
            rung=-1,
            two_stage=two_stage,
            proposals=checkpoint.config["rpn_post_nms"][1] if two_stage else 0,
            pictures=0,
            minutes=math.nan,
            parameters=sum(value.numel() for value in checkpoint.tensors.values()),
            **{field: report.metrics.get(metric, math.nan) for field, metric in NUMBERS.items()},
            draws=resampled_ap(things.results["boxes"].rankings, report.pictures, SAMPLES),
            seconds=math.nan,
            memory=0,
            weights=str(weights),
        )

    def timed(self, rows: Mapping[str, Row]) -> dict[str, Row]:
        """The rows with the seconds that each takes for a picture in memory, all by turns: the median."""
        predictors = {name: load(row.weights, self.device) for name, row in rows.items()}
        step = max(1, len(self.held_out) // TIMED)
        pictures = [self.held_out.picture(i) for i in range(0, len(self.held_out), step)][:TIMED]
        seconds: dict[str, list[float]] = {name: [] for name in rows}
        for turn in range(ROUNDS + 1):  # the first warms up
            for picture in pictures:
                for name, predictor in predictors.items():
                    began = time.perf_counter()
                    predictor.predict(picture)
                    if turn:
                        seconds[name].append(time.perf_counter() - began)
        return {name: dataclasses.replace(row, seconds=statistics.median(seconds[name])) for name, row in rows.items()}


def trained_for(folder: Path) -> tuple[int, float]:
    """Pictures seen and minutes taken by the training in a run's folder."""
    steps = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    timed = [step for step in steps if "seconds" in step]
    batch = recorded(folder)["recipe"]["batch"]
    return (timed[-1]["step"] * batch, timed[-1]["seconds"] / 60) if timed else (0, math.nan)


def peak_memory(weights: str) -> int:
    """Bytes that predicting a picture of 480x640 takes at most, above what importing takes, in a process of its own; 0: unknown."""
    side = Side(sys.executable, "auto", weights)
    try:
        return int(side.run()["memory"])
    finally:
        side.close()
