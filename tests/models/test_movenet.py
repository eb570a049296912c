"""MoveNet: decoding and losses worked out by hand, truths that lead back to themselves, and the released weights."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from scenes import CONFIGS, SCHEMA, batch_of, picture_and_truth
from torch import Tensor

from videre.backbones import make_backbone
from videre.data import read
from videre.errors import ConfigError
from videre.layers.maps import stack_padded
from videre.models.pose.movenet import OVERLAP, STRIDE, MoveNet, Target, focal_loss, hill_radius, hills_at, read_pose
from videre.predict import Predictor
from videre.structures import Instances, Scene, Schema

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT.parent / "shared" / "weights" / "movenet_lightning_coco_int8.safetensors"
COCO = ROOT.parent / "shared" / "data" / "coco_mini"


@pytest.fixture(scope="module")
def model() -> MoveNet:
    torch.manual_seed(0)
    return MoveNet(SCHEMA, **CONFIGS["movenet"]).eval()


def empty_maps(joints: int, h: int, w: int) -> dict[str, Tensor]:
    return {
        "center": torch.zeros(1, h, w),
        "heatmap": torch.zeros(joints, h, w),
        "offset": torch.zeros(2 * joints, h, w),
        "regress": torch.zeros(2 * joints, h, w),
    }


# decoding ---------------------------------------------------------------------------------------------------------------


def test_a_joint_lies_in_its_cell_where_the_offset_says() -> None:
    maps = empty_maps(2, 6, 8)
    maps["center"][0, 2, 3] = 0.9
    maps["regress"][:, 2, 3] = torch.tensor([1.0, 2.0, -1.0, 0.0])  # guesses (3, 5) and (1, 3)
    maps["heatmap"][0, 3, 5], maps["heatmap"][1, 1, 4] = 0.5, 0.4
    maps["offset"][:2, 3, 5] = torch.tensor([0.25, 0.75])
    maps["offset"][2:, 1, 4] = torch.tensor([-0.5, 1.0])
    points, scores = read_pose(**maps)
    assert points.tolist() == [[5.75, 3.25], [5.0, 0.5]]  # x, y
    assert scores.tolist() == pytest.approx([0.5, 0.4])


@pytest.mark.parametrize(("far", "expected"), [(0.8, 4.0), (0.9, 3.0)])
def test_the_joint_near_the_guess_wins_against_a_little_higher_one(far: float, expected: float) -> None:
    """A cell beside the guess, 0.4 / 2.8 = 0.143; four cells away 0.8 / 5.8 = 0.138, or 0.9 / 5.8 = 0.155."""
    maps = empty_maps(1, 6, 8)
    maps["center"][0, 2, 3] = 0.9
    maps["regress"][:, 2, 3] = torch.tensor([-1.0, 0.0])  # guess (1, 3)
    maps["heatmap"][0, 1, 4], maps["heatmap"][0, 5, 3] = 0.4, far
    points, scores = read_pose(**maps)
    assert points[0, 0] == expected and scores.tolist() == pytest.approx([0.4 if far == 0.8 else far])


def test_the_person_in_the_middle_wins_against_a_surer_one_in_the_corner() -> None:
    """Cell (3, 4) is the middle, 0.5 / 1.8 = 0.278; the corner is 5 away, 0.9 / 6.8 = 0.132."""
    maps = empty_maps(1, 6, 8)
    maps["center"][0, 3, 4], maps["center"][0, 0, 0] = 0.5, 0.9
    maps["heatmap"][0, 3, 4], maps["heatmap"][0, 0, 0] = 0.3, 0.3
    assert read_pose(**maps)[0].tolist() == [[4.0, 3.0]]


def test_joints_are_told_in_the_picture_s_own_pixels(model: MoveNet) -> None:
    """48 x 96 becomes 96 x 192: cells of two pixels; what lies in the padding is not looked at."""
    batch, _ = batch_of(model, [picture_and_truth((45, 96), 1)])
    assert batch.sizes == ((90, 192),) and batch.image.shape[2:] == (96, 192)
    maps = empty_maps(17, 24, 48)
    maps["center"][0, 10, 20], maps["center"][0, 23, 24] = 0.5, 1.0
    maps["heatmap"][:, 10, 20], maps["heatmap"][:, 23, 24] = 0.5, 1.0
    maps["offset"][:, 10, 20] = 0.5
    (scene,) = model.postprocess({name: value[None] for name, value in maps.items()}, batch)
    people = scene.instances
    assert scene.size == (45, 96) and len(people) == 1
    torch.testing.assert_close(people.keypoints, torch.tensor([41.0, 21.0]).expand(1, 17, 2))
    assert people.keypoint_scores.unique().tolist() == [0.5] == people.scores.tolist()


# losses -----------------------------------------------------------------------------------------------------------------


def perfect(targets: list[Target], h: int, w: int) -> dict[str, Tensor]:
    """Logits and vectors that say the truths: what the heads should learn."""
    rows = []
    for target in targets:
        maps = empty_maps(17, h, w)
        sure = torch.where(stack_padded([target.hills], (h, w), 0.0)[0] == 1, 30.0, -30.0)
        maps["center"], maps["heatmap"] = sure[:1], sure[1:]
        for name, cells in (("regress", target.centers), ("offset", target.cells)):
            for joint, point, (y, x) in zip(target.joint, target.points, cells.tolist()):
                maps[name].view(17, 2, h, w)[joint, :, y, x] = point - torch.tensor([y, x])
        rows.append(maps)
    return {name: torch.stack([maps[name] for maps in rows]) for name in rows[0]}


def test_perfect_maps_have_no_loss_and_lead_back_to_the_joints(model: MoveNet) -> None:
    cases = [picture_and_truth((60, 80), seed, things=1) for seed in (3, 4)]
    batch, truths = batch_of(model, cases)
    maps = perfect(truths, *(side // STRIDE for side in batch.image.shape[2:]))
    assert all(value < 1e-6 for value in model.compare(maps, truths).values())
    for name in maps:
        worse = model.compare(maps | {name: maps[name] * 0.1}, truths)
        assert [other for other, value in worse.items() if value > 1e-6] == [name]
    said = maps | {name: maps[name].sigmoid() for name in ("center", "heatmap")}
    for scene, (_, truth) in zip(model.postprocess(said, batch), cases):
        torch.testing.assert_close(scene.instances.keypoints, truth.instances.keypoints, atol=1e-3, rtol=0)


def test_every_person_is_trained_in_any_order(model: MoveNet) -> None:
    picture, truth = picture_and_truth((60, 80), 5, things=3)
    batch, (target,) = batch_of(model, [(picture, truth)])
    _, (turned,) = batch_of(model, [(picture, truth.select(torch.tensor([2, 0, 1])))])
    h, w = (side // STRIDE for side in batch.image.shape[2:])
    assert len(target.joint) == 3 * 17 and torch.equal(target.hills, turned.hills)
    torch.manual_seed(1)
    maps = {name: torch.randn_like(value) for name, value in perfect([target], h, w).items()}
    losses, again = (model.compare(maps, [one]) for one in (target, turned))
    for name, value in losses.items():
        torch.testing.assert_close(again[name], value)


def test_joints_that_are_not_labelled_and_crowds_count_nowhere(model: MoveNet) -> None:
    box = torch.tensor([[0.0, 0, 40, 80], [60, 40, 100, 80]])
    people = Instances(
        boxes=box,
        labels=torch.zeros(2, dtype=torch.int64),
        ignore=torch.tensor([False, True]),
        keypoints=torch.rand(2, 17, 2) * 30 + box[:, None, :2],
        visibility=torch.full((2, 17), 2, dtype=torch.uint8),
    )
    people.visibility[0, 4] = 0
    target = model.target(Scene((96, 128), people))
    assert set(target.joint.tolist()) == set(range(17)) - {4} and len(target.joint) == 16
    assert (target.hills[0] == 1).sum() == 1 and (target.hills[5] == 0).all()
    unlabelled, crowd = torch.zeros(2, 24, 32, dtype=torch.bool)
    unlabelled[:20, :10], crowd[10:20, 15:25] = True, True
    assert torch.equal(target.counts[5], ~unlabelled & ~crowd)
    for channel in (0, 1, 17):  # a centre, a nose, an ankle
        assert torch.equal(target.counts[channel], ~crowd)


def test_boxes_need_not_be_known(model: MoveNet) -> None:
    points = torch.zeros(1, 17, 2)
    points[0, :2] = torch.tensor([[10.0, 20.0], [50.0, 60.0]])
    seen = torch.zeros(1, 17, dtype=torch.uint8)
    seen[0, :2] = 1
    target = model.target(Scene((96, 96), Instances(keypoints=points, visibility=seen)))
    assert target.centers.unique(dim=0).tolist() == [[10, 7]]  # mean (30, 40): cells 7.5, 10
    assert target.cells.tolist() == [[5, 2], [15, 12]]
    assert not target.counts[5, 5:15, 3:12].any() and target.counts[5, :, 13:].all()


def test_the_focal_loss_is_the_paper_s() -> None:
    """-(1 - p)^2 log p at a peak; -(1 - Y)^4 p^2 log(1 - p) beside it; here p = 1/2, and Y 1, 1/2, 0."""
    hills, counts = torch.tensor([1.0, 0.5, 0.0, 0.0]), torch.tensor([True, True, True, False])
    losses = focal_loss(torch.zeros(4), hills, counts)
    assert losses.tolist() == pytest.approx([math.log(2) * share for share in (0.25, 0.25 / 16, 0.25, 0)])


def test_hills_are_gaussians_as_wide_as_they_may() -> None:
    sides = torch.rand(50, 2) * 40 + 1
    radius = hill_radius(sides)
    overlap = lambda r: (sides - 2 * r[:, None]).clamp(min=0).prod(1) / sides.prod(1)
    assert (overlap(radius) >= OVERLAP - 1e-5).all() and (overlap(radius + 1) < OVERLAP).all()
    hill = hills_at(torch.tensor([[[3, 5]]]), torch.tensor([2.0]), (8, 9))[0, 0]
    spread = 5 / 6  # two cells each way and the peak
    assert hill[3, 5] == 1 and float(hill[4, 7]) == pytest.approx(math.exp(-5 / (2 * spread**2)))
    assert hill.count_nonzero() == 25


# the model --------------------------------------------------------------------------------------------------------------


def test_heads_have_rows_for_each_joint(model: MoveNet) -> None:
    tensors = model.state_dict()
    for name, rows in model.named_rows().items():
        assert len(tensors[name]) == rows.each * len(rows.names(SCHEMA)) == rows.each * 17


def test_starts_from_a_classifier_s_weights() -> None:
    torch.manual_seed(0)
    published = make_backbone("mobilenet_v2", norm="none", padding="same")
    model = MoveNet(SCHEMA, norm="none", padding="same").eval()
    assert model.start_from({**published.state_dict(), "classifier.1.bias": torch.zeros(1)}) == ["classifier.1.bias"]
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        maps, theirs = model.backbone(image), published(image)
    assert (
        {stride: m.shape[1] for stride, m in maps.items()}
        == model.backbone.channels
        == {4: 24, 8: 32, 16: 64, 32: 1280}
    )
    for stride in (4, 8, 32):
        assert torch.equal(maps[stride], theirs[stride])


def test_another_backbone() -> None:
    model = MoveNet(SCHEMA, backbone="resnet18", norm="group", multiplier=0.25).eval()
    batch, _ = batch_of(model, [picture_and_truth((50, 70), 2)])
    with torch.inference_mode():
        assert model(batch)["regress"].shape == (1, 34, 40, 48)


def test_what_cannot_be_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"schema\.skeleton"):
        MoveNet(Schema(things=SCHEMA.things))
    shallow = lambda name, norm, channels: make_backbone("mobilenet_v2", norm=norm, channels=channels, last=8)
    monkeypatch.setattr("videre.models.pose.movenet.make_backbone", shallow)
    with pytest.raises(ConfigError, match="backbone timm:shallow has no map at stride 16, 32"):
        MoveNet(SCHEMA, backbone="timm:shallow")


# the released weights ---------------------------------------------------------------------------------------------------


def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("benchmark_movenet", ROOT / "benchmarks" / "movenet.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(
    not (WEIGHTS.exists() and COCO.exists()), reason=f"weights or pictures are not in {ROOT.parent}/shared"
)
def test_the_released_weights_find_the_joints_of_persons() -> None:
    from safetensors.torch import load_file

    script = benchmark()
    predictor = Predictor(script.build(load_file(WEIGHTS)), engine="plain")
    data, found = read(COCO, "val2017"), []
    for i in range(len(data)):
        people = data.scene(i).instances
        for n in script.judged(people)[:1]:
            crop, corner = script.square_around(data.picture(i), people.boxes[n].numpy())
            points = predictor.predict(crop, threshold=0).instances.keypoints[0] + torch.from_numpy(corner)
            found.append(script.similarity(points, people, n))
        if len(found) == 8:
            break
    assert sum(found) / len(found) > 0.6, found
