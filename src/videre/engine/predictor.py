"""Predictor: a trained model and any pictures in, scenes in the pictures' own pixels out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from videre.engine.device import choose_device
from videre.engine.fuse import make_fast
from videre.engine.plan import Plan
from videre.engine.sources import is_one_picture, pictures_from
from videre.engine.views import Views, check_views, look
from videre.engine.weights import find_weights
from videre.errors import DataError, VidereError
from videre.images.prepare import prepare
from videre.images.reading import as_picture
from videre.models.base import Model
from videre.models.checkpoint import Checkpoint
from videre.models.classify.published import published_classifier
from videre.structures import ImageBatch, Scene

Order = Literal["rgb", "bgr"]
DEFAULT_THRESHOLD = 0.5
"""Least score shown where a model has no thresholds of its own."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What came of one picture: the picture and its scene, or the reason why there is none."""

    name: str
    picture: np.ndarray | None
    scene: Scene | None
    error: str | None = None


class Predictor:
    """Runs a model on pictures.

    Args:
        model: any model; set to eval mode and moved to the device.
        device: "auto", "cpu", "cuda", "mps".
        batch: pictures of equal padded size run together, at most this many; None: 1 on a CPU, 8 elsewhere.
        engine: "auto" fuses the layers, in the number format that is faster here; "fp32" and "bf16" say which; "compile"
            hands them to torch.compile; "plain" runs the model as it was trained. See docs/speed.md.
        plan: which algorithm each layer runs; None: what was found on this machine before.
        views: of a segmenter: pictures looked at mirrored, at other scales, in tiles. None: once, as they are.

    Attributes:
        running: the model that answers: the fused copy, or `model` itself.

    Example:
        predictor = videre.load("run/best.safetensors")
        scene = predictor.predict("one.png")
        scenes = predictor.predict("folder")
    """

    def __init__(
        self, model: Model, device: str = "auto", batch: int | None = None, engine: str = "auto",
        plan: Plan | None = None, views: Views | None = None,
    ) -> None:  # fmt: skip
        self.views = views or Views()
        check_views(model, self.views)
        self.device = choose_device(device)
        self.model = model.eval().to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.plan = plan or Plan.here()
        self.running = make_fast(self.model, engine, self.plan, self.device)
        self.batch = batch or (1 if self.device.type == "cpu" else 8)

    @property
    def thresholds(self) -> dict[str, float]:
        """Least score of each class that is shown: the model's own, 0.5 where it has none."""
        schema = self.model.schema
        classes = schema.pictures if "labels" in self.model.gives else schema.things
        return {n: self.model.thresholds.get(n, DEFAULT_THRESHOLD) for n in classes or ()}

    def predict(self, source: Any, threshold: float | None = None, order: Order = "rgb") -> Scene | list[Scene]:
        """One scene for one picture; a list of scenes, in order, for everything that may hold several.

        Args:
            source: one picture (path, array [H, W] or [H, W, C], tensor [C, H, W], Pillow image) gives a Scene; a
                folder, glob, clip, list, or array of pictures [B, H, W, C] gives a list, also when there is one in it.
            threshold: least score; None: the model's own per class, or 0.5 (of a classifier of single labels: the
                likeliest class); 0: everything.
            order: of the channels of arrays and tensors: "bgr" for what OpenCV reads. A fourth channel that the net does
                not take is transparency, and composited on white, as of files.

        Raises:
            DataError: a picture cannot be read. To go on after a broken one, use `stream`.
        """
        scenes = []
        for prediction in self.stream(pictures_from(source), threshold, order):
            if prediction.scene is None:
                raise DataError(prediction.error or prediction.name)
            scenes.append(prediction.scene)
        return scenes[0] if is_one_picture(source) else scenes

    def stream(
        self, pictures: Iterable[tuple[str, Any]], threshold: float | None = None, order: Order = "rgb"
    ) -> Iterator[Prediction]:
        """A prediction for each (name, picture or function that reads it), in order, in constant memory.

        `threshold` and `order` are as in `predict`; what a function reads is RGB. A picture that cannot be read gives a
        `Prediction` with its error; the others go on.
        """
        waiting: list[tuple[str, np.ndarray, ImageBatch]] = []
        for name, source in pictures:
            try:
                picture = source() if callable(source) else self._as_rgb(source, order)
                prepared = prepare(picture, self.model.preprocess)
            except VidereError as error:
                yield from self._run(waiting, threshold)
                waiting = []
                reason = str(error)
                yield Prediction(name, None, None, reason if name in reason else f"{name}: {reason}")
                continue
            if waiting and waiting[-1][2].image.shape != prepared.image.shape:
                yield from self._run(waiting, threshold)
                waiting = []
            waiting.append((name, picture, prepared))
            if len(waiting) == self.batch:
                yield from self._run(waiting, threshold)
                waiting = []
        yield from self._run(waiting, threshold)

    @torch.inference_mode()
    def run(self, batch: ImageBatch) -> list[Scene]:
        """The scenes of prepared pictures, everything above the model's own floor."""
        batch = batch.to(self.device)
        found = self.running(batch) if self.views.is_plain else look(self.running, batch, self.views)
        self.plan.save()
        return self.model.postprocess(found, batch)

    def _as_rgb(self, value: Any, order: Order) -> np.ndarray:
        """A picture in memory as files are read."""
        picture = as_picture(value)
        if isinstance(value, str | Path | Image.Image):  # they know their own order
            return picture
        transparent = picture.shape[2] == 4 and len(self.model.preprocess.mean) < 4
        return as_picture(picture, f"{order}a" if transparent else order)  # type: ignore[arg-type]

    def _run(self, waiting: list[tuple[str, np.ndarray, ImageBatch]], threshold: float | None) -> Iterator[Prediction]:
        if not waiting:
            return
        for (name, picture, _), scene in zip(waiting, self.run(ImageBatch.cat([b for _, _, b in waiting]))):
            scene = scene.replace(meta={"path": name})
            yield Prediction(name, picture, self._decide(scene, threshold))

    def _decide(self, scene: Scene, threshold: float | None) -> Scene:
        """Only what reaches the threshold, of its class where it has one; of classes that exclude each other the best."""
        if scene.labels is not None and scene.label_scores is not None:
            if threshold is None and not self.model.config.get("multilabel"):
                kept = torch.arange(len(scene.labels)) == 0
            elif threshold is None:
                kept = scene.label_scores >= torch.tensor(list(self.thresholds.values()))[scene.labels]
            else:
                kept = scene.label_scores >= threshold
            scene = scene.replace(labels=scene.labels[kept], label_scores=scene.label_scores[kept])
        things, classes = scene.instances, self.model.schema.things
        if things is None or things.scores is None:
            return scene
        least = torch.tensor(DEFAULT_THRESHOLD if threshold is None else threshold)
        if threshold is None and things.labels is not None and classes is not None:
            least = torch.tensor(list(self.thresholds.values()))[things.labels]
        return scene.select(things.scores >= least)


def load(
    source: str | Path,
    device: str = "auto",
    batch: int | None = None,
    engine: str = "auto",
    plan: Plan | None = None,
    views: Views | None = None,
) -> Predictor:
    """A predictor from a checkpoint file, the name of one in the wheel (see `videre models`), or of an official one.

    Published weights of a backbone are the classifier of ImageNet's classes that they were trained as. The other arguments are those of `Predictor`.

    Raises WeightsError when there is no such thing, or the file is damaged.
    """
    found = find_weights(source)
    model = found.build() if isinstance(found, Checkpoint) else published_classifier(*found)
    return Predictor(model, device, batch, engine, plan, views)
