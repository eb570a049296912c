"""Flips, scales and tiles: blended answers against those of the whole picture, and against doing it by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scenes import CONFIGS, SCHEMA, picture_and_truth

from videre.errors import ConfigError
from videre.images.prepare import prepare
from videre.models import Model, find_model
from videre.predict import Predictor
from videre.predict.views import Views, look
from videre.structures import Preprocess, Tiling

WHOLE = Preprocess(short_side=None, long_side=None, divisor=8)


def segmenter(name: str = "flat-fcn", **config: object) -> Model:
    torch.manual_seed(0)
    return find_model(name)(SCHEMA, WHOLE, **{**CONFIGS[name], **config}).eval()


@pytest.mark.parametrize("size", [(90, 130), (33, 200), (20, 24)])
def test_tiles_equal_the_whole_where_the_net_sees_no_further_than_a_quarter_of_the_overlap(
    size: tuple[int, int],
) -> None:
    model = segmenter(norm="none", depth=3)  # three 3x3 layers and the 1x1 see 3 pixels far
    batch = prepare(picture_and_truth(size, 1)[0], WHOLE)
    with torch.inference_mode():
        whole = look(model, batch, Views(scales=(1.0, 1.0)))["logits"]
        tiled = look(model, batch, Views(tiling=Tiling(40, 16)))["logits"]
        torch.testing.assert_close(whole, look(model, batch, Views())["logits"])
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=1e-5)


def test_a_net_that_sees_further_says_nearly_the_same() -> None:
    model = segmenter("residual-unet", norm="none", head_norm="none")
    picture = picture_and_truth((200, 260), 2, things=6)[0]
    whole = Predictor(model, engine="plain").predict(picture).segmentation
    tiled = Predictor(model, engine="plain", views=Views(tiling=Tiling(128, 64))).predict(picture).segmentation
    assert (whole == tiled).float().mean() > 0.95


def test_flips_and_scales_are_mean_probabilities() -> None:
    model = segmenter()
    picture = picture_and_truth((40, 56), 3)[0]
    views = Views(flip=True, scales=(1.0, 0.5))
    batch = prepare(picture, WHOLE)
    with torch.inference_mode():
        found = look(model, batch, views)["logits"].exp()
        shares = []
        for size in ((40, 56), (20, 28)):
            for mirrored in (False, True):
                image = torch.nn.functional.interpolate(batch.image, size, mode="bilinear", antialias=True)
                image = torch.nn.functional.pad(
                    image.flip(3) if mirrored else image, (0, -size[1] % 8, 0, -size[0] % 8)
                )
                logits = model.heads(image)["logits"][:, :, : size[0], : size[1]]
                logits = logits.flip(3) if mirrored else logits
                logits = torch.nn.functional.interpolate(logits, (40, 56), mode="bilinear")
                shares.append(logits.softmax(1))
    torch.testing.assert_close(found, sum(shares) / 4, atol=1e-5, rtol=1e-4)
    straight = Predictor(model, engine="plain", views=Views(flip=True)).predict(picture).segmentation
    mirrored = Predictor(model, engine="plain", views=Views(flip=True)).predict(np.ascontiguousarray(picture[:, ::-1]))
    assert torch.equal(straight, mirrored.segmentation.flip(1))


def test_neighbours_in_a_batch_change_nothing() -> None:
    model = segmenter()
    pictures = [picture_and_truth((40, 56 - n), n)[0] for n in range(3)]  # all padded to 40 x 56
    views = Views(flip=True, tiling=Tiling(24, 8))
    together = Predictor(model, batch=3, engine="plain", views=views).predict(pictures)
    for picture, scene in zip(pictures, together):
        alone = Predictor(model, batch=1, engine="plain", views=views).predict(picture)
        assert torch.equal(alone.segmentation, scene.segmentation)


def test_what_cannot_be_is_refused() -> None:
    model = find_model("hourglass-pose")(SCHEMA, **CONFIGS["hourglass-pose"])
    with pytest.raises(ConfigError, match=r"a HourglassPose gives boxes, .*keypoints.*: leave them out"):
        Predictor(model, views=Views(tiling=Tiling(64)))
    for scales in ((), (0.0,), (-1.0, 1.0), (float("nan"),)):
        with pytest.raises(ConfigError, match="scales are positive numbers"):
            Views(scales=scales)
