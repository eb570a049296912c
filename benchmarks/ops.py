"""Time the operators, beside torchvision's where it can be imported.

    ./run peers
    .venv-peers/bin/python benchmarks/ops.py [--threads 2] [--seconds 2]

Each line: milliseconds, median of interleaved samples, on tensors a detector meets (800 x 1088 picture, stride 4). Every
call makes its own output. Maps lie as each library's models have them: channels last here, channels first there. Both
gain from kept memory, as the command line has it; VIDERE_ALLOCATOR=plain measures without.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from videre.engine.allocator import keep_memory
from videre.engine.device import describe_processor
from videre.ops.crop_masks import crop_masks
from videre.ops.decode_keypoints import decode_keypoints
from videre.ops.nms import nms
from videre.ops.paste_masks import paste_masks, paste_masks_rle
from videre.ops.ps_roi_align import ps_roi_align
from videre.ops.ps_roi_pool import ps_roi_pool
from videre.ops.rle import rle_boxes, rle_crop, rle_decode, rle_encode
from videre.ops.roi_align import roi_align
from videre.ops.roi_pool import roi_pool
from videre.ops.winograd import winograd_conv2d_train

try:
    import torchvision
    from torchvision.models.detection import roi_heads
except ImportError:
    torchvision = None

generator = torch.Generator().manual_seed(0)


Call = Callable[[], object]


def random_boxes(n: int, height: int, width: int, side: float) -> torch.Tensor:
    """Boxes of log-normal sides around `side`, clipped to the picture."""
    centre = torch.rand(n, 2, generator=generator) * torch.tensor([width, height])
    half = torch.exp(torch.randn(n, 2, generator=generator) * 0.6) * side / 2
    limit = torch.tensor([width, height, width, height])
    return torch.cat([centre - half, centre + half], 1).clamp(min=0).minimum(limit)


def forward(operator: Callable[[torch.Tensor], torch.Tensor], maps: torch.Tensor) -> None:
    operator(maps.detach())


def both_ways(operator: Callable[[torch.Tensor], torch.Tensor], maps: torch.Tensor) -> None:
    torch.autograd.grad(operator(maps).sum(), maps)


def milliseconds(call: Call) -> float:
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin)


def compare(
    name: str, candidates: dict[str, Call], seconds: float, clock: Callable[[Call], float] = milliseconds
) -> None:
    """Interleave the candidates, so that a busy moment hits all of them alike."""
    times: dict[str, list[float]] = {key: [] for key in candidates}
    for call in candidates.values():
        for _ in range(3):  # the first one compiles
            clock(call)
    stop = time.perf_counter() + seconds
    for key in itertools.cycle(candidates):
        if time.perf_counter() > stop and min(map(len, times.values())) >= 3:
            break
        times[key].append(clock(candidates[key]))
    medians = {key: statistics.median(t) for key, t in times.items()}
    text = ", ".join(f"{key} {m:.3f}" for key, m in medians.items())
    if "torchvision" in medians:
        text += f"  (x{medians['torchvision'] / medians['videre']:.1f})"
    print(f"{name:66s} {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=2.0, help="per line")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_memory()
    print(
        f"{describe_processor()}, torch {torch.__version__}",
        "" if torchvision else "(no torchvision)",
    )

    def line(name: str, ours: Call, peer: Call | None = None) -> None:
        compare(name, {"videre": ours} | ({"torchvision": peer} if torchvision and peer else {}), options.seconds)

    for name, n, side in (("sparse", 20000, 30), ("dense", 20000, 120), ("proposals", 4741, 60)):
        given = random_boxes(n, 800, 1088, side), torch.rand(n, generator=generator), 0.7
        peer = partial(torchvision.ops.nms, *given) if torchvision else None
        line(f"nms, {n} {name}", partial(nms, *given), peer)

    features = torch.randn(1, 256, 200, 272, generator=generator).requires_grad_()
    ours = features.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    grouped = torch.randn(1, 10 * 49, 50, 68, generator=generator).requires_grad_()
    our_grouped = grouped.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    rois = torch.cat([torch.zeros(1000, 1), random_boxes(1000, 800, 1088, 60)], 1)
    theirs: Any = torchvision.ops if torchvision else None
    for name, what, maps, operator, peer_maps, peer in (
        (
            "roi_align",
            "1000 x 256 x 7 x 7",
            ours,
            lambda m: roi_align(m, rois, 7, 0.25, 2),
            features,
            lambda m: theirs.roi_align(m, rois, 7, 0.25, 2),
        ),
        (
            "roi_pool",
            "1000 x 256 x 7 x 7",
            ours,
            lambda m: roi_pool(m, rois, 7, 0.25),
            features,
            lambda m: theirs.roi_pool(m, rois, 7, 0.25),
        ),
        (
            "ps_roi_align",
            "1000 x 10 x 7 x 7",
            our_grouped,
            lambda m: ps_roi_align(m, rois, 7, 1 / 16, 2),
            grouped,
            lambda m: theirs.ps_roi_align(m, rois, 7, 1 / 16, 2),
        ),
        (
            "ps_roi_pool",
            "1000 x 10 x 7 x 7",
            our_grouped,
            lambda m: ps_roi_pool(m, rois, 7, 1 / 16),
            grouped,
            lambda m: theirs.ps_roi_pool(m, rois, 7, 1 / 16),
        ),
    ):
        line(f"{name}, {what}, forward", partial(forward, operator, maps), partial(forward, peer, peer_maps))
        line(f"{name}, {what}, both ways", partial(both_ways, operator, maps), partial(both_ways, peer, peer_maps))

    for channels, height, width in ((64, 200, 272), (256, 200, 272), (256, 50, 68), (512, 25, 34)):
        image = torch.randn(1, channels, height, width).contiguous(memory_format=torch.channels_last).requires_grad_()
        weight = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
        winograd, direct = (
            partial(operator, weight=weight, padding=1)
            for operator in (winograd_conv2d_train, torch.nn.functional.conv2d)
        )
        for name, way in (("forward", forward), ("both ways", both_ways)):
            candidates = {"videre": partial(way, winograd, image), "conv2d": partial(way, direct, image)}
            compare(f"3x3, {channels} channels, {height} x {width}, {name}", candidates, options.seconds)

    blobs = torch.randn(100, 1, 5, 5, generator=generator)
    masks = torch.nn.functional.interpolate(blobs, (28, 28), mode="bicubic")[:, 0].mul(4).sigmoid()
    boxes = random_boxes(100, 480, 640, 120)
    line(
        "paste_masks, 100 on 480 x 640",
        lambda: paste_masks(masks, boxes, (480, 640)),
        lambda: roi_heads.paste_masks_in_image(masks[:, None], boxes, (480, 640)) >= 0.5,
    )
    line("paste_masks_rle, 100 on 480 x 640", lambda: paste_masks_rle(masks, boxes, (480, 640)))

    persons = random_boxes(61, 800, 1088, 200)
    logits = torch.randn(61, 17, 28, 28, generator=generator)
    heat = torch.nn.functional.interpolate(logits, scale_factor=2, mode="bilinear")
    line(
        "decode_keypoints, 61 x 17 x 56 x 56",
        lambda: decode_keypoints(heat, persons),
        lambda: roi_heads.heatmaps_to_keypoints(heat, persons),
    )

    truth = paste_masks(torch.ones(20, 28, 28), random_boxes(20, 480, 640, 120), (480, 640))
    runs = rle_encode(truth)
    windows = rle_boxes(*runs, (480, 640)).long()
    pixels, offsets = rle_crop(*runs, (480, 640), windows)
    proposals, index = random_boxes(128, 480, 640, 120), torch.randint(20, (128,), generator=generator)
    line(
        "mask targets, 128 x 28 x 28",
        lambda: crop_masks(pixels, offsets, windows, (480, 640), proposals, index, 28),
        lambda: roi_heads.project_masks_on_boxes(truth, proposals, index, 28),
    )
    line("rle_encode, 20 of 480 x 640", lambda: rle_encode(truth))
    line("rle_decode, 20 of 480 x 640", lambda: rle_decode(*runs, (480, 640)))


if __name__ == "__main__":
    main()
