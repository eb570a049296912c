"""The table of fields: one entry is all that a field needs; and whole scenes survive JSON."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from videre.data.transforms import crop, mirror_scene, rotate_scene, turn_scene
from videre.errors import ConfigError, DataError, ShapeError
from videre.images.prepare import prepare, prepare_truth
from videre.structures import (
    VOID,
    Affine,
    Box3D,
    Camera,
    Categories,
    Event,
    Instances,
    Masks,
    Mesh,
    Polygons,
    Preprocess,
    Relations,
    Renaming,
    Scene,
    Schema,
    Situation,
    Skeleton,
    entry,
)
from videre.structures.fields import entries
from videre.structures.kinds import Points
from videre.structures.scene import all_fields, locate

SCHEMA = Schema(
    things=Categories.of(["cat", "dog", "cow"]),
    pixels=Categories.of(["grass", "sky"]),
    pictures=Categories.of(["indoors", "outdoors"]),
    predicates=Categories.of(["on", "left of", "right of"]),
    attributes=Categories.of(["wet", "old"]),
    verbs=Categories.of(["riding", "eating"]),
    nouns=Categories.of(["man", "horse"]),
    events=Categories.of(["jump"]),
    skeleton=Skeleton(("nose", "left ear", "right ear"), flip_pairs=((1, 2),)),
)


@dataclasses.dataclass(frozen=True)
class Pointing(Instances):
    """Things with a field of somebody's own: where each is touched, and how it is held, in a mirror the other way."""

    touched: Tensor | None = entry(Points(), rows="instances")


def pointing() -> Scene:
    points = torch.tensor([[[1.0, 2.0], [3.0, 1.0], [4.0, 4.0]], [[7.0, 5.0], [6.0, 4.0], [5.0, 5.0]]])
    things = Pointing(boxes=[[1, 1, 4, 4], [5, 4, 7, 5]], labels=[0, 1], touched=points, keypoints=points)
    return Scene((6, 8), things, relations=Relations([0], [1], [1]))


