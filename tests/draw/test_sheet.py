"""Sheets of scenes: words are read and lines seen whatever sizes the pictures have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from videre.draw import contact_sheet, draw_sheet, sheet
from videre.draw.text import text_size, wrap
from videre.errors import ShapeError
from videre.structures import Categories, Instances, Scene, Schema

SCHEMA = Schema(things=Categories.of(["traffic light"]))


def scene(height: int, width: int) -> Scene:
    box = torch.tensor([[0.3 * width, 0.3 * height, 0.7 * width, 0.8 * height]])
    return Scene((height, width), Instances(boxes=box, labels=[0], scores=torch.tensor([0.9])))


def black(one: Scene) -> np.ndarray:
    return np.zeros((*one.size, 3), np.uint8)


@pytest.mark.parametrize(
    "sizes",
    [
        [(64, 64)] * 9,
        [(1500, 2000)] * 16,
        [(64, 64), (240, 320), (1500, 2000), (4000, 6000)],
        [(4000, 6000), (240, 320)] * 8,
        [(240, 320)],
    ],
)
def test_scenes_are_drawn_in_the_size_in_which_they_are_seen(
    sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes, factors, resize = [scene(*size) for size in sizes], [], sheet._resized

    def watched(picture: np.ndarray, width: int, height: int) -> np.ndarray:
        factors.append(width / picture.shape[1])
        return resize(picture, width, height)

    monkeypatch.setattr(sheet, "_resized", watched)
    drawn = draw_sheet((black(one) for one in scenes), scenes, SCHEMA)
    assert 0.8 * sheet.SEEN < drawn.shape[1] < 1.2 * sheet.SEEN
    # letters of 13 pixels stay readable
    assert len(factors) == len(sizes) and min(factors) > 0.65 and max(factors) < 1.6


def test_a_panorama_and_a_tower_do_not_stretch_the_sheet() -> None:
    scenes = [scene(3000, 600), scene(200, 3000), scene(64, 64), scene(800, 1200)]
    drawn = draw_sheet(map(black, scenes), scenes, SCHEMA, labels=["tower", "panorama", "tile", "photo"])
    assert 0.5 < drawn.shape[0] / drawn.shape[1] < 2
    plain = contact_sheet([np.full((900, 100, 3), 200, np.uint8), np.full((100, 900, 3), 90, np.uint8)])
    for value, shape in ((200, 9.0), (90, 1 / 9)):
        rows, columns = np.nonzero((plain == value).all(2))
        assert (np.ptp(rows) + 1) / (np.ptp(columns) + 1) == pytest.approx(shape, rel=0.1)


def test_names_without_spaces_are_broken_not_cut() -> None:
    lines = wrap("see IMG_20240101_a_very_long_file_name.jpg", 13, 100)
    assert "".join(lines) == "seeIMG_20240101_a_very_long_file_name.jpg" and len(lines) > 2
    assert all(text_size(line, 13)[0] <= 100 for line in lines)
    assert wrap("W", 40, 5) == ["W"]


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ShapeError, match="a sheet needs pictures"):
        draw_sheet([], [], SCHEMA)
