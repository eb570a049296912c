"""Segmentation as a row of the table: a picture of 480x640 through torchvision's `fcn_resnet50`, and a step of its training."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from videre.images.prepare import prepare
from videre.models.segment.dilated import AUXILIARY_WEIGHT, DilatedFCN
from videre.structures import VOC_PIXELS, ImageBatch, Preprocess, Schema
from videre.studies.speed.job import Answer, Job, Side, Timer
from videre.studies.speed.rule import draw_weights, picture

SAMPLED = 8
"""Every so many-th pixel, along each side, is compared."""


def segmenter(job: Job) -> DilatedFCN:
    """The model of a job, its weights drawn by the rule."""
    torch.manual_seed(0)
    preprocess = Preprocess(short_side=None, long_side=None, divisor=1)
    norm = "batch" if job.training else "frozen"  # as torchvision's reference training has it
    model = DilatedFCN(Schema(pixels=VOC_PIXELS), preprocess, backbone=job.backbone, norm=norm, corners=False)
    draw_weights(model, 0.0)
    return model.eval()


def truth(job: Job, index: int) -> torch.Tensor:
    """Classes of a picture's pixels [H, W]: blocks of a sixteenth of each side."""
    generator = torch.Generator().manual_seed(index)
    coarse = torch.randint(len(VOC_PIXELS), (1, 1, 16, 16), generator=generator).float()
    return F.interpolate(coarse, job.size, mode="nearest")[0, 0].to(torch.uint8)


def our_classes_of_pixels(job: Job, engine: str, timer: Timer) -> Side:
    """As `videre predict` runs it."""
    from videre.predict import Predictor

    model = segmenter(job)
    predictor = Predictor(model, device="cpu", engine=engine)
    timer.watch(predictor.running, "forward", "net")
    timer.watch(predictor.model, "postprocess", "results")
    image = picture(job.size)

    def run() -> Answer:
        with timer.part("preparing"):
            batch = prepare(image, model.preprocess)
        classes = predictor.run(batch)[0].segmentation
        assert classes is not None
        return {"pixels": classes[::SAMPLED, ::SAMPLED].flatten().tolist()}

    return run


def their_classes_of_pixels(job: Job, timer: Timer) -> Side:
    """The same with torchvision's own model, eager and in float32."""
    from torchvision.transforms.functional import normalize

    model = segmenter(job)
    peer = _peer(model).eval()
    timer.watch(peer, "forward", "net")
    image = torch.from_numpy(picture(job.size)).permute(2, 0, 1)

    def run() -> Answer:
        with torch.inference_mode():
            with timer.part("preparing"):
                batch = normalize(image, list(model.preprocess.mean), list(model.preprocess.std))[None]
            classes = peer(batch)["out"][0].argmax(0)
        return {"pixels": classes[::SAMPLED, ::SAMPLED].flatten().tolist()}

    return run


def our_step(job: Job) -> tuple[DilatedFCN, ImageBatch, list[torch.Tensor]]:
    """Model, pictures and targets of a training step."""
    model = segmenter(job)
    batch = ImageBatch.cat([prepare(picture(job.size, i), model.preprocess, i) for i in range(job.batch)])
    return model, batch, [truth(job, i) for i in range(job.batch)]


def their_step(job: Job) -> tuple[Any, Any]:
    """torchvision's model, and what computes its loss, as its reference training does."""
    peer = _peer(segmenter(job)).train()
    images = torch.stack([torch.from_numpy(picture(job.size, i)).permute(2, 0, 1) for i in range(job.batch)])
    target = torch.stack([truth(job, i).long() for i in range(job.batch)])

    def loss() -> torch.Tensor:
        found = peer(images)
        return F.cross_entropy(found["out"], target) + AUXILIARY_WEIGHT * F.cross_entropy(found["aux"], target)

    return peer, loss


def _peer(model: DilatedFCN) -> Any:
    """torchvision's net with our weights and, as its users have it, batch norms."""
    from torchvision.models.segmentation import fcn_resnet50

    peer = fcn_resnet50(weights=None, weights_backbone=None, num_classes=len(VOC_PIXELS), aux_loss=True)
    missing = peer.load_state_dict(model.state_dict(), strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing), missing[:3]
    return peer
