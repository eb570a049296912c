"""Pictures that belong together are found by name, folder and table, and no way of splitting parts them."""

import re
from pathlib import Path

import numpy as np
import pytest

from videre import data
from videre.data.grouping import group_keys, joined, series_hint
from videre.data.splits import by_folds, by_hash, by_ratio
from videre.errors import ConfigError, DataError
from videre.images.reading import write_picture


def pictures(root: Path, names: list[str]) -> data.Dataset:
    for n, name in enumerate(names):
        picture = np.random.default_rng(n).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        write_picture(root / name, picture)
    return data.read(root)


def patients(root: Path) -> data.Dataset:
    """Two classes; patient k has k + 1 pictures, of one class each."""
    names = [f"{'ab'[k % 2]}/patient{k:02}_{n}.png" for k in range(12) for n in range(k + 1)]
    return pictures(root, names)


def key_of(name: str) -> str:
    return re.search(r"patient\d+", name)[0]


@pytest.mark.parametrize("seed", range(3))
def test_groups_stay_whole_and_parts_near_their_shares(tmp_path, seed):
    dataset = patients(tmp_path)
    keys = group_keys(dataset, r"(patient\d+)_", tmp_path)
    assert keys == [key_of(dataset.name(i)) for i in range(len(dataset))]
    together = joined(len(dataset), keys, [])
    parts = by_ratio(dataset, {"train": 0.7, "val": 0.2, "test": 0.1}, seed, together)
    of = lambda part: {key_of(part.name(i)) for i in range(len(part))}
    assert sum(len(of(part)) for part in parts.values()) == 12 and sum(map(len, parts.values())) == 78
    assert all(abs(len(part) - share * 78) <= 3 for part, share in zip(parts.values(), (0.7, 0.2, 0.1)))
    assert {int(parts["val"].scene(i).labels[0]) for i in range(len(parts["val"]))} == {0, 1}
    again = by_ratio(dataset, {"train": 0.7, "val": 0.2, "test": 0.1}, seed, together)
    assert [again["val"].name(i) for i in range(len(again["val"]))] == [
        parts["val"].name(i) for i in range(len(parts["val"]))
    ]
    folds = by_folds(dataset, 3, seed, together)
    assert sorted(n for _, held in folds for n in of(held)) == sorted(set(keys))
    assert all(not of(train) & of(held) and len(train) + len(held) == 78 for train, held in folds)
    assert max(len(held) for _, held in folds) - min(len(held) for _, held in folds) <= 3
    hashed = by_hash(dataset, {"train": 0.5, "val": 0.5}, together, keys)
    assert not of(hashed["train"]) & of(hashed["val"]) and sum(map(len, hashed.values())) == 78


def test_new_pictures_of_a_patient_come_to_the_old_ones(tmp_path):
    dataset = patients(tmp_path)
    part_of = lambda d: {
        key_of(p.name(i)): name
        for name, p in by_hash(d, {"x": 0.5, "y": 0.5}, None, group_keys(d, r"(patient\d+)_", tmp_path)).items()
        for i in range(len(p))
    }
    half = dataset.subset([i for i in range(len(dataset)) if i % 3])
    whole = part_of(dataset)
    assert part_of(half) == {key: whole[key] for key in part_of(half)}


def test_single_pictures_beside_groups_keep_every_class_at_its_share(tmp_path):
    dataset = pictures(
        tmp_path, [f"{c}/{n}.png" for c, count in (("a", 60), ("b", 20), ("c", 5)) for n in range(count)]
    )
    together = joined(len(dataset), None, [(0, 1), (62, 63, 64)])
    parts = by_ratio(dataset, {"train": 0.8, "val": 0.2}, 0, together)
    counts = np.bincount([int(parts["val"].scene(i).labels[0]) for i in range(len(parts["val"]))], minlength=3)
    assert abs(counts - [12, 4, 1]).max() <= 1 and len(parts["val"]) == 17


@pytest.mark.parametrize(
    ("sizes", "shares", "expected"),
    [
        ((30, 17, 12, 10), (0.8, 0.2), (57, 12)),  # the largest first alone gives 52 and 17
        ((7, 5, 4, 4), (0.5, 0.5), (11, 9)),
        ((6, 5, 5, 4, 4), (0.5, 0.5), (13, 11)),
        ((9, 1, 1), (0.5, 0.5), (9, 2)),
    ],
)
def test_sizes_are_as_near_as_groups_allow(tmp_path, sizes, shares, expected):
    dataset = pictures(tmp_path, [f"a/x{k}_{n}.png" for k, size in enumerate(sizes) for n in range(size)])
    together = joined(len(dataset), group_keys(dataset, r"x\d", tmp_path), [])
    for seed in range(3):
        parts = by_ratio(dataset, dict(zip("tv", shares)), seed, together)
        assert sorted(map(len, parts.values())) == sorted(expected)


@pytest.mark.parametrize("seed", range(5))
def test_sizes_are_near_those_of_every_way_to_share(tmp_path, seed):
    sizes = np.random.default_rng(seed).integers(1, 9, 7).tolist()
    dataset = pictures(tmp_path, [f"a/x{k}_{n}.png" for k, size in enumerate(sizes) for n in range(size)])
    together = joined(len(dataset), group_keys(dataset, r"x\d", tmp_path), [])
    val = len(by_ratio(dataset, {"t": 0.7, "v": 0.3}, seed, together)["v"])
    sums = [sum(s for k, s in enumerate(sizes) if ways >> k & 1) for ways in range(1, 127)]
    assert abs(val - 0.3 * sum(sizes)) <= min(abs(s - 0.3 * sum(sizes)) for s in sums) + 1


