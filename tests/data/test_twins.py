"""Twins are those of all pairs compared, colours tell pictures apart, and a crowd of them takes no time."""

import time

import cv2
import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from videre import data
from videre.data.twins import NEAR_BITS, NEAR_CORRELATION, Look, find_twins, look_at, looks_at
from videre.images.reading import write_picture


def look_of(thumbnail: np.ndarray, digest: str) -> Look:
    """The look of a grey picture of 32x32."""
    low, centred = cv2.dct(thumbnail)[:8, :8].ravel(), (thumbnail - thumbnail.mean()).ravel()
    code = int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), "little")
    return Look(digest, code, (centred / np.linalg.norm(centred)).astype(np.float32), np.zeros(192, np.float32))


def thumbnails(count: int, families: int, noise: float, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    bases = rng.random((families, 32, 32), np.float32)
    return [bases[i % families] + rng.normal(0, noise, (32, 32)).astype(np.float32) for i in range(count)]


@pytest.mark.parametrize(
    ("count", "families", "noise"), [(300, 300, 0), (400, 150, 0.03), (300, 2, 0.05), (400, 5, 0.07)]
)
def test_groups_are_those_of_all_pairs(count: int, families: int, noise: float) -> None:
    looks = [look_of(t, str(i)) for i, t in enumerate(thumbnails(count, families, noise))]
    pairs = [
        (a, b)
        for a in range(count)
        for b in range(a + 1, count)
        if (looks[a].code ^ looks[b].code).bit_count() <= NEAR_BITS
        and float(looks[a].thumbnail @ looks[b].thumbnail) >= NEAR_CORRELATION
    ]
    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    label = connected_components(coo_array((np.ones(len(a)), (a, b)), (count, count)), False)[1]
    expected = [tuple(np.flatnonzero(label == k).tolist()) for k in range(count)]
    found = find_twins(looks)
    assert [t.members for t in found] == sorted(group for group in expected if len(group) > 1)
    for t in found:
        assert len(t.links) == len(t.members) - 1 and {(a, b) for a, b, _ in t.links} <= set(pairs)


def test_the_same_bytes_are_twins_whatever_they_show() -> None:
    looks = [Look("a"), Look("b"), Look("a"), Look(""), Look(""), Look("a")]
    assert [(t.members, t.links) for t in find_twins(looks)] == [((0, 2, 5), ((0, 2, True), (0, 5, True)))]
    assert find_twins([]) == [] and find_twins([Look()]) == []


@pytest.mark.parametrize("kind", ["all different", "all the same", "one camera"])
def test_many_pictures_take_no_time(kind: str) -> None:
    rng, count = np.random.default_rng(0), 5000
    base = rng.random((32, 32), np.float32)
    made = {
        "all different": lambda: rng.random((32, 32), np.float32),
        "all the same": lambda: base,
        "one camera": lambda: base + rng.normal(0, 0.02, (32, 32)).astype(np.float32),
    }[kind]
    looks = [look_of(made(), "x" if kind == "all the same" else str(i)) for i in range(count)]
    begun = time.perf_counter()
    found = find_twins(looks)
    assert time.perf_counter() - begun < 5
    assert [len(t.members) for t in found] == ([] if kind == "all different" else [count])


def part(colour: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A textured ground with a coloured part on it, as bright in every colour."""
    coarse = np.random.default_rng(seed).integers(60, 200, (6, 8), dtype=np.uint8)
    picture = np.repeat(cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_CUBIC)[:, :, None], 3, 2)
    picture[14:34, 20:44] = colour
    return picture


def test_pictures_that_differ_in_colour_alone_are_no_twins() -> None:
    red, blue = part((200, 40, 60)), part((60, 40, 200))
    again = cv2.imdecode(cv2.imencode(".jpg", red, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    small = cv2.resize(red, (40, 30), interpolation=cv2.INTER_AREA)
    looks = [look_at(picture, None) for picture in (red, blue, again, small)]
    assert [t.members for t in find_twins(looks)] == [(0, 2, 3)]
    # nor are they without content where their grey is one shade
    halves = np.zeros((48, 64, 3), np.uint8)
    halves[:, :32, 0] = halves[:, 32:, 2] = 150
    looks = [look_at(halves, None), look_at(halves[:, ::-1], None), look_at(np.full((48, 64, 3), 90, np.uint8), None)]
    assert looks[0].code is not None and looks[2].code is None and find_twins(looks) == []


def test_a_picture_that_cannot_be_read_is_no_twin(tmp_path) -> None:
    write_picture(tmp_path / "a" / "1.png", part((200, 40, 60)))
    write_picture(tmp_path / "b" / "2.png", part((200, 40, 60)))
    (tmp_path / "b" / "3.png").write_bytes((tmp_path / "b" / "2.png").read_bytes())
    dataset = data.read(tmp_path)
    (tmp_path / "b" / "3.png").write_bytes(b"junk")
    assert [t.members for t in find_twins(looks_at(dataset))] == [(0, 1)]
