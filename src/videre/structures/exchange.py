"""Scenes in the forms of two other libraries: supervision's `Detections`, and torchvision's dictionaries of tensors.

Pixels. Boxes are the same in all three: x1, y1, x2, y2 in continuous pixels, the first pixel from 0 to 1, masks bitmaps of the
picture. Keypoints are not: torchvision takes them as COCO's files have them, where (0, 0) is the middle of the first pixel,
which is (0.5, 0.5) here. Half a pixel is taken off on the way there and added on the way back.

Labels. supervision counts from 0, as here; torchvision from 1, since its 0 is the background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videre.errors import ConfigError, DataError, ShapeError
from videre.structures.instances import Instances
from videre.structures.masks import Masks
from videre.structures.scene import Scene

HALF = 0.5
"""From the corner of a pixel to its middle."""
SURE = 1e-6
"""Keypoint scores nearer to 0 and 1 than this have no finite logit."""
NOTHING = Instances(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))
"""The things of a scene that says nothing of things."""


def to_supervision(scene: Scene, names: Sequence[str] | None = None) -> Any:
    """The things as a `supervision.Detections`: boxes (of the masks where there are none), masks bool [N, H, W], scores and
    labels; in `data` the class names, and which are ignored.

    Args:
        names: of the classes, `schema.things`.

    Raises ConfigError where supervision is not installed.
    """
    try:
        import supervision
    except ImportError:
        raise ConfigError("supervision is not installed here: pip install supervision") from None
    return supervision.Detections(**detections(scene, names))


def detections(scene: Scene, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The arrays that `supervision.Detections` is made of."""
    things = NOTHING if scene.instances is None else scene.instances
    data: dict[str, Any] = {}
    if names is not None and things.labels is not None:
        data["class_name"] = np.array([names[k] for k in things.labels.tolist()], dtype=str)
    if things.ignore is not None:
        data["ignore"] = things.ignore.numpy()
    return {
        "xyxy": _boxes(scene, things).numpy().astype(np.float32),
        "mask": None if things.masks is None else things.masks.bitmaps().numpy().astype(bool),
        "confidence": None if things.scores is None else things.scores.numpy(),
        "class_id": None if things.labels is None else things.labels.numpy().astype(int),
        "data": data,
    }


def from_supervision(found: Any, size: tuple[int, int], names: Sequence[str] | None = None) -> Scene:
    """A scene from a `supervision.Detections`, or what has its attributes.

    Args:
        size: height, width of the picture. names: of our classes; then the detections' own names say which is which,
            where they have any, and their numbers where they have none.

    Raises DataError for a class that `names` does not have, ShapeError for masks of another size.
    """
    data = getattr(found, "data", None) or {}
    labels = None if found.class_id is None else torch.as_tensor(np.asarray(found.class_id, np.int64))
    said = data.get("class_name")
    if names is not None and said is not None:
        known = {name: label for label, name in enumerate(names)}
        unknown = sorted({str(name) for name in said} - known.keys())
        if unknown:
            raise DataError(
                f"detections of classes that are not known: {', '.join(unknown)}; known: {', '.join(known)}"
            )
        labels = torch.tensor([known[str(name)] for name in said], dtype=torch.int64)
    if names is not None and labels is not None and bool((labels >= len(names)).any()):
        raise DataError(f"detections have class {int(labels.max())}, there are {len(names)}: 0 to {len(names) - 1}")
    things = Instances(
        boxes=torch.as_tensor(np.asarray(found.xyxy, np.float32).reshape(-1, 4)),
        labels=labels,
        scores=None if found.confidence is None else torch.as_tensor(np.asarray(found.confidence, np.float32)),
        masks=None if found.mask is None else _masks(np.asarray(found.mask), size),
        ignore=torch.as_tensor(np.asarray(data["ignore"], bool)) if "ignore" in data else None,
    )
    return Scene(size, things)


