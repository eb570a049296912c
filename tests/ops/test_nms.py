import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre.ops.nms import _nms, nms

reference = _nms._init_fn


def greedy(boxes, scores, threshold, classes=None):
    """The rule in plain Python, in the precision of the boxes."""
    boxes, one = boxes.numpy(), boxes.numpy().dtype.type
    order = sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))
    area = [(b[2] - b[0]) * (b[3] - b[1]) for b in boxes]
    keep = []
    for i in order:
        for j in keep:
            w = max(one(0), min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0]))
            h = max(one(0), min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1]))
            with np.errstate(all="ignore"):
                iou = one(w * h) / (area[i] + area[j] - one(w * h))
            if float(iou) > threshold and (classes is None or classes[i] == classes[j]):
                break
        else:
            keep.append(i)
    return keep


@st.composite
def scenes(draw):
    """Boxes on a coarse grid (ties, exact thresholds, zero areas), or spread out; now and then one far away."""
    n = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        corner, size = rng.integers(-4, 5, (n, 2)), rng.integers(-1 if draw(st.booleans()) else 0, 5, (n, 2))
    else:
        corner, size = rng.random((n, 2)) * draw(st.sampled_from([1, 100])), rng.exponential(20, (n, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(float)
    if n and draw(st.booleans()):
        boxes[0] += 1e6
    scores = rng.integers(0, 6, n) / 5 if draw(st.booleans()) else rng.random(n)
    classes = torch.from_numpy(rng.integers(0, 3, n)) if draw(st.booleans()) else None
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    threshold = draw(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.7, 1.0]))
    return torch.from_numpy(boxes).to(dtype), torch.from_numpy(scores).to(dtype), threshold, classes


@settings(max_examples=300)
@given(scenes())
def test_kernel_and_reference_keep_what_the_plain_rule_keeps(scene):
    expected = greedy(*scene)
    assert nms(*scene).tolist() == expected
    assert reference(*scene).tolist() == expected


@pytest.mark.parametrize("spread", [1.0, 0.1])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_many_boxes(spread, threshold):
    rng = torch.Generator().manual_seed(0)
    centre = torch.rand(2000, 2, generator=rng) * 500 * spread
    half = torch.randn(2000, 2, generator=rng).exp() * 15
    boxes = torch.cat([centre - half, centre + half], 1)
    scores, classes = torch.rand(2000, generator=rng), torch.randint(5, (2000,), generator=rng)
    assert torch.equal(nms(boxes, scores, threshold), reference(boxes, scores, threshold, None))
    assert torch.equal(nms(boxes, scores, threshold, classes), reference(boxes, scores, threshold, classes))


def test_exact_threshold_stays_and_ties_go_to_the_lower_index():
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1], [0, 0, 2, 1]])
    assert nms(boxes, torch.ones(3), 0.5).tolist() == [0, 1]
    assert nms(boxes, torch.ones(3), 0.49).tolist() == [0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_iou_is_rounded_to_the_precision_of_the_boxes(dtype):
    """7 / 10 in float32 is below 0.7, and 3 / 10 above 0.3: the comparison must see what float32 arithmetic gives."""
    for whole in range(1, 20):
        for part in range(1, whole):
            boxes = torch.tensor([[0, 0, whole, 1], [0, 0, part, 1]], dtype=dtype)
            over = float(np.array(part, boxes.numpy().dtype) / np.array(whole, boxes.numpy().dtype)) > part / whole
            assert len(nms(boxes, torch.tensor([1.0, 0.5]), part / whole)) == 2 - over


def test_points_never_drop_each_other():
    boxes = torch.tensor([[3.0, 3, 3, 3], [3, 3, 3, 3]])
    assert nms(boxes, torch.tensor([0.1, 0.9]), 0.5).tolist() == [1, 0]


def test_boxes_that_are_not_finite_stay_and_drop_nothing():
    nan, inf = float("nan"), float("inf")
    boxes = torch.tensor([[nan, 0, 1, 1], [0, 0, inf, 1], [0, 0, 1, 1], [0, 0, 1, 1], [-inf, -inf, inf, inf]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]), 0.5).tolist() == [0, 1, 2, 4]


def test_classes_far_apart_in_number_and_boxes_far_below_zero():
    boxes = torch.tensor([[-1e6, -1e6, -1e6 + 8, -1e6 + 8]]).repeat(3, 1)
    classes = torch.tensor([2**40, 7, 2**40])
    assert nms(boxes, torch.tensor([0.5, 0.6, 0.7]), 0.5, classes).tolist() == [2, 1]


@pytest.mark.parametrize("n", [0, 1, 20])
def test_opcheck(n):
    boxes = torch.rand(n, 4).sort(1).values
    for classes in (None, torch.zeros(n, dtype=torch.int64)):
        torch.library.opcheck(torch.ops.videre.nms.default, (boxes, torch.rand(n), 0.5, classes))


def test_compiles_in_one_graph():
    boxes, scores = torch.rand(9, 4).sort(1).values, torch.rand(9)
    compiled = torch.compile(lambda b, s: b[nms(b, s, 0.3)] * 2, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(boxes, scores), boxes[nms(boxes, scores, 0.3)] * 2)


def test_errors_name_the_culprit():
    with pytest.raises(ValueError, match=r"\(3, 5\)"):
        nms(torch.zeros(3, 5), torch.zeros(3), 0.5)
    with pytest.raises(ValueError, match=r"1\.5"):
        nms(torch.zeros(3, 4), torch.zeros(3), 1.5)
    with pytest.raises(ValueError, match="classes"):
        nms(torch.zeros(3, 4), torch.zeros(3), 0.5, torch.zeros(2, dtype=torch.int64))
