"""What is timed: predictions and training steps, by this library and by torchvision, as users of each run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from videre.models import find_model
from videre.models.base import Model
from videre.models.official import one_stage_to_torchvision, to_torchvision
from videre.structures import COCO_PERSON, Categories, ImageBatch, Preprocess, Schema
from videre.studies.speed.classify import our_classes, their_classes
from videre.studies.speed.job import Answer, Job, Side, Timer
from videre.studies.speed.rule import BACKGROUND, draw_weights, picture, truth
from videre.studies.speed.segment import our_classes_of_pixels, our_step, their_classes_of_pixels, their_step

CLASSIFIERS = ("alexnet", "vgg16", "resnet50", "resnet101", "inception_v3", "mobilenet_v2")
"""Backbones that torchvision has too; each with one and with sixteen pictures at once."""
SETTINGS: dict[str, dict[str, Any]] = {"retinanet": {"last_levels": "p5", "head_norm": "none", "box_loss": "l1"}}
"""Where torchvision's detector is not what ours is of itself: its first RetinaNet."""
JOBS = {
    "faster-rcnn": Job("faster-rcnn"),
    "mask-rcnn": Job("mask-rcnn"),
    "keypoint-rcnn": Job("keypoint-rcnn"),
    "retinanet": Job("retinanet"),
    "resnet50-training": Job("faster-rcnn", training=True, batch=2),
    "mobilenet-training": Job("faster-rcnn", True, "mobilenet_v2", (320, 427), 320, 427, batch=4),
    "retinanet-training": Job("retinanet", training=True, batch=2),
    "fcn-resnet50": Job("dilated-fcn"),
    "fcn-training": Job("dilated-fcn", training=True, batch=2),
    **{f"{name}-b{n}": Job("classifier", False, name, (224, 224), batch=n) for name in CLASSIFIERS for n in (1, 16)},
}


# this library ---------------------------------------------------------------------------------------------------------


def ours(job: Job, engine: str, timer: Timer) -> Side:
    """The job as `videre predict` and `videre train` run it; engine: see `Predictor`; a training has no "compile"."""
    from videre.engine.allocator import keep_memory

    keep_memory()
    if job.system == "classifier":
        return our_classes(job, engine, timer)
    if job.system == "dilated-fcn" and not job.training:
        return our_classes_of_pixels(job, engine, timer)
    if job.system == "dilated-fcn":
        return _our_training(*our_step(job), engine, timer, tune="all")
    model = _model(job)
    return (
        _our_training(model, *_step(job, model), engine, timer)
        if job.training
        else predictions(job, model, engine, timer)
    )


def predictions(job: Job, model: Model, engine: str, timer: Timer) -> Side:
    """Predictions of any detector of ours."""
    from videre.images.prepare import prepare
    from videre.predict import Predictor

    predictor = Predictor(model, device="cpu", engine=engine)
    detector = getattr(predictor.running, "detector", predictor.running)
    for owner, method, name in (
        (detector.backbone, "forward", "backbone"),
        *([(detector.neck, "forward", "pyramid")] if hasattr(detector, "neck") else []),
        *([(detector.rpn, "propose", "proposals")] if hasattr(detector, "rpn") else []),
        (predictor.running, "forward", "heads"),
        (predictor.model, "postprocess", "results"),
    ):
        timer.watch(owner, method, name)
    image = picture(job.size)

    def run() -> Answer:
        with timer.part("preparing"):
            batch = prepare(image, model.preprocess)
        found = predictor.run(batch)[0].instances
        assert found is not None and found.boxes is not None and found.scores is not None
        return {"boxes": found.boxes.tolist(), "scores": found.scores.tolist()}

    return run


def _step(job: Job, model: Model) -> tuple[ImageBatch, list[Any]]:
    """Pictures and targets of a detector's training step."""
    from videre.images.prepare import prepare, prepare_truth

    batches = [prepare(picture(job.size, i), model.preprocess, i) for i in range(job.batch)]
    truths = [prepare_truth(truth(job.size, job.classes, i), batch) for i, batch in enumerate(batches)]
    return ImageBatch.cat(batches), [model.target(truth) for truth in truths]


def _our_training(
    model: Model, batch: ImageBatch, targets: list[Any], engine: str, timer: Timer, tune: str = "many"
) -> Side:
    from videre.engine.plan import Plan
    from videre.train.optimizer import choose_trained, make_optimizer
    from videre.train.recipe import Recipe
    from videre.train.step import LossModule, Step

    plan = Plan.here()
    precision = plan.precision(torch.device("cpu")) if engine == "auto" else engine
    model = model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    recipe = Recipe(optimizer="sgd", lr=1e-4, tune=tune)
    choose_trained(model, recipe)
    optimizer = make_optimizer(model, recipe)
    step = Step(LossModule(model), optimizer, [], precision, None if engine == "plain" else plan)

    def run() -> Answer:
        with timer.part("forward"):
            loss = torch.stack(list(step.forward(batch, targets).values())).sum()
        plan.save()
        return _update(loss, optimizer, timer)

    return run


