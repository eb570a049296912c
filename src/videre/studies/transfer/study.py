"""One study on one user's data: neighbours, linear classifiers by stage, fine-tuning little or much, from scratch.

Six ways of using a pretrained net, each on 1%, 10% and all of the training pictures where there are enough, with
several seeds, all judged on the same held-out pictures. The recommendation is the cheapest way that is within one
standard error of the best (Breiman et al., Classification and Regression Trees, 1984).
"""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videre.data.dataset import Dataset
from videre.data.splits import by_ratio
from videre.errors import ConfigError, DataError
from videre.files import write_atomic
from videre.models.base import Model
from videre.models.checkpoint import save_checkpoint
from videre.models.classify.classifier import Classifier
from videre.predict.predictor import Predictor
from videre.studies.features import BATCH, TOP, FeatureNet, Features, extract, stage_names
from videre.studies.transfer.probes import Linear, fit_linear, nearest_labels
from videre.studies.transfer.row import Row, at
from videre.studies.transfer.words import ON_TOP, recommendation
from videre.train.build import prepare_training
from videre.train.loop import train

SHARES = (0.01, 0.1, 1.0)
"""Of the training pictures."""
LEAST_PER_CLASS = 2
"""A share is taken where it holds so many pictures of the average class, and one of each."""
PICTURES = 1500
"""Pictures seen by each fine-tuning; twice as many from scratch, which starts further away."""
EPOCHS = 3
"""Passes over the data that are enough; of few pictures LEAST_PICTURES are seen."""
LEAST_PICTURES = 320
TUNED: dict[str, dict[str, Any]] = {
    "few": {"tune": "few"},
    "all": {"tune": "all", "layer_decay": 0.65},
    "scratch": {},
}
"""How each training differs from the common recipe."""
RATES = (1e-5, 1e-4, 1e-3)
"""Learning rates of fine-tuning. The one that is right most often on a held-out fifth of the training pictures is taken, of
equal ones the smallest: what a net knows already is lost at a large one, what it has never seen is not learned at a
small one."""
FOLD = 5
"""One in so many is held out for that."""
COMMON: dict[str, Any] = {"batch": 16, "crop": 0.7, "ema": 0.98, "evaluate_every": 10**6, "save_minutes": 1e6}
NEAREST, LINEAR = "nearest neighbours", "linear"
WORDS = {
    "few": "fine-tune the last stage",
    "all": "fine-tune all, layer-wise rates",
    "scratch": "from scratch, group norm",
}

Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Study:
    """What came of it.

    Args:
        rows: by share and method. stages: names of the features, finest first. classes, source: in words.
        feature_seconds: that the features took; None: they were in the cache.
    """

    rows: Sequence[Row]
    stages: Sequence[str]
    classes: Sequence[str]
    source: str
    held_out: str
    feature_seconds: float | None

    def at(self, share: float) -> dict[str, Row]:
        """The rows of a share, by method."""
        return at(self.rows, share)

    @property
    def recommended(self) -> tuple[str, list[str]]:
        """The method for all the pictures, and why, in sentences."""
        return recommendation(self.rows, len(self.classes))

    def lines(self) -> list[str]:
        """The table as plain text, the recommendation below it."""
        method, why = self.recommended
        width = max(len(row.method) for row in self.rows)
        lines = [
            f"accuracy on {self.held_out}; [95% interval over its pictures and the seeds]",
            f"features: {self.source}"
            + (f", {self.feature_seconds:.0f} s" if self.feature_seconds else ", from the cache"),
        ]
        for share in sorted({row.share for row in self.rows}):
            rows = self.at(share)
            lines.append(f"{share:.0%} of the training pictures ({next(iter(rows.values())).pictures})")
            for row in rows.values():
                how = f"  ({row.how})" if row.how else ""
                lines.append(f"  {row.method.ljust(width)}  {row!s:48}  {row.seconds:6.1f} s{how}")
        return [*lines, "", f"recommended: {method}", *(f"  {sentence}" for sentence in why)]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        clean = lambda v: None if math.isnan(v) else v
        method, why = self.recommended
        rows = [
            {
                "method": r.method,
                "share": r.share,
                "pictures": r.pictures,
                "accuracy": r.accuracy,
                "error": r.error,
                "spread": clean(r.spread),
                "by_seed": r.right.mean(1).tolist(),
                "seconds": r.seconds,
                "how": r.how,
            }
            for r in self.rows
        ]
        return {
            "recommended": method,
            "why": why,
            "classes": list(self.classes),
            "features": self.source,
            "held_out": self.held_out,
            "feature_seconds": self.feature_seconds,
            "rows": rows,
        }


