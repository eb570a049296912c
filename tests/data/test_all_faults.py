"""Files with several kinds of faults: all are named at once, and without what is broken the rest reads as before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.test_spoiled import same, truths

from videre import data
from videre.data.blocks import blocks_dataset
from videre.errors import DataError


def in_json(file: str, *changes: Callable[[dict], object]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        content = json.loads((root / file).read_text())
        for change in changes:
            change(content)
        (root / file).write_text(json.dumps(content))

    return spoil


def in_lines(file: str, *changes: Callable[[list[str]], object]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        lines = (root / file).read_text().splitlines()
        for change in changes:
            change(lines)
        (root / file).write_text("\n".join(lines) + "\n")

    return spoil


SPOILED = {
    "panoptic": (
        in_json(
            "annotations/panoptic_train.json",
            lambda c: c["annotations"][0]["segments_info"][0].update(category_id=99),
            lambda c: c["annotations"][1].pop("segments_info"),
        ),
        ["category_id should be one of categories, found 99", "segments_info should be a list of segments"],
    ),
    "coco-stuff": (
        in_json(
            "annotations/stuff_train.json",
            lambda c: [a.update(segmentation=[[1, 2]]) for a in c["annotations"] if a["image_id"] == 1],
            lambda c: c["images"][1].update(file_name=7),
        ),
        [
            "segmentation should be run lengths",
            "file_name should be text, found 7",
            "annotations of 1 images that are not",
        ],
    ),
    "csv": (
        in_lines(
            "labels.csv",
            lambda lines: lines.__setitem__(1, lines[1] + ",more"),
            lambda lines: lines.__setitem__(2, "," + lines[2].split(",", 1)[1]),
        ),
        ["line 2: has 4 cells where the first line names 3", "line 3: path is empty"],
    ),
    "scenes": (
        in_lines(
            "train.scenes.jsonl",
            lambda lines: lines.__setitem__(0, "{"),
            lambda lines: lines.__setitem__(1, lines[1].replace('"size"', '"sizes"')),
        ),
        ["line 1: not JSON", "line 2 (pictures/"],
    ),
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, blocks = tmp_path_factory.mktemp("sets"), blocks_dataset(3, size=(48, 64))
    for name in SPOILED:
        data.write(blocks, root / name, name, lossy=True)
    shutil.rmtree(root / "coco-stuff/annotations/stuff_train_pixelmaps")  # so that its regions are read
    return root


@pytest.mark.parametrize("format", SPOILED)
def test_all_are_named_and_the_rest_is_read(sets: Path, tmp_path: Path, format: str) -> None:
    spoil, messages = SPOILED[format]
    root = shutil.copytree(sets / format, tmp_path / "set")
    before = list(truths(data.read(sets / format)).items())
    spoil(root)
    with pytest.raises(DataError) as caught:
        data.read(root)
    for message in messages:
        assert message in str(caught.value)
    assert "--skip-broken" in str(caught.value)
    after = data.read(root, skip_broken=True)
    assert sum(r.kind == "broken annotation" for r in after.repairs) >= len(messages)
    name, scene = before[2]  # the third picture has no fault
    assert same(truths(after)[name], scene)


def test_a_list_of_classes_names_all_its_faults(tmp_path: Path) -> None:
    data.write(blocks_dataset(2, size=(48, 64)), tmp_path, "maps", lossy=True)
    in_json(
        "classes.json",
        lambda c: c["classes"][0].update(color=[1, 2]),
        lambda c: c["classes"][1].update(id="x"),
        lambda c: c.update(void="y"),
    )(tmp_path)
    with pytest.raises(DataError) as caught:
        data.read(tmp_path)
    for message in ("color should be three numbers", "id should be a whole number, found 'x'", "void should be an id"):
        assert message in str(caught.value)
    assert "--skip-broken" not in str(caught.value)  # without its classes nothing can be read
