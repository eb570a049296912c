"""The Triton kernels against the torch definitions: on a GPU where there is one, and in Triton's interpreter.

Triton decides between compiler and interpreter when it is imported, by the environment variable TRITON_INTERPRET. So the
interpreter has a process of its own: `test_the_kernels_in_the_interpreter` runs this file again in one.
"""

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from videre.ops.nms import _nms_cuda, nms
from videre.ops.roi_align import (
    _roi_align,
    _roi_align_backward,
    _roi_align_backward_cuda,
    _roi_align_cuda,
    roi_align,
)

from .test_nms import greedy, reference, scenes
from .test_roi_align import cases

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
HAS_TRITON = importlib.util.find_spec("triton") is not None
needs_gpu = pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="needs a CUDA GPU")
runs_kernels = pytest.mark.skipif(
    not HAS_TRITON or not (INTERPRETED or torch.cuda.is_available()),
    reason="needs Triton and a CUDA GPU; without one, test_the_kernels_in_the_interpreter runs it",
)


@pytest.mark.skipif(INTERPRETED, reason="this is that process")
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
def test_the_kernels_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def triton_nms(boxes, scores, threshold, classes=None):
    classes = None if classes is None else classes.to(DEVICE)
    return _nms_cuda(boxes.to(DEVICE), scores.to(DEVICE), threshold, classes).cpu()


# ------------------------------------------------------------------------------------------------------- NMS


@runs_kernels
@settings(max_examples=80 if INTERPRETED else 300)
@given(scenes())
def test_nms_keeps_what_the_plain_rule_keeps(scene):
    assert triton_nms(*scene).tolist() == greedy(*scene)