def transfer(
    data: Dataset,
    held_out: Dataset | None,
    source: str | Path,
    out: str | Path,
    *,
    shares: Sequence[float] = SHARES,
    seeds: int = 3,
    methods: Sequence[str] = (NEAREST, LINEAR, *TUNED),
    pictures: int = PICTURES,
    preprocess: dict[str, Any] | None = None,
    device: str = "auto",
    log: Log = lambda line: None,
) -> Study:
    """Run the study; `out` gets study.json, transfer.png, the linear classifier and the trainings of the first seed.

    Args:
        data: training pictures, one class each. held_out: pictures to judge on; None: a quarter of `data`.
        source: pretrained weights (see `find_weights`). shares: of the training pictures. seeds: of each random way.
        methods: of NEAREST, LINEAR, and the keys of TUNED. pictures: seen by each fine-tuning at most.
        preprocess: fields of it that are to be other than usual. log: gets a line whenever something is done.

    Raises:
        DataError: a picture without its one class, only one class, or classes that only one side knows.
    """
    out = Path(out)
    if held_out is None:
        parts = by_ratio(data, {"train": 0.75, "held out": 0.25})
        title = f"a quarter of {data.title}"
        data, held_out = parts["train"], parts["held out"]
        held_out.title = title
    labels, truths = _labels(data), _aligned(_labels(held_out), held_out, data)
    names = list(data.schema.pictures or [])
    if len(np.unique(labels)) < 2:
        raise DataError(f"{data.title}: all pictures are {names[int(labels[0])]}; there is nothing to tell apart")
    net = FeatureNet.of(source, preprocess)
    begin = time.monotonic()
    features, queries = (extract(net, part, device) for part in (data, held_out))
    took = time.monotonic() - begin
    log(f"features of {len(data) + len(held_out)} pictures: {took:.1f} s")
    work = _Work(
        data, held_out, labels, truths, features, queries, net, str(source), out, pictures, device, preprocess or {}
    )
    rows: list[Row] = []
    for share in sorted(shares):
        if not enough(labels, share):
            log(f"{share:.0%} of {len(data)} pictures is too few for {len(names)} classes: left out")
            continue
        subsets = [subset(labels, share, seed) for seed in range(1 if share == 1 else seeds)]
        for row in _rows(work, share, subsets, seeds, methods):
            log(f"{share:.0%}  {row.method}: {row}  {row.seconds:.1f} s")
            rows.append(row)
    source_words = net.card or str(source)
    # less than a second: they came from the cache
    study = Study(rows, stage_names(features), names, source_words, held_out.title, took if took > 1 else None)
    write_atomic(out / "study.json", (json.dumps(study.to_json(), indent=2) + "\n").encode())
    return study


@dataclasses.dataclass(frozen=True)
class _Work:
    """What every way of the study needs."""

    data: Dataset
    held_out: Dataset
    labels: np.ndarray
    truths: np.ndarray
    features: Features
    queries: Features
    net: FeatureNet
    source: str
    out: Path
    pictures: int
    device: str
    preprocess: dict[str, Any]
    rates: dict[str, float] = dataclasses.field(default_factory=dict)

    def rate(self, method: str) -> float:
        """The learning rate of a fine-tuning, see RATES: found once; the smaller one where classes have few pictures."""
        counts = np.bincount(self.labels)
        if counts[counts > 0].min() < FOLD:
            return RATES[0]
        if method not in self.rates:
            known = subset(self.labels, 1 - 1 / FOLD, seed=0)
            rest = np.setdiff1d(np.arange(len(self.labels)), known)
            held, start, right = self.data.subset(rest.tolist()), self.linear(TOP, known, 0), []
            for lr in RATES:
                with tempfile.TemporaryDirectory() as folder:
                    model = _train(self, method, known, 0, start, lr, Path(folder) / "run")
                right.append(int((_said(self, model, held) == self.labels[rest]).sum()))
            self.rates[method] = RATES[int(np.argmax(right))]
        return self.rates[method]

    def linear(self, stage: str, chosen: np.ndarray, seed: int) -> Linear:
        classes = len(self.data.schema.pictures or [])
        return fit_linear(self.features[stage][chosen], self.labels[chosen], classes, seed)


def _rows(
    work: _Work, share: float, subsets: Sequence[np.ndarray], seeds: int, methods: Sequence[str]
) -> Iterator[Row]:
    """The rows of one share of the pictures."""
    count = len(subsets[0])
    if NEAREST in methods:
        begin, found = time.monotonic(), []
        for seed, chosen in enumerate(subsets):
            said, how = nearest_labels(work.features[TOP][chosen], work.labels[chosen], work.queries[TOP], seed)
            found.append(said == work.truths)
        yield Row(NEAREST, 1, share, count, np.array(found), (time.monotonic() - begin) / len(subsets), how)
    tops: list[Linear] = []
    if LINEAR in methods:
        for stage in stage_names(work.features):
            begin = time.monotonic()
            fits = [work.linear(stage, chosen, seed) for seed, chosen in enumerate(subsets)]
            right = np.array([fit.predict(work.queries[stage]) == work.truths for fit in fits])
            how = f"{work.features[stage].shape[1]} numbers, C {fits[0].strength:g}"
            cost = 0 if stage == TOP else 2
            seconds = (time.monotonic() - begin) / len(subsets)
            yield Row(linear_on(stage), cost, share, count, right, seconds, how)
            tops = fits if stage == TOP else tops
        if share == 1:
            save_checkpoint(_classifier(work, tops[0]), work.out / "linear.safetensors", {"study": work.source})
    for cost, method in ((n, m) for n, m in enumerate(TUNED, start=3) if m in methods):
        lr = None if method == "scratch" else work.rate(method)
        begin, found = time.monotonic(), []
        for seed in range(seeds):
            place = seed if share < 1 else 0
            start = tops[place] if tops and method != "scratch" else None
            model = _train(work, method, subsets[place], seed, start, lr, work.out / f"{method}-{share:g}-{seed}")
            found.append(_said(work, model, work.held_out) == work.truths)
        how = "" if lr is None else f"learning rate {lr:.0e}"
        seconds = (time.monotonic() - begin) / seeds
        yield Row(WORDS[method], cost, share, count, np.array(found), seconds, how)


