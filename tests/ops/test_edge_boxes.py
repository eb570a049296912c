import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.ops.edge_boxes import _group_kernel, edge_boxes, edge_nms, edge_orientation, gradient_edges

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "edge_boxes.npz")
SETTINGS = {
    "default": {},
    "fine": {"alpha": 0.75, "beta": 0.85, "min_score": 0.02, "max_boxes": 300},
    "eta": {"beta": 0.9, "eta": 0.99, "min_area": 400, "max_aspect": 2},
    "merge": {"edge_min_mag": 0.2, "edge_merge_thr": 0.3, "cluster_min_mag": 1, "gamma": 1, "kappa": 1.2},
}


def contour(size=(80, 100), box=(20, 15, 70, 60)):
    """A rectangle's thin edges along its border pixels, and their normals."""
    x0, y0, x1, y1 = box
    edges, normal = torch.zeros(size), torch.zeros(size)
    edges[[y0, y1], x0 : x1 + 1] = 1
    normal[[y0, y1], x0 : x1 + 1] = math.pi / 2
    edges[y0 : y1 + 1, x0] = edges[y0 : y1 + 1, x1] = 1
    normal[y0 + 1 : y1, [x0, x1]] = 0
    return edges, normal


def test_boxes_and_scores_are_those_of_opencv():
    """To the last bit, but for boxes of equal scores: OpenCV's sort leaves them in any order, and one drops the other."""
    same, all_boxes = 0, 0
    for name, k in ((name, k) for name in SETTINGS for k in (0, 1)):
        edges, orientation = (torch.from_numpy(GOLDEN[f"{part}_{k}"]) for part in ("edges", "orientation"))
        boxes, scores = edge_boxes(edges, orientation, **SETTINGS[name])
        x, y, w, h = GOLDEN[f"{name}_{k}_boxes"].T - np.array([0.5, 0.5, 0, 0])[:, None]
        expected = dict(zip(zip(x, y, x + w, y + h), GOLDEN[f"{name}_{k}_scores"].tolist()))
        found = dict(zip(map(tuple, boxes.tolist()), scores.tolist()))
        common = expected.keys() & found.keys()
        assert all(abs(expected[box] - found[box]) < 1e-7 for box in common)
        same, all_boxes = same + len(common), all_boxes + max(len(expected), len(found))
    assert all_boxes > 1000 and same >= 0.99 * all_boxes


def test_a_straight_edge_is_one_group_and_a_corner_makes_two():
    edges, normal = torch.zeros(20, 30), torch.full((20, 30), math.pi / 2)
    edges[8, 4:25] = 1
    ids, count = _group_kernel(edges.numpy(), normal.numpy(), 0.1, 0.5, 0.5)
    assert count == 2 and (ids[8, 4:25] == 1).all() and (ids != 0).sum() == 21
    edges[8:18, 24], normal[9:18, 24] = 1, 0
    ids, count = _group_kernel(edges.numpy(), normal.numpy(), 0.1, 0.25, 0.5)
    assert count == 3 and len(set(ids[8, 4:24].tolist())) == 1 and ids[8, 4] != ids[17, 24]


def test_a_faint_group_joins_the_neighbour_that_turns_least():
    edges, normal = torch.zeros(20, 30), torch.zeros(20, 30)
    edges[8, 4:25], normal[8, 4:25] = 1, math.pi / 2
    edges[9:11, 24], normal[9:11, 24] = 0.2, 0.1
    ids, count = _group_kernel(edges.numpy(), normal.numpy(), 0.1, 0.4, 0.5)
    assert count == 2 and (ids[9:11, 24] == 1).all()


