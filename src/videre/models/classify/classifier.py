"""A classifier of whole pictures: a backbone, the vector it ends in, one linear layer.

Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012, and all that followed: the
family of the backbone is the whole difference. Published weights give the published logits
(`tests/golden/test_classifier_parity.py`).

    model = Classifier(Schema(pictures=Categories.of(["ant", "bee"])), backbone="mobilenet_v2")
    losses = model.losses(batch, truths)          # "class"
    scenes = model.postprocess(model(batch), batch)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones import VECTOR, make_backbone
from videre.errors import ConfigError, DataError
from videre.layers.losses import mean_count
from videre.models.base import Model, Outputs, Rows
from videre.structures import ImageBatch, Preprocess, Scene, Schema


class Classifier(Model):
    """Classes of pictures, the likeliest first.

    Args:
        schema: needs `pictures`.
        preprocess: None: short side 256, the middle 224x224 of it, ImageNet normalisation.
        backbone: a name of `videre.backbones`. norm, padding, norm_eps (None: as published), multiplier (of its
            widths): of the backbone.
        last: the last stride that is built: 16 classifies by the mean over an earlier stage. With 32 the published way
            from the last map to the vector is taken (fully connected layers in AlexNet and VGG).
        dropout: of the vector; None: as published.
        multilabel: any number of classes a picture, each with its own sigmoid; otherwise exactly one.
        smoothing: share of the truth that is spread over all classes (Szegedy et al., 2016); of single labels.
        class_weights: weight of a class in the loss, by name; 1 where absent.

    Attributes:
        temperature: logits are divided by it before they become probabilities; chosen on validation data after a
            training (Guo et al., On Calibration of Modern Neural Networks, 2017) and kept with the weights.
    """

    needs = frozenset({"labels"})
    gives = frozenset({"labels", "label_scores"})
    mixes_formats = True
    usual = Preprocess(short_side=256, long_side=None, centre_crop=(224, 224), divisor=1)

    temperature: Tensor
    weights: Tensor

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "resnet50",
        norm: str = "frozen",
        padding: str | None = None,
        norm_eps: float | None = None,
        multiplier: float = 1.0,
        last: int = 32,
        dropout: float | None = None,
        multilabel: bool = False,
        smoothing: float = 0.0,
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess)
        if schema.pictures is None:
            raise ConfigError("a classifier tells pictures apart: the schema must name their classes (schema.pictures)")
        if len(schema.pictures) < 2 and not multilabel:
            names = ", ".join(schema.pictures) or "none"
            raise ConfigError(f"the pictures have one class ({names}): there is nothing to tell apart")
        for name, value in (("dropout", dropout or 0.0), ("smoothing", smoothing)):
            if not 0 <= value < 1:
                raise ConfigError(f"{name} must be at least 0 and below 1, found {value}")
        options: dict[str, Any] = {"norm": norm, "channels": len(self.preprocess.mean), "vector": True}
        special = {
            "padding": (padding, None),
            "multiplier": (multiplier, 1.0),
            "last": (last, 32),
            "eps": (norm_eps, None),
        }
        options |= {name: value for name, (value, plain) in special.items() if value != plain}
        self.backbone = make_backbone(backbone, **options)
        self.dropout = nn.Dropout(self.backbone.dropout if dropout is None else dropout)
        self.logits = nn.Linear(self.backbone.width, len(schema.pictures))
        nn.init.normal_(self.logits.weight, std=0.01)
        nn.init.zeros_(self.logits.bias)
        self.multilabel, self.smoothing = multilabel, smoothing
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("weights", torch.tensor(weigh(class_weights or {}, schema)), persistent=False)

    def forward(self, batch: ImageBatch) -> Outputs:
        """ "logits" [B, K]."""
        return {"logits": self.logits(self.dropout(self.backbone(batch.image)[VECTOR]))}

    def target(self, truth: Scene) -> Tensor:
        """The one true label []; with `multilabel` [K] of 0 and 1."""
        if not self.multilabel:
            return only_label(truth)
        return torch.zeros(self.logits.out_features).index_fill(0, labels_of(truth), 1)

    def losses(self, batch: ImageBatch, targets: Sequence[Tensor]) -> dict[str, Tensor]:
        """ "class": cross-entropy; with `multilabel` the mean over classes of the binary one."""
        logits, label = self.forward(batch)["logits"].float(), torch.stack(list(targets)).to(batch.image.device)
        if self.multilabel:
            each = F.binary_cross_entropy_with_logits(logits, label, reduction="none") * self.weights
            return {"class": each.mean(1).sum() / mean_count(len(targets), logits)}
        each = F.cross_entropy(logits, label, reduction="none", label_smoothing=self.smoothing)
        weight = self.weights[label]
        return {"class": (each * weight).sum() / mean_count(float(weight.sum()), logits)}

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """All classes of each picture with their probabilities, the likeliest first."""
        logits = outputs["logits"].float().cpu() / self.temperature.cpu()
        probabilities = logits.sigmoid() if self.multilabel else logits.softmax(1)
        scores, labels = probabilities.sort(dim=1, descending=True, stable=True)
        return [Scene(size, labels=labels[row], label_scores=scores[row]) for row, size in enumerate(batch.originals)]

    def decide(self, scene: Scene, threshold: float | None = None) -> Scene:
        """The likeliest class; with `multilabel` those that reach their threshold. With a threshold all that reach it."""
        labels, scores, names = scene.labels, scene.label_scores, self.schema.pictures
        assert labels is not None and scores is not None and names is not None
        if threshold is None and not self.multilabel:
            return scene.take_rows("labels", torch.arange(len(labels))[:1])
        least = torch.tensor(list(self.shown_from(names).values()))[labels] if threshold is None else threshold
        return scene.take_rows("labels", (scores >= least).nonzero().flatten())

    def reset_calibration(self) -> None:
        """Thresholds, and the temperature."""
        super().reset_calibration()
        self.temperature.fill_(1)

    def calibrate(self, report: Any) -> tuple[Any, dict[str, Tensor]]:
        """The temperature at which the true labels are likeliest, and with `multilabel` thresholds."""
        labels = report.sections["labels"]
        temperature = labels.best_temperature(exclusive=not self.multilabel)
        report = report.with_section("labels", labels.at_temperature(temperature, exclusive=not self.multilabel))
        self.temperature.fill_(temperature)
        report, _ = super().calibrate(report)
        return report, {"temperature": self.temperature}

    def deployed(self, outputs: Outputs, batch: ImageBatch) -> dict[str, Tensor]:
        """scores [K], labels [K]: all classes at the model's temperature, the likeliest first."""
        logits = outputs["logits"][0] / self.temperature
        scores, labels = (logits.sigmoid() if self.multilabel else logits.softmax(0)).sort(descending=True)
        return {"scores": scores, "labels": labels}

    def named_rows(self) -> dict[str, Rows]:
        return {"logits.weight": Rows("pictures"), "logits.bias": Rows("pictures")}


def labels_of(truth: Scene) -> Tensor:
    """The true classes of a picture; DataError where nothing is said of it."""
    if truth.labels is None:
        raise DataError(f"{truth.name}: has no labels")
    return truth.labels


def only_label(truth: Scene) -> Tensor:
    """The one true class of a picture; DataError where it has another number of them."""
    labels = labels_of(truth)
    if len(labels) != 1:
        raise DataError(
            f"{truth.name}: has {len(labels)} labels, and a classifier of single labels wants one: set multilabel=true"
        )
    return labels[0]


def weigh(weights: Mapping[str, float], schema: Schema) -> list[float]:
    """The weight of each class in the order of the schema; ConfigError for a name that it does not know."""
    names = list(schema.pictures or [])
    unknown = sorted(set(weights) - set(names))
    if unknown:
        raise ConfigError(f"class_weights names {', '.join(unknown)}; the classes are {', '.join(names)}")
    return [float(weights.get(name, 1.0)) for name in names]
