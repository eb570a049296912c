"""Instances as classes of pixels: what is in front is seen, crowds are void, formats carry it on."""

import numpy as np
import pytest
import torch

from videre import data
from videre.data.semantic import as_pixels, paint, paint_planes
from videre.errors import DataError
from videre.structures import VOID, Categories, Instances, Masks, Scene, Schema

from .shared import real


def scene_of(*things: tuple[int, slice, slice, bool]) -> Scene:
    maps = np.zeros((len(things), 6, 8), bool)
    for n, (_, rows, columns, _) in enumerate(things):
        maps[n, rows, columns] = True
    labels, ignore = torch.tensor([t[0] for t in things]), torch.tensor([t[3] for t in things])
    return Scene((6, 8), Instances(labels=labels, masks=Masks.from_bitmaps(torch.from_numpy(maps)), ignore=ignore))


def test_the_smaller_lies_in_front_and_crowds_are_void() -> None:
    cup, table, crowd = (
        (2, slice(1, 3), slice(1, 3), False),
        (0, slice(0, 4), slice(0, 6), False),
        (1, slice(3, 6), slice(5, 8), True),
    )
    wanted = np.zeros((6, 8), np.uint8)
    wanted[3:6, 5:8] = VOID
    wanted[0:4, 0:6] = 1
    wanted[1:3, 1:3] = 3
    for order in ((cup, table, crowd), (crowd, table, cup)):
        assert np.array_equal(paint(scene_of(*order)), wanted)
    assert (paint(Scene((4, 5))) == 0).all() and (paint(Scene((4, 5)), first=0) == VOID).all()


def test_where_classes_overlap_all_of_them_are_seen() -> None:
    """A cup on a table, and a crowd of cups: of cups nothing is known there, of tables it is."""
    cup, table, crowd = (
        (1, slice(1, 3), slice(1, 3), False),
        (0, slice(0, 4), slice(0, 6), False),
        (1, slice(2, 6), slice(2, 8), True),
    )
    wanted = np.zeros((2, 6, 8), np.uint8)
    wanted[1, 2:6, 2:8] = VOID
    wanted[1, 1:3, 1:3] = 1
    wanted[0, 0:4, 0:6] = 1
    for order in ((cup, table, crowd), (crowd, table, cup)):
        assert np.array_equal(paint_planes(scene_of(*order), 2), wanted)


def test_real_instances_become_maps_that_are_read_back(tmp_path) -> None:
    source = real("coco_mini") / "annotations" / "instances_val2017.json"
    before = data.read(source).subset(range(4))
    pixels = as_pixels(before)
    assert pixels.schema.pixels.names == ("background", *before.schema.things.names)
    assert data.write(pixels, tmp_path, "maps") == []
    after = data.read(tmp_path, "train")
    assert after.schema.pixels.names == pixels.schema.pixels.names
    place = {after.path(i).name: i for i in range(4)}
    for i in range(4):
        assert torch.equal(after.scene(place[before.path(i).name]).segmentation, pixels.scene(i).segmentation)
        masks = before.scene(i).instances.masks.bitmaps().bool().any(0)
        assert torch.equal(pixels.scene(i).segmentation == 0, ~masks)


def test_what_cannot_be_painted_is_refused() -> None:
    source = data.Dataset(
        type("S", (), {"fields": frozenset({"boxes"}), "__len__": lambda self: 0})(),
        Schema(things=Categories.of(["a"])),
        title="boxes only",
    )
    with pytest.raises(DataError, match="boxes only: only masks of things can become classes of pixels; it has boxes"):
        as_pixels(source)
    named = data.Dataset(
        type("S", (), {"fields": frozenset({"masks"}), "__len__": lambda self: 0})(),
        Schema(things=Categories.of(["background"])),
        title="own",
    )
    with pytest.raises(DataError, match="own has a class 'background' of its own"):
        as_pixels(named)
    assert as_pixels(named, background="rest").schema.pixels.names == ("rest", "background")
