"""Every system of the table keeps the contract."""

from __future__ import annotations

import pytest
import torch
from scenes import CONFIGS, PREPROCESS, SCHEMA, batch_of, picture_and_truth

from videre.errors import DataError
from videre.models import MODELS, Model, find_model, model_name
from videre.models.checkpoint import read_checkpoint, save_checkpoint
from videre.models.segment import deconvnet
from videre.predict import Predictor
from videre.structures.scene import all_fields


@pytest.fixture(params=list(MODELS))
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Model:
    torch.manual_seed(0)
    monkeypatch.setattr(deconvnet, "GRIDS", (1, 2))  # of 14 windows a picture, each a run of the net, 5 show as much
    kind = find_model(request.param)
    preprocess = PREPROCESS.replace(divisor=kind.usual.divisor) if "segmentation" in kind.gives else PREPROCESS
    return kind(SCHEMA, preprocess, **CONFIGS[request.param])


def test_config_rebuilds_the_model(model: Model) -> None:
    again = type(model)(model.schema, model.preprocess, **model.config)
    assert {n: v.shape for n, v in again.state_dict().items()} == {n: v.shape for n, v in model.state_dict().items()}
    assert find_model(model_name(model)) is type(model)


def test_losses_are_finite_and_reach_every_trained_tensor(model: Model) -> None:
    model.train()
    batch, truths = batch_of(model, [picture_and_truth((64, 80), 1), picture_and_truth((60, 70), 2, things=1)])
    losses = model.losses(batch, truths)
    assert all(v.ndim == 0 and torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    without = [
        n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    assert without == []


def test_a_batch_without_objects_trains(model: Model) -> None:
    """PITFALLS of the peers: losses divided by nothing, empty tensors of the wrong rank."""
    model.train()
    batch, truths = batch_of(
        model, [picture_and_truth((64, 64), 3, things=0), picture_and_truth((64, 64), 4, things=0)]
    )
    losses = model.losses(batch, truths)
    assert all(torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    if "boxes" in model.needs:
        assert losses["box" if "box" in losses else "rpn_box"].item() == 0


def test_ten_steps_on_one_batch_lower_the_loss(model: Model) -> None:
    model.train()
    batch, truths = batch_of(model, [picture_and_truth((64, 80), 5), picture_and_truth((64, 80), 6)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    values = []
    for _ in range(11):
        loss = sum(model.losses(batch, truths).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]


def test_predicts_odd_sizes_in_the_pictures_own_pixels(model: Model) -> None:
    predictor = Predictor(model)
    pictures = [picture_and_truth(size, 7)[0] for size in ((37, 53), (64, 64), (90, 41))] + [torch.zeros(3, 33, 35)]
    scenes = predictor.predict(pictures, threshold=0)
    assert [s.size for s in scenes] == [(37, 53), (64, 64), (90, 41), (33, 35)]
    for scene in scenes:
        for field in model.gives:
            assert scene.has(field), field
        found = scene.instances
        if found is not None and len(found):
            assert found.boxes.min() >= 0
            assert (found.boxes[:, 2] <= scene.size[1]).all() and (found.boxes[:, 3] <= scene.size[0]).all()
            assert found.labels.max() < 2


@pytest.mark.parametrize("engine", ["plain", "fp32"])
def test_neighbours_in_a_batch_change_nothing(model: Model, engine: str) -> None:
    pictures = [picture_and_truth(size, 8 + i)[0] for i, size in enumerate([(64, 64), (64, 64), (40, 64), (64, 64)])]
    together = Predictor(model, batch=4, engine=engine).predict(pictures, threshold=0)
    alone = [Predictor(model, batch=1, engine=engine).predict(p, threshold=0) for p in pictures]
    for a, b in zip(together, alone):
        assert len(a) == len(b)
        for field in model.gives & {"boxes", "scores", "label_scores", "segmentation", "keypoints"}:
            torch.testing.assert_close(a.get(field), b.get(field), atol=1e-3 if field == "boxes" else 1e-5, rtol=1e-4)


def test_save_and_load_predict_the_same(model: Model, tmp_path) -> None:
    picture, _ = picture_and_truth((64, 70), 12)
    model.thresholds = {"square": 0.25}
    save_checkpoint(model, tmp_path / "m.safetensors", {"note": "a test"})
    checkpoint = read_checkpoint(tmp_path / "m.safetensors")
    again = checkpoint.build()
    assert (again.config, again.schema, again.preprocess) == (model.config, model.schema, model.preprocess)
    assert again.thresholds == {"square": 0.25} and checkpoint.provenance == {"note": "a test"}
    before, after = (Predictor(m, engine="plain").predict(picture, threshold=0) for m in (model, again))
    for field in model.gives & {"boxes", "scores", "labels", "label_scores", "segmentation", "keypoints"}:
        assert torch.equal(before.get(field), after.get(field))


@torch.inference_mode()
def test_compiled_equals_eager(model: Model) -> None:
    model.eval()
    batch, _ = batch_of(model, [picture_and_truth((64, 64), 13)])
    eager = model(batch)
    compiled = torch.compile(model, backend="aot_eager")(batch)
    assert eager.keys() == compiled.keys()
    for name in eager:
        torch.testing.assert_close(compiled[name], eager[name], atol=1e-4, rtol=1e-4)


def test_data_without_what_it_needs_is_refused(model: Model) -> None:
    (wanted, *_) = sorted(model.needs)
    with pytest.raises(DataError, match=rf"has no .*{wanted}"):
        model.require({*all_fields()} - {wanted}, "my data")