def test_the_box_that_just_encloses_a_closed_contour_scores_highest():
    edges, normal = contour()
    boxes, scores = edge_boxes(edges, normal)
    x1, y1, x2, y2 = boxes[0].tolist()
    assert 0 <= 20.5 - x1 <= 3 and 0 <= 15.5 - y1 <= 3 and 0 <= x2 - 70.5 <= 3 and 0 <= y2 - 60.5 <= 3
    # by hand: everything inside, none of it in the middle, at half the width plus half the height of the box
    w, h = int(x2 - x1), int(y2 - y1)
    assert scores[0].item() == pytest.approx(edges.sum().item() * (w // 2 + h // 2) ** -1.5, rel=1e-5)


def test_an_edge_that_crosses_the_border_counts_against_what_continues_it():
    edges, normal = torch.zeros(80, 100), torch.full((80, 100), math.pi / 2)
    edges[40, 10:90] = 1  # one straight line: no box that it leaves holds it
    boxes, _ = edge_boxes(edges, normal)
    assert ((boxes[:, 0] < 10.5) & (boxes[:, 2] > 89.5)).all()


def test_kept_boxes_overlap_no_more_than_beta():
    edges, normal = contour()
    boxes, _ = edge_boxes(edges, normal, beta=0.6)
    inter = (torch.minimum(boxes[:, None, 2:], boxes[:, 2:]) - torch.maximum(boxes[:, None, :2], boxes[:, :2])).clamp(0)
    inter, area = inter.prod(2), (boxes[:, 2:] - boxes[:, :2]).prod(1)
    iou = inter / (area[:, None] + area - inter)
    assert len(boxes) > 1 and iou.fill_diagonal_(0).max() <= 0.6


@settings(max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.floats(0, 0.3), st.integers(0, 2**32 - 1))
def test_boxes_lie_inside_scores_fall_and_runs_agree(height, width, density, seed):
    rng = torch.Generator().manual_seed(seed)
    edges = torch.rand(height, width, generator=rng) * (torch.rand(height, width, generator=rng) < density)
    normal = torch.rand(height, width, generator=rng) * math.pi
    boxes, scores = edge_boxes(edges, normal, min_area=100)
    assert boxes.dtype == scores.dtype == torch.float32 and boxes.shape == (len(scores), 4)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (scores.diff() <= 0).all() and (scores >= 0.01).all()
    again = edge_boxes(edges, normal, min_area=100)
    assert torch.equal(boxes, again[0]) and torch.equal(scores, again[1])


def test_no_edges_no_boxes_and_at_most_so_many():
    boxes, scores = edge_boxes(torch.zeros(60, 80), torch.zeros(60, 80))
    assert boxes.shape == (0, 4) and scores.shape == (0,)
    assert len(edge_boxes(*contour(), max_boxes=3)[0]) == 3
    for size in ((0, 5), (0, 0), (1, 1)):
        assert len(edge_boxes(torch.ones(size), torch.zeros(size))[0]) == 0


def test_what_does_not_fit_is_refused():
    edges, normal = contour()
    spoiled = edges.clone()
    spoiled[3, 4] = math.nan
    with pytest.raises(ValueError, match="nan at row 3, column 4"):
        edge_boxes(spoiled, normal)
    with pytest.raises(ValueError, match="row 3, column 4"):
        edge_orientation(spoiled)
    with pytest.raises(ValueError, match="one size"):
        edge_boxes(edges, normal[1:])
    for name, value in {"alpha": 1.0, "beta": 0.0, "eta": 1.5, "max_aspect": 0.5, "min_area": 0, "gamma": -1}.items():
        with pytest.raises(ValueError, match=name):
            edge_boxes(edges, normal, **{name: value})
    with pytest.raises(ValueError, match="radius"):
        edge_nms(edges, normal, -1)
    with pytest.raises(ValueError, match="uint8"):
        gradient_edges(np.zeros((4, 4, 3)))


@pytest.mark.parametrize("angle", [0, 30, 45, 80, 90, 135, 170])
def test_orientation_is_that_of_the_normal(angle):
    t = math.radians(angle)
    y, x = torch.meshgrid(torch.arange(-30.0, 31), torch.arange(-30.0, 31), indexing="ij")
    distance = x * math.cos(t) + y * math.sin(t)
    found = edge_orientation((-(distance**2) / 4).exp())[20:41, 20:41]
    on = distance[20:41, 20:41].abs() < 0.5
    assert (((found[on] - t + math.pi / 2) % math.pi) - math.pi / 2).abs().max() < 0.02
    assert (found >= 0).all() and (found < math.pi).all()


def test_thinning_keeps_the_ridge():
    x = torch.arange(21.0)
    ridge = (-((x - 10) ** 2) / 8).exp().expand(21, 21)
    thin = edge_nms(ridge, torch.zeros(21, 21))
    assert torch.equal(thin[:, 10], ridge[:, 10]) and (thin[:, :10] == 0).all() and (thin[:, 11:] == 0).all()
    assert torch.equal(edge_nms(ridge, torch.zeros(21, 21), 0), ridge)
    assert torch.equal(edge_nms(torch.ones(1, 5), torch.zeros(1, 5)), torch.ones(1, 5))


def test_gradient_edges_lie_on_the_step():
    picture = np.zeros((40, 50, 3), np.uint8)
    picture[:, 25:, 1] = 200
    edges = gradient_edges(picture)
    assert edges.max() == 1 and edges[20].argmax() in (24, 25) and (edges[:, :15] < 1e-3).all()
    assert (gradient_edges(np.full((9, 9, 3), 7, np.uint8)) == 0).all()
