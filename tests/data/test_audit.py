"""The check finds every fault that was put in, says where, and finds none in a clean set."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from videre import data
from videre.data.audit import check
from videre.data.audit_page import write_page
from videre.images.reading import write_picture

from .shared import real


def scene_picture(seed: int, size=(48, 64)) -> np.ndarray:
    """Smooth blobs, different for each seed, as photographs are."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


@pytest.fixture
def coco(tmp_path):
    """A function that writes a COCO set of one picture per list of annotations, and reads it."""

    def make(*pictures, categories=("dog", "cat"), name="train", first=0, **keypoints):
        images, annotations = [], []
        for n, listed in enumerate(pictures):
            images.append({"id": n + 1, "file_name": f"{name}{n}.png", "height": 48, "width": 64})
            write_picture(tmp_path / name / f"{name}{n}.png", scene_picture(first + n))
            for a in listed:
                annotations.append({"id": len(annotations) + 1, "image_id": n + 1, "category_id": 1, "iscrowd": 0} | a)
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": k + 1, "name": c} | keypoints for k, c in enumerate(categories)],
        }
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
        return data.read(tmp_path, name)

    return make


def kinds(findings) -> dict[str, str]:
    return {f.kind: f.severity for f in findings}


def test_a_clean_set_has_no_findings(coco):
    boxes = [{"bbox": [n, n, 20, 20], "category_id": 1 + n % 2} for n in range(24)]
    assert str(check(coco(*[[b] for b in boxes]))) == "nothing found"


def test_missing_broken_and_wrong_pictures(coco):
    dataset = coco([], [], [], [])
    dataset.path(0).unlink()
    dataset.path(1).write_bytes(b"junk")
    write_picture(dataset.path(2), scene_picture(9, (50, 60)))
    write_picture(dataset.path(3), np.full((48, 64, 3), 7, np.uint8))
    found = {f.picture: f for f in check(dataset) if f.picture}
    assert [(f.kind, f.severity) for f in found.values()] == [
        ("picture missing", "error"),
        ("picture of another size", "error"),
        ("picture unreadable", "error"),
        ("picture without content", "warning"),
    ]
    assert "the picture is 60x50 (width x height), its annotation says 64x48" in found["train2.png"].values
    assert found["train1.png"].values.startswith("not a picture (it begins with b'junk'); known are .jpg, ")
    assert found["train0.png"].file == str(dataset.path(0))


def test_faults_of_instances(coco):
    square = [10, 10, 30, 10, 30, 30, 10, 30]
    dataset = coco(
        [
            {"bbox": [10, 10, 20, 20], "segmentation": [square]},
            {"bbox": [10, 10, 20, 20.2], "segmentation": [square]},
            {"bbox": [10, 10, 20, 20], "segmentation": [square], "category_id": 2},
        ],
        [
            {"bbox": [5, 5, 0, 9], "segmentation": [square]},
            {"bbox": [50, 5, 30, 9], "segmentation": [square]},
            {"bbox": [1, 1, 8, 1], "segmentation": [[1, 1, 9, 1, 9, 2, 1, 2]]},
            {"bbox": [40, 20, 9, 9], "segmentation": []},
        ],
    )
    findings = check(dataset)
    expected = {
        "object drawn twice": "warning",
        "one object, two classes": "warning",
        "box without area": "warning",
        "box outside the picture": "warning",
        "box and mask disagree": "warning",
        "box thinner than two pixels": "note",
        "instance without mask": "warning",
        "class with few examples": "warning",
    }
    assert kinds(findings) == expected
    twice = next(f for f in findings if f.kind == "object drawn twice")
    assert (twice.picture, twice.annotation, twice.index) == ("train0.png", 2, 0)
    assert twice.values == "dog (10, 10, 30, 30) and dog (10, 10, 30, 30.2) (annotation 1)"
    assert str(next(f for f in findings if f.kind == "box without area")) == (
        "warning: train1.png, annotation 4: box without area ((5, 5, 5, 14) in 64x48); "
        "it was dropped in reading; correct the file so that it counts"
    )
    assert findings.counts()["warning", "one object, two classes"] == 2 and not findings.errors


def test_keypoints_outside(coco):
    dataset = coco(
        [{"bbox": [1, 1, 20, 20], "keypoints": [5, 5, 2, 90, 5, 1]}], categories=["fish"], keypoints=["nose", "tail"]
    )
    finding = next(f for f in check(dataset) if f.kind == "keypoint outside the picture")
    assert finding.values == "tail at [90.5, 5.5]"


