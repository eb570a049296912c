"""Any pictures in, one scene each out, in order and in constant memory; a broken one stops no other."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scenes import PREPROCESS, SCHEMA

from train.tiny import detector, toy
from videre.engine.device import choose_device
from videre.errors import ConfigError, DataError, WeightsError
from videre.images.clips import write_clip
from videre.images.reading import write_picture
from videre.models import Model
from videre.models.checkpoint import save_checkpoint
from videre.predict import Predictor, load
from videre.structures import ImageBatch, Instances, Preprocess, Scene, Schema


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(toy(), batch=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every kind of file, 40 pixels high and 30 + n wide, and one that is broken."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (40, 99, 1), np.uint8)
    write_picture(tmp_path / "0-grey.png", grey[:, :30])
    write_picture(tmp_path / "1-deep.png", rng.integers(0, 65535, (40, 31, 3), np.uint16))
    Image.fromarray(rng.integers(0, 255, (40, 32, 4), np.uint8), "RGBA").save(tmp_path / "2-rgba.png")
    Image.fromarray(grey[:, :33, 0]).convert("P").save(tmp_path / "3-palette.gif")
    (tmp_path / "4-broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    write_picture(tmp_path / "5-plain.jpg", rng.integers(0, 255, (40, 35, 3), np.uint8))
    write_picture(tmp_path / "6-deep-grey.tif", rng.integers(0, 65535, (40, 36, 1), np.uint16))
    return tmp_path


def test_a_broken_picture_is_told_and_the_others_go_on_in_order(predictor: Predictor, folder: Path) -> None:
    from videre.predict.sources import pictures_from

    found = list(predictor.stream(pictures_from(folder)))
    assert [Path(p.name).name[0] for p in found] == list("0123456")
    assert [p.scene.size[1] if p.scene else None for p in found] == [30, 31, 32, 33, None, 35, 36]
    assert "4-broken.jpg" in found[4].error and found[4].picture is None
    assert all(p.picture.shape[:2] == p.scene.size == (40, p.picture.shape[1]) for p in found if p.scene)
    with pytest.raises(DataError, match=r"4-broken\.jpg"):
        predictor.predict(folder)


def test_files_are_read_while_the_net_runs_and_frames_of_a_camera_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(toy())
    picture = np.zeros((20, 24, 3), np.uint8)
    second_read = threading.Event()
    run = predictor.run

    def run_when_read(batch: ImageBatch) -> list[Scene]:
        assert second_read.wait(10), "the second picture is not read before the first one is done"
        return run(batch)

    monkeypatch.setattr(predictor, "run", run_when_read)
    reads = [lambda: picture, lambda: (second_read.set(), picture)[1]]
    assert [p.name for p in predictor.stream((str(n), read) for n, read in enumerate(reads))] == ["0", "1"]

    monkeypatch.setattr(predictor, "run", run)
    asked = []

    def camera() -> Iterator[tuple[str, np.ndarray]]:
        for n in range(3):
            asked.append(n)
            picture[:] = n  # one buffer for all frames
            yield str(n), picture

    for n, prediction in enumerate(predictor.stream(camera())):
        assert prediction.scene is not None and asked == list(range(n + 1)) and (prediction.picture == n).all()


def test_a_stream_that_is_left_early_leaves_no_threads() -> None:
    before = threading.active_count()
    stream = Predictor(toy()).stream((str(n), lambda: np.zeros((20, 24, 3), np.uint8)) for n in range(100))
    next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before


def test_one_picture_gives_a_scene_and_everything_else_a_list(predictor: Predictor, folder: Path) -> None:
    array = np.zeros((20, 24, 3), np.uint8)
    for one in (
        str(folder / "5-plain.jpg"),
        folder / "5-plain.jpg",
        array,
        array[:, :, 0],
        torch.zeros(3, 20, 24),
        torch.zeros(20, 24),
        Image.fromarray(array),
        (array / 255).astype(np.float32),
    ):
        assert isinstance(predictor.predict(one), Scene)
    (folder / "4-broken.jpg").unlink()
    for source, count in (
        (folder, 6),
        (str(folder / "*.png"), 3),
        (str(folder / "0*"), 1),
        ([array], 1),
        ([], 0),
        (np.stack([array] * 4), 4),
        ([array, folder, torch.zeros(3, 9, 9)], 8),
    ):
        scenes = predictor.predict(source)
        assert isinstance(scenes, list) and len(scenes) == count
    names = [scene.meta["path"] for scene in predictor.predict([array, folder / "5-plain.jpg", array])]
    assert names == ["picture 0", str(folder / "5-plain.jpg"), "picture 2"]


def test_equal_pictures_of_every_kind_give_equal_scenes(predictor: Predictor, tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 255, (24, 32, 3), np.uint8)
    write_picture(tmp_path / "a.png", array)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    boxes = [predictor.predict(p).instances.boxes for p in (array, tmp_path / "a.png", tensor, Image.fromarray(array))]
    assert all(torch.equal(b, boxes[0]) for b in boxes)


def test_arrays_of_opencv_and_with_transparency_are_read_as_the_file_is(predictor: Predictor, tmp_path: Path) -> None:
    """The judge is OpenCV's own writer and reader: a file is always read right."""
    rng = np.random.default_rng(2)
    for channels in (3, 4):
        cv2.imwrite(str(tmp_path / "a.png"), rng.integers(0, 255, (24, 32, channels), np.uint8))
        read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
        assert read.shape[2] == channels
        turned = cv2.cvtColor(read, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGBA)
        (file,) = predictor.stream([("a", tmp_path / "a.png")], order="bgr")  # a file knows its own order
        for value, order in ((read, "bgr"), (torch.from_numpy(read).permute(2, 0, 1), "bgr"), (turned, "rgb")):
            (found,) = predictor.stream([("a", value)], order=order)
            assert np.array_equal(found.picture, file.picture) and found.scene.size == (24, 32)
            boxes = [scene.instances.boxes for scene in predictor.predict([value, value], order=order)]
            torch.testing.assert_close(boxes[1], file.scene.instances.boxes)  # two in a batch: other sums of floats
        (wrong,) = predictor.stream([("a", read)])
        assert not np.array_equal(wrong.picture, file.picture)
    with pytest.raises(DataError, match="order must be rgb, bgr"):
        predictor.predict(read, order="brg")