@runs_kernels
@pytest.mark.parametrize("n", [1, 64, 65, 190])
@pytest.mark.parametrize("spread", [300.0, 30.0])
def test_nms_of_several_blocks_with_ties(n, spread):
    rng = torch.Generator().manual_seed(n)
    centre, half = torch.rand(n, 2, generator=rng) * spread, torch.randn(n, 2, generator=rng).exp() * 15
    boxes = torch.cat([centre - half, centre + half], 1)
    scores = torch.randint(n // 3 + 1, (n,), generator=rng).float()
    classes = torch.randint(3, (n,), generator=rng)
    assert torch.equal(triton_nms(boxes, scores, 0.4), reference(boxes, scores, 0.4, None))
    assert torch.equal(triton_nms(boxes, scores, 0.4, classes), reference(boxes, scores, 0.4, classes))


@runs_kernels
def test_nms_of_a_long_chain():
    """Each box drops the next, which would have dropped the one after: the longest way to settle a block."""
    left = torch.arange(130.0)
    boxes = torch.stack([left, torch.zeros(130), left + 3, torch.ones(130)], 1)
    assert triton_nms(boxes, -left, 0.4).tolist() == list(range(0, 130, 2))


@runs_kernels
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_iou_is_rounded_as_in_the_definition(dtype):
    for part, whole in ((7, 10), (3, 10), (1, 3), (2, 3), (6, 7), (1, 2)):
        boxes = torch.tensor([[0, 0, whole, 1], [0, 0, part, 1]], dtype=dtype)
        scores = torch.tensor([1.0, 0.5])
        for threshold in (part / whole, math.nextafter(part / whole, 0)):
            assert torch.equal(triton_nms(boxes, scores, threshold), reference(boxes, scores, threshold, None))


@runs_kernels
def test_nms_lets_stay_what_is_not_finite():
    nan, inf = float("nan"), float("inf")
    boxes = torch.tensor([[nan, 0, 1, 1], [0, 0, inf, 1], [0, 0, 1, 1], [0, 0, 1, 1], [-inf, -inf, inf, inf]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    for threshold in (0.0, 0.5):
        assert torch.equal(triton_nms(boxes, scores, threshold), reference(boxes, scores, threshold, None))
    scores[3] = nan
    assert torch.equal(triton_nms(boxes, scores, 0.5), reference(boxes, scores, 0.5, None))


@runs_kernels
def test_nms_of_nothing_and_of_classes_far_apart():
    assert triton_nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    boxes = torch.tensor([[-1e6, -1e6, -1e6 + 8, -1e6 + 8]]).repeat(3, 1)
    classes = torch.tensor([2**40, 7, 2**40])
    assert triton_nms(boxes, torch.tensor([0.5, 0.6, 0.7]), 0.5, classes).tolist() == [2, 1]


# ------------------------------------------------------------------------------------------------- RoI align


def agree(features, rois, size, *how, **tolerance):
    """Forward and backward are what the definition gives in float64, for a gradient of small whole numbers."""
    args = (features.to(DEVICE), rois.to(DEVICE), *size, *how)
    out = _roi_align_cuda(*args)
    assert out.dtype == features.dtype and out.permute(0, 2, 3, 1).is_contiguous()
    expected = _roi_align._init_fn(features.double(), rois.to(torch.float32).double(), *size, *how)
    torch.testing.assert_close(out.cpu().double(), expected, **tolerance)

    gradient = torch.randint(-3, 4, out.shape, generator=torch.Generator().manual_seed(0)).to(features.dtype)
    args = (gradient.to(DEVICE), rois.to(DEVICE), features.shape[0], *features.shape[2:], *how)
    back = _roi_align_backward_cuda(*args)
    assert back.dtype == features.dtype and torch.equal(back, _roi_align_backward_cuda(*args))
    args = (gradient.double(), rois.to(torch.float32).double(), features.shape[0], *features.shape[2:], *how)
    torch.testing.assert_close(back.cpu().double(), _roi_align_backward._init_fn(*args), **tolerance)


@runs_kernels
@settings(max_examples=30 if INTERPRETED else 200)
@given(cases(19))
def test_roi_align_agrees_with_the_definition(case):
    features, rois, size, *how = case
    agree(features.float(), rois, size, *how, atol=2e-4, rtol=1e-4)


@runs_kernels
@pytest.mark.parametrize("dtype,tolerance", [(torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)])
@pytest.mark.parametrize("samples,aligned", [(0, True), (2, False)])
def test_roi_align_of_half_precision_sums_in_float32(dtype, tolerance, samples, aligned):
    features = torch.randn(2, 5, 11, 9, generator=torch.Generator().manual_seed(1)).to(dtype)
    rois = torch.tensor([[0.0, 1, 2, 30, 35], [1, -4, 8, 20, 43], [1, 7, 7, 7, 7]])
    agree(features, rois, (2, 3), 0.25, samples, aligned, atol=tolerance, rtol=tolerance)


@runs_kernels
def test_roi_align_of_many_regions_and_channels():
    """More regions than the backward kernel looks at together, more channels than one program has."""
    rng = torch.Generator().manual_seed(2)
    corner = torch.rand(140, 2, generator=rng) * 8
    rois = torch.cat([torch.randint(2, (140, 1), generator=rng), corner, corner + 4], 1)
    agree(torch.randn(2, 2, 9, 5, generator=rng), rois, (1, 1), 1.0, 1, False, atol=1e-4, rtol=1e-4)
    agree(torch.randn(2, 300, 5, 4, generator=rng), rois[:2], (2, 2), 1.0, 0, True, atol=1e-4, rtol=1e-4)


@runs_kernels
@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align_of_boxes_that_are_not_finite_is_zero(samples, aligned):
    rois = torch.tensor(
        [[0, 0, 0, math.inf, 1], [0, math.nan, 0, 1, 1], [0, 0, 0, 1, math.nan], [0, -math.inf, 0, 1, 1]]
    )
    features = torch.ones(1, 1, 4, 4, device=DEVICE)
    out = _roi_align_cuda(features, rois.to(DEVICE), 2, 2, 1.0, samples, aligned)
    assert out.eq(0).all()
    assert _roi_align_backward_cuda(torch.ones_like(out), rois.to(DEVICE), 1, 4, 4, 1.0, samples, aligned).eq(0).all()


@runs_kernels
def test_roi_align_of_a_picture_that_is_not_there_is_not_a_number():
    rois = torch.tensor([[2, 0, 0, 4, 4], [-1, 0, 0, 4, 4], [math.nan, 0, 0, 4, 4], [1, 0, 0, 4, 4]], device=DEVICE)
    out = _roi_align_cuda(torch.ones(2, 1, 4, 4, device=DEVICE), rois, 1, 1, 1.0, 2, True)
    assert out.isnan().flatten().tolist() == [True, True, True, False]
    back = _roi_align_backward_cuda(torch.ones_like(out), rois, 2, 4, 4, 1.0, 2, True)
    assert back[0].eq(0).all() and back[1].sum() > 0


@runs_kernels
@pytest.mark.parametrize("shape", [(1, 3, 0, 4), (2, 0, 4, 4), (0, 3, 4, 4)])
def test_roi_align_of_empty_features(shape):
    rois = torch.zeros(2, 5, device=DEVICE)
    out = _roi_align_cuda(torch.zeros(shape, device=DEVICE), rois, 2, 2, 1.0, 2, False)
    assert out.shape == (2, shape[1], 2, 2) and out.eq(0).all()
    back = _roi_align_backward_cuda(out, rois, shape[0], *shape[2:], 1.0, 2, False)
    assert back.shape == shape


# -------------------------------------------------------------------------------------------- the operators


@needs_gpu
def test_operators_on_a_gpu_answer_as_on_the_cpu():
    rng = torch.Generator().manual_seed(3)
    centre, half = torch.rand(3000, 2, generator=rng) * 200, torch.rand(3000, 2, generator=rng) * 20
    boxes, scores = torch.cat([centre - half, centre + half], 1), torch.rand(3000, generator=rng)
    classes = torch.randint(4, (3000,), generator=rng)
    kept = nms(boxes.cuda(), scores.cuda(), 0.5, classes.cuda())
    assert torch.equal(kept.cpu(), nms(boxes, scores, 0.5, classes))

    features = torch.randn(2, 70, 50, 60, generator=rng, requires_grad=True)
    rois = torch.cat([torch.arange(200)[:, None] % 2, boxes[:200]], 1)
    out = roi_align(features, rois, 7, 0.25, 2)
    (expected,) = torch.autograd.grad(out.square().sum(), features)
    there = features.detach().cuda().contiguous(memory_format=torch.channels_last).requires_grad_()
    on_gpu = roi_align(there, rois.cuda(), 7, 0.25, 2)
    torch.testing.assert_close(on_gpu.cpu(), out, atol=2e-5, rtol=1e-4)
    (gradient,) = torch.autograd.grad(on_gpu.square().sum(), there)
    assert gradient.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(gradient.cpu(), expected, atol=1e-3, rtol=1e-4)


@needs_gpu
def test_opcheck_and_second_derivative_on_a_gpu():
    boxes = torch.rand(20, 4, device="cuda").sort(1).values
    torch.library.opcheck(torch.ops.videre.nms.default, (boxes, torch.rand(20, device="cuda"), 0.5, None))
    features = torch.randn(2, 4, 5, 6, device="cuda", requires_grad=True)
    rois = torch.tensor([[0.0, 1, 0, 9, 7], [1, -3, 2, 20, 30]], device="cuda")
    torch.library.opcheck(torch.ops.videre.roi_align.default, (features, rois, 2, 3, 0.5, 2, False))
    exact = features.detach().double().requires_grad_()  # float64 is the definition's
    call = lambda f: roi_align(f, rois.double(), (2, 3), 0.5, 0, True)
    assert torch.autograd.gradcheck(call, exact) and torch.autograd.gradgradcheck(call, exact)


BROKEN = {
    "at import": "raise OSError('libtriton.so is not for this machine')",
    "at launch": "def jit(function):\n    raise RuntimeError('no C compiler')",
}
SCRIPT = """
import sys, torch, warnings
from videre.ops.nms import _nms_cuda
from videre.ops.roi_align import _roi_align_cuda
assert "triton" not in sys.modules
boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 2, 1]])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert _nms_cuda(boxes, torch.ones(2), 0.5, None).tolist() == [0]
    rois = torch.tensor([[0.0, 0, 0, 4, 4]])
    assert _roi_align_cuda(torch.ones(1, 1, 4, 4), rois, 1, 1, 1.0, 2, False).item() == 1
(warning,) = caught
print(warning.message)
"""


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_triton_is_met_when_needed_and_the_definition_answers(how, tmp_path: Path):
    package = tmp_path / "triton"
    package.mkdir()
    (package / "__init__.py").write_text(BROKEN[how])
    (package / "language.py").write_text("")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "Triton does not work here" in run.stdout and "'" not in run.stdout
    assert ("libtriton.so" if how == "at import" else "no C compiler") in run.stdout


@pytest.mark.skipif(HAS_TRITON, reason="Triton is installed")
def test_without_triton_the_definition_answers():
    boxes, scores = torch.rand(30, 4).sort(1).values, torch.rand(30)
    assert torch.equal(_nms_cuda(boxes, scores, 0.3, None), reference(boxes, scores, 0.3, None))
