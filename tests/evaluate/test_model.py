"""A model is judged on a data set: its own names, its own thresholds, its own limits, whatever single pictures do."""

import dataclasses

import numpy as np
import pytest
import torch

from train.tiny import SQUARE, detector
from videre.data import Dataset
from videre.errors import DataError
from videre.evaluate import Decision, Report, evaluate_model
from videre.evaluate.model import align, renaming
from videre.evaluate.page import write_evaluation_page
from videre.models import Model
from videre.predict import Predictor
from videre.structures import Categories, ImageBatch, Instances, Scene, Schema, Skeleton
from videre.structures.limits import Limits

from .scenes import boxed

ROWS = [[0, 0, 10, 10], [5, 5, 9, 9], [1, 1, 2, 2]]
A, B, C = [0, 0, 10, 10], [50, 50, 60, 60], [100, 100, 110, 110]
ONE = Schema(things=Categories.of(["thing"]))


class Known(Model):
    """Says the same of every picture."""

    gives = frozenset({"boxes", "instances.labels", "scores"})

    def __init__(self, scene: Scene | None = None, schema: Schema = ONE) -> None:
        super().__init__(schema, SQUARE)
        self.scene = scene

    def forward(self, batch: ImageBatch) -> dict:
        return {}

    def postprocess(self, outputs: dict, batch: ImageBatch) -> list[Scene]:
        return [self.scene for _ in batch.originals]


@dataclasses.dataclass
class Listed:
    """Truths in a list; pictures of noise, some of them broken."""

    truths: list[Scene]
    broken: tuple[int, ...] = ()
    fields = frozenset({"instances.labels", "boxes"})

    def __len__(self) -> int:
        return len(self.truths)

    def name(self, i: int) -> str:
        return f"{i}.png"

    def path(self, i: int) -> None:
        return None

    def size(self, i: int) -> tuple[int, int]:
        return self.truths[i].size

    def scene(self, i: int) -> Scene:
        return self.truths[i]

    def picture(self, i: int) -> np.ndarray:
        if i in self.broken:
            raise DataError(f"{i}.png: not a picture")
        return np.random.default_rng(i).integers(0, 255, (*self.size(i), 3), np.uint8)


def judged(model: Model, truths: list[Scene], broken: tuple[int, ...] = (), **options) -> Report:
    return evaluate_model(Predictor(model), Dataset(Listed(truths, broken), model.schema), bootstrap=0, **options)


# names ------------------------------------------------------------------------------------------------------------------


def with_classes(*names):
    return Schema(things=Categories.of(list(names)))


def aligned(scene, data, model, gives=frozenset({"boxes", "instances.labels", "keypoints"})):
    judge = Known(schema=model)
    judge.gives = gives
    dataset = Dataset(Listed([scene]), data, title="my data")
    return align(scene, renaming(dataset, judge), dataset, judge)


def test_labels_follow_the_names():
    truth = boxed(ROWS, labels=[0, 1, 0])
    moved = aligned(truth, with_classes("dog", "cat"), with_classes("cat", "cow", "dog"))
    assert moved.instances.labels.tolist() == [2, 0, 2] and torch.equal(moved.instances.boxes, truth.instances.boxes)
    assert aligned(truth, with_classes("a", "b"), with_classes("a", "b")) is truth
    assert aligned(Scene((5, 5)), with_classes("a", "b"), with_classes("b", "a")).instances is None


def test_a_class_that_the_model_does_not_know_is_named():
    with pytest.raises(DataError, match="my data has classes that the model does not know: cow; it knows cat, dog"):
        aligned(boxed(ROWS), with_classes("cat", "cow"), with_classes("cat", "dog"))


def test_keypoints_follow_the_names():
    points, seen = [[[1, 1], [2, 2], [3, 3]]], [[0, 1, 2]]
    truth = boxed([A], keypoints=points, visibility=seen)
    data, model = (ONE.replace(skeleton=Skeleton(names)) for names in (("a", "b", "c"), ("c", "a", "b")))
    moved = aligned(truth, data, model).instances
    assert moved.keypoints.tolist() == [[[3, 3], [1, 1], [2, 2]]] and moved.visibility.tolist() == [[2, 0, 1]]
    assert aligned(truth, data, data) is truth
    other = ONE.replace(skeleton=Skeleton(("a", "b", "hand")))
    with pytest.raises(DataError, match="do not have the same keypoints: c, hand only in one of them"):
        aligned(truth, data, other)
    assert aligned(truth, data, other, frozenset({"boxes", "instances.labels"})).instances.fields() == [
        "boxes",
        "labels",
    ]


# thresholds -------------------------------------------------------------------------------------------------------------


