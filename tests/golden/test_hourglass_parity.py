"""The stacked hourglass against the authors' PyTorch port, on the same weights and pictures: maps of both stacks to 1e-4.

`make_hourglass.py` made the numbers from their code. Weights are filled by the names that tensors have there.
"""

import re
from pathlib import Path

import numpy as np
import rule_classifiers as rule
import torch

from videre.layers.hourglass import StackedHourglass

GOLDEN = np.load(Path(__file__).with_name("hourglass.npz"))["maps"]
JOINTS, SIZE, STEP = 14, (128, 192), 2
RENAMED = (
    (r"^pre\.0\.", "pre.0.conv."),
    (r"^pre\.1\.", "pre.0.bn."),
    (r"^pre\.3\.", "pre.1."),
    (r"^pre\.5\.", "pre.3."),
    (r"^pre\.6\.", "pre.4."),
    (r"^hourglasses\.(\d)\.", r"hgs.\1.0."),
    (r"\.up\.", ".up1."),
    (r"\.before\.", ".low1."),
    (r"\.after\.", ".low3."),
    (r"\.inside(?=\.)", ".low2"),
    (r"^features\.(\d)\.1\.", r"features.\1.1.conv."),
    (r"^features\.(\d)\.2\.", r"features.\1.1.bn."),
    (r"^outs\.(\d)\.", r"outs.\1.conv."),
    (r"^merge_features\.(\d)\.", r"merge_features.\1.conv.conv."),
    (r"^merge_maps\.(\d)\.", r"merge_preds.\1.conv.conv."),
    (r"\.skip\.", ".skip_layer.conv."),
    (r"\.(conv[123])\.(?=weight|bias)", r".\1.conv."),
)
"""Our name, its pattern; what it is called in the port. Of the first five one applies, at the beginning of a name."""


def theirs(name: str) -> str:
    start = next(((old, new) for old, new in RENAMED[:5] if re.match(old, name)), None)
    name = re.sub(*start, name) if start else name
    for old, new in RENAMED[5:]:
        name = re.sub(old, new, name)
    return name


@torch.inference_mode()
def test_maps_are_those_of_the_port() -> None:
    net = StackedHourglass(JOINTS, stacks=2).eval()
    state = net.state_dict()
    assert len({theirs(name) for name in state}) == len(state)
    net.load_state_dict({n: torch.from_numpy(rule.fill(theirs(n), tuple(v.shape))) for n, v in state.items()})
    found = torch.stack(net(torch.from_numpy(rule.pictures(SIZE))), 1)[..., ::STEP, ::STEP].numpy()
    assert found.shape == GOLDEN.shape
    np.testing.assert_allclose(found, GOLDEN, rtol=1e-4, atol=1e-4 * GOLDEN.std())
