"""Predictor: a trained model and any pictures in, scenes in the pictures' own pixels out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from videre.engine import loading
from videre.engine.device import choose_device
from videre.engine.fuse import make_fast
from videre.engine.plan import Plan
from videre.errors import ConfigError, DataError, VidereError
from videre.images.prepare import prepare
from videre.images.reading import as_picture
from videre.models.base import Model
from videre.predict.proposals import Proposer
from videre.predict.sources import is_clip, is_one_picture, pictures_from
from videre.predict.views import Views, check_views, look
from videre.structures import AnyClip, ImageBatch, Scene
from videre.structures.limits import Limits
from videre.zoo.weights import load_model

Order = Literal["rgb", "bgr"]
READERS = 2
"""Threads that read and prepare pictures while the net runs."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What came of one picture: the picture and its scene, or the reason why there is none."""

    name: str
    picture: np.ndarray | AnyClip | None
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
        self,
        model: Model,
        device: str = "auto",
        batch: int | None = None,
        engine: str = "auto",
        plan: Plan | None = None,
        views: Views | None = None,
    ) -> None:
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
        return self.model.shown_from((schema.pictures if "labels" in self.model.gives else schema.things) or ())

    @contextlib.contextmanager
    def limited(self, limits: Limits) -> Iterator[None]:
        """Inside, the model gives as many things, from such a score on."""
        before = self.model.limits
        try:
            self.model.limits = self.running.limits = limits
            yield
        finally:
            self.model.limits = self.running.limits = before

    def predict(
        self,
        source: Any,
        threshold: float | None = None,
        order: Order = "rgb",
        given: Scene | Sequence[Scene] | Mapping[str, Scene] | None = None,
    ) -> Scene | list[Scene]:
        """One scene for one picture; a list of scenes, in order, for everything that may hold several.

        Args:
            source: one picture (path, array [H, W] or [H, W, C], tensor [C, H, W], Pillow image) gives a Scene; a
                folder, glob, clip, list, or array of pictures [B, H, W, C] gives a list, also when there is one in it.
            threshold: least score; None: the model's own per class, or 0.5 (of a classifier of single labels: the
                likeliest class); 0: everything.
            order: of the channels of arrays and tensors: "bgr" for what OpenCV reads. A fourth channel that the net does
                not take is transparency, and composited on white, as of files.
            given: what the model takes beside the picture, in its own pixels: a scene for one picture, one a picture in
                their order, or by their names.

        Raises:
            DataError: a picture cannot be read, or what the model takes is not given. To go on after a broken one, use
            `stream`.
        """
        scenes = []
        one = is_one_picture(source) or (self.model.preprocess.frames is not None and is_clip(source))
        for prediction in self._stream(with_given(self._items(source), given), threshold, order, 0 if one else READERS):
            if prediction.scene is None:
                raise DataError(prediction.error or prediction.name)
            scenes.append(prediction.scene)
        return scenes[0] if one else scenes

    def _items(self, source: Any) -> Iterator[tuple[str, Any]]:
        return pictures_from(source, frames=self.model.preprocess.frames)

    def stream(
        self,
        pictures: Iterable[tuple[str, Any] | tuple[str, Any, Scene | None]],
        threshold: float | None = None,
        order: Order = "rgb",
    ) -> Iterator[Prediction]:
        """A prediction for each (name, picture or function that reads it, and what is given), in order, in constant memory.

        `threshold` and `order` are as in `predict`; what a function reads is RGB. A picture that cannot be read gives a
        `Prediction` with its error; the others go on. Files, and what functions read, are read and prepared a few ahead on threads
        while the net runs.
        """
        yield from self._stream(pictures, threshold, order, READERS)

    def _stream(
        self, pictures: Iterable[tuple[Any, ...]], threshold: float | None, order: Order, readers: int
    ) -> Iterator[Prediction]:
        waiting: list[tuple[str, Any, ImageBatch]] = []
        with contextlib.closing(self._prepared(pictures, order, readers)) as prepared:
            for item in prepared:
                if isinstance(item, Prediction):
                    yield from self._run(waiting, threshold)
                    waiting = []
                    yield item
                    continue
                if waiting and waiting[-1][2].image.shape != item[2].image.shape:
                    yield from self._run(waiting, threshold)
                    waiting = []
                waiting.append(item)
                if len(waiting) == self.batch:
                    yield from self._run(waiting, threshold)
                    waiting = []
        yield from self._run(waiting, threshold)

    def _prepared(
        self, pictures: Iterable[tuple[Any, ...]], order: Order, readers: int
    ) -> Generator[Prediction | tuple[str, Any, ImageBatch], None, None]:
        """What the net runs on, or why there is none, in order.

        Pictures in memory are not asked for ahead: they may come from a camera, and share one buffer. Nor is a method of proposals
        that runs a net of its own started on other threads.
        """
        prepare = functools.partial(self._prepare, order=order)
        for is_read, group in itertools.groupby(
            pictures, lambda item: callable(item[1]) or isinstance(item[1], str | Path)
        ):
            with contextlib.closing(
                loading.load(group, prepare, 0 if self.finds or not is_read else readers, _name)
            ) as made:
                yield from made

    def _prepare(self, item: tuple[Any, ...], order: Order) -> Prediction | tuple[str, Any, ImageBatch]:
        name, source, *rest = item
        try:
            picture = source() if callable(source) else self._as_rgb(source, order)
            return name, picture, prepare(picture, self.model.preprocess, given=self.given_of(name, picture, *rest))
        except VidereError as error:
            reason = str(error)
            return Prediction(name, None, None, reason if name in reason else f"{name}: {reason}")

    @torch.inference_mode()
    def run(self, batch: ImageBatch) -> list[Scene]:
        """The scenes of prepared pictures, everything above the model's own floor.

        Raises ConfigError for a model that does not give one scene a picture.
        """
        batch = batch.to(self.device)
        found = self.running(batch) if self.views.is_plain else look(self.running, batch, self.views)
        self.plan.save()
        scenes = self.model.postprocess(self.model.decode(found, batch), batch)
        if len(scenes) != len(batch):
            raise ConfigError(
                f"{type(self.model).__name__}.postprocess gave {len(scenes)} scenes for {len(batch)} pictures"
            )
        return scenes

    @property
    def finds(self) -> frozenset[str]:
        """Fields that the model takes and that are found where they are not given."""
        return frozenset(self.model.finders)

    def propose_by(self, method: str) -> None:
        """Find proposals by another method than the model's own. ConfigError where the model takes none."""
        self.model.find_by("proposals", method)
        self.__dict__.pop("_proposer", None)

    @functools.cached_property
    def _proposer(self) -> Proposer:
        return Proposer(self.model.finders["proposals"], str(self.device))

    def given_of(self, name: str, picture: Any, scene: Scene | None = None) -> Scene | None:
        """What the model takes and accepts, and nothing else; None where it takes nothing. DataError where it is missing."""
        kind = type(self.model)
        if not kind.takes | kind.accepts:
            return None
        if "proposals" in self.finds and (scene is None or scene.proposals is None):
            found = self._proposer(picture)
            scene = found if scene is None else scene.joined(found)
        missing = sorted(field for field in kind.takes if scene is None or not scene.has(field))
        if missing:
            raise DataError(
                f"{name}: a {kind.__name__} takes {', '.join(sorted(kind.takes))} beside the picture, and "
                f"{', '.join(missing)} is not given (--given FILE, or given=)"
            )
        return None if scene is None else scene.only(kind.takes | kind.accepts)

    def _as_rgb(self, value: Any, order: Order) -> Any:
        """A picture in memory as files are read."""
        if isinstance(value, AnyClip):
            return value
        picture = as_picture(value)
        if isinstance(value, str | Path | Image.Image):  # they know their own order
            return picture
        transparent = picture.shape[2] == 4 and len(self.model.preprocess.mean) < 4
        return as_picture(picture, f"{order}a" if transparent else order)  # type: ignore[arg-type]

    def _run(self, waiting: list[tuple[str, Any, ImageBatch]], threshold: float | None) -> Iterator[Prediction]:
        if not waiting:
            return
        scenes = self.run(ImageBatch.cat([b for _, _, b in waiting]))
        for (name, picture, _), scene in zip(waiting, scenes, strict=True):
            scene = scene.replace_unchecked(meta={"path": name})
            yield Prediction(name, picture, self.model.decide(scene, threshold))