def test_what_a_net_does_not_take_is_told_with_the_picture(predictor: Predictor) -> None:
    with pytest.raises(DataError, match=r"picture 1: the net takes 3 channels .* the picture has 5"):
        predictor.predict([np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 5), np.uint8)])


def test_results_are_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from videre.predict.sources import pictures_from

    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b/c.jpg", "b/a.drawn.jpg", "out/a.drawn.jpg", "out/map.png"):
        write_picture(name, np.zeros((4, 4, 3), np.uint8))
    names = lambda source, results=None: [name for name, _ in pictures_from(source, results)]
    assert names(".", Path("out")) == ["a.jpg", "b/c.jpg"]
    assert names("**/*", Path("out")) == ["a.jpg", "b/c.jpg"]
    assert names(".") == ["a.jpg", "b/c.jpg", "out/map.png"]
    assert names("out", Path("out")) == ["out/map.png"]  # the folder itself is asked for
    assert names(".", Path(".")) == ["a.jpg", "b/c.jpg", "out/map.png"]
    assert names("b/a.drawn.jpg", Path("b")) == ["b/a.drawn.jpg"]  # and so is this file
    (tmp_path / "b" / "c.jpg").unlink()
    with pytest.raises(DataError, match="b: holds no pictures but results of a prediction"):
        pictures_from("b")


def test_clips_are_predicted_frame_by_frame(predictor: Predictor, tmp_path: Path) -> None:
    write_clip(tmp_path / "walk.avi", [np.full((32, 48, 3), n * 20, np.uint8) for n in range(5)], rate=10)
    scenes = predictor.predict(tmp_path / "walk.avi")
    assert [s.meta["path"][:11] for s in scenes] == [f"walk-{n:06d}" for n in range(5)]
    assert scenes[2].size == (32, 48) and scenes[2].meta["path"] == "walk-000002-0.20s"
    (tmp_path / "broken.avi").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"broken\.avi"):
        predictor.predict(tmp_path / "broken.avi")


def test_what_does_not_exist_is_told_before_anything_is_predicted(folder: Path) -> None:
    from videre.predict.sources import pictures_from

    (folder / "empty").mkdir()
    for source, message in (
        (folder / "none.png", "there is no such file"),
        (folder / "*.bmp", "no file matches"),
        ([folder, folder / "empty"], "holds no pictures"),
        (3, "pictures come from"),
    ):
        with pytest.raises(DataError, match=message):
            list(pictures_from(source)) if source == 3 else pictures_from(source)


class Fixed(Model):
    """A scene of its own choice, whatever it sees."""

    gives = frozenset({"boxes", "scores"})

    def __init__(self, things: Instances | None, schema: Schema = SCHEMA) -> None:
        super().__init__(schema, PREPROCESS)
        self.things, self.thresholds = things, {"disc": 0.3}

    def forward(self, batch: ImageBatch) -> dict:
        return {}

    def postprocess(self, outputs: dict, batch: ImageBatch) -> list[Scene]:
        return [Scene(size, self.things) for size in batch.originals]