def test_no_part_stays_empty_while_there_are_groups(tmp_path):
    dataset = pictures(tmp_path, [f"a/x{k}_{n}.png" for k in range(3) for n in range(9)])
    together = joined(27, group_keys(dataset, r"x\d", tmp_path), [])
    assert [len(p) for p in by_ratio(dataset, {"t": 0.98, "v": 0.01, "w": 0.01}, 0, together).values()] == [9, 9, 9]
    with pytest.raises(ConfigError, match="3 groups of pictures that belong together cannot fill 4 parts"):
        by_folds(dataset, 4, 0, together)


def test_folders_and_tables_say_it_too(tmp_path):
    dataset = pictures(tmp_path, [f"{c}/{n}.png" for c in "ab" for n in range(4)])
    assert len(set(group_keys(dataset, "folder", tmp_path))) == 2
    rows = [f"{1 + n % 2},{c}/{n}.png" for c in "ab" for n in range(4)]
    (tmp_path / "who.csv").write_text("\n".join(["patient,picture", *rows]))
    assert group_keys(dataset, "who.csv:patient", tmp_path) == ["1", "2", "1", "2"] * 2
    assert group_keys(dataset, f"{tmp_path}/who.csv:patient", tmp_path) == ["1", "2", "1", "2"] * 2
    with pytest.raises(ConfigError, match="has no column 'patiant'; did you mean 'patient'"):
        group_keys(dataset, "who.csv:patiant", tmp_path)
    with pytest.raises(ConfigError, match="there is no such table"):
        group_keys(dataset, "whom.csv:patient", tmp_path)
    (tmp_path / "who.csv").write_text("\n".join(["patient,picture", *rows[1:]]))
    with pytest.raises(DataError, match=r"says nothing of 1 of 8 pictures \(a/0\.png\)"):
        group_keys(dataset, "who.csv:patient", tmp_path)
    (tmp_path / "who.csv").write_text("\n".join(["patient,picture", *rows, "7,a/0.png"]))
    with pytest.raises(DataError, match=r"0\.png has '1' and '7' as patient"):
        group_keys(dataset, "who.csv:patient", tmp_path)
    (tmp_path / "who.csv").write_text("patient,picture\n1,none.png\n")
    with pytest.raises(DataError, match="none of its columns patient, picture leads to pictures"):
        group_keys(dataset, "who.csv:patient", tmp_path)


def test_names_that_do_not_fit_are_listed(tmp_path):
    dataset = pictures(tmp_path, [f"a/p{n}_1.png" for n in range(3)] + [f"a/x{n}.png" for n in range(6)])
    with pytest.raises(DataError, match=r"says nothing of 6 of 9 pictures \((a/x\d\.png, ){5}…\)"):
        group_keys(dataset, r"(p\d)_", tmp_path)
    with pytest.raises(ConfigError, match=r"--group-by \(p: no regular expression"):
        group_keys(dataset, "(p", tmp_path)
    assert group_keys(dataset, r"[px]\d", tmp_path)[0] == "p0"


def test_groups_that_share_a_picture_are_one():
    assert joined(6, None, [(0, 1), (1, 2), (4, 5)]).tolist() == [0, 0, 0, 1, 2, 2]
    assert joined(5, list("aabbc"), [(0, 4)]).tolist() == [0, 0, 1, 1, 0]
    assert joined(0, None, []).tolist() == []


@pytest.mark.parametrize(
    ("form", "group"),
    [
        ("video_{k:03}_frame_{n:04}.png", "video_002"),
        ("a/Seq{k:02}VD_f{n:05}.jpg", "Seq02VD"),
        ("patient{k}-{n}", "patient2"),
        ("{k:04}TP_{n:06}.png", "0002TP"),
        ("site.{k} {n}.png", "site.2"),
    ],
)
def test_series_are_seen_and_the_hint_works(tmp_path, form, group):
    names = [form.format(k=k, n=n) for k in range(1, 12) for n in range(10, 14)]
    hint = series_hint(names)
    assert "names look like series (" in hint and ": 4 pictures): --group-by '" in hint
    pattern = hint.partition("--group-by '")[2].partition("' keeps")[0]
    found = [re.search(pattern, name)[1] for name in names]
    assert found[4].endswith(group) and len(set(found)) == 11


def test_mixed_series_have_a_pattern_too():
    names = [f"cam{k}{'x' * (k % 2)}_{n}.png" for k in range(6) for n in range(5)]
    pattern = series_hint(names).partition("--group-by '")[2].partition("' keeps")[0]
    assert len({re.search(pattern, name)[1] for name in names}) == 6


@pytest.mark.parametrize("form", ["2007_{n:06}", "{n:012}.jpg", "BloodImage_{n:05}", "{n}_1.png", "img{n}", "a_{n}"])
def test_single_pictures_are_no_series(form):
    assert series_hint([form.format(n=n) for n in range(30)]) == ""
