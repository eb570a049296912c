"""From a picture as read to the net's input, as `Preprocess` says; and truths into the same frame."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import torch

from videre.errors import DataError
from videre.structures import AnyClip, Clip, ImageBatch, Preprocess, Scene

_RANGE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}
CHANNELS = 4
"""Most that OpenCV averages at once."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def prepare(
    picture: np.ndarray | AnyClip, preprocess: Preprocess, seed: int = 0, given: Scene | None = None
) -> ImageBatch:
    """One picture or clip as a batch of one.

    Args:
        picture: [H, W, C] RGB (or grey, or many channels), uint8, uint16, or float32 in [0, 1]; or a clip of such.
        given: what the net takes beside it, in the picture's pixels.

    Raises:
        DataError: a shape or dtype that is not a picture's, a number of channels that the net does not take, or a clip for a
        net of pictures or the other way round.
    """
    if isinstance(picture, AnyClip) != (preprocess.frames is not None):
        found, wanted = ("a clip", "pictures") if isinstance(picture, AnyClip) else ("a picture", "clips")
        raise DataError(f"the net takes {wanted}, this is {found}")
    batch = (
        _prepare_clip(picture, preprocess, seed)
        if isinstance(picture, AnyClip)
        else _prepare(picture, preprocess, seed)
    )
    return batch if given is None else dataclasses.replace(batch, given=(prepare_truth(given, batch),))


def _prepare_clip(clip: AnyClip, preprocess: Preprocess, seed: int) -> ImageBatch:
    """Every frame like a picture, [1, T, C, H, W]."""
    assert preprocess.frames is not None
    sampled = isinstance(clip, Clip) and len(clip) == preprocess.frames
    chosen = clip if sampled else clip.sample(preprocess.frames)
    assert isinstance(chosen, Clip)
    frames = [_prepare(frame, preprocess, seed) for frame in chosen.frames]
    image = torch.stack([frame.image for frame in frames], 1)
    return dataclasses.replace(frames[0], image=image, times=(chosen.seconds,))


def _prepare(picture: np.ndarray, preprocess: Preprocess, seed: int) -> ImageBatch:
    if picture.ndim != 3 or 0 in picture.shape:
        raise DataError(f"a picture is [height, width, channels] and has pixels, found shape {picture.shape}")
    if picture.dtype not in _RANGE:
        raise DataError(f"pictures are uint8, uint16 or float32 in [0, 1], found {picture.dtype}")
    size = (picture.shape[0], picture.shape[1])
    resized, padded = preprocess.resized(size), preprocess.padded(size)
    pixels: np.ndarray = _channels(picture, preprocess).astype(np.float32)
    if resized != size:
        pixels = resample(pixels, resized, preprocess.antialias)
    std, mean = np.asarray(preprocess.std, np.float32), np.asarray(preprocess.mean, np.float32)
    top, left, height, width = preprocess.window(size)
    rows = pixels[top : top + height, left : left + width].reshape(height, -1)
    image = torch.zeros((1, *padded, pixels.shape[2]))
    normalised = image.numpy()[0].reshape(padded[0], -1)[:height, : rows.shape[1]]
    channels = lambda values: np.broadcast_to(
        values, (width, pixels.shape[2])
    ).ravel()  # NumPy is slow along three channels
    np.multiply(rows, channels(1 / (_RANGE[picture.dtype] * std)), out=normalised)
    normalised -= channels(mean / std)
    image = image.permute(0, 3, 1, 2)  # channels-last in memory
    matrix = np.array([[resized[1] / size[1], 0, -left], [0, resized[0] / size[0], -top]])
    return ImageBatch(image, ((height, width),), (size,), matrix[None], (seed,))


def resample(picture: np.ndarray, size: tuple[int, int], antialias: bool = True) -> np.ndarray:
    """A picture [H, W, C] at another size (height, width).

    Sides that shrink are averaged over the pixels that fall into one, unless `antialias` is off; sides that grow are
    bilinear. One after the other, since OpenCV averages only where no side grows.
    """
    if picture.shape[2] > CHANNELS:
        parts = np.split(picture, range(CHANNELS, picture.shape[2], CHANNELS), axis=2)
        return np.concatenate([resample(part, size, antialias) for part in parts], axis=2)
    smaller = (min(picture.shape[0], size[0]), min(picture.shape[1], size[1]))
    if antialias and smaller != picture.shape[:2]:
        picture = cv2.resize(picture, smaller[::-1], interpolation=cv2.INTER_AREA)
    if picture.shape[:2] != size:
        picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
    return picture.reshape(*size, -1)  # OpenCV drops a single channel's axis


def prepare_truth(scene: Scene, batch: ImageBatch) -> Scene:
    """A true scene in the frame of its picture's batch of one."""
    return scene.moved(batch.motion(0))


def _channels(picture: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    found, wanted = picture.shape[2], len(preprocess.mean)
    if preprocess.channels == "any" or found == wanted:
        if found != wanted:
            raise DataError(f"the net takes {wanted} channels, the picture has {found}")
        return picture[:, :, ::-1] if preprocess.channels == "bgr" else picture
    if found == 1 and wanted == 3:
        return np.repeat(picture, 3, axis=2)
    if found == 3 and preprocess.channels == "grey":
        return (picture.astype(np.float32) @ _LUMA)[:, :, None]
    raise DataError(f"the net takes {wanted} channels ({preprocess.channels}), the picture has {found}")
