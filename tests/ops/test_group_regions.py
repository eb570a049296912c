import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from videre.ops.graph_segmentation import graph_segmentation
from videre.ops.group_regions import SIMILARITIES, describe_regions, group_regions, pixel_bins


def histogram(masks, bins, size):
    """Shares of a region's pixels by feature and bin, that sum to 1."""
    counts = np.stack([np.bincount(feature[masks], minlength=size) for feature in np.moveaxis(bins, 2, 0)])
    return counts / counts.sum()


def similarity(picture, bins, a, b, chosen):
    """Of two masks, from the pixels."""
    channels = picture.shape[2]
    total = 0.0
    if "colour" in chosen:
        total += np.minimum(*(histogram(m, bins[..., :channels], 25) for m in (a, b))).sum()
    if "texture" in chosen:
        total += np.minimum(*(histogram(m, bins[..., channels:], 10) for m in (a, b))).sum()
    if "size" in chosen:
        total += 1 - (a.sum() + b.sum()) / a.size
    if "fill" in chosen:
        x1, y1, x2, y2 = box_of(a | b)
        total += 1 - ((x2 - x1) * (y2 - y1) - a.sum() - b.sum()) / a.size
    return total


def box_of(mask):
    y, x = np.nonzero(mask)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def touch(a, b):
    return bool((ndimage.binary_dilation(a, np.ones((3, 3))) & b).any())


def group_by_definition(picture, ids, chosen):
    """All similarities of all neighbours anew, from the pixels, at each step.

    Ends where histograms leave two pairs equally similar: which is first is then a matter of the last digit."""
    bins = pixel_bins(picture)
    formed = [ids == r for r in range(ids.max() + 1)]
    levels = [0] * len(formed)
    left = list(range(len(formed)))
    while len(left) > 1:
        pairs = [(a, b) for a, b in itertools.combinations(left, 2) if touch(formed[a], formed[b])]
        ranked = sorted((-round(similarity(picture, bins, formed[a], formed[b], chosen), 9), a, b) for a, b in pairs)
        if not {"colour", "texture"}.isdisjoint(chosen) and len(pairs) > 1 and ranked[1][0] - ranked[0][0] < 1e-6:
            break
        _, a, b = ranked[0]
        left = [r for r in left if r not in (a, b)] + [len(formed)]
        levels.append(max(levels[a], levels[b]) + 1)
        formed.append(formed[a] | formed[b])
    return np.array([box_of(mask) for mask in formed]), np.array(levels)


@st.composite
def pictures(draw):
    height, width, channels = draw(st.integers(1, 14)), draw(st.integers(1, 14)), draw(st.sampled_from([1, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    picture = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return picture if draw(st.booleans()) else picture.astype(np.float32)


subsets = st.lists(st.sampled_from(SIMILARITIES), min_size=1, unique=True)


@settings(max_examples=60)
@given(pictures(), subsets, st.integers(2, 12))
def test_merges_are_those_of_the_definition(picture, chosen, min_size):
    ids = graph_segmentation(picture, 100, 0.5, min_size)
    boxes, levels = group_regions(describe_regions(picture, ids), chosen)
    expected_boxes, expected_levels = group_by_definition(picture, ids, chosen)
    assert np.array_equal(boxes[: len(expected_boxes)], expected_boxes)
    assert np.array_equal(levels[: len(expected_levels)], expected_levels)


@pytest.mark.parametrize("chosen", [SIMILARITIES, ("texture", "size", "fill"), ("colour", "fill")])
def test_all_merges_of_a_larger_picture(chosen):
    picture = np.random.default_rng(0).integers(0, 256, (26, 33, 3), dtype=np.uint8)
    ids = graph_segmentation(picture, 10, 0.5, 6)
    boxes, levels = group_regions(describe_regions(picture, ids), chosen)
    expected_boxes, expected_levels = group_by_definition(picture, ids, chosen)
    assert len(expected_boxes) == len(boxes) > 80
    assert np.array_equal(boxes, expected_boxes) and np.array_equal(levels, expected_levels)


@settings(max_examples=60)
@given(pictures(), subsets)
def test_every_region_gives_a_box_and_the_last_is_the_picture(picture, chosen):
    height, width, _ = picture.shape
    ids = graph_segmentation(picture, 10, 0.5, 2)
    regions = describe_regions(picture, ids)
    before = regions.counts.copy()
    boxes, levels = group_regions(regions, chosen)
    n = ids.max() + 1
    assert boxes.shape == (2 * n - 1, 4) and boxes.dtype == np.float32 and levels.shape == (2 * n - 1,)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [width, height]).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert boxes[-1].tolist() == [0, 0, width, height] and (levels[:n] == 0).all() and (levels[n:] > 0).all()
    assert np.array_equal(regions.counts, before), "regions are shared, so grouping leaves them as they are"
    assert np.array_equal(group_regions(regions, chosen)[0], boxes)


def test_regions_by_hand():
    picture = np.array([[0, 0, 255], [0, 128, 255]], np.uint8)[..., None]
    ids = np.array([[0, 0, 2], [0, 1, 2]])
    regions = describe_regions(picture, ids)
    assert regions.sizes.tolist() == [3, 1, 2]
    assert regions.boxes.tolist() == [[0, 0, 2, 2], [1, 1, 2, 2], [2, 0, 3, 2]]
    assert sorted(map(tuple, regions.pairs.tolist())) == [(0, 1), (0, 2), (1, 2)]
    assert [np.flatnonzero(row[:25]).tolist() for row in regions.counts] == [[0], [12], [24]]
    assert (regions.counts.sum(1) == regions.sizes * 9).all()  # one colour, eight directions
    # fill: the first two leave nothing of their box, the others would
    assert group_regions(regions, ["fill"])[0][3].tolist() == [0, 0, 2, 2]
    # size: 1 and 2 pixels are the fewest
    assert group_regions(regions, ["size"])[0][3].tolist() == [1, 0, 3, 2]


def test_a_step_is_the_texture_of_its_direction_alone():
    for axis, positive, negative in ((1, 0, 4), (0, 2, 6)):
        picture = np.zeros((9, 9, 1), np.uint8)
        picture[tuple([slice(None)] * axis + [slice(5, None)])] = 100
        bins = pixel_bins(picture)[4, 4, 1:]
        assert bins[positive] == 9 and bins[negative] == 0
        assert bins[(positive + 2) % 8] == bins[(negative + 2) % 8] == 0
        assert bins[1] > 0 and np.array_equal(pixel_bins(255 - picture)[4, 4, 1:], np.roll(bins, 4))


def test_flat_picture_has_no_texture():
    bins = pixel_bins(np.full((5, 6, 3), 255, np.uint8))
    assert (bins[..., :3] == 24).all() and not bins[..., 3:].any()


def test_one_pixel_is_one_region():
    boxes, levels = group_regions(describe_regions(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.int32)))
    assert boxes.tolist() == [[0, 0, 1, 1]] and levels.tolist() == [0]


def test_errors_name_the_culprit():
    picture = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        pixel_bins(picture[..., 0])
    with pytest.raises(ValueError, match=r"256\.0"):
        pixel_bins(picture.astype(np.float32) + 256)
    for ids in (np.zeros((5, 4), int), np.zeros((4, 5)), np.full((4, 5), 1), np.full((4, 5), -1)):
        with pytest.raises(ValueError, match="ids"):
            describe_regions(picture, ids)
    regions = describe_regions(picture, np.zeros((4, 5), int))
    for chosen in ([], ["color"]):
        with pytest.raises(ValueError, match="similarities"):
            group_regions(regions, chosen)