def _model(job: Job) -> Model:
    things = Categories.of(["person"] if job.classes == 1 else [f"class {i}" for i in range(job.classes)])
    schema = Schema(things=things, skeleton=COCO_PERSON)
    preprocess = Preprocess(short_side=job.short_side, long_side=job.long_side, antialias=False)
    wide: dict[str, Any] = {"width": 256, "hidden": 1024} if job.backbone != "resnet50" else {}
    torch.manual_seed(0)
    options = wide | SETTINGS.get(job.system, {})
    model = find_model(job.system)(schema, preprocess, backbone=job.backbone, **options)  # type: ignore[call-arg]
    if not job.training:
        draw_weights(model, BACKGROUND[job.system])
    return model


# torchvision ----------------------------------------------------------------------------------------------------------


def torchvisions(job: Job, timer: Timer) -> Side:
    """The same with torchvision's own models, eager and in float32, as its documentation shows them."""
    if job.system == "classifier":
        return their_classes(job, timer)
    if job.system == "dilated-fcn" and not job.training:
        return their_classes_of_pixels(job, timer)
    if job.system == "dilated-fcn":
        return _stepping(*their_step(job), timer)
    images = [torch.from_numpy(picture(job.size, i)).permute(2, 0, 1) for i in range(job.batch)]
    peer = _peer(job)
    if job.backbone == "resnet50":  # torchvision has no detector on MobileNetV2 whose names could be mapped
        model = _model(job)
        is_retinanet = job.system == "retinanet"
        peer.load_state_dict(
            one_stage_to_torchvision(model, peer.state_dict()) if is_retinanet else to_torchvision(model)
        )
    if job.training:
        return _their_training(job, peer.train(), images, timer)
    peer.eval()
    for owner, method, name in (
        (peer.transform, "forward", "preparing"),
        (peer.backbone.body, "forward", "backbone"),
        (peer.backbone.fpn, "forward", "pyramid"),
        *([(peer.rpn, "forward", "proposals")] if hasattr(peer, "rpn") else []),
        (peer.roi_heads if hasattr(peer, "roi_heads") else peer.head, "forward", "heads"),
        (peer.transform, "postprocess", "results"),
    ):
        timer.watch(owner, method, name)

    def run() -> Answer:
        with torch.inference_mode():
            found = peer(images)[0]
        return {"boxes": found["boxes"].tolist(), "scores": found["scores"].tolist()}

    return run


def _their_training(job: Job, peer: Any, images: list[Tensor], timer: Timer) -> Side:
    targets = []
    for i in range(job.batch):
        true = truth(job.size, job.classes, i).instances
        assert true is not None and true.labels is not None
        targets.append({"boxes": true.boxes, "labels": true.labels + 1})
    return _stepping(peer, lambda: torch.stack(list(peer(images, targets).values())).sum(), timer)


def _stepping(peer: Any, loss_of: Callable[[], Tensor], timer: Timer) -> Side:
    """Steps of one of torchvision's models."""
    optimizer = torch.optim.SGD([p for p in peer.parameters() if p.requires_grad], 1e-4, 0.9)

    def run() -> Answer:
        with timer.part("forward"):
            loss = loss_of()
        return _update(loss, optimizer, timer)

    return run


def _peer(job: Job) -> Any:
    from torchvision.models import mobilenet_v2
    from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
    from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    torch.manual_seed(0)
    is_retinanet = job.system == "retinanet"
    levels: Any = {"returned_layers": [2, 3, 4], "extra_blocks": LastLevelP6P7(256, 256)} if is_retinanet else {}
    if job.backbone == "resnet50":
        backbone = resnet_fpn_backbone(
            backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3, **levels
        )
    else:
        body = mobilenet_v2(weights=None, norm_layer=FrozenBatchNorm2d).features
        for layer in body[:2]:  # the stem and the first stage
            layer.requires_grad_(False)
        taps = {"3": "0", "6": "1", "13": "2", "18": "3"}
        backbone = BackboneWithFPN(body, taps, [24, 32, 96, 1280], 256)
        for name, buffer in body.named_buffers():
            if name.endswith("running_var"):
                buffer.fill_(1.0)
    kinds = {"faster-rcnn": FasterRCNN, "mask-rcnn": MaskRCNN, "keypoint-rcnn": KeypointRCNN, "retinanet": RetinaNet}
    kind = kinds[job.system]
    return kind(backbone, job.classes + 1, min_size=job.short_side, max_size=job.long_side)


def _update(loss: Tensor, optimizer: torch.optim.Optimizer, timer: Timer) -> Answer:
    with timer.part("backward"):
        loss.backward()
    with timer.part("update"):
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {"loss": [loss.item()]}
