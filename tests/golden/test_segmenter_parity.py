"""DilatedFCN and DeepLabV3 against torchvision's nets of the same weights and pictures: logits to 1e-4.

`make_segmenters.py` made the numbers in the peers' environment. Weights are filled by the names that tensors have in the
published files, and brought in by the way that loads those files.
"""

from pathlib import Path

import numpy as np
import pytest
import rule_classifiers as rule
import torch

from videre.models import find_model
from videre.models.official import OFFICIAL, from_torchvision
from videre.models.segment.segmenter import resize_logits

GOLDEN = np.load(Path(__file__).with_name("segmenters.npz"))
SIZE, STEP = (67, 99), 6


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
@torch.inference_mode()
def test_logits_are_those_of_the_published_net(name: str) -> None:
    official = next(o for o in OFFICIAL if o.name == f"torchvision/{name}")
    model = find_model(official.model)(official.schema, official.preprocess, **dict(official.config)).eval()
    tensors = {n: torch.from_numpy(rule.fill(n, tuple(v.shape))) for n, v in model.state_dict().items()}
    extra = {"backbone.bn1.num_batches_tracked": torch.zeros((), dtype=torch.int64)}  # the files have such counters
    model.load_state_dict(from_torchvision({**tensors, **extra}, official.rows, model))
    image = torch.from_numpy(rule.pictures(SIZE))
    maps = model.backbone(image)
    before, last = (maps[stride] for stride in model.taps)
    for head, logits in (("out", model.heads(image)["logits"]), ("aux", model.aux_classifier(before))):
        found = resize_logits(logits, SIZE)[:, :, ::STEP, ::STEP].numpy()
        golden = GOLDEN[f"{name} {head}"]
        np.testing.assert_allclose(found, golden, rtol=1e-4, atol=1e-4 * golden.std())
    assert last.shape[2:] == (9, 13)
