"""Every system of the table keeps the contract."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from probes import Captioner, Graph, Moments, Regions, Shapes
from scenes import CONFIGS, PREPROCESS, SCHEMA, batch_of, example, small
from torch.utils._pytree import tree_leaves

from videre.errors import ConfigError, DataError
from videre.models import MODELS, Descent, Model, find_model, model_name
from videre.models.checkpoint import read_checkpoint, save_checkpoint
from videre.models.segment import deconvnet
from videre.predict import Predictor
from videre.structures import Scene
from videre.structures.scene import all_fields

PROBES = {f"{kind.__module__}:{kind.__name__}": kind for kind in (Regions, Captioner, Moments, Graph, Shapes)}


@pytest.fixture(params=[*MODELS, *PROBES])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Model:
    torch.manual_seed(0)
    monkeypatch.setattr(deconvnet, "GRIDS", (1, 2))  # of 14 windows a picture, each a run of the net, 5 show as much
    kind = find_model(request.param)
    preprocess = PREPROCESS.replace(divisor=kind.usual.divisor) if "segmentation" in kind.gives else small(kind)
    preprocess = kind.usual if request.param in PROBES else preprocess
    return kind(SCHEMA, preprocess.replace(short_side=64, long_side=96), **CONFIGS.get(request.param, {}))


def predict(predictor: Predictor, cases: list[tuple[Any, Scene]]) -> list[Scene]:
    """Everything that is predicted, of what the model takes no more than that given."""
    takes = type(predictor.model).takes | type(predictor.model).accepts
    given = [truth.only(takes) for _, truth in cases] if takes else None
    return predictor.predict([picture for picture, _ in cases], threshold=0, given=given)


def skip_untrained(model: Model) -> None:
    """Methods that have nothing to train say so, and the rest of a test of training is skipped."""
    if not any(isinstance(stage, Descent) for stage in model.stages()):
        with pytest.raises(ConfigError, match="has nothing to train by descent"):
            model.losses(None, [])
        pytest.skip("nothing to train by descent")


def test_config_rebuilds_the_model(model: Model) -> None:
    again = type(model)(model.schema, model.preprocess, **model.config)
    assert {n: v.shape for n, v in again.state_dict().items()} == {n: v.shape for n, v in model.state_dict().items()}
    assert find_model(model_name(model)) is type(model)


def test_losses_are_finite_and_reach_every_trained_tensor(model: Model) -> None:
    skip_untrained(model)
    model.train()
    for zeros in (p for p in model.parameters() if not p.any()):
        torch.nn.init.normal_(zeros, std=0.1)  # a head that begins with zeros (FCN's) holds back the gradients below it
    cases = [example(model, (64, 80), 1), example(model, (60, 70), 2, things=1)]
    cases += [example(model, (64, 64), seed) for seed in range(3, 9)]  # of many things some fit the coarsest cells
    batch, truths = batch_of(model, cases)
    losses = model.losses(batch, truths)
    assert all(v.ndim == 0 and torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    without = [
        n
        for n, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.isfinite().all() or not p.grad.any())
    ]
    assert without == []


def test_a_batch_without_objects_trains(model: Model) -> None:
    skip_untrained(model)
    # pitfalls of the peers: losses divided by nothing, empty tensors of the wrong rank
    model.train()
    batch, truths = batch_of(model, [example(model, (64, 64), 3, things=0), example(model, (64, 64), 4, things=0)])
    losses = model.losses(batch, truths)
    assert all(torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    if "boxes" in model.needs and not model.takes:
        assert next(losses[name] for name in ("box", "rpn_box", "middle") if name in losses).item() == 0


def test_ten_steps_on_one_batch_lower_the_loss(model: Model) -> None:
    skip_untrained(model)
    model.train()
    batch, truths = batch_of(model, [example(model, (64, 80), 5), example(model, (64, 80), 6)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2 if model_name(model) in PROBES else 1e-3)
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
    sizes = [(37, 53), (64, 64), (90, 41), (33, 35)]
    cases = [example(model, size, 7) for size in sizes]
    if model.preprocess.frames is None:
        cases[3] = torch.zeros(3, 33, 35), cases[3][1]
    scenes = predict(predictor, cases)
    assert [s.size for s in scenes] == sizes
    for scene in scenes:
        for field in model.gives:
            assert scene.has(field), field
        found = scene.instances
        if found is not None and found.boxes is not None and len(found) and not model.takes:
            assert found.boxes.min() >= 0
            assert (found.boxes[:, 2] <= scene.size[1]).all() and (found.boxes[:, 3] <= scene.size[0]).all()
            assert found.labels.max() < 2


@pytest.mark.parametrize("engine", ["plain", "fp32"])
def test_neighbours_in_a_batch_change_nothing(model: Model, engine: str) -> None:
    cases = [example(model, size, 8 + i) for i, size in enumerate([(64, 64), (64, 64), (40, 64), (64, 64)])]
    together = predict(Predictor(model, batch=4, engine=engine), cases)
    alone = [predict(Predictor(model, batch=1, engine=engine), [case])[0] for case in cases]
    for a, b in zip(together, alone, strict=True):
        assert len(a) == len(b) or type(model) is Shapes  # whose second mesh is for the second of a batch
        for field in model.gives & {"boxes", "scores", "label_scores", "segmentation", "keypoints", "caption_scores"}:
            torch.testing.assert_close(a.get(field), b.get(field), atol=1e-3 if field == "boxes" else 1e-5, rtol=1e-4)


def test_save_and_load_predict_the_same(model: Model, tmp_path) -> None:
    case = example(model, (64, 70), 12)
    model.thresholds = {"square": 0.25}
    save_checkpoint(model, tmp_path / "m.safetensors", {"note": "a test"})
    checkpoint = read_checkpoint(tmp_path / "m.safetensors")
    again = checkpoint.build()
    assert (again.config, again.schema, again.preprocess) == (model.config, model.schema, model.preprocess)
    assert again.thresholds == {"square": 0.25} and checkpoint.provenance == {"note": "a test"}
    (before,), (after,) = (predict(Predictor(m, engine="plain"), [case]) for m in (model, again))
    assert json.dumps(before.to_json()) == json.dumps(after.to_json())


@torch.inference_mode()
def test_compiled_equals_eager(model: Model) -> None:
    model.eval()
    batch, _ = batch_of(model, [example(model, (64, 64), 13)])
    eager = model(batch)
    compiled = torch.compile(model, backend="aot_eager")(batch)
    assert eager.keys() == compiled.keys()
    for name in eager:
        for one, other in zip(tree_leaves(compiled[name]), tree_leaves(eager[name]), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_data_without_what_it_needs_is_refused(model: Model) -> None:
    if not model.needs:
        pytest.skip("it needs nothing")
    (wanted, *_) = sorted(model.needs)
    with pytest.raises(DataError, match=rf"has no .*{wanted}"):
        model.require({*all_fields()} - {wanted}, "my data")
