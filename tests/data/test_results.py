"""Results of prediction: each format keeps what it says it keeps, and an interruption loses nothing that was finished."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from videre.data.results import HOLDS, lost, open_results, result_name
from videre.errors import ConfigError
from videre.structures import Categories, Instances, Masks, Scene, Schema, Skeleton

SCHEMA = Schema(things=Categories(("cat", "dog"), source_ids=(7, 9)), skeleton=Skeleton(("nose", "tail")))


def scene(score: float = 0.5) -> Scene:
    mask = torch.zeros(1, 6, 8, dtype=torch.bool)
    mask[0, 1:3, 2:6] = True
    things = Instances(
        boxes=[[2.0, 1, 6, 3]],
        labels=[1],
        scores=[score],
        masks=Masks.from_bitmaps(mask),
        keypoints=[[[2.5, 1.5], [5.5, 2.5]]],
        keypoint_scores=[[0.5, 0.25]],
    )
    return Scene((6, 8), things)


def interrupted(format: str, folder: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), open_results(format, folder, SCHEMA) as write:
        write("a.png", scene(0.5))
        write("b.png", scene(0.25))
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_was_finished_survives_an_interruption(tmp_path: Path, error: type[BaseException]) -> None:
    for format in ("json", "csv", "coco"):
        interrupted(format, tmp_path, error)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "pictures.unfinished.json",
        "predictions.unfinished.csv",
        "predictions.unfinished.json",
        "predictions.unfinished.jsonl",
    ]
    lines = [json.loads(line) for line in (tmp_path / "predictions.unfinished.jsonl").read_text().splitlines()]
    assert [line["picture"] for line in lines] == ["a.png", "b.png"] and lines[1]["instances"]["scores"] == [0.25]
    rows = list(csv.DictReader((tmp_path / "predictions.unfinished.csv").open()))
    assert [(row["picture"], row["class"], float(row["x2"])) for row in rows] == [
        ("a.png", "dog", 6),
        ("b.png", "dog", 6),
    ]
    found, pictures = (json.loads((tmp_path / f"{n}.unfinished.json").read_text()) for n in ("predictions", "pictures"))
    assert [p["file_name"] for p in pictures] == ["a.png", "b.png"] and [r["image_id"] for r in found] == [1, 2]
    for format in ("json", "csv", "coco"):
        with open_results(format, tmp_path, SCHEMA) as write:
            write("c.png", scene())
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "pictures.json",
        "predictions.csv",
        "predictions.json",
        "predictions.jsonl",
    ]


def test_a_finished_line_is_in_the_file_before_the_next_picture(tmp_path: Path) -> None:
    """So that not even a kill, which no program hears of, loses it."""
    with open_results("json", tmp_path, SCHEMA) as write:
        write("a.png", scene())
        assert json.loads((tmp_path / "predictions.unfinished.jsonl").read_text())["picture"] == "a.png"


def test_coco_results_by_hand(tmp_path: Path) -> None:
    """Ids of the file, width and height, keypoints from the middle of the first pixel; masks as runs down the columns."""
    with open_results("coco", tmp_path, SCHEMA) as write:
        write("none.png", Scene((6, 8)))
        write("a.png", scene())
    (result,) = json.loads((tmp_path / "predictions.json").read_text())
    assert {k: v for k, v in result.items() if k != "segmentation"} == {
        "image_id": 2,
        "category_id": 9,
        "score": 0.5,
        "bbox": [2, 1, 4, 2],
        "keypoints": [2, 1, 0.5, 5, 2, 0.25],
    }
    assert result["segmentation"]["size"] == [6, 8]
    assert json.loads((tmp_path / "pictures.json").read_text())[1] == {
        "id": 2,
        "file_name": "a.png",
        "height": 6,
        "width": 8,
    }
    with open_results("coco", tmp_path / "nothing", SCHEMA):
        pass
    assert json.loads((tmp_path / "nothing" / "predictions.json").read_text()) == []


def test_what_a_format_cannot_hold() -> None:
    everything = {"boxes", "scores", "masks", "keypoints"}
    assert {format: lost(format, everything) for format in HOLDS} == {
        "json": [],
        "csv": ["keypoints", "masks"],
        "coco": [],
        "voc": ["keypoints", "masks"],
        "png": ["boxes", "keypoints", "scores"],
    }
    assert lost("csv", {"boxes", "scores"}) == []
    with (
        pytest.raises(ConfigError, match="no result format 'xml'; there are: json, csv"),
        open_results("xml", Path(), SCHEMA),
    ):
        pass


def test_names_of_results() -> None:
    """Only suffixes of pictures are cut; what shares a name is numbered."""
    taken: set[str] = set()
    names = [result_name(name, taken) for name in ("a/x.png", "b/x.JPG", "walk-000000-0.20s", "v1.2", "picture 0", "")]
    assert names == ["x", "x-2", "walk-000000-0.20s", "v1.2", "picture 0", "picture"]
