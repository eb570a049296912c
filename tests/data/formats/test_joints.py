"""LSP's matrix and MPII's list: joints counted from 1, persons of one picture together, mirrors that swap sides."""

import json

import numpy as np
import pytest
import torch
from scipy.io import savemat

from videre import data
from videre.data.formats.joints import LSP, MPII
from videre.errors import DataError
from videre.images.reading import write_picture


def pictures(root, *names):
    (root / "images").mkdir(parents=True)
    for name in names:
        write_picture(root / "images" / name, np.full((40, 50, 3), 99, np.uint8))


def entry(image="b.jpg", shift=0.0, **changes):
    joints = [[float(5 + n + shift), float(2 * n + 1)] for n in range(16)]
    joints[6] = [-1.0, -1.0]
    return {
        "image": image,
        "joints": joints,
        "joints_vis": [int(n != 6) for n in range(16)],
        "center": [20.0, 25.0],
        "scale": 0.1,
        **changes,
    }


@pytest.mark.parametrize("extended", [False, True])
def test_lsp(tmp_path, extended):
    pictures(tmp_path, "im0001.png", "im0002.png")
    joints = np.zeros((3, 14, 2))
    joints[0], joints[1] = np.arange(14)[:, None] + 3, 2 * np.arange(14)[:, None] + 1
    joints[2, :5] = 1
    savemat(tmp_path / "joints.mat", {"joints": joints.transpose(1, 0, 2) if extended else joints})
    assert data.find_format(tmp_path) == "joints" and data.splits(tmp_path) == []
    dataset = data.read(tmp_path)
    assert len(dataset) == 2 and dataset.schema.skeleton == LSP and dataset.schema.things.names == ("person",)
    things = dataset.scene(1).instances
    assert things.visibility[0].tolist() == ([2] * 5 + [0] * 9 if extended else [2] * 14)
    assert things.keypoints[0, 3].tolist() == [5.5, 6.5]  # the middle of pixel 6, 7 counted from 1
    assert things.boxes[0].tolist() == ([2.5, 0.5, 6.5, 8.5] if extended else [2.5, 0.5, 15.5, 26.5])


def test_mpii(tmp_path):
    pictures(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "annot").mkdir()
    rows = [
        entry(),
        entry("a.jpg", 2),
        entry("b.jpg", 7, scale=9.0),
        entry("a.jpg", joints_vis=[0] * 16),
        entry("gone.jpg"),
    ]
    (tmp_path / "annot" / "valid.json").write_text(json.dumps(rows))
    assert data.find_format(tmp_path) == "joints" and data.splits(tmp_path) == ["valid"]
    dataset = data.read(tmp_path, "valid")
    assert [dataset.name(i) for i in range(2)] == ["b.jpg", "a.jpg"] and dataset.schema.skeleton == MPII
    counts = dataset.repair_counts()
    assert counts["person without labelled joints, dropped"] == 1 and sum(counts.values()) == 2
    people = dataset.scene(0).instances
    assert people.keypoints[:, 0].tolist() == [[4.5, 0.5], [11.5, 0.5]] and people.visibility[0, 6] == 0
    assert people.boxes.tolist() == [[10, 15, 30, 35], [0, 0, 50, 40]]  # 200 times the scale, cut at the border


@pytest.mark.parametrize("skeleton", [LSP, MPII])
def test_a_mirror_swaps_the_sides(skeleton):
    for i, j in enumerate(skeleton.flip_order):
        left, right = skeleton.names[i], skeleton.names[j]
        assert left == right.replace("right_", "left_") or left == right.replace("left_", "right_")
        assert (i == j) == ("left_" not in left and "right_" not in left)
    assert len(skeleton.edges) >= len(skeleton) - 1 and {i for edge in skeleton.edges for i in edge} == set(
        range(len(skeleton))
    )


def test_what_cannot_be_is_refused(tmp_path):
    pictures(tmp_path / "lsp", "im0001.png")
    savemat(tmp_path / "lsp" / "joints.mat", {"joints": np.zeros((3, 14, 5))})
    with pytest.raises(DataError, match=r"joints\.mat has 5 poses, images/ has 1 pictures"):
        data.read(tmp_path / "lsp")
    savemat(tmp_path / "lsp" / "joints.mat", {"joints": np.zeros((2, 13, 1))})
    with pytest.raises(DataError, match=r"should be \[3, 14, N\] .*, found \[2, 13, 1\]"):
        data.read(tmp_path / "lsp")
    (tmp_path / "lsp" / "joints.mat").write_bytes(b"no matrix at all")
    with pytest.raises(DataError, match="no field 'joints' can be read"):
        data.read(tmp_path / "lsp")
    pictures(tmp_path / "mpii", "b.jpg")
    for row, message in (
        (entry(joints=[[1, 2]]), r"entry at place 0: joints should be 16 joints \[x, y\], found"),
        ({"joints": []}, "image should be text, but it is missing"),
    ):
        (tmp_path / "mpii" / "train.json").write_text(json.dumps([row]))
        with pytest.raises(DataError, match=message):
            data.read(tmp_path / "mpii", "train")
    (tmp_path / "mpii" / "train.json").write_text(json.dumps([entry(), entry(scale="big"), {"joints": []}]))
    with pytest.raises(DataError, match=r"(?s)4 faults.*scale should be a number, found 'big'.*image should be text"):
        data.read(tmp_path / "mpii", "train")
    dataset = data.read(tmp_path / "mpii", "train", skip_broken=True)
    assert len(dataset.scene(0)) == 1 and len(dataset.repairs) == 4
    with pytest.raises(DataError, match="are read, not written; write coco"):
        data.write(dataset, tmp_path / "out", "joints")
    assert data.write(dataset, tmp_path / "coco", "coco") == []
    again = data.read(tmp_path / "coco").scene(0).instances
    assert torch.equal(again.keypoints, dataset.scene(0).instances.keypoints)