def test_a_model_with_thresholds_is_judged_at_them_and_else_it_is_said():
    """Right .9, right .7, wrong .6, of three truths: the best F1 of these pictures would be at .7."""
    model = Known(boxed([A, B, [150, 0, 160, 10]], scores=[0.9, 0.7, 0.6]), with_classes("thing", "other"))
    truth = boxed([A, B, C])
    report = judged(model, [truth])
    assert report.sections["things"].decisions["thing"] == Decision(pytest.approx(0.7, abs=2e-4), 2, 0, 1)
    assert "thresholds: chosen on these very pictures" in "\n".join(report.lines())
    assert "chosen on these" in report.to_json()["things"]["thresholds"]
    model.thresholds = {"thing": 0.8}
    report = judged(model, [truth])
    assert report.sections["things"].decisions == {
        "thing": Decision(0.8, 1, 0, 2),
        "other": Decision(0.5, 0, 0, 0),
    }  # what predict shows
    assert "thresholds: the model's own" in report.lines() and "chosen on" not in "\n".join(report.lines())


# limits -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "asked", "given", "counted"), [(5, None, 5, 100), (5, 8, 8, 8), (12, None, 12, 100), (12, 8, 12, 8)]
)
def test_the_protocol_is_true(own, asked, given, counted):
    model = detector(max_detections=own, score_threshold=0.001, nms=1.0)
    report = judged(model, [boxed(ROWS)] * 2, max_detections=asked)
    assert [len(p) for p in report.sections["things"].predictions] == [given, given]
    protocol = report.sections["things"].protocols["boxes"]
    assert f"at most {counted} detections a picture and class" in protocol
    assert protocol.endswith(f"the model gives at most {given} a picture, scores above 0.001")
    assert protocol in "\n".join(report.lines()) and report.to_json()["things"]["protocol"]["boxes"] == protocol
    assert len(Predictor(model).predict(np.zeros((64, 64, 3), np.uint8), threshold=0)) == own  # for this one evaluation


def test_a_model_of_more_detections_is_judged_at_its_own_and_at_100(tmp_path):
    """150 right ones, each on its own truth: recall 150/150, and 100/150 within COCO's limit."""
    rows = [[x * 12, y * 18, x * 12 + 10, y * 18 + 16] for x in range(15) for y in range(10)]
    truth = boxed(rows)
    model = Known(boxed(rows, scores=[0.9 - n / 1000 for n in range(150)]))
    model.limits = Limits(0.0, 200)
    report = judged(model, [truth])
    assert next(iter(report.metrics)) == "box AP" and report.metrics["box AP"] == pytest.approx(1)
    assert report.metrics["box AP@100"] == pytest.approx(67 / 101)  # recall points 0, .01, … .66 of 101
    assert "AP@100 0.663" in "\n".join(report.lines())
    page = write_evaluation_page(tmp_path, report, Dataset(Listed([truth]), ONE)).read_text()
    assert "AP@100, mean over IoU .50:.95, with at most 100 a picture" in page and "0.663" in page


# broken pictures --------------------------------------------------------------------------------------------------------


def test_a_broken_picture_is_told_counted_and_left_out(tmp_path, capsys):
    model, ticks = Known(boxed([A], scores=[0.9])), []
    truths = [boxed([B]), boxed([A]), boxed([A]), boxed([A])]
    report = judged(model, truths, broken=(0, 2), tick=ticks.append)
    assert (
        report.metrics["box AP"] == pytest.approx(1) and report.pictures == len(report.sections["things"].truths) == 2
    )
    assert report.unread == {0: "0.png: not a picture", 2: "2.png: not a picture"} and ticks == [1, 2, 3, 4]
    assert capsys.readouterr().err == "".join(
        f"videre: {n}.png: not a picture; left out of the evaluation\n" for n in (0, 2)
    )
    assert report.lines()[0].startswith("2 pictures;") and "2 could not be read" in report.lines()[0]
    data = Dataset(Listed(truths, (0, 2)), model.schema)
    page = write_evaluation_page(tmp_path, report, data).read_text()
    assert "1.png: F1 1.00" in page and "3.png: F1 1.00" in page and "2 could not be read" in page


def test_a_truth_that_cannot_be_read_is_left_out_too(capsys):
    class Missing(Listed):
        def scene(self, i):
            if i == 1:
                raise DataError("1.png: there is no such file")
            return self.truths[i]

    data = Dataset(Missing([boxed([A])] * 3), ONE)
    report = evaluate_model(Predictor(Known(boxed([A], scores=[1.0]))), data, bootstrap=0)
    assert report.pictures == 2 and list(report.unread) == [1] and "1.png" in capsys.readouterr().err


def test_nothing_but_broken_pictures_is_an_error():
    with pytest.raises(DataError, match="none of its 2 pictures can be read"):
        judged(Known(boxed([A], scores=[1.0])), [boxed([A])] * 2, broken=(0, 1))


def test_a_model_may_find_nothing():
    nothing = Instances(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64), scores=torch.zeros(0))
    report = judged(Known(Scene((200, 200), nothing)), [boxed([A])])
    assert report.metrics["box AP"] == 0