def test_pictures_in_two_splits(coco):
    sets = {"train": coco([], [], []), "val": coco([], [], name="val", first=10)}
    assert "picture in two splits" not in kinds(check(sets))
    shutil.copy(sets["train"].path(1), sets["val"].path(0))
    again = Image.open(sets["train"].path(2)).convert("RGB")
    again.resize((32, 24)).resize((64, 48)).save(sets["val"].path(1), quality=80)
    found = [f for f in check(sets) if f.kind == "picture in two splits"]
    assert [(f.severity, f.picture, f.values) for f in found] == [
        ("error", "train1.png", "the same bytes as val: val0.png"),
        ("warning", "train2.png", "nearly the same as val: val1.png"),
    ]
    assert found[0].other == str(sets["val"].path(0))


def test_one_picture_in_two_class_folders(tmp_path):
    for n in range(3):
        write_picture(tmp_path / "ant" / f"{n}.png", scene_picture(n))
        write_picture(tmp_path / "bee" / f"{n}.png", scene_picture(10 + n))
    shutil.copy(tmp_path / "ant" / "0.png", tmp_path / "bee" / "x.png")
    shutil.copy(tmp_path / "ant" / "1.png", tmp_path / "ant" / "y.png")
    found = {f.kind: f for f in check(data.read(tmp_path))}
    assert found["one picture, two classes"].severity == "error"
    assert found["picture twice"].severity == "warning"


def test_classes_rare_missing_and_alike(coco):
    rows = [[{"bbox": [3, 3, 20 + n % 3, 20]}] for n in range(9)]
    found = {f.kind: f for f in check(coco(*rows, [], categories=["traffic light", "Traffic_Light", "bus"]))}
    assert found["class without examples"].values == "Traffic_Light, bus"
    assert found["class with few examples"].values == "traffic light 9"
    assert found["class names alike"].values == "traffic light, Traffic_Light"
    assert found["pictures without instances"].values == "1 of 10"


def test_an_object_of_unusual_size(coco):
    rng = np.random.default_rng(0)
    rows = [[{"bbox": [3, 3, 5 + float(rng.uniform(0, 2)), 6]} for _ in range(2)] for _ in range(20)]
    rows[7].append({"bbox": [0, 0, 60, 45]})
    finding = next(f for f in check(coco(*rows)) if f.kind == "unusual size for its class")
    assert finding.picture == "train7.png" and finding.severity == "note" and "dog: 8" in finding.values


def test_exif_is_mentioned(coco):
    dataset = coco([])
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(scene_picture(0)).save(dataset.path(0), exif=exif)
    assert next(f for f in check(dataset) if f.kind == "turned by EXIF").values == "orientation 3"


def test_the_page_is_one_file_with_the_offenders_drawn(coco, tmp_path):
    dataset = coco([{"bbox": [10, 10, 20, 20]}, {"bbox": [10, 10, 20, 20]}], [], categories=["<b>dog</b>"])
    dataset.path(1).unlink()
    findings = check({"train": dataset})
    write_page(findings, tmp_path / "deep" / "check.html")
    page = (tmp_path / "deep" / "check.html").read_text()
    assert "object drawn twice" in page and "picture missing" in page and "train1.png" in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert 'stroke="#ff2d46"' in page and "<b>dog</b>" not in page.replace("&lt;b&gt;", "")
    assert not re.search(r'(src|href)="http', page), "nothing is loaded from elsewhere"
    assert json.loads(json.dumps(findings.to_json()))[0]["kind"] == "picture missing"


def test_bccd_has_known_faults():
    sets = {split: data.read(real("bccd"), split) for split in ("train", "val", "test")}
    counts = check(sets).counts()
    assert counts["warning", "box without area"] == 2
    # seen by eye: 37 and 38 are one smear shifted, two white cells are called platelets
    assert counts["warning", "picture in two splits"] == 1 and counts["note", "unusual size for its class"] == 3


def test_many_copies_are_one_finding(coco):
    sets = {"train": coco(*[[] for _ in range(9)]), "val": coco([], name="val", first=10)}
    for n in range(1, 9):
        shutil.copy(sets["train"].path(0), sets["train"].path(n))
    found = [f for f in check(sets) if f.kind == "picture twice"]
    assert [(f.picture, f.severity) for f in found] == [("train0.png", "warning")]
    assert found[0].values.startswith("the same bytes as train: train1.png; 9 such pictures, also train: train2.png, ")
    shutil.copy(sets["train"].path(0), sets["val"].path(0))
    found = [f for f in check(sets) if f.other]
    assert [(f.kind, f.severity) for f in found] == [("picture in two splits", "error")]
    assert "val: val0.png" in found[0].values and "10 such pictures" in found[0].values


