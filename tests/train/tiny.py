"""A tiny training: noise with squares and discs, of different sizes, some empty; a toy that trains in milliseconds, for
what the loop promises, and a small detector for what it must also hold for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from probes import Regions
from scenes import PREPROCESS, SCHEMA, TINY, picture_and_truth
from torch import Tensor, nn

from videre.data import Dataset
from videre.layers.losses import mean_count
from videre.models import MODELS, Descent, Model, Stage, find_model
from videre.models.base import Outputs
from videre.structures import ImageBatch, Instances, Preprocess, Scene, Schema
from videre.train import Recipe

FEW = {"rpn_pre_nms": (100, 50), "rpn_post_nms": (50, 20), "roi_batch": 16}
SIZES = ((64, 80), (50, 64), (64, 64), (80, 60), (48, 90), (64, 70))


class TinySource:
    """Pictures of `picture_and_truth`; number 2 is empty, or all are."""

    fields = frozenset(
        {
            "boxes",
            "instances.labels",
            "masks",
            "keypoints",
            "visibility",
            "labels",
            "segmentation",
            "proposals",
            "relations",
            "captions",
            "camera",
            "meshes",
        }
    )

    def __init__(self, count: int = 6, empty: bool = False) -> None:
        self.count, self.empty = count, empty

    def __len__(self) -> int:
        return self.count

    def name(self, i: int) -> str:
        return f"tiny-{i}"

    def path(self, i: int) -> Path | None:
        return None

    def size(self, i: int) -> tuple[int, int]:
        return SIZES[i % len(SIZES)]

    def scene(self, i: int) -> Scene:
        return self._make(i)[1]

    def picture(self, i: int) -> np.ndarray:
        return self._make(i)[0]

    def _make(self, i: int) -> tuple[np.ndarray, Scene]:
        return picture_and_truth(self.size(i), i, things=0 if self.empty or i == 2 else 2)


def tiny_data(count: int = 6, empty: bool = False) -> Dataset:
    return Dataset(TinySource(count, empty), SCHEMA, title="tiny")


class Toy(Model):
    """Says of each picture where the first thing is. Drops out, so that the order of random numbers matters."""

    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})

    def __init__(self, schema: Schema, preprocess: Preprocess | None = None, *, width: int = 8) -> None:
        super().__init__(schema, preprocess)
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, 4), nn.GroupNorm(2, width), nn.ReLU(), nn.Dropout(0.3))
        self.box = nn.Linear(width, 4)

    def forward(self, batch: ImageBatch) -> Outputs:
        corner, size = (self.box(self.body(batch.image).mean((2, 3))).exp() * 10).split(2, dim=1)
        return {"boxes": torch.cat([corner, corner + size], dim=1)}

    def losses(self, batch: ImageBatch, targets: Sequence[Scene]) -> dict[str, Tensor]:
        boxes = self(batch)["boxes"]
        true = [(boxes[i] - scene.instances.boxes[0]).abs().sum() for i, scene in enumerate(targets) if len(scene)]
        size = mean_count(len(targets), boxes)
        return {"box": sum(true, boxes.sum() * 0) / mean_count(len(true), boxes), "small": boxes.sum() / size / 100}

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        score, label = torch.tensor([0.6]), torch.tensor([0])
        return [
            Scene(size, Instances(boxes=box[None].cpu(), labels=label, scores=score))
            for box, size in zip(outputs["boxes"], batch.originals, strict=True)
        ]


def register() -> None:
    """Put the toy on the table of models, for checkpoints."""
    MODELS["toy"] = f"{__name__}:Toy"


def toy(preprocess: Preprocess = PREPROCESS) -> Model:
    torch.manual_seed(0)
    return Toy(SCHEMA, preprocess)


def regions() -> Model:
    """A probe of two stages that takes proposals."""
    torch.manual_seed(0)
    return Regions(SCHEMA, PREPROCESS)


class Parts(Regions):
    """Stages that train parts, and one that is given what the stage before has found."""

    def stages(self) -> Sequence[Stage]:
        return (
            Descent("head", parameters=("softmax.",), recipe={"accumulate": 3, "lr": 1.0}),
            Descent("net", parameters=("net.",), given=self.find, evaluates=False),
        )

    def find(self, batch: ImageBatch) -> Sequence[Scene]:
        assert len(batch) == 1 and not self.training
        mark = self.softmax.bias.sum().detach().abs() % 1  # that it is of the stage before
        return [Scene(size, proposals=[[0.0, 0, 10 + float(mark), 20]]) for size in batch.originals]


SQUARE = Preprocess(size=(64, 64))
"""One size for all: every new shape costs a second in a convolution's first call."""


def detector(schema: Schema = SCHEMA, preprocess: Preprocess = SQUARE, **settings: object) -> Model:
    torch.manual_seed(0)
    return find_model("faster-rcnn")(schema, preprocess, **{**TINY, **FEW, **settings})  # type: ignore[arg-type]


def tiny_recipe(**changes: object) -> Recipe:
    base = {"pictures": 12, "batch": 2, "lr": 1e-3, "tune": "scratch", "workers": 1, "ema": 0.9, "precision": "fp32"}
    return Recipe().replace(**{**base, **changes})


CASES = {"toy": (tiny_data(), tiny_recipe()), "detector": (tiny_data(3), tiny_recipe(pictures=6, optimizer="muon"))}
"""What each model is trained on where a kill is tried: six steps, saved after three; three steps, saved after two."""


def measure(model: Model) -> dict[str, float]:
    """An evaluation that costs nothing: from the weights alone, so that a resumed run sees the same numbers."""
    return {"box AP": next(model.parameters()).abs().mean().item(), "other": 1.0}


def log_of(folder: Path) -> list[dict]:
    """The lines of log.jsonl without the seconds."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
