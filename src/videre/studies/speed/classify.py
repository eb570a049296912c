"""Classification as a row of the table: pictures of 224x224, one or sixteen at once, in every backbone that both sides have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from videre.images.prepare import prepare
from videre.models.classify.classifier import Classifier
from videre.structures import Categories, ImageBatch, Preprocess, Schema
from videre.studies.speed.job import Answer, Job, Side, Timer
from videre.studies.speed.rule import draw_weights, picture

CLASSES = 1000
OPTIONS: dict[str, dict[str, Any]] = {
    "alexnet": {"norm": "none"},
    "vgg16": {"norm": "none"},
    "inception_v3": {"padding": "valid"},
}
"""What a backbone needs to be torchvision's; the others are so by default."""


def classifier(job: Job) -> Classifier:
    """The model of a job, its weights drawn by the rule."""
    schema = Schema(pictures=Categories.of([f"class {i}" for i in range(CLASSES)]))
    preprocess = Preprocess(short_side=None, long_side=None, divisor=1)
    torch.manual_seed(0)
    model = Classifier(schema, preprocess, backbone=job.backbone, **OPTIONS.get(job.backbone, {}))
    draw_weights(model, 0.0)
    model.temperature.fill_(1)
    return model.eval()


def our_classes(job: Job, engine: str, timer: Timer) -> Side:
    """As `videre predict` runs it."""
    from videre.predict import Predictor

    model = classifier(job)
    predictor = Predictor(model, device="cpu", batch=job.batch, engine=engine)
    timer.watch(predictor.running, "forward", "net")
    images = [picture(job.size, i) for i in range(job.batch)]

    def run() -> Answer:
        with timer.part("preparing"):
            batch = ImageBatch.cat([prepare(image, model.preprocess) for image in images])
        scenes = predictor.run(batch)
        return {"labels": [int(s.labels[0]) for s in scenes], "scores": [float(s.label_scores[0]) for s in scenes]}  # type: ignore[index]

    return run


def their_classes(job: Job, timer: Timer) -> Side:
    """The same with torchvision's own model, eager and in float32."""
    import torchvision
    from torchvision.transforms.functional import normalize

    extra = {"aux_logits": False, "init_weights": False} if job.backbone == "inception_v3" else {}
    peer = getattr(torchvision.models, job.backbone)(weights=None, **extra).eval()
    model = classifier(job)
    missing = peer.load_state_dict(as_torchvision(model), strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing), missing[:3]
    timer.watch(peer, "forward", "net")
    images = [torch.from_numpy(picture(job.size, i)).permute(2, 0, 1) for i in range(job.batch)]
    mean, std = list(model.preprocess.mean), list(model.preprocess.std)

    def run() -> Answer:
        with torch.inference_mode():
            with timer.part("preparing"):
                batch = torch.stack([normalize(image, mean, std) for image in images])
            scores, labels = peer(batch).softmax(1).max(1)
        return {"labels": labels.tolist(), "scores": scores.tolist()}

    return run


def as_torchvision(model: Classifier) -> dict[str, Tensor]:
    """The tensors of a classifier under torchvision's names."""
    backbone = model.backbone
    places = {f"top.{ours}": theirs for theirs, ours in backbone.TOP.items()} | {"logits": backbone.LOGITS}
    tensors = {}
    for name, value in model.state_dict().items():
        layer, _, tensor = name.removeprefix("backbone.").rpartition(".")
        if layer:  # the temperature is ours alone
            tensors[f"{places.get(layer, layer)}.{tensor}"] = value
    return tensors