def linear_on(stage: str) -> str:
    """What a linear classifier on a stage is called."""
    return ON_TOP if stage == TOP else f"linear, {stage}"


def _train(
    work: _Work, method: str, chosen: np.ndarray, seed: int, start: Linear | None, lr: float | None, folder: Path
) -> Model:
    """Train on the chosen pictures.

    A fine-tuning begins from the linear classifier (Kumar et al., Fine-Tuning can Distort Pretrained Features, 2022).
    """
    part = work.data.subset(chosen.tolist())
    seen = min(work.pictures, max(EPOCHS * len(chosen), LEAST_PICTURES)) * (2 if method == "scratch" else 1)
    settings = COMMON | TUNED[method] | {"pictures": seen, "seed": seed} | work.preprocess
    if method == "scratch":
        made = prepare_training("classifier", part, work.net.name, None, None, settings)
    else:
        made = prepare_training("classifier", part, None, work.source, None, settings | {"lr": lr})
        if start is not None:
            _begin_from(made.model, start)
    if not train(made.model, part, made.recipe, folder, progress="none", device=work.device).finished:
        raise KeyboardInterrupt
    return made.model


def _said(work: _Work, model: Model, data: Dataset) -> np.ndarray:
    """The likeliest class of each picture. Raises DataError for one that cannot be read."""
    said = []
    pictures = ((data.name(i), lambda i=i: data.picture(i)) for i in range(len(data)))
    for found in Predictor(model, work.device, batch=BATCH).stream(pictures, threshold=0.0):
        scene = found.scene
        if scene is None or scene.labels is None:
            raise DataError(found.error or found.name)
        said.append(int(scene.labels[0]))
    return np.array(said)


def _begin_from(model: Any, start: Linear) -> None:
    """The classifier's last layer as the linear classifier has it."""
    with torch.no_grad():
        model.logits.weight.copy_(torch.from_numpy(start.weight))
        model.logits.bias.copy_(torch.from_numpy(start.bias))


def _classifier(work: _Work, start: Linear) -> Classifier:
    """The linear classifier on the top layer as a model to predict with."""
    made = prepare_training("classifier", work.data, None, work.source, "top", dict(work.preprocess)).model
    _begin_from(made, start)
    assert isinstance(made, Classifier)
    return made.eval()


def enough(labels: np.ndarray, share: float) -> bool:
    """Whether a share of the pictures has some of every class."""
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    return share * counts.mean() >= LEAST_PER_CLASS and bool((np.round(share * counts) >= 1).all())


def subset(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Indices of a share of the pictures, the same share of each class, drawn by the seed."""
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(labels == k))[: round(share * (labels == k).sum())] for k in np.unique(labels)
    ]
    return np.sort(np.concatenate(chosen))


def _labels(data: Dataset) -> np.ndarray:
    """The class of each picture."""
    if data.schema.pictures is None:
        raise DataError(
            f"{data.title}: the study needs two or more classes of whole pictures, as in folders root/<class>/; it has "
            f"{', '.join(sorted(data.fields)) or 'no truth'}"
        )
    found = []
    for i in range(len(data)):
        labels = data.scene(i).labels
        if labels is None or len(labels) != 1:
            raise DataError(
                f"{data.where(i)}: the study needs one class a picture, this one has "
                f"{0 if labels is None else len(labels)}"
            )
        found.append(int(labels[0]))
    if not found:
        raise ConfigError(f"{data.title}: there is no picture")
    return np.array(found)


def _aligned(labels: np.ndarray, held_out: Dataset, data: Dataset) -> np.ndarray:
    """Labels of the held-out pictures as the training data count them."""
    here, there = data.schema.pictures, held_out.schema.pictures
    assert here is not None and there is not None
    remap = there.remap(here)
    unknown = sorted({there[k] for k in labels.tolist() if remap[k] is None})
    if unknown:
        raise DataError(f"{held_out.title} has classes that {data.title} has not: {', '.join(unknown)}")
    return np.array([remap[k] for k in labels.tolist()])
