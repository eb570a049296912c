"""What each way to make a map larger does, and a convolution as a matrix: `python examples/upsampling.py OUT.png`.

Prints the matrices of docs/upsampling.md and draws its picture.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from videre.draw.curves import to_png
from videre.layers.convolution_matrix import convolution_matrix
from videre.layers.upsample import bed_of_nails, bilinear, bilinear_kernel, max_pool_with_places, max_unpool, nearest


def main() -> None:
    matrices()
    Path(sys.argv[1]).write_bytes(picture())


def matrices() -> None:
    """X of a kernel (1, 2, 3) with stride 2 and padding 1 on five cells, and its transpose, at work."""
    kernel = torch.tensor([1.0, 2, 3])
    x = convolution_matrix(kernel, 5, stride=2, padding=1)
    a, b = torch.tensor([1.0, 1, 2, 0, 1]), torch.tensor([1.0, 0, 2])
    show("X =", x)
    show("X a = conv1d(a, kernel, stride=2, padding=1), a =", a, x @ a)
    assert torch.equal(x @ a, F.conv1d(a[None, None], kernel[None, None], stride=2, padding=1)[0, 0])
    show("X^T =", x.T)
    show("X^T b = conv_transpose1d(b, kernel, stride=2, padding=1), b =", b, x.T @ b)
    assert torch.equal(x.T @ b, F.conv_transpose1d(b[None, None], kernel[None, None], stride=2, padding=1)[0, 0])


def show(title: str, *tensors: torch.Tensor) -> None:
    lines = [f"[{' '.join(f'{v:2.0f}' for v in row)}]" for t in tensors for row in (t if t.dim() > 1 else t[None])]
    print(title, *lines, sep="\n  ")


def picture() -> bytes:
    """A 4x4 map, max-pooled, and made 4x4 again in every way."""
    before = torch.tensor([[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]])[None, None]
    pooled, places = max_pool_with_places(before)
    transposed = F.conv_transpose2d(pooled, bilinear_kernel(4)[None, None], stride=2, padding=1)
    shown = {
        "before": before, "max pool 2x2": pooled, "max-unpooling": max_unpool(pooled, places, (4, 4)),
        "bed of nails": bed_of_nails(pooled, (4, 4)), "nearest": nearest(pooled, (4, 4)),
        "bilinear": bilinear(pooled, (4, 4)), "transposed, bilinear": transposed,
    }  # fmt: skip
    figure = Figure(figsize=(13, 2.2), layout="constrained")
    for axes, (title, values) in zip(figure.subplots(1, len(shown)), shown.items()):
        plane = values[0, 0]
        axes.pcolormesh(plane, cmap="Blues", vmin=0, vmax=9, edgecolors="white", linewidth=1.5)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        for y, line in enumerate(plane.tolist()):
            for x, value in enumerate(line):
                ink = "white" if value > 5 else "black"
                axes.text(x + 0.5, y + 0.5, f"{value:.3g}", ha="center", va="center", fontsize=9, color=ink)
        axes.set_title(title, fontsize=9.5, color="black")
        axes.set_axis_off()
    return to_png(figure)


if __name__ == "__main__":
    main()
