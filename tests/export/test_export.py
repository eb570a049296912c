"""Exported files find what the model finds, in each runtime, at any size, also where there is nothing."""

from __future__ import annotations

import dataclasses
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import SCHEMA, picture_and_truth

from videre.errors import ConfigError, DataError
from videre.export import FORMATS, export_model, find_format
from videre.export.deployed import Deployed, deploy
from videre.export.parity import compare_labels, compare_picture
from videre.images.prepare import prepare
from videre.models import Model, find_model
from videre.models.classify.classifier import Classifier
from videre.predict import Predictor
from videre.structures import Categories, ImageBatch, Instances, Preprocess, Scene, Schema
from videre.structures.limits import Limits

FEW = {
    "backbone": "vgg11",
    "multiplier": 0.25,
    "width": 16,
    "hidden": 32,
    "strides": [8, 16],
    "anchor_sizes": [16, 32, 64],
    "rpn_post_nms": [100, 50],
}
"""Few layers: converting takes time for each; sums and folded norms are in the C4 model."""
ONE = {**FEW, "strides": [16], "anchor_sizes": [16, 32]}
CONFIGS = {
    "mask-rcnn": {**FEW, "mask_layers": 1},
    "keypoint-rcnn": {**ONE, "keypoint_layers": 1, "aligned": True, "sampling_ratio": 0, "max_detections": 10},
    "faster-rcnn-c4": {"backbone": "resnet18", "resolution": 4, "rpn_post_nms": [100, 20]},
}
SIZES = {"landscape": (70, 110), "portrait": (100, 64), "tiny": (17, 31), "large": (300, 420), "speck": (2, 1)}


def pictures(channels: int = 3) -> list[tuple[str, np.ndarray]]:
    """Noise with things in it, at several sizes, and one of one colour."""
    named = [(name, picture_and_truth(size, seed=n)[0]) for n, (name, size) in enumerate(SIZES.items()) if size[0] > 2]
    speck = np.full((*SIZES["speck"], 3), 200, np.uint8)
    plain = np.full((64, 80, 3), 130, np.uint8)
    return [
        (name, picture[:, :, np.arange(channels) % 3].copy())
        for name, picture in [*named, ("speck", speck), ("plain", plain)]
    ]


def detector(name: str, preprocess: Preprocess, **config: object) -> Model:
    """Random weights whose box head spreads its scores and moves its boxes.

    The least score is chosen such that one of the pictures has no detection.
    """
    torch.manual_seed(0)
    model = find_model(name)(SCHEMA, preprocess, **{"score_threshold": 0.0, **config}).eval()
    head = getattr(model, "detector", model).box_head
    with torch.no_grad():
        head.scores.weight *= 5
        head.deltas.weight *= 3
    best = [
        float(Predictor(model, engine="plain").predict(p, 0).instances.scores.max())
        for _, p in pictures(len(preprocess.mean))
    ]
    model.limits = dataclasses.replace(model.limits, score_threshold=min(best) + 1e-3)
    return model


