import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from videre.errors import DataError
from videre.ops.bing import (
    HEAD_START,
    SPACES,
    BingFilter,
    _filter_kernel,
    _gradient_kernel,
    binary_filters,
    bing,
    filter_scores,
    read_bing_filters,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "bing.npz")
FILTERS = [
    BingFilter(space, GOLDEN["weights"][k], GOLDEN["sizes"], GOLDEN["calibration"][k]) for k, space in enumerate(SPACES)
]
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "bing_opencv_model"


@pytest.mark.parametrize("k", [0, 1, 2])
def test_boxes_and_their_order_are_those_of_opencv(k):
    boxes, scores = bing(GOLDEN[f"picture_{k}"], FILTERS)
    order = np.argsort(GOLDEN[f"values_{k}"], kind="stable")
    expected = GOLDEN[f"boxes_{k}"][order] - [1, 1, 0, 0]
    assert np.array_equal(boxes.numpy(), expected)
    np.testing.assert_allclose(HEAD_START / scores.numpy(), GOLDEN[f"values_{k}"][order], rtol=1e-6)


def signs(bits):
    return np.array([[1.0 if int(b) >> (63 - i) & 1 else -1.0 for i in range(64)] for b in bits]).reshape(-1, 8, 8)


@settings(max_examples=50)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(8, 20), st.integers(8, 20))),
    arrays.arrays(np.float32, (8, 8), elements=st.floats(-1, 1, width=32)),
)
def test_bits_score_as_the_sum_over_high_bits(gradient, weights):
    bits, betas = binary_filters(weights)
    approximate = (signs(bits) * betas[:, None, None]).sum(0)
    expected = filter_scores(gradient // 16, approximate)
    np.testing.assert_allclose(_filter_kernel(gradient, bits, betas), expected, rtol=1e-4, atol=1e-2)


def test_binary_filters_are_the_best_for_what_is_left():
    weights = np.full((8, 8), -1.0, np.float32)
    weights[:4] = 3
    bits, betas = binary_filters(weights)
    assert betas.tolist() == [2, 1] and int(bits[0]) == 0xFFFFFFFF00000000  # 2 · (1 above, -1 below) + 1
    assert int(bits[1]) == 2**64 - 1
    assert np.array_equal((signs(bits) * betas[:, None, None]).sum(0), weights)


def test_binary_scores_follow_the_exact_ones():
    rng = np.random.default_rng(0)
    gradient, weights = rng.integers(0, 256, (40, 60)).astype(np.uint8), rng.normal(size=(8, 8)).astype(np.float32)
    near = 16 * _filter_kernel(gradient, *binary_filters(weights))
    assert np.corrcoef(near.reshape(-1), filter_scores(gradient, weights).reshape(-1))[0, 1] > 0.85


def test_gradient_norms_by_hand():
    pixels = np.array([[[0, 10], [4, 10], [20, 9]], [[0, 10], [4, 110], [20, 9]]], np.uint8)
    # across: twice the one-sided difference at borders, else the two-sided; down: 0, 100 and 0, twice
    assert _gradient_kernel(pixels, False).tolist() == [[8, 220, 32], [200, 220, 202]]
    # the sum of both channels, halved
    assert _gradient_kernel(pixels, True).tolist() == [[4, 110, 17], [104, 110, 117]]
    assert _gradient_kernel(np.array([[[0], [255]]], np.uint8), False).tolist() == [[255, 255]]


def test_a_lone_square_is_found():
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[32:64, 48:80] = 255
    weights = np.full((8, 8), -1, np.float32)
    weights[[0, -1]] = weights[:, [0, -1]] = 1  # gradients on the rim
    boxes, scores = bing(picture, [BingFilter("I", weights, np.array([7]), np.array([[1, 0]], np.float32))])
    assert boxes[0].tolist() == [48, 32, 80, 64] and scores[0] == 1


@settings(max_examples=30)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_boxes_lie_inside_scores_fall_and_runs_agree(height, width, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    boxes, scores = bing(picture, FILTERS, per_size=20)
    assert boxes.dtype == scores.dtype == torch.float32 and boxes.shape == (len(scores), 4)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (scores.diff() <= 0).all() and (scores > 0).all() and (scores <= 1).all()
    again = bing(torch.from_numpy(picture), FILTERS, per_size=20)
    assert torch.equal(boxes, again[0]) and torch.equal(scores, again[1])


def test_what_does_not_fit_is_refused():
    picture = np.zeros((20, 20, 3), np.uint8)
    for wrong in (picture[..., 0], picture.astype(np.float32), picture[:0]):
        with pytest.raises(ValueError, match="expected uint8"):
            bing(wrong, FILTERS)
    with pytest.raises(ValueError, match="0 filters"):
        bing(picture, [])
    with pytest.raises(ValueError, match="per_size 0"):
        bing(picture, FILTERS, per_size=0)
    one, two = np.zeros((8, 8), np.float32), np.zeros((1, 2), np.float32)
    for space, weights, sizes, calibration, message in (
        ("Lab", one, np.array([0]), two, "space"),
        ("HSV", one[1:], np.array([0]), two, "weights"),
        ("HSV", one, np.array([36]), two, "0 .. 35"),
        ("HSV", one, np.array([0, 1]), two, "calibration"),
        ("HSV", one * np.nan, np.array([0]), two, "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            BingFilter(space, weights, sizes, calibration)


def write_model(folder):
    """The golden filters as OpenCV writes them."""
    for f in FILTERS:
        stem = f"ObjNessB2W8{f.space}"
        for part, value, kind in (("idx", f.sizes[:, None], "i"), ("wS1", f.weights, "f"), ("wS2", f.calibration, "f")):
            data = ",\n       ".join(f"{v}" if kind == "i" else f"{v:.9g}" for v in value.reshape(-1))
            text = f"%YAML:1.0\n{stem}: !!opencv-matrix\n   rows: {value.shape[0]}\n   cols: {value.shape[1]}\n"
            text += f"   dt: {kind}\n   data: [ {data} ]\n"
            (folder / f"{stem}.{part}.yml.gz").write_bytes(gzip.compress(text.encode()))


def test_filters_are_read_from_opencv_files(tmp_path):
    write_model(tmp_path)
    for read, made in zip(read_bing_filters(tmp_path), FILTERS, strict=True):
        assert read.space == made.space
        for name in ("weights", "sizes", "calibration"):
            assert np.array_equal(getattr(read, name), getattr(made, name))


def test_damaged_files_are_named(tmp_path):
    def spoil(change, message):
        write_model(tmp_path)
        path = tmp_path / "ObjNessB2W8HSV.wS1.yml.gz"
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(DataError, match=re.escape("ObjNessB2W8HSV") + ".*" + message):
            read_bing_filters(tmp_path)

    def text(old, new):
        return lambda data: gzip.compress(re.sub(old, new, gzip.decompress(data).decode()).encode())

    spoil(lambda data: data[:60], "gzipped")
    spoil(lambda data: b"rows: 8", "gzipped")
    spoil(text("ObjNess", "Other"), "not an OpenCV matrix")
    spoil(text("rows: 8", "rows: eight"), "rows is 'eight', expected int")
    spoil(text("rows: 8", "rows: 7"), "does not fit 7 x 8")
    spoil(text(r"data: \[", "data: [ nought, "), "data does not fit")
    spoil(text("rows: 8\n   cols: 8", "rows: 4\n   cols: 16"), "weights of shape")
    (tmp_path / "ObjNessB2W8HSV.wS1.yml.gz").unlink()
    with pytest.raises(DataError, match="no such file"):
        read_bing_filters(tmp_path)


def test_the_published_model_is_read():
    if not REAL.exists():
        pytest.skip(f"the model is not in {REAL.parent}")
    filters = read_bing_filters(REAL)
    assert [f.space for f in filters] == list(SPACES) and all(len(f.sizes) == 28 for f in filters)
