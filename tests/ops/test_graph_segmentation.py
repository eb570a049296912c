import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_proposals import FILE, SETTINGS
from scipy import ndimage

from videre.ops.graph_segmentation import graph_segmentation, join_pixels, sort_edges

GOLDEN = dict(np.load(FILE))


def by_definition(picture, scale, sigma, min_size, neighbours):
    """Components are joined edge by edge, each kept as a number of its pixels."""
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma).reshape(picture.shape) if sigma else picture
    smooth = smooth.astype(np.float32)
    height, width, _ = picture.shape
    edges = []
    for y in range(height):
        for x in range(width):
            for down, across in [(0, 1), (1, -1), (1, 0), (1, 1)]:
                diagonal = down and across
                if y + down < height and 0 <= x + across < width and not (diagonal and neighbours == 4):
                    apart = smooth[y, x] - smooth[y + down, x + across]
                    square = np.float32(0)
                    for value in apart:
                        square += value * value
                    edges.append((np.sqrt(square), (y, x), (y + down, x + across)))
    edges.sort(key=lambda edge: edge[0])  # stable
    component = np.arange(height * width).reshape(height, width)
    inside = np.zeros(height * width, np.float32)  # the strongest edge of a component
    for weight, p, q in edges:
        a, b = component[p], component[q]
        limits = [inside[c] + np.float32(scale) / np.float32((component == c).sum()) for c in (a, b)]
        if a != b and weight <= min(limits):
            component[component == b] = a
            inside[a] = weight
    for _, p, q in edges:
        a, b = component[p], component[q]
        if a != b and min((component == a).sum(), (component == b).sum()) < min_size:
            component[component == b] = a
    numbers: dict[int, int] = {}
    return np.array([[numbers.setdefault(c, len(numbers)) for c in row] for row in component.tolist()])


@st.composite
def pictures(draw):
    """Few grey levels (ties) or many, of one to three channels, down to one pixel."""
    size = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    picture = rng.integers(0, draw(st.sampled_from([2, 5, 256])), size, dtype=np.uint8)
    return picture if draw(st.booleans()) else picture.astype(np.float32) / 16


@settings(max_examples=60)
@given(
    pictures(),
    st.sampled_from([0.0, 1.0, 30.0, 300.0]),
    st.sampled_from([0.0, 0.8]),
    st.integers(1, 12),
    st.sampled_from([4, 8]),
)
def test_regions_are_those_of_the_definition(picture, scale, sigma, min_size, neighbours):
    ids = graph_segmentation(picture, scale, sigma, min_size, neighbours)
    assert ids.dtype == np.int32
    assert np.array_equal(ids, by_definition(picture, scale, sigma, min_size, neighbours))


@pytest.mark.parametrize("name", SETTINGS)
def test_four_neighbours_give_the_regions_of_opencv(name):
    """Number for number; OpenCV sorts equal weights in no stated order, so they must not be many."""
    sigma, scale, min_size = SETTINGS[name]
    ids = graph_segmentation(GOLDEN[name], scale, sigma, min_size, neighbours=4)
    assert np.array_equal(ids, GOLDEN[f"{name}_ids"])


@settings(max_examples=60)
@given(pictures(), st.sampled_from([4, 8]), st.integers(1, 12))
def test_regions_are_connected_numbered_in_row_order_and_not_small(picture, neighbours, min_size):
    ids = graph_segmentation(picture, 5.0, 0.8, min_size, neighbours)
    values, first, sizes = np.unique(ids, return_index=True, return_counts=True)
    assert np.array_equal(values, np.arange(len(values)))
    assert (np.diff(first) > 0).all()
    assert len(values) == 1 or sizes.min() >= min_size
    structure = np.ones((3, 3)) if neighbours == 8 else None
    assert all(ndimage.label(ids == value, structure)[1] == 1 for value in values)


def test_sorted_edges_serve_several_scales():
    edges = sort_edges(GOLDEN["cat"])
    for scale in (20, 200):
        assert np.array_equal(join_pixels(edges, scale, 30), graph_segmentation(GOLDEN["cat"], scale, 0.8, 30))
    assert (np.diff(edges.weights) >= 0).all()
    height, width, _ = GOLDEN["cat"].shape
    assert len(edges.places) == 4 * height * width - 3 * (height + width) + 2 == len(np.unique(edges.places))


def test_one_colour_is_one_region():
    assert not graph_segmentation(np.full((20, 30, 3), 7, np.uint8), 0.0, min_size=1).any()


def test_errors_name_the_culprit():
    picture = np.zeros((4, 5, 3), np.uint8)
    for wrong in (picture[..., 0], picture[:0], picture.astype(int)):
        with pytest.raises(ValueError, match="picture"):
            graph_segmentation(wrong, 1)
    for settings_, name in (((-1,), "scale"), ((np.nan,), "scale"), ((1, -1), "sigma"), ((1, 1, 1, 6), "neighbours")):
        with pytest.raises(ValueError, match=name):
            graph_segmentation(picture, *settings_)
    with pytest.raises(ValueError, match="finite"):
        graph_segmentation(np.full((2, 2, 1), np.nan), 1)
