"""Time the operators that have Triton kernels on a GPU, beside torchvision's where it can be imported.

    ./run peers
    .venv-peers/bin/python benchmarks/gpu_ops.py [--seconds 2]

Each line: milliseconds between CUDA events, median of interleaved samples, on tensors that a detector meets (800 x 1088
picture, stride 4), the wait of nms for the length of its result included. Maps lie as each library's models have them:
channels last here, channels first there. `tests/ops/test_triton.py` checks the results.
"""

import argparse
import warnings
from functools import partial

import torch

from ops import Call, both_ways, compare, forward, generator, random_boxes
from videre.ops.nms import nms
from videre.ops.roi_align import roi_align

try:
    import torchvision
except ImportError:
    torchvision = None


def milliseconds(call: Call) -> float:
    """Between CUDA events."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="per line")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks/gpu_ops.py: torch finds no CUDA GPU here")
    warnings.simplefilter("always")  # says so where Triton does not work and the definitions are timed
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", "" if torchvision else "(no torchvision)")

    def line(name: str, ours: Call, peer: Call) -> None:
        compare(name, {"videre": ours} | ({"torchvision": peer} if torchvision else {}), options.seconds, milliseconds)

    for name, n, side in (("sparse", 20000, 30), ("dense", 20000, 120), ("proposals", 4741, 60)):
        given = random_boxes(n, 800, 1088, side).cuda(), torch.rand(n, generator=generator).cuda(), 0.7
        line(f"nms, {n} {name}", partial(nms, *given), lambda given=given: torchvision.ops.nms(*given))

    rois = torch.cat([torch.zeros(1000, 1), random_boxes(1000, 800, 1088, 60)], 1).cuda()
    maps = torch.randn(1, 256, 200, 272, generator=generator).cuda()
    for kind in (torch.float32, torch.float16):
        theirs, regions = maps.to(kind).requires_grad_(), rois.to(kind)
        ours = maps.to(kind).contiguous(memory_format=torch.channels_last).requires_grad_()
        for samples, name in ((2, "2 x 2 samples"), (0, "adaptive")):
            mine = partial(roi_align, rois=rois, output_size=7, spatial_scale=0.25, sampling_ratio=samples)
            # torchvision wants both in one number format, and -1 for samples that adapt
            peer = lambda m, regions=regions, s=samples: torchvision.ops.roi_align(m, regions, 7, 0.25, s or -1)
            what = f"roi_align, 1000 x 256 x 7 x 7, {name}, {str(kind).removeprefix('torch.')}"
            line(f"{what}, forward", partial(forward, mine, ours), partial(forward, peer, theirs))
            line(f"{what}, both ways", partial(both_ways, mine, ours), partial(both_ways, peer, theirs))


if __name__ == "__main__":
    main()
