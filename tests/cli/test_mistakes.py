"""Every mistake of the user gives one clear line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from videre.images.reading import write_picture

from .conftest import SMALL, videre

TRAIN = ["train", "faster-rcnn", "data", "--out", "new"]
PREDICT = ["predict", "data", "--out", "new", "-m"]
MISTAKES = {
    "no such data": (["train", "faster-rcnn", "nothing"], "nothing: there is no such file or folder"),
    "no such model": (["train", "faster-rcn", "data"], "no model named 'faster-rcn'; did you mean faster-rcnn?"),
    "no such setting": (
        [*TRAIN, "-o", "epoch=3"],
        "there is no setting 'epoch'; did you mean epochs? (videre train SYSTEM --settings",
    ),
    "no data": (["train", "faster-rcnn"], "say what to train on: videre train faster-rcnn DATA"),
    "settings of nothing": (
        ["train", "faster-rcn", "--settings"],
        "no model named 'faster-rcn'; did you mean faster-rcnn?",
    ),
    "no value": ([*TRAIN, "-o", "epochs"], "-o epochs: settings are KEY=VALUE"),
    "a word for a number": ([*TRAIN, "-o", "lr=fast"], "lr must be a number, found 'fast'"),
    "nothing a step": ([*TRAIN, "-o", "batch=0"], "recipe: batch must be at least 1, found 0"),
    "half a picture": ([*TRAIN, "-o", "batch=2.5"], "batch must be a whole number, found 2.5"),
    "not a number": ([*TRAIN, "-o", "lr=nan"], "lr must be a number, found nan"),
    "a number for a list": ([*TRAIN, "-o", "anchor_sizes=32"], "anchor_sizes must be a list, each a number"),
    "too few sizes": ([*TRAIN, "-o", "anchor_sizes=[32]"], "need 5 anchor sizes, found [32.0]"),
    "a stride left out": ([*TRAIN, "-o", "strides=[4,16]"], "strides must each be twice the one before, found [4, 16]"),
    "grey with three means": ([*TRAIN, "-o", "channels=grey"], "channels=grey takes 1 mean and std, found 3"),
    "a width below nothing": ([*TRAIN, *SMALL, "-o", "width=-1"], "width must be at least 1, found -1"),
    "a side of nothing": ([*TRAIN, "-o", "short_side=0"], "short_side must be at least 1, found 0"),
    "a word for yes": ([*TRAIN, "-o", "turn=maybe"], "turn must be true or false, found 'maybe'"),
    "no such optimiser": ([*TRAIN, "-o", "optimizer=adam"], "optimizer must be one of adamw, sgd, muon; found 'adam'"),
    "no such tune": ([*TRAIN, "--tune", "most"], "tune must be one of top, few, many, all, scratch; found 'most'"),
    "no such backbone": ([*TRAIN, "--backbone", "resnet19"], "no backbone named 'resnet19'; did you mean resnet1"),
    "weight of no class": ([*TRAIN, "-o", 'class_weights={"cubes": 2}'], "cubes"),
    "no such split": ([*TRAIN, "--split", "tran"], "there is no split 'tran'; there are: train, val"),
    "no such val": ([*TRAIN, "--val", "vall"], "there is no split 'vall'"),
    "no such format": ([*TRAIN, "--data-format", "yolo9"], "no format 'yolo9'"),
    "no such device": ([*TRAIN, *SMALL, "--device", "tpu"], "there is no device 'tpu' here; there is: cpu"),
    "run exists": (
        ["train", "faster-rcnn", "data", "--out", "run", *SMALL],
        "run: there is a run already; go on with --resume",
    ),
    "another run": (
        ["train", "faster-rcnn", "data", "--out", "run", *SMALL, "-o", "clip=1", "--resume"],
        "another recipe: clip was",
    ),
    "other weights to resume": (
        [*TRAIN, *SMALL, "--resume", "--from", "w.safetensors"],
        "--resume goes on with the run's own weights",
    ),
    "a part twice": (["data", "split", "data", "--parts", "a=0.5,a=0.5"], "a name comes twice"),
    "a peer that says nothing": (["bench", "--peer", "/bin/false"], "it cannot import torchvision (it says nothing)"),
    "a training to compile": (
        ["bench", "resnet50-training", "--engine", "compile"],
        "is a training; leave compile to predictions",
    ),
    "nothing to resume": ([*TRAIN, *SMALL, "--resume"], "new: there is no state to resume"),
    "a file for a folder": (["train", "faster-rcnn", "data", "--out", "printed.txt/run", *SMALL], "printed.txt"),
    "no such weights": (
        [*TRAIN, "--from", "w.safetensors"],
        "w.safetensors: neither a file nor a checkpoint of the zoo",
    ),
    "pickled weights": ([*TRAIN, "--from", "bad/pickle.pth"], "bad/pickle.pth: pickles can run code"),
    "data without truth": (
        ["train", "mask-rcnn", "bad/plain", "--out", "new"],
        "has no boxes, instances.labels, masks",
    ),
    "no such checkpoint": (
        [*PREDICT, "best.safetensors"],
        "best.safetensors: neither a file nor a checkpoint of the zoo",
    ),
    "damaged checkpoint": ([*PREDICT, "bad/damaged.safetensors"], "bad/damaged.safetensors: damaged or no safetensors"),
    "a checkpoint of nothing": ([*PREDICT, "bad/tensors.safetensors"], "not a file that videre knows"),
    "pickled checkpoint": ([*PREDICT, "bad/pickle.pth"], "pickles can run code"),
    "no such picture": (["predict", "none.png", "-m", "run/best.safetensors"], "none.png: there is no such file"),
    "no match": (["predict", "*.bmp", "-m", "run/best.safetensors"], "*.bmp: no file matches"),
    "empty folder": (["predict", "bad/empty", "-m", "run/best.safetensors"], "bad/empty: the folder holds no pictures"),
    "no such result": (
        [*PREDICT, "run/best.safetensors", "--format", "xml"],
        "no result format 'xml'; there are: json",
    ),
    "maps without masks": ([*PREDICT, "run/best.safetensors", "--format", "png"], "id maps need masks"),
    "threshold of 3": ([*PREDICT, "run/best.safetensors", "--threshold", "3"], "threshold"),
    "device of predict": (
        [*PREDICT, "run/best.safetensors", "--device", "cuda:99"],
        "there is no device 'cuda:99' here",
    ),
    "unknown classes": (
        ["evaluate", "run/best.safetensors", "bad/other"],
        "classes that the model does not know: zebra",
    ),
    "other classes in val": (
        ["train", "faster-rcnn", "bad/mixed", "--out", "new", *SMALL],
        "mixed val has classes that mixed train has not: zebra",
    ),
    "splits to choose from": (
        ["evaluate", "run/best.safetensors", "data"],
        "say with --split which part to evaluate on: train, val",
    ),
    "truth of another kind": (
        ["evaluate", "run/best.safetensors", "bad/plain"],
        "no field in common that can be compared",
    ),
    "export to nothing": (
        ["export", "run/best.safetensors", "--format", "tflite"],
        "no format 'tflite'; there are: onnx, openvino, torch",
    ),
    "export of nothing": (["export", "best", "--format", "torch"], "best: neither a file nor a checkpoint of the zoo"),
    "export by another name": (
        ["export", "run/best.safetensors", "--format", "torch", "--out", "new.onnx"],
        "--out new.onnx: a file of torch ends in .pt2",
    ),
    "export beside nothing": (
        ["export", "run/best.safetensors", "--format", "torch", "--pictures", "none"],
        "none: there is no such file",
    ),
    "empty data": (["data", "stats", "bad/empty"], "bad/empty: no data set of a known format"),
    "blocks over data": (["data", "blocks", "data"], "data: is not an empty folder"),
    "no such solids": (["data", "blocks", "new", "--solids", "many"], "--solids many: as in 3-8"),
    "convert to nothing": (["data", "convert", "data", "xml", "new"], "no format 'xml'"),
    "convert with loss": (["data", "convert", "data", "folders", "new"], "cannot hold"),
    "shares of more": (["data", "split", "bad/plain", "--parts", "a=0.8,b=0.8"], "must be positive and sum to 1"),
    "shares of words": (["data", "split", "bad/plain", "--parts", "a=much"], "--parts a=much: shares are written as"),
    "split over split": (["data", "split", "data"], "there is a split train already"),
    "no such command": (["tran"], "No such command 'tran'"),
    "no such option": (["train", "faster-rcnn", "data", "--epochs", "3"], "No such option"),
    "no argument": (["evaluate", "run/best.safetensors"], "Missing argument"),
}


@pytest.fixture(scope="module", autouse=True)
def _bad(world: Path) -> None:
    """What goes wrong with files."""
    bad = world / "bad"
    (bad / "empty").mkdir(parents=True)
    (bad / "pickle.pth").write_bytes(b"\x80\x04K*.")
    (bad / "damaged.safetensors").write_bytes((world / "run" / "best.safetensors").read_bytes()[:9000])
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3, np.float32)}, bad / "tensors.safetensors")
    for n in range(3):
        write_picture(bad / "plain" / f"{n}.png", np.full((40, 40, 3), n, np.uint8))
        for folder in ("other", "mixed"):
            write_picture(bad / folder / "images" / f"{n}.png", np.full((40, 40, 3), n, np.uint8))
    for folder, split, name in (("other", "val", "zebra"), ("mixed", "train", "horse"), ("mixed", "val", "zebra")):
        images = [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 40} for n in range(3)]
        box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
        whole = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": name}]}
        (bad / folder / "annotations").mkdir(parents=True, exist_ok=True)
        (bad / folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(whole))


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_one_line_and_exit_code_2(mistake: str) -> None:
    words, message = MISTAKES[mistake]
    done = videre(*words)
    before, _, said = done.err.partition("videre: ")
    assert done.code == 2, done.err
    assert message in said and before == before.rstrip() + "\n" * bool(before), done.err
    assert all(line.startswith("  ") for line in said.splitlines()[1:]), said  # of several faults, or formats
    if words[0] != "train" or "read as" not in done.err:  # a training has told what it has read, and is going to do
        assert before == ""
    assert "Traceback" not in done.err and done.err.count("videre: ") == 1
    assert not Path("new/log.jsonl").exists()


def test_debug_gives_the_traceback() -> None:
    from videre.errors import DataError

    with pytest.raises(DataError, match="no such file"):
        videre("train", "faster-rcnn", "nothing", "--debug")


def test_a_fault_of_our_own_is_one_line_too_and_exit_code_3(monkeypatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("videre.data.read", broken)
    done = videre("data", "stats", "data")
    assert done.code == 3
    assert done.err == "videre: a fault of videre itself (ZeroDivisionError: division by zero); --debug shows where\n"