@pytest.fixture(scope="module", params=CONFIGS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Model, Path]]:
    """Each system, and the file that onnxruntime has passed: converting takes most of the time."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = detector(request.param, Preprocess(short_side=64, long_side=96), **CONFIGS[request.param])
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    report = export_model(model, path, "onnx", pictures(), {"licence": "CC0"})
    assert report.passed, report.problems
    found = [picture.ours for picture in report.pictures]
    assert min(found) == 0 and sum(found) >= 10, found  # or nothing is shown by the equality
    yield model, path


def test_onnx_has_standard_operators_and_says_what_it_is(written: tuple[Model, Path]) -> None:
    import onnx

    model, path = written
    proto = onnx.load(path)
    onnx.checker.check_model(proto)
    assert {node.domain for node in proto.graph.node} == {""} and not proto.functions
    data = {p.key: json.loads(p.value) for p in proto.metadata_props}
    assert data["classes"] == ["square", "disc"] and data["provenance"] == {"licence": "CC0"}
    assert Preprocess.from_json(data["preprocess"]) == model.preprocess
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()  # nothing of the machine that wrote it
    report = json.loads(path.with_name("model.onnx.parity.json").read_text())
    assert report["passed"] and [p["name"] for p in report["pictures"]] == [n for n, _ in pictures()]
    assert "| landscape | 70 x 110 |" in path.with_name("model.onnx.parity.md").read_text()


def test_results_are_in_the_types_and_pixels_that_are_promised(written: tuple[Model, Path]) -> None:
    model, path = written
    found = FORMATS["onnx"].open(path)(pictures()[3][1])
    count = len(found["scores"])
    assert found["boxes"].shape == (count, 4) and found["boxes"].dtype == found["scores"].dtype == np.float32
    assert found["labels"].dtype == np.int64 and (np.diff(found["scores"]) <= 0).all()
    assert (found["boxes"] >= 0).all() and (found["boxes"] <= [420, 300, 420, 300]).all()
    if "masks" in model.gives:
        assert found["masks"].shape == (count, 300, 420) and found["masks"].dtype == np.uint8
    if "keypoints" in model.gives:
        assert found["keypoints"].shape == (count, 17, 3)


def test_openvino_runs_the_same_graph(written: tuple[Model, Path], tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'videre[export]'")
    from videre.export import openvino_file, parity

    model, path = written
    openvino_file.convert(path, tmp_path / "model.xml", {"classes": '["a"]'})
    report = parity.compare(
        model, FORMATS["openvino"].open(tmp_path / "model.xml"), pictures(), "model.xml", "openvino"
    )
    assert report.passed, report.problems
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    assert '["a"]' in (tmp_path / "model.xml").read_text().replace("&quot;", '"')


class SecondStage(torch.nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.head = model.box_head

    def forward(self, features: torch.Tensor, proposals: torch.Tensor) -> dict[str, torch.Tensor]:
        batch = ImageBatch(features, ((64, 80),), ((64, 80),), np.empty((0, 2, 3)))
        return self.head.detect([features], [proposals], batch, Limits())


def test_no_proposals_give_no_detections_in_onnxruntime() -> None:
    """By itself: no picture leaves a region proposal network without proposals."""
    runtime, _ = pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    from videre.export.onnx_operators import OPSET, TRANSLATIONS

    model = detector("faster-rcnn", Preprocess(size=(64, 80)), **ONE)
    model.box_head.score_threshold = 0.1
    stage = SecondStage(model).eval()
    features, corners = torch.rand(1, 16, 4, 5), torch.rand(30, 2) * 40
    proposals = torch.cat([corners, corners + 5 + torch.rand(30, 2) * 20], dim=1)
    with torch.no_grad():
        program = torch.onnx.export(
            stage,
            (features, proposals),
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=TRANSLATIONS,
            dynamic_shapes=({}, {0: torch.export.Dim.DYNAMIC}),
            input_names=["features", "proposals"],
            verbose=False,
        )
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    for count in (30, 1, 0):
        found = session.run(None, {"features": features.numpy(), "proposals": proposals[:count].numpy()})
        for ours, theirs in zip(stage(features, proposals[:count]).values(), found, strict=True):
            assert ours.shape == theirs.shape and (count == 0) == (len(ours) == 0)
            np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-4)


def test_the_torch_file_is_read_back_with_any_number_of_channels(tmp_path: Path) -> None:
    preprocess = Preprocess(short_side=64, long_side=96, channels="any", mean=(0.4,) * 5, std=(0.2,) * 5)
    model = detector("faster-rcnn", preprocess, **{**ONE, "backbone": "vgg11_bn", "norm": "group", "fpn_norm": "group"})
    some = [p for p in pictures(5) if p[0] not in ("plain", "speck")]  # group norm of one colour is only rounding
    report = export_model(model, tmp_path / "model.pt2", "torch", some)
    assert report.passed and sum(p.ours for p in report.pictures) > 3, report.problems
    with zipfile.ZipFile(tmp_path / "model.pt2") as file:  # reading it as a program once more would take seconds
        (extra,) = (file.read(name) for name in file.namelist() if name.endswith("videre.json"))
        programs = [file.read(name) for name in file.namelist() if re.search(r"models/.*\.json$", name)]
    assert json.loads(extra)["classes"] == '["square", "disc"]'
    assert programs and not any(b"stack_trace" in text or b"/videre/" in text for text in programs)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from(["rgb", "bgr"]),
    st.booleans(),
    st.sampled_from([(64, 96, None), (None, 1300, None), (None, None, (7, 1250)), (None, None, None)]),
    st.sampled_from([None, None, (33, 50)]),
)
def test_pictures_are_prepared_as_everywhere(
    height: int,
    width: int,
    channels: str,
    antialias: bool,
    sides: tuple[int | None, int | None, tuple[int, int] | None],
    crop: tuple[int, int] | None,
) -> None:
    """1250 pixels: OpenCV's average then leaves out slivers of a source pixel. Where it enlarges, its weights
    are good to about 2^-15 of a step from black to white: the tolerance is a fiftieth of a grey level."""
    preprocess = Preprocess(*sides, crop, channels=channels, antialias=antialias)
    model = torch.nn.Module()
    model.preprocess, model.gives = preprocess, {"boxes"}
    scale = 40 if sides[2] or sides[1] == 1300 else 1
    size = (height, width * scale if width * scale < 2000 else width)
    if max(preprocess.resized(size)) > 3000:
        size = (height, height)
    picture = np.random.default_rng(height).integers(0, 256, (*size, 3), dtype=np.uint8)
    found, expected = Deployed(model).prepare(torch.from_numpy(picture)), prepare(picture, preprocess)
    assert found.sizes == expected.sizes and found.image.shape == expected.image.shape
    torch.testing.assert_close(found.image, expected.image, atol=3e-4, rtol=1e-5)


@pytest.mark.parametrize("multilabel", [False, True])
def test_a_classifier_says_the_same_in_onnxruntime(tmp_path: Path, multilabel: bool) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    preprocess = Preprocess(short_side=48, long_side=None, centre_crop=(40, 44), divisor=1)
    schema = Schema(pictures=Categories.of(["square", "disc", "dent"]))
    model = Classifier(schema, preprocess, backbone="vgg11", multiplier=0.25, multilabel=multilabel).eval()
    model.temperature.fill_(0.1)
    report = export_model(model, tmp_path / "model.onnx", "onnx", pictures())
    assert report.passed, report.problems
    scores = [Predictor(model, engine="plain").predict(picture, 0).label_scores for _, picture in pictures()]
    assert torch.stack(scores).std(0).max() > 0.01, scores  # or nothing is shown by the equality
    assert [row.matched for row in report.pictures] == [3] * len(report.pictures)


# the judge --------------------------------------------------------------------------------------------------------------


def things(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Instances:
    return Instances(boxes=torch.tensor(boxes).reshape(-1, 4), scores=torch.tensor(scores), labels=torch.tensor(labels))


def test_the_judge_pairs_detections_whatever_their_order() -> None:
    ours = things([[0, 0, 9, 9], [5, 5, 8, 8], [5, 5, 8, 8]], [0.9, 0.4, 0.4], [0, 0, 1])
    theirs = {
        "boxes": np.float32([[0, 0, 9, 9], [5, 5, 8, 8], [5, 5.005, 8, 8]]),
        "labels": np.array([0, 1, 0]),
        "scores": np.float32([0.9, 0.4, 0.40005]),
    }
    row = compare_picture(ours, theirs, 0.05, 100)
    assert row["problems"] == [] and row["matched"] == 3
    assert row["boxes"] == pytest.approx(0.005, rel=1e-3) and row["scores"] == pytest.approx(5e-5, rel=1e-2)


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "message"),
    [
        ([[0, 0, 9, 9]], [0.8998], [0], "scores differ by 2.0e-04"),
        ([[0, 0.02, 9, 9]], [0.9], [0], "boxes differ by 0.020 px"),
        ([[0, 0, 9, 9]], [0.9], [1], "1 detections of the model alone, with scores up to 0.9"),
        ([[0, 0, 9, 9], [1, 1, 5, 5]], [0.9, 0.3], [0, 0], "1 detections of the file alone, with scores up to 0.3"),
        ([[0, 0, 9, 9], [1, 1, 5, 5]], [0.9, 0.05005], [0, 0], None),  # that near the floor it may go either way
        ([], [], [], "1 detections of the model alone"),
    ],
)
def test_the_judge_finds_what_differs(boxes, scores, labels, message: str | None) -> None:
    ours = things([[0.0, 0, 9, 9]], [0.9], [0])
    theirs = {"boxes": np.float32(boxes).reshape(-1, 4), "scores": np.float32(scores), "labels": np.int64(labels)}
    problems = compare_picture(ours, theirs, 0.05, 100)["problems"]
    assert problems[0].startswith(message) if message else problems == []


def test_the_judge_compares_classes_by_label() -> None:
    ours = Scene((4, 4), labels=torch.tensor([2, 0]), label_scores=torch.tensor([0.7, 0.3]))
    alike = {"labels": np.array([0, 2]), "scores": np.float32([0.3, 0.70005])}
    assert compare_labels(ours, alike)["problems"] == []
    assert compare_labels(ours, {**alike, "scores": np.float32([0.3, 0.71])})["problems"][0].startswith(
        "probabilities differ by 1.0e-02"
    )
    assert "of one side alone" in compare_labels(ours, {**alike, "labels": np.array([0, 1])})["problems"][0]


def test_the_last_of_the_most_detections_may_be_another() -> None:
    ours = things([[0.0, 0, 9, 9], [20, 20, 30, 30]], [0.9, 0.3], [0, 0])
    theirs = {
        "boxes": np.float32([[0, 0, 9, 9], [40, 40, 50, 50]]),
        "scores": np.float32([0.9, 0.3]),
        "labels": np.array([0, 0]),
    }
    assert compare_picture(ours, theirs, 0.05, 2)["problems"] == []
    assert len(compare_picture(ours, theirs, 0.05, 3)["problems"]) == 2


def test_mistakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no format 'tflite'; there are: onnx, openvino, torch"):
        find_format("tflite")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "openvino" else name)
    with pytest.raises(
        ConfigError, match=r"openvino needs openvino, not installed here: pip install 'videre\[export\]'"
    ):
        find_format("openvino")
    with pytest.raises(ConfigError, match="Captioner is not exported: only detectors and classifiers are"):
        deploy(type("Captioner", (Model,), {})(SCHEMA))
    with pytest.raises(DataError, match="there is no picture to compare on"):
        export_model(find_model("faster-rcnn")(SCHEMA, **ONE), tmp_path / "a.pt2", "torch", [])
    assert not list(tmp_path.iterdir())
