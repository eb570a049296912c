"""Matching and sampling against plain loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videre.layers.matcher import IGNORED, NEGATIVE, assign, ignore_covered, sample


@st.composite
def overlaps(draw):
    """Overlaps on a coarse grid, so that ties and exact thresholds happen; some truths touch nothing."""
    n, m = draw(st.integers(0, 4)), draw(st.integers(0, 12))
    values = draw(st.lists(st.sampled_from([0, 0, 0.2, 0.3, 0.5, 0.7, 0.8]), min_size=n * m, max_size=n * m))
    return torch.tensor(values, dtype=torch.float32).reshape(n, m)


@given(overlaps(), st.booleans())
def test_match_follows_the_rule(iou, keep_best):
    low, high = torch.tensor([0.3, 0.7]).tolist()
    found = assign(iou, low, high, keep_best)
    assert found.shape == (iou.shape[1],) and found.dtype == torch.int64
    for m in range(iou.shape[1]):
        column = iou[:, m].tolist()
        best = max(column, default=0.0)
        expected = column.index(best) if best >= high else IGNORED if best >= low else NEGATIVE
        tops = [n for n, v in enumerate(column) if v > 0 and v == iou[n].max()]
        if keep_best and tops:
            expected = column.index(best)
        assert found[m] == expected


def test_the_best_anchor_keeps_its_own_best_truth():
    """Truth 1 overlaps anchor 0 most, but anchor 0 overlaps truth 0 more."""
    iou = torch.tensor([[0.6, 0.9], [0.5, 0.1]])
    assert assign(iou, 0.3, 0.7, keep_best=True).tolist() == [0, 0]
    assert assign(iou, 0.3, 0.7).tolist() == [IGNORED, 0]


def test_a_truth_that_nothing_touches_brings_no_positives():
    assert assign(torch.zeros(1, 5), 0.3, 0.7, keep_best=True).tolist() == [NEGATIVE] * 5


@given(st.integers(0, 2**32 - 1))
def test_negatives_inside_an_ignored_region_take_no_part(seed):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(8, 2, 2, generator=generator).sort(1).values.reshape(8, 4) * 10
    regions = torch.rand(3, 2, 2, generator=generator).sort(1).values.reshape(3, 4) * 10
    matched = torch.tensor([0, 1, IGNORED, *[NEGATIVE] * 5])
    found = ignore_covered(matched, boxes, regions)
    for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        inside = [
            max(min(x2, b[2]) - max(x1, b[0]), 0) * max(min(y2, b[3]) - max(y1, b[1]), 0) for b in regions.tolist()
        ]
        covered = max(inside) > 0.5 * (x2 - x1) * (y2 - y1)
        assert found[i] == (IGNORED if covered and matched[i] == NEGATIVE else matched[i])
    assert torch.equal(ignore_covered(matched, boxes, regions[:0]), matched)


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [
        (300, 1000, (128, 128)),
        (10, 1000, (10, 246)),
        (10, 100, (10, 100)),
        (300, 20, (128, 20)),
        (0, 5, (0, 5)),
        (0, 0, (0, 0)),
    ],
)
def test_how_many_are_sampled(positives, negatives, expected):
    matched = torch.cat([torch.arange(positives), torch.full((negatives,), NEGATIVE), torch.full((50,), IGNORED)])
    matched = matched[torch.randperm(len(matched), generator=torch.Generator().manual_seed(0))]
    positive, negative = sample(matched, 256, 0.5, torch.Generator().manual_seed(1))
    assert (len(positive), len(negative)) == expected
    assert (matched[positive] >= 0).all() and (matched[negative] == NEGATIVE).all()
    for index in (positive, negative):
        assert torch.equal(index, index.unique())  # ascending, none twice


def test_the_sample_follows_from_the_seed_alone():
    matched = torch.cat([torch.arange(100), torch.full((900,), NEGATIVE)])
    draw = lambda seed: torch.cat(sample(matched, 64, 0.25, torch.Generator().manual_seed(seed)))
    state = torch.get_rng_state()
    assert torch.equal(draw(5), draw(5)) and not torch.equal(draw(5), draw(6))
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone


def test_every_box_is_as_likely():
    matched = torch.full((20,), NEGATIVE)
    counts = torch.zeros(20)
    for seed in range(400):
        counts[sample(matched, 5, 0.5, torch.Generator().manual_seed(seed))[1]] += 1
    assert counts.min() > 60 and counts.max() < 140  # 100 expected, deviation 8.7
