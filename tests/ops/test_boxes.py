import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videre.ops.boxes import box_area, box_giou, box_iou, clip_boxes, decode_boxes, encode_boxes

coordinate = st.floats(-50, 50, width=32)
box = st.tuples(coordinate, coordinate, st.floats(0, 40, width=32), st.floats(0, 40, width=32))


def as_boxes(rows):
    xywh = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)
    return torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)


def pair(a, b):
    """IoU and GIoU of two boxes, in plain Python."""
    inter = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    iou = inter / union if union > 0 else 0.0
    return iou, iou - ((hull - union) / hull if hull > 0 else 0.0)


@given(st.lists(box, max_size=4), st.lists(box, max_size=4))
def test_iou_and_giou_agree_with_plain_python(a, b):
    a, b = as_boxes(a), as_boxes(b)
    expected = torch.tensor([[pair(p, q) for q in b.tolist()] for p in a.tolist()]).reshape(len(a), len(b), 2)
    torch.testing.assert_close(box_iou(a, b).float(), expected[..., 0].float(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(box_giou(a, b).float(), expected[..., 1].float(), atol=1e-6, rtol=1e-5)


def test_hand_worked_overlap():
    a, b = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 1, 3, 3], [0, 0, 2, 2], [4, 0, 6, 2]])
    torch.testing.assert_close(box_iou(a, b), torch.tensor([[1 / 7, 1, 0]]))
    torch.testing.assert_close(box_giou(a, b), torch.tensor([[1 / 7 - 2 / 9, 1, -1 / 3]]))


def test_points_overlap_nothing_and_keep_finite_gradients():
    a = torch.tensor([[1.0, 1, 1, 1], [5, 5, 5, 5]], requires_grad=True)
    box_giou(a, a.detach()).sum().backward()
    assert box_iou(a, a).eq(0).all() and a.grad.isfinite().all()


def test_area_of_half_precision_does_not_overflow():
    assert box_area(torch.tensor([[0.0, 0, 300, 300]], dtype=torch.float16)).item() == 90000


@given(st.lists(box, min_size=1, max_size=5), st.lists(box, min_size=1, max_size=5))
def test_decode_inverts_encode(truth, anchors):
    n = min(len(truth), len(anchors))
    grow = torch.tensor([0.0, 0, 3, 3], dtype=torch.float64)
    truth, anchors = as_boxes(truth[:n]) + grow, as_boxes(anchors[:n]) + grow
    for weights in ((1, 1, 1, 1), (10, 10, 5, 5)):
        deltas = encode_boxes(truth, anchors, weights)
        torch.testing.assert_close(decode_boxes(deltas, anchors, weights), truth, atol=1e-9, rtol=1e-9)


def test_encoding_by_hand():
    anchor, truth = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 10, 25, 20]])
    expected = torch.tensor([[(15 - 5) / 10, (15 - 10) / 20, math.log(2), math.log(0.5)]])
    torch.testing.assert_close(encode_boxes(truth, anchor), expected)
    torch.testing.assert_close(encode_boxes(truth, anchor, (10, 10, 5, 5)), expected * torch.tensor([10, 10, 5, 5]))


def test_decoding_per_class_and_its_limit_of_growth():
    anchors = torch.tensor([[0.0, 0, 16, 16], [4, 4, 8, 8]])
    deltas = torch.zeros(2, 3, 4)
    deltas[:, 1, 2] = 100.0
    boxes = decode_boxes(deltas, anchors)
    assert boxes.shape == (2, 3, 4)
    torch.testing.assert_close(boxes[:, 0], anchors)
    torch.testing.assert_close(boxes[0, 1], torch.tensor([8.0 - 500, 0, 8 + 500, 16]))


def test_clip_takes_size_as_height_and_width():
    boxes = torch.tensor([[-5.0, -5, 100, 100], [30, 30, 40, 40]])
    assert clip_boxes(boxes, (10, 20)).tolist() == [[0, 0, 20, 10], [20, 10, 20, 10]]


def test_empty():
    none = torch.zeros(0, 4)
    assert box_iou(none, torch.zeros(3, 4)).shape == (0, 3) and box_area(none).shape == (0,)
    assert decode_boxes(torch.zeros(0, 5, 4), none).shape == (0, 5, 4) and encode_boxes(none, none).shape == (0, 4)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(2, 5\)"):
        box_area(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="anchors"):
        decode_boxes(torch.zeros(2, 4), torch.zeros(3, 4))
