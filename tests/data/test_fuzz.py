"""Damaged pictures and annotations: read, or refused by an error of ours. `benchmarks/fuzz.py` tries many more."""

import json

import pytest

from videre import data
from videre.errors import DataError
from videre.images.reading import exif_orientation, picture_size, read_ids, read_picture

from . import mutations

BATCHES, BATCH = 10, 15


@pytest.fixture(autouse=True)
def _quiet(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDERE_CACHE", str(tmp_path / "cache"))


@pytest.mark.filterwarnings("ignore")  # decoders warn of what they then refuse
@pytest.mark.parametrize("kind", ["pictures", "annotations"])
@pytest.mark.parametrize("batch", range(BATCHES))
def test_nothing_but_our_errors(tmp_path, kind, batch):
    for number in range(batch * BATCH, (batch + 1) * BATCH):
        format = mutations.make(kind, number, mutations.empty(tmp_path / "case"))
        try:
            mutations.attempt(tmp_path / "case", format, audited=number % 10 == 0)
        except Exception as error:
            error.add_note(f"python benchmarks/fuzz.py --only {kind} --seed {number} --count 1")
            raise


@pytest.mark.parametrize("name", mutations.valid_pictures())
def test_what_is_not_damaged_is_read(tmp_path, name):
    mutations.put({name: mutations.valid_pictures()[name]}, tmp_path)
    picture = read_picture(tmp_path / name)
    assert picture.shape[:2] == picture_size(tmp_path / name) in ((40, 56), (56, 40))
    assert (picture.shape[0] == 56) == (exif_orientation(tmp_path / name) == 6)
    if picture.shape[2] == 1 and "float" not in name:
        assert read_ids(tmp_path / name).shape == picture.shape[:2]


def test_data_sets_that_are_not_damaged_are_read(tmp_path):
    for layout, files in mutations.valid_datasets().items():
        mutations.put(files, mutations.empty(tmp_path / "case"))
        format = layout.split()[0]
        assert data.find_format(tmp_path / "case") == format
        dataset = data.read(tmp_path / "case")
        assert len(dataset) == (4 if format == "folders" else 3) and (layout == "labelme shapes" or not dataset.repairs)
        mutations.attempt(tmp_path / "case", format)


def test_a_case_is_a_function_of_its_number():
    assert mutations.picture_case(7) == mutations.picture_case(7)
    assert mutations.annotation_case(7) == mutations.annotation_case(7)
    assert mutations.annotation_case(7) != mutations.annotation_case(8)


def test_a_size_that_no_picture_has_is_looked_up(tmp_path):
    files = dict(mutations.valid_datasets()["coco outlines"])
    content = json.loads(files["annotations/instances_train.json"])
    content["images"][1]["height"] = 2**31 - 1
    files["annotations/instances_train.json"] = json.dumps(content).encode()
    mutations.put(files, tmp_path)
    dataset = data.read(tmp_path)
    assert dataset.repair_counts() == {"size that no picture has, looked up": 1} and dataset.size(1) == (48, 64)


def test_scenes_of_a_size_that_no_picture_has_are_refused(tmp_path):
    files = dict(mutations.valid_datasets()["scenes"])
    schema = files["schema.json"]
    line = b'{"picture": "pictures/a.png", "size": [2147483647, 64]}'
    mutations.put({"schema.json": schema, "train.scenes.jsonl": line}, tmp_path)
    with pytest.raises(DataError, match=r"64x2147483647.*no picture of this size is read"):
        data.read(tmp_path)