def to_torchvision_dict(scene: Scene) -> dict[str, Any]:
    """The things as torchvision's detectors take and give them.

    Returns:
        boxes float32 [N, 4], labels int64 [N] from 1; masks uint8 [N, H, W]; keypoints float32 [N, J, 3]. Of a truth the
        third number of a keypoint is its visibility, and iscrowd int64 [N], area float32 [N] and image_id (where the
        picture's id is a number) go along. Of a prediction: scores [N] and keypoints_scores [N, J], which are logits there.
    """
    things = NOTHING if scene.instances is None else scene.instances
    boxes = _boxes(scene, things)
    found: dict[str, Any] = {"boxes": boxes}
    if things.labels is not None:
        found["labels"] = things.labels + 1
    if things.masks is not None:
        found["masks"] = things.masks.bitmaps()
    if things.keypoints is not None:
        shown = torch.ones(things.keypoints.shape[:2]) if things.visibility is None else things.visibility.float()
        places = (things.keypoints - HALF) * (shown > 0)[..., None]
        found["keypoints"] = torch.cat([places, shown[..., None]], 2)
    if things.keypoint_scores is not None:
        found["keypoints_scores"] = torch.logit(things.keypoint_scores, eps=SURE)
    if things.scores is not None:
        return found | {"scores": things.scores}
    crowd = torch.zeros(len(things), dtype=torch.int64) if things.ignore is None else things.ignore.long()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) if things.masks is None else things.masks.area()
    found |= {"iscrowd": crowd, "area": (areas if things.areas is None else things.areas).float()}
    identity = scene.meta.get("id")
    return found | ({"image_id": identity} if isinstance(identity, int) else {})


def from_torchvision_dict(found: Mapping[str, Any], size: tuple[int, int]) -> Scene:
    """A scene from a target of torchvision's detectors, or one of their predictions (with "scores").

    Masks of a prediction, float [N, 1, H, W], hold from 0.5 on. Of keypoints that are not labelled the place is kept as (0, 0).

    Args:
        size: height, width of the picture.

    Raises DataError for a thing labelled 0, the background, ShapeError for masks of another size.
    """
    labels = found.get("labels")
    if labels is not None:
        labels = torch.as_tensor(labels).long().cpu() - 1
        if bool((labels < 0).any()):
            raise DataError(f"thing {int((labels < 0).nonzero()[0])} has label 0, the background; classes begin at 1")
    fields: dict[str, Any] = {"labels": labels}
    if "boxes" in found:
        fields["boxes"] = torch.as_tensor(found["boxes"]).float().cpu().reshape(-1, 4)
    if (masks := found.get("masks")) is not None:
        dense = torch.as_tensor(masks).cpu()
        dense = dense[:, 0] if dense.ndim == 4 else dense
        fields["masks"] = _masks((dense >= 0.5 if dense.is_floating_point() else dense).numpy(), size)
    if (points := found.get("keypoints")) is not None:
        points = torch.as_tensor(points).float().cpu()
        shown, logits = points[..., 2].to(torch.uint8), found.get("keypoints_scores")
        fields["keypoints"] = points[..., :2] + HALF
        if logits is not None:
            fields["keypoint_scores"] = torch.as_tensor(logits).float().cpu().sigmoid()
        if "scores" not in found:
            fields["keypoints"] = fields["keypoints"] * (shown > 0)[..., None]
            fields["visibility"] = shown
    if "scores" in found:
        fields["scores"] = torch.as_tensor(found["scores"]).float().cpu()
    if "iscrowd" in found:
        fields["ignore"] = torch.as_tensor(found["iscrowd"]).bool().cpu()
    if "area" in found:
        fields["areas"] = torch.as_tensor(found["area"]).double().cpu()
    identity = found.get("image_id")
    identity = int(identity) if isinstance(identity, Tensor) else identity
    return Scene(size, Instances(**fields), meta={} if identity is None else {"id": identity})


def _boxes(scene: Scene, things: Instances) -> Tensor:
    if things.boxes is not None:
        return things.boxes
    if things.masks is not None:
        return things.masks.boxes().float()
    raise DataError(f"{scene.name}: its things have neither boxes nor masks, and other libraries want boxes")


def _masks(bitmaps: np.ndarray, size: tuple[int, int]) -> Masks:
    if bitmaps.ndim != 3 or bitmaps.shape[1:] != tuple(size):
        raise ShapeError(f"masks must be [N, {size[0]}, {size[1]}], as the picture is, found {list(bitmaps.shape)}")
    return Masks.from_bitmaps(bitmaps) if len(bitmaps) else Masks.from_rle([], size)
