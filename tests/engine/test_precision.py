"""The number format is chosen by trying, not by the names of instruction sets."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F

from videre.engine import precision
from videre.engine.device import describe_processor
from videre.engine.precision import fastest_precision


@pytest.mark.parametrize(("slow", "chosen"), [(torch.bfloat16, "fp32"), (torch.float32, "bf16")])
def test_the_faster_format_is_chosen(monkeypatch, slow: torch.dtype, chosen: str) -> None:
    convolve = F.conv2d

    def stretched(x, *others, **named):
        time.sleep(0.05 if x.dtype == slow else 0)
        return convolve(x, *others, **named)

    monkeypatch.setattr(precision.F, "conv2d", stretched)
    assert fastest_precision(torch.device("cpu")) == chosen


def test_other_devices_are_not_tried() -> None:
    assert fastest_precision(torch.device("mps")) == "fp32"


def test_the_processor_has_a_name() -> None:
    threads = torch.get_num_threads()
    assert describe_processor().endswith(f", {threads} thread" + ("s" if threads > 1 else ""))