def test_each_class_has_its_own_threshold() -> None:
    scores, boxes = torch.tensor([0.9, 0.45, 0.45, 0.2]), torch.tensor([[2.0 * x, 0, 2 * x + 2, 5] for x in range(4)])
    picture = np.zeros((9, 9, 3), np.uint8)
    labels = torch.tensor([0, 0, 1, 1])  # square: 0.5, disc: 0.3
    kept = lambda p, t=None: p.predict(picture, t).instances.scores.tolist()
    near = lambda *values: pytest.approx(list(values))
    classes = Predictor(Fixed(Instances(boxes=boxes, labels=labels, scores=scores)))
    assert kept(classes) == near(0.9, 0.45) and kept(classes, 0.4) == near(0.9, 0.45, 0.45)
    assert kept(classes, 0) == near(0.9, 0.45, 0.45, 0.2)
    nameless = Predictor(Fixed(Instances(boxes=boxes, scores=scores)))
    assert kept(nameless) == near(0.9) and kept(nameless, 0.4) == near(0.9, 0.45, 0.45)
    assert Predictor(Fixed(None)).predict(picture).instances is None
    assert len(Predictor(Fixed(Instances(boxes=boxes))).predict(picture)) == 4


def test_one_thing_under_two_names_is_shown_once() -> None:
    boxes = [[0, 0, 100, 100], [0, 0, 100, 81], [0, 0, 100, 79], [0, 0, 100, 100]]  # IoU with the first: 1, .81, .79, 1
    things = Instances(boxes=boxes, labels=[0, 1, 1, 1], scores=[0.9, 0.8, 0.7, 0.2])
    found = Predictor(Fixed(things))
    picture = np.zeros((120, 120, 3), np.uint8)
    kept = lambda t=None: found.predict(picture, t).instances.scores.tolist()
    assert kept() == pytest.approx([0.9, 0.7]) and kept(0.1) == pytest.approx([0.9, 0.7])
    assert len(kept(0)) == 4  # everything
    found.model.shown_overlap = 1.0
    assert kept() == pytest.approx([0.9, 0.8, 0.7])


@pytest.mark.parametrize(("make", "count"), [(toy, 100), (detector, 12)])
def test_memory_stays_flat_however_many_pictures_come(make, count: int) -> None:
    """Counted in tensors and arrays that are alive, so that no other process can disturb it; bytes: benchmarks/memory.py"""
    predictor = Predictor(make(preprocess=Preprocess(size=(64, 64))))
    picture = np.zeros((32, 40, 3), np.uint8)
    alive = []
    for n, _ in enumerate(predictor.stream((f"{n}", lambda: picture.copy()) for n in range(count))):
        if n in (3, count - 1):
            gc.collect()
            alive.append(sum(type(o) in (torch.Tensor, np.ndarray, Scene) for o in gc.get_objects()))
    assert alive[1] <= alive[0] + 3, alive


def test_load_finds_files_and_names_and_says_what_is_wrong(tmp_path: Path) -> None:
    save_checkpoint(detector(), tmp_path / "m.safetensors")
    assert isinstance(load(tmp_path / "m.safetensors").predict(np.zeros((9, 9, 3), np.uint8)), Scene)
    (tmp_path / "damaged.safetensors").write_bytes((tmp_path / "m.safetensors").read_bytes()[:5000])
    (tmp_path / "old.pth").write_bytes(b"\x80\x04")
    for name, message in (
        ("damaged.safetensors", "damaged or no safetensors"),
        ("old.pth", "pickles can run code"),
        ("none.safetensors", "neither a file nor a checkpoint"),
    ):
        with pytest.raises(WeightsError, match=message):
            load(tmp_path / name)
    for name in ("torchvision/maskrcnn_resnet50", "maskrcnn_resnet50_fpn", "torchvison/maskrcnn_resnet50_fpn"):
        with pytest.raises(
            WeightsError, match=r"did you mean torchvision/maskrcnn_resnet50_fpn\? There are: .*torchvision/fasterrcnn_"
        ):
            load(name)
    with pytest.raises(WeightsError, match=r"nor official weights\. There are: "):
        load("zebra")


def test_devices_that_are_not_there_are_refused() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("tpu", "cuda:99", "cpu:x"):
        with pytest.raises(ConfigError, match="device"):
            choose_device(name)