def _name(item: tuple[Any, ...]) -> str:
    return str(item[0])


def with_given(
    pictures: Iterable[tuple[str, Any]], given: Scene | Sequence[Scene] | Mapping[str, Scene] | None
) -> Iterator[tuple[str, Any, Scene | None]]:
    """Each picture with what is given of it: by its name, the end of its path, or its place.

    Raises DataError where a sequence has another length, or several names are the end of a picture's path.
    """
    if isinstance(given, Mapping):
        ends: dict[str, list[str]] = {}
        for name in given:
            ends.setdefault(Path(name).name, []).append(name)
        for name, picture in pictures:
            yield name, picture, given.get(end_like(name, ends.get(Path(name).name, [])))
        return
    in_order = None if given is None else iter([given] if isinstance(given, Scene) else given)
    for name, picture in pictures:
        scene = None if in_order is None else next(in_order, None)
        if in_order is not None and scene is None:
            raise DataError(f"{name}: nothing is given of it; there are fewer scenes than pictures")
        yield name, picture, scene
    if in_order is not None and next(in_order, None) is not None:
        raise DataError("more scenes are given than there are pictures")


def end_like(name: str, known: Sequence[str]) -> str:
    """Which of the known names, all with the same last part, is that of a picture; the longest common end decides."""
    if len(known) < 2:
        return known[0] if known else name
    pairs = {other: zip(Path(name).parts[::-1], Path(other).parts[::-1], strict=False) for other in known}
    common = {other: len(list(takewhile(lambda pair: pair[0] == pair[1], ends))) for other, ends in pairs.items()}
    best = [other for other in known if common[other] == max(common.values())]
    if len(best) > 1:
        raise DataError(f"{name}: it is not clear what is given of it; {' and '.join(best[:2])} both end like it")
    return best[0]


def load(
    source: str | Path,
    device: str = "auto",
    batch: int | None = None,
    engine: str = "auto",
    plan: Plan | None = None,
    views: Views | None = None,
) -> Predictor:
    """A predictor from a checkpoint file, the name of one in the wheel (see `videre models`), or of an official one.

    Published weights of a backbone are the classifier of ImageNet's classes that they were trained as. The other arguments
    are those of `Predictor`.

    Raises WeightsError when there is no such thing, or the file is damaged.
    """
    return Predictor(load_model(source), device, batch, engine, plan, views)
