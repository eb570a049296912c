import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from make_proposals import FILE

from videre.models.propose.selective_search import MODES, SPACES, Strategy, selective_search
from videre.ops.boxes import box_iou
from videre.ops.graph_segmentation import graph_segmentation
from videre.ops.group_regions import describe_regions, group_regions

CAT = np.load(FILE)["cat"]


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from(list(MODES)), st.sampled_from([1, 200]), st.integers(0, 9)
)
def test_boxes_lie_inside_each_once_the_best_first(height, width, mode, levels, seed):
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, levels, (height, width, 3), dtype=np.uint8)
    for long_side in (None, 50):
        boxes, scores = selective_search(picture, mode, seed, min_side=1, long_side=long_side)
        assert boxes.dtype == scores.dtype == np.float32 and len(boxes) == len(scores) > 0
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= np.array([width, height]) + 1e-3).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert len(np.unique(boxes, axis=0)) == len(boxes)
        assert (scores > 0).all() and (scores <= 1).all() and (np.diff(scores) <= 0).all()
        assert np.isclose(boxes, [0, 0, width, height], atol=1e-3).all(1).any()


def test_one_grouping_is_ordered_by_place_times_random_number():
    """The paper's rule, for a strategy of one grouping."""
    space = SPACES["lab"](CAT)
    regions = describe_regions(space, graph_segmentation(space, 80, 0.8, 80))
    formed = group_regions(regions, ("size", "fill"))[0]
    order = np.arange(len(formed), 0, -1) * np.random.default_rng(5).random(len(formed))
    expected: dict[tuple, float] = {}
    for box, value in sorted(zip(map(tuple, formed.tolist()), order), key=lambda pair: pair[1]):
        if box[2] - box[0] >= 20 and box[3] - box[1] >= 20:
            expected.setdefault(box, value)
    boxes, scores = selective_search(CAT, Strategy(("lab",), (("size", "fill"),), (80,)), seed=5, long_side=None)
    assert [tuple(box) for box in boxes.tolist()] == list(expected)
    np.testing.assert_allclose(scores, [1 / (1 + value) for value in expected.values()], rtol=1e-6)


def test_threads_change_nothing_and_seeds_change_the_order_alone():
    first = selective_search(CAT, "fast", long_side=None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = selective_search(CAT, "fast", long_side=None)
    finally:
        torch.set_num_threads(threads)
    assert all(map(np.array_equal, first, alone))
    other = selective_search(CAT, "fast", seed=1, long_side=None)[0]
    assert not np.array_equal(other, first[0])
    assert np.array_equal(np.unique(other, axis=0), np.unique(first[0], axis=0))


def test_more_groupings_find_what_fewer_find():
    found = [{tuple(box) for box in selective_search(CAT, mode)[0].tolist()} for mode in ("single", "fast", "quality")]
    assert found[0] < found[1] < found[2]


def test_a_resized_picture_gives_the_boxes_of_itself_scaled_back():
    boxes, _ = selective_search(CAT, "single", min_side=10, long_side=320)
    large = np.repeat(np.repeat(CAT, 2, 0), 2, 1)
    assert boxes[:, 2].max() == CAT.shape[1] and boxes[:, 3].max() == CAT.shape[0]
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 5
    again = selective_search(large, "single", min_side=10, long_side=None)[0] / 2
    assert 0.5 < len(boxes) / len(again) < 2


def test_things_on_a_plain_ground_are_found():
    picture = np.full((120, 160, 3), 200, np.uint8)
    things = np.array([[10, 15, 50, 60], [80, 30, 140, 100]])
    for (x1, y1, x2, y2), colour in zip(things, ((200, 30, 30), (20, 60, 180))):
        picture[y1:y2, x1:x2] = colour
    boxes, _ = selective_search(picture, "fast", long_side=None)
    overlap = box_iou(torch.from_numpy(things).float(), torch.from_numpy(boxes))
    assert (overlap.max(1).values > 0.85).all()


@pytest.mark.parametrize("name", SPACES)
def test_spaces_span_a_byte_and_grey_has_no_colour(name):
    cube = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), -1).reshape(1, -1, 3).astype(np.uint8)
    values = SPACES[name](cube)
    assert values.ndim == 3 and values.min() >= 0 and values.max() <= 255 and values.max() > 200
    grey = SPACES[name](np.full((2, 2, 3), 90, np.uint8))[0, 0].tolist()
    assert grey == pytest.approx(
        {"hsv": [0, 0, 90], "lab": [97, 128, 128], "rgi": [85, 85, 90], "h": [0], "i": [90]}[name], abs=1
    )


def test_modes_are_those_of_the_paper():
    runs = {name: len(m.spaces) * len(m.similarities) * len(m.scales) for name, m in MODES.items()}
    assert runs == {"single": 1, "fast": 8, "quality": 80}


def test_errors_name_the_culprit():
    for wrong in (CAT[..., 0], CAT.astype(np.float32), CAT[:0], CAT[..., :2], np.zeros((1, 1 << 16, 3), np.uint8)):
        with pytest.raises(ValueError, match="picture"):
            selective_search(wrong)
    with pytest.raises(ValueError, match="slow"):
        selective_search(CAT, "slow")
