"""Fast R-CNN: the net looks at the picture once, and each proposal is read off its map.

Girshick, Fast R-CNN, 2015. Proposals are given, by whatever method (`videre proposals`); the convolutions run over the whole
picture; RoI pool (or RoI align) makes a small map of each proposal, of which two fully connected layers say the class and move
the box, both trained at once. Background is the last class column and never a label.

    model = FastRCNN(Schema(things=Categories.of(["cell"])), backbone="mobilenet_v2")
    losses = model.losses(batch, truths)          # batch.given has the proposals; class and box
    scenes = model.postprocess(model(batch), batch)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from videre.backbones import LIGHT, backbone_of
from videre.backbones.base import load_layers
from videre.backbones.vgg import VGG
from videre.errors import ConfigError
from videre.layers.assignments import Assignment
from videre.layers.box_head import BoxHead, TwoLayers, as_scenes, truncate, weigh_classes
from videre.layers.fpn import FeaturePyramid
from videre.layers.roi_pooler import POOLS, RoIPooler
from videre.layers.roi_targets import BoxTarget, best_proposals
from videre.models.base import Model, Outputs, Rows, picture_generators
from videre.models.detect.ranges import check_ranges
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits


class FastRCNN(Model):
    """Boxes and classes of things among given proposals.

    Args:
        schema: needs `things`. preprocess: None: short side 800, long side at most 1333, ImageNet normalisation; the paper has
            600 and 1000.
        proposals: the method that finds proposals where none are given: a system (see `videre models`), or "" for none.
        most: proposals that are looked at, the best of those given: (training, prediction).
        backbone: a name of `videre.backbones`. norm, padding, norm_eps (None: as published), multiplier: of the backbone.
        strides: backbone maps that are used: one, as in the paper, or several, with a feature pyramid over them.
        width: channels of the pyramid; None: 256, or 128 for a light backbone.
        hidden: width of the two fully connected layers; None: 1024, or 512 for a light backbone (4096 in the paper).
        ranks: of each of these layers the singular values that are kept; 0: all. `videre compress` chooses them.
        roi: "pool" (the paper's) or "align" (He et al., Mask R-CNN, 2017). resolution: cells a side of what it gives.
        sampling_ratio: samples a side of each cell of RoI align; 0: as many as it has pixels. aligned: with the half pixel that
            the first RoI align left out.
        roi_batch: proposals sampled a picture; the paper samples 64 of each of 2 pictures. roi_positive: largest share of
            positives among them. background_low: least overlap of a sampled negative with a true box. The paper has .1, so that
            what touches nothing is never trained on, and is taken for a thing where proposals are many (docs/history.md).
        score_threshold, nms, max_detections: of detections; NMS at .3 in the paper's code.
        class_weights: weight of a class in the classification loss, by name ("background" too); 1 where absent.
    """

    takes = frozenset({"proposals"})
    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})
    mixes_formats = True
    recipe_from_weights: ClassVar[Mapping[str, Any]] = {"backbone_lr": 0.2}  # docs/history.md

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        proposals: str = "selective-search",
        most: Sequence[int] = (2000, 2000),
        backbone: str = "resnet50",
        norm: str = "frozen",
        padding: str = "half",
        norm_eps: float | None = None,
        multiplier: float = 1.0,
        strides: Sequence[int] = (16,),
        width: int | None = None,
        hidden: int | None = None,
        ranks: Sequence[int] = (0, 0),
        roi: str = "pool",
        resolution: int = 7,
        sampling_ratio: int = 2,
        aligned: bool = True,
        roi_batch: int = 64,
        roi_positive: float = 0.25,
        background_low: float = 0.0,
        score_threshold: float = 0.05,
        nms: float = 0.3,
        max_detections: int = 100,
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess)
        check_ranges(self.config)
        self.limits = Limits(score_threshold, max_detections)
        if schema.things is None:
            raise ConfigError("Fast R-CNN finds things: the schema must name their categories (schema.things)")
        if roi not in POOLS:
            raise ConfigError(f"roi must be one of {', '.join(POOLS)}, found {roi!r}")
        self.most, self.strides, light = tuple(most), tuple(strides), backbone in LIGHT
        self.backbone = backbone_of(
            backbone,
            channels=len(self.preprocess.mean),
            norm=norm,
            padding=padding,
            norm_eps=norm_eps,
            multiplier=multiplier,
            last=max(strides),
        )
        channels = {s: self.backbone.channels[s] for s in strides}
        self.neck = FeaturePyramid(channels, width or (128 if light else 256), "none") if len(strides) > 1 else None
        inputs = channels[strides[0]] if self.neck is None else self.neck.width
        body = TwoLayers(inputs * resolution**2, hidden or (512 if light else 1024), ranks)
        self.box_head = BoxHead(
            RoIPooler(strides, resolution, sampling_ratio, aligned, maximum=roi == "pool"),
            body,
            body.width,
            len(schema.things),
            batch=roi_batch,
            positive=roi_positive,
            nms_threshold=nms,
            class_weights=weigh_classes(class_weights or {}, schema.things),
            background_low=background_low,
            beta=1.0,
        )
        nn.init.normal_(self.box_head.scores.weight, std=0.01)
        nn.init.normal_(self.box_head.deltas.weight, std=0.001)
        for layer in (self.box_head.scores, self.box_head.deltas):
            nn.init.zeros_(layer.bias)

    def start_from(self, tensors: dict[str, Tensor]) -> list[str]:
        """The backbone's tensors; on one map of a VGG also its fully connected layers, where the widths are the published ones."""
        body, unused = self.box_head.body, super().start_from(tensors)
        if not isinstance(self.backbone, VGG) or not isinstance(body, TwoLayers):
            return unused
        return load_layers(dict(zip(VGG.TOP, (body.fc1, body.fc2), strict=True)), tensors, unused)

    def features(self, image: Tensor) -> list[Tensor]:
        """Pictures [B, C, H, W] to the maps that proposals are read from, finest first."""
        maps = self.backbone(image)
        found = [maps[stride] for stride in self.strides]
        return found if self.neck is None else self.neck(found)[: len(found)]

    def forward(self, batch: ImageBatch) -> Outputs:
        """Detections of all pictures, best first a picture: boxes [D, 4], scores, labels, and the picture [D] of each."""
        return self.box_head.detect(self.features(batch.image), self.given(batch), batch, self.limits)

    def given(self, batch: ImageBatch) -> list[Tensor]:
        """The best proposals [P, 4] of each picture."""
        return best_proposals(batch, self.most[0 if self.training else 1])

    def target(self, truth: Scene) -> BoxTarget:
        """The true boxes that are trained on."""
        return BoxTarget.of(truth)

    def losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """class and box."""
        targets = [target.to(batch.image.device) for target in targets]
        samples = self.box_head.sample(self.given(batch), targets, picture_generators(batch))
        return self.box_head.losses(self.features(batch.image), samples, targets)

    def assignments(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> list[Assignment]:
        """Of the first picture: what the given proposals are trained on."""
        return [self.box_head.assignment(self.given(batch)[0], targets[0], picture_generators(batch)[0])]

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections in the pixels of the original pictures, clipped to them."""
        return as_scenes(outputs, batch)

    def compressed(self, ranks: Sequence[int]) -> FastRCNN:
        """The same net with its two fully connected layers at these ranks (0: as they are).

        Raises ConfigError for a rank that is not less than the layer's own, and where they are compressed already.
        """
        body = self.box_head.body
        layers = {"fc1": body.fc1, "fc2": body.fc2}
        state = self.state_dict()
        for (name, layer), rank in zip(layers.items(), ranks, strict=True):
            if not rank:
                continue
            if not isinstance(layer, nn.Linear):
                raise ConfigError(f"{name} has been compressed already; compress the model that it was made of")
            if rank >= min(layer.weight.shape):
                raise ConfigError(
                    f"{name} is {list(layer.weight.shape)}, of rank {min(layer.weight.shape)}; found {rank}"
                )
            for old in ("weight", "bias"):
                state.pop(f"box_head.body.{name}.{old}")
            state |= {f"box_head.body.{name}.{key}": value for key, value in truncate(layer, rank).items()}
        made = type(self)(self.schema, self.preprocess, **{**self.config, "ranks": list(ranks)})
        made.load_state_dict(state)
        made.thresholds = dict(self.thresholds)
        return made.eval()

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the box head; background is the row after them."""
        return {name: Rows("things", each) for name, each in self.box_head.named_rows("box_head").items()}