CHANGES = {
    "select": lambda s: s[[1, 0]],
    "cat": lambda s: Scene.cat([s, s]),
    "slice": lambda s: s[:1],
    "flags": lambda s: s[torch.tensor([False, True])],
    "iterate": lambda s: list(s)[1],
    "to": lambda s: s.to("cpu"),
    "mirror": lambda s: mirror_scene(s, SCHEMA),
    "turn": lambda s: turn_scene(s.replace(relations=None), 1),
    "rotate": lambda s: rotate_scene(s, 10),
    "crop": lambda s: crop(np.zeros((6, 8, 3), np.uint8), s, (0, 0, 7, 6))[1],
    "prepare": lambda s: prepare_truth(s, prepare(np.zeros((6, 8, 3), np.uint8), Preprocess(short_side=24))),
    "json": lambda s: Scene.from_json(json.loads(json.dumps(s.to_json(SCHEMA.names))), SCHEMA.names),
    "align": lambda s: s.renamed(Renaming(lambda part: torch.tensor([2, 0, 1]) if part == "skeleton" else None)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_field_of_ones_own_goes_through_everything(change: str) -> None:
    """Declared like keypoints, it ends where they end."""
    after = CHANGES[change](pointing())
    assert isinstance(after.instances, Pointing) and len(after)
    assert torch.equal(after.instances.touched, after.instances.keypoints)
    assert after.has("touched") and "touched" in after.present()


def test_a_field_of_ones_own_is_checked() -> None:
    with pytest.raises(ShapeError, match=r"instances: touched must be \[N, J, 2\], found shape \(1, 2\)"):
        Pointing(touched=torch.zeros(1, 2))
    with pytest.raises(ShapeError, match=r"different lengths: \{'boxes': 1, 'touched': 2\}"):
        Pointing(boxes=[[0, 0, 1, 1]], touched=torch.zeros(2, 1, 2))


def test_names_are_qualified_where_both_levels_have_them() -> None:
    scene = Scene((4, 5), Instances(boxes=[[0, 0, 1, 1]], labels=[2], captions=["a cat"]), labels=[1])
    assert scene.get("labels").tolist() == [1] and scene.get("instances.labels").tolist() == [2]
    assert not scene.has("captions") and scene.has("instances.captions") and scene.has("boxes")
    assert scene.present() == {"labels", "boxes", "instances.labels", "instances.captions"}
    assert len(set(all_fields())) == len(all_fields()) and all(locate(name) for name in all_fields())
    with pytest.raises(ConfigError, match=r"no scene has a field 'box'; did you mean boxes\?"):
        scene.has("box")
    with pytest.raises(ConfigError, match=r"'instances\.depth'"):
        scene.has("instances.depth")


def test_only_keeps_what_is_named_and_nothing_else() -> None:
    scene = Scene((4, 5), Instances(boxes=[[0, 0, 1, 1]], labels=[2]), labels=[1], captions=["x"], meta={"id": 3})
    kept = scene.only({"boxes", "captions"})
    assert kept.present() == {"boxes", "captions"} and kept.meta == {"id": 3}
    assert scene.only({"labels"}).instances is None and scene.only(()).present() == frozenset()


def test_every_field_has_an_entry() -> None:
    for kind in (Scene, Instances):
        assert {f.name for f in dataclasses.fields(kind)} - {"size", "meta"} == set(entries(kind))


# JSON -------------------------------------------------------------------------------------------------------------------


def equal(a: object, b: object) -> bool:
    """Whether two values of a scene hold the same."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, Masks):
        same = a.polygons() if a.form == "polygons" else a.rle()
        return (
            type(a) is type(b) and a.size == b.size and equal(same, b.polygons() if a.form == "polygons" else b.rle())
        )
    if dataclasses.is_dataclass(a):
        names = [f.name for f in dataclasses.fields(a)]
        return type(a) is type(b) and all(equal(getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@st.composite
def whole_scenes(draw) -> Scene:
    """Scenes with everything in them, or any part of it absent."""
    count, seed = draw(st.integers(0, 4)), draw(st.integers(0, 10**6))
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    rand = lambda *sides: torch.rand(sides, generator=generator)
    ints = lambda high, *sides: torch.randint(high, sides, generator=generator)
    size = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    text = st.text(max_size=8)
    bitmaps = ints(2, count, *size)
    triangle = lambda: rng.random((3, 2)) * 9
    form = draw(st.sampled_from(["bitmaps", "rle", "polygons"]))
    masks = Masks.from_bitmaps(bitmaps)
    masks = masks.as_rle() if form == "rle" else masks
    if form == "polygons":
        masks = Masks.from_polygons([Polygons((triangle(), triangle()), (triangle(),)) for _ in range(count)], size)
    corners = (rand(count, 2, 2) * 1e3).cumsum(1)
    things = Instances(
        boxes=corners.reshape(count, 4),
        labels=ints(3, count),
        scores=rand(count),
        class_scores=rand(count, 3),
        masks=masks,
        keypoints=rand(count, 3, 2) * 1e4 - 50,
        visibility=ints(3, count, 3),
        keypoint_scores=rand(count, 3),
        attributes=ints(2, count, 2).bool(),
        attribute_scores=rand(count, 2),
        captions=tuple(draw(text) for _ in range(count)),
        caption_scores=rand(count),
        boxes3d=Box3D(rand(count, 3), rand(count, 3), rand(count)),
        meshes=tuple(Mesh(rand(3 + i, 3), ints(3, i, 3)) for i in range(count)),
        ignore=ints(2, count).bool(),
        ids=ints(2**40, count),
        areas=rand(count).double() * 1e7 / 3,
    )
    kept = {f.name: getattr(things, f.name) if draw(st.booleans()) else None for f in dataclasses.fields(things)}
    at = lambda *sides: ints(count, *sides) if count else torch.zeros(0, dtype=torch.int64)
    one = lambda: int(at(1)[0]) if count and draw(st.booleans()) else None
    truth = {
        "instances": Instances(**kept),
        "labels": ints(2, 2),
        "label_scores": rand(2),
        "segmentation": torch.where(rand(*size) < 0.2, VOID, ints(2, *size)).to(torch.uint8),
        "panoptic": ints(2**40, *size),
        "captions": (draw(text), draw(text)),
        "caption_scores": rand(2),
        "questions": (draw(text),),
        "answers": ({"two": 0.3, draw(text): 0.7},),
        "relations": Relations(at(3), ints(3, len(at(3))), at(3), rand(len(at(3)))),
        "situations": (Situation(1, {"agent": (0, one()), "place": (None, None)}, 0.5), Situation(0, {})),
        "proposals": (rand(3, 2, 2) * 100).cumsum(1).reshape(3, 4),
        "proposal_scores": rand(3) * 9 - 4,
        "camera": Camera(rand(3, 3), rand(3, 3), rand(3)),
        "depth": rand(*size) * 50,
        "events": (Event(0.1, 2.5, draw(text), 0, tuple(at(1).tolist()), 0.25), Event(0, 0)),
        "duration": 12.1,
    }
    if kept["boxes"] is None and len(Instances(**kept)) != count:
        truth |= dict.fromkeys(("relations", "situations", "events"))
    whole = {name: value if draw(st.booleans()) else None for name, value in truth.items()}
    if whole["instances"] is None or len(whole["instances"]) != count:
        whole |= dict.fromkeys(("relations", "situations", "events"))
    for scores, rows in (
        ("label_scores", "labels"),
        ("caption_scores", "captions"),
        ("answers", "questions"),
        ("proposal_scores", "proposals"),
    ):
        whole[scores] = None if whole[rows] is None else whole[scores]
    return Scene(size, **whole, meta={"path": "a.png", "id": 7})


@given(whole_scenes(), st.booleans())
def test_a_whole_scene_survives_json(scene: Scene, named: bool) -> None:
    names = SCHEMA.names if named else {}
    text = json.dumps(scene.to_json(names), allow_nan=False)
    again = Scene.from_json(json.loads(text), names)
    assert again.present() == scene.present()
    for name in (f.name for f in dataclasses.fields(scene)):
        assert equal(getattr(scene, name), getattr(again, name)), name


def test_json_speaks_in_names_and_short_numbers() -> None:
    scene = Scene(
        (2, 2),
        Instances(boxes=[[0.1, 0, 1.7, 2]], labels=[1], scores=[0.9]),
        labels=[1],
        segmentation=torch.tensor([[0, 0], [255, 1]]),
        relations=Relations([0], [1], [0]),
    )
    said = scene.to_json(SCHEMA.names)
    assert said["instances"] == {"boxes": [[0.1, 0.0, 1.7, 2.0]], "labels": ["dog"], "scores": [0.9]}
    assert said["labels"] == ["outdoors"] and said["relations"]["predicates"] == ["left of"]
    assert said["segmentation"]["values"] == ["grass", None, "sky"] and said["segmentation"]["runs"] == [2, 1, 1]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"instances": {"box": [[0, 0, 1, 1]]}}, "instances: there is no field 'box'; did you mean boxes"),
        ({"depht": 3}, "there is no field 'depht'; did you mean depth"),
        ({"instances": {"labels": ["dgo"]}}, "instances: labels: no things named 'dgo'; did you mean 'dog'"),
        ({"instances": {"boxes": [[3, 0, 1, 1]]}}, r"boxes: \[3.0, 0.0, 1.0, 1.0\] at 0 is turned over"),
        ({"segmentation": {"shape": [2, 2], "dtype": "uint8", "values": [0], "runs": [2**63 - 1]}}, "segmentation: "),
        (
            {"segmentation": {"shape": [2, 2], "dtype": "uint8", "values": [0, 1], "runs": [3, -1]}},
            "segmentation: runs of 2",
        ),
        ({"events": [{"end": 2}]}, "events: cannot be read"),
        ({"captions": [3]}, "captions must be sentences, found 3 at 0"),
        ({"answers": [{"two": -1}], "questions": ["?"]}, "answers are texts with weights from 0 on, found 'two': -1"),
        ({"camera": {"intrinsics": [[1]]}}, r"camera: intrinsics must be finite with shape"),
    ],
)
def test_what_does_not_fit_names_the_picture_and_the_field(data: dict, says: str) -> None:
    with pytest.raises((DataError, ShapeError), match=f"a.png: .*{says}"):
        Scene.from_json({"size": [2, 2], "meta": {"path": "a.png"}, **data}, SCHEMA.names)


def test_moving_checks_nothing_again(monkeypatch) -> None:
    """Readers check; transforms move what was checked."""
    scene = pointing()
    monkeypatch.setattr(Points, "check", lambda *a: pytest.fail("checked again"))
    scene.moved(Affine.mirror(scene.size))[[1]].to("cpu")