def test_a_red_and_a_blue_part_are_two_pictures(tmp_path):
    for name, colour in (("red", (200, 40, 60)), ("blue", (60, 40, 200))):
        picture = np.repeat(scene_picture(3)[:, :, :1], 3, 2)
        picture[10:30, 10:40] = colour
        write_picture(tmp_path / name / "0.png", picture)
    assert "one picture, two classes" not in kinds(check(data.read(tmp_path)))


def class_maps(root, maps, names=("ground", "crack"), split="train"):
    """Pictures with class maps, read."""
    (root / "classes.txt").write_text("\n".join(names))
    for n, values in enumerate(maps):
        write_picture(root / "images" / split / f"{n}.png", scene_picture(n))
        (root / "masks" / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(root / "masks" / split / f"{n}.png")
    return data.read(root, split)


def test_a_damaged_map_costs_one_picture(tmp_path):
    half = np.zeros((48, 64), np.uint8)
    half[:24] = 1
    dataset = class_maps(tmp_path, [half] * 4)
    for n, junk in ((1, b"junk"), (2, (tmp_path / "masks" / "train" / "2.png").read_bytes()[:60])):
        (tmp_path / "masks" / "train" / f"{n}.png").write_bytes(junk)
    findings = check({"train": dataset})
    unusable = [f for f in findings if f.kind == "annotation unusable"]
    assert [(f.picture, f.severity) for f in unusable] == [(f"images/train/{n}.png", "error") for n in (1, 2)]
    assert all(f"masks/train/{n}.png" in f.values for n, f in zip((1, 2), unusable))
    write_page(findings, tmp_path / "check.html")
    assert "annotation unusable" in (tmp_path / "check.html").read_text()


def test_whatever_a_reader_raises_is_a_finding_of_its_picture(coco, monkeypatch):
    dataset = coco(*[[{"bbox": [n, n, 20, 20]}] for n in range(3)])
    picture, scene = dataset.source.picture, dataset.source.scene

    def fail(read, at, error):
        def reading(i):
            if i == at:
                raise error
            return read(i)

        return reading

    monkeypatch.setattr(dataset.source, "picture", fail(picture, 0, OSError("truncated")), raising=False)
    monkeypatch.setattr(dataset.source, "scene", fail(scene, 1, KeyError("bbox")), raising=False)
    found = {f.picture: f for f in check(dataset).errors}
    assert (found["train0.png"].kind, found["train0.png"].values) == ("picture unreadable", "OSError: truncated")
    assert (found["train1.png"].kind, found["train1.png"].values) == ("annotation unusable", "KeyError: 'bbox'")


def test_classes_that_no_pixel_has_are_named(tmp_path):
    half = np.zeros((48, 64), np.uint8)
    half[:24] = 1
    dataset = class_maps(tmp_path, [half] * 2, ("ground", "crack", "stain"))
    sets = {"train": dataset, "val": class_maps(tmp_path, [half * 2] * 2, ("ground", "crack", "stain"), "val")}
    found = [f for f in check(sets) if f.kind == "class without pixels"]
    assert [(f.split, f.severity, f.values) for f in found] == [
        ("train", "warning", "stain: no pixel in 2 maps"),
        ("val", "warning", "crack: no pixel in 2 maps"),
    ]


@pytest.mark.parametrize("what", ["no boxes", "crowds alone", "void alone", "no labels"])
def test_nothing_to_learn_is_an_error(coco, tmp_path, what):
    crowd = {"bbox": [1, 1, 20, 20], "iscrowd": 1, "segmentation": {"size": [48, 64], "counts": [0, 480, 2592]}}
    if what in ("no boxes", "crowds alone"):
        dataset = coco([], []) if what == "no boxes" else coco([crowd], [crowd])
    elif what == "void alone":
        dataset = class_maps(tmp_path, [np.full((48, 64), 255, np.uint8)] * 2, ("a", "b", "c"))
    else:
        for n in range(2):
            write_picture(tmp_path / "pictures" / f"{n}.png", scene_picture(n))
        dataset = data.read(tmp_path / "pictures", format="folders")
    assert kinds(check(dataset))["nothing to learn"] == "error"
    assert kinds(check({"train": dataset}))["nothing to learn"] == "error"


def test_a_test_without_its_truth_is_no_error(coco):
    sets = {"train": coco([{"bbox": [1, 1, 20, 20]}]), "test": coco([], name="test", first=5)}
    found = kinds(check(sets))
    assert found["nothing to judge by"] == "warning" and "nothing to learn" not in found


def test_the_page_says_of_what_it_is(coco, tmp_path):
    write_page(check({"train": coco([])}), tmp_path / "check.html", read_as="coco: instances_train.json")
    page = (tmp_path / "check.html").read_text()
    assert " train (coco: instances_train.json)</title>" in page and "read as coco: instances_train.json" in page
