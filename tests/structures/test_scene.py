"""Scene: what refers to instances follows them wherever they go."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videre.errors import DataError, ShapeError
from videre.structures import Event, Instances, Masks, Relations, Scene, Situation


@st.composite
def scenes(draw, tag=0):
    """A scene whose instances carry ids tag, tag + 1, …, with relations, roles and events between them."""
    count = draw(st.integers(1, 6))
    one = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(one, st.integers(0, 3), one), max_size=6))
    columns = [list(c) for c in zip(*pairs)] or [[], [], []]
    score = torch.rand(len(pairs)) if draw(st.booleans()) else None
    events = draw(st.lists(st.lists(one, max_size=4, unique=True), max_size=3))
    return Scene(
        (8, 9),
        Instances(ids=torch.arange(count) + tag),
        relations=Relations(*columns, score),
        situations=[Situation(2, {"agent": (7, draw(one)), "place": (9, None)})],
        events=tuple(Event(i, i + 1, f"event {i}", instances=tuple(e)) for i, e in enumerate(events)),
    )


def ids(scene, index):
    return [int(scene.instances.ids[i]) for i in index]


def triplets(scene):
    r = scene.relations
    return list(zip(ids(scene, r.subjects), r.predicates.tolist(), ids(scene, r.objects)))


@given(scenes(), st.data())
def test_select_keeps_what_refers_to_the_same_instances(scene, data):
    kept = data.draw(st.permutations(range(len(scene))).map(lambda p: p[: data.draw(st.integers(0, len(p)))]))
    new = scene.select(kept)
    assert ids(new, range(len(new))) == kept
    assert triplets(new) == [t for t in triplets(scene) if t[0] in kept and t[2] in kept]
    if scene.relations.scores is not None:
        there = [t[0] in kept and t[2] in kept for t in triplets(scene)]
        assert torch.equal(new.relations.scores, scene.relations.scores[torch.tensor(there, dtype=torch.bool)])
    (noun, old), (_, place) = scene.situations[0].roles["agent"], new.situations[0].roles["place"]
    assert new.situations[0].roles["agent"][0] == noun and place is None
    agent = new.situations[0].roles["agent"][1]
    assert (agent is None) == (old not in kept) and (agent is None or ids(new, [agent]) == [old])
    for before, after in zip(scene.events, new.events, strict=True):
        assert ids(new, after.instances) == [i for i in before.instances if i in kept]
        assert (after.start, after.caption) == (before.start, before.caption)


@given(scenes(), st.data())
def test_select_by_flags_is_select_by_places(scene, data):
    flags = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(scene), max_size=len(scene))))
    a, b = scene.select(flags), scene.select(flags.nonzero().flatten())
    assert torch.equal(a.instances.ids, b.instances.ids) and triplets(a) == triplets(b) and a.events == b.events


@given(st.lists(scenes(), min_size=1, max_size=3))
def test_cat_moves_references_along(parts):
    parts = [s.replace(instances=Instances(ids=torch.arange(len(s)) + 100 * i)) for i, s in enumerate(parts)]
    whole = Scene.cat(parts)
    assert whole.instances.ids.tolist() == [i for s in parts for i in ids(s, range(len(s)))]
    assert triplets(whole) == [t for s in parts for t in triplets(s)]
    assert [ids(whole, e.instances) for e in whole.events] == [ids(s, e.instances) for s in parts for e in s.events]
    assert whole.situations == parts[0].situations
    start = len(parts[0])
    for part in parts[1:]:
        again = whole.select(range(start, start + len(part)))
        assert triplets(again) == triplets(part)
        start += len(part)


def test_cat_with_scenes_that_lack_something():
    plain = Scene((8, 9), Instances(ids=[5]))
    related = Scene((8, 9), Instances(ids=[6, 7]), relations=Relations([0], [1], [1], [0.5]))
    whole = Scene.cat([plain, Scene((8, 9)), related])
    assert triplets(whole) == [(6, 1, 7)] and whole.relations.scores.tolist() == [0.5]
    without = Scene.cat([related, related.replace(relations=Relations([1], [0], [0]))])
    assert triplets(without) == [(6, 1, 7), (7, 0, 6)] and without.relations.scores is None


def test_has_speaks_of_the_scene_or_of_its_instances():
    scene = Scene(
        (4, 5), Instances(boxes=[[0, 0, 1, 1]], labels=[0]), segmentation=torch.zeros(4, 5, dtype=torch.uint8)
    )
    assert scene.has("boxes") and scene.has("segmentation") and not scene.has("masks") and not scene.has("depth")
    assert not scene.has("labels") and Scene((4, 5), labels=torch.tensor([1])).has("labels")
    assert not Scene((4, 5)).has("boxes") and len(Scene((4, 5))) == 0


META = {"path": "street_07.jpg"}
NAN = float("nan")
WRONG = [
    (dict(labels=[0.5]), DataError, r"labels must be int64, found 0\.5 at \[0\]"),
    (dict(labels=[3, -1]), DataError, "labels start at 0 .* found -1"),
    (dict(labels=3), ShapeError, "labels must be a list, found the single number 3"),
    (dict(labels=["cat"]), ShapeError, "labels must be an array of numbers, found list"),
    (dict(labels=[[0, 1]]), ShapeError, r"labels must be \[N\], found shape \(1, 2\)"),
    (
        dict(labels=[0, 1], label_scores=[0.5]),
        ShapeError,
        "fields of different lengths: {'labels': 2, 'label_scores': 1}",
    ),
    (dict(label_scores=[0.5]), ShapeError, "label_scores without labels"),
    (dict(labels=[0], label_scores=[1.5]), DataError, r"label_scores must lie in \[0, 1\], found 1\.5\.\.1\.5"),
    (dict(labels=[0, 1], label_scores=[0.5, NAN]), DataError, r"label_scores must be finite, found nan at \[1\]"),
    (dict(proposals=[[0, 0, 1]]), ShapeError, r"proposals must be \[N, 4\], found shape \(1, 3\)"),
    (
        dict(proposals=[[0, 0, 1, 1], [2, 0, 1, 1]]),
        DataError,
        r"proposals: \[2\.0, 0\.0, 1\.0, 1\.0\] at 1 is turned over",
    ),
    (dict(proposals=[[0, 0, NAN, 1]]), DataError, r"proposals must be finite, found nan at \[0, 2\]"),
    (
        dict(proposals=[[0, 0, 1, 1]], proposal_scores=[1, 2]),
        ShapeError,
        "fields of different lengths: {'proposals': 1, 'proposal_scores': 2}",
    ),
    (dict(segmentation=torch.zeros(4, 5)), ShapeError, r"segmentation must be whole numbers .*, found float32"),
    (
        dict(segmentation=torch.full((4, 5), 256)),
        DataError,
        "segmentation must be at least 0 and at most 255, found 256..256",
    ),
    (dict(panoptic=torch.full((4, 5), -1)), DataError, "panoptic must be at least 0 and finite, found -1..-1"),
    (dict(depth=torch.full((4, 5), NAN)), DataError, "depth must be at least 0 and finite, found nan"),
    (dict(depth=torch.full((4, 5), -1.0)), DataError, "depth must be at least 0"),
    (dict(depth=torch.full((4, 5), float("inf"))), DataError, "depth must be .* finite, found inf"),
    (dict(captions="a cat"), ShapeError, "captions must be a list of sentences, found 'a cat'"),
    (
        dict(questions=["what?", "where?"], answers=["a cat"]),
        ShapeError,
        "fields of different lengths: {'questions': 2, 'answers': 1}",
    ),
    (dict(duration=NAN), DataError, "duration must be seconds from 0 on, found nan"),
]


@pytest.mark.parametrize(("fields", "error", "says"), WRONG)
def test_fields_of_the_picture_are_checked_and_named(fields, error, says):
    with pytest.raises(error, match=f"street_07.jpg: {says}"):
        Scene((4, 5), meta=META, **fields)


def test_lists_become_tensors_and_the_bounds_are_in():
    scene = Scene(
        (4, 5),
        labels=[2, 0],
        label_scores=[1, 0],
        proposals=[[1, 1, 1, 1]],
        proposal_scores=[-7.5],
        depth=[[0] * 5] * 4,
        segmentation=torch.full((4, 5), 255),
        panoptic=torch.full((4, 5), 2**40),
        questions=["what?"],
        duration=0,
    )
    assert (scene.labels.dtype, scene.label_scores.dtype, scene.depth.dtype) == (
        torch.int64,
        torch.float32,
        torch.float32,
    )
    assert scene.proposals.tolist() == [[1, 1, 1, 1]] and scene.labels.tolist() == [2, 0]
    empty = Scene((4, 5), labels=[], label_scores=[], proposals=torch.zeros(0, 4), proposal_scores=[])
    assert len(empty.labels) == 0 and empty.proposals.shape == (0, 4)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Scene((0, 5), meta=META), ShapeError, r"street_07.jpg: a picture of size \(0, 5\) has no pixels"),
        (
            lambda: Scene((4, 5), segmentation=torch.zeros(5, 4), meta=META),
            ShapeError,
            r"street_07.jpg: segmentation is \(5, 4\), the picture is \(4, 5\)",
        ),
        (
            lambda: Scene((4, 5), Instances(masks=Masks.from_rle([], (4, 6))), meta=META),
            ShapeError,
            r"street_07.jpg: masks are for a picture of \(4, 6\), this one is \(4, 5\)",
        ),
        (
            lambda: Scene((4, 5), Instances(ids=[0]), relations=Relations([0], [0], [1]), meta=META),
            DataError,
            "street_07.jpg: .* name instance 1, there are 1",
        ),
        (
            lambda: Scene((4, 5), situations=[Situation(0, {"agent": (3, 0)})], meta={"id": 7}),
            DataError,
            "7: .* name instance 0, there are 0",
        ),
        (lambda: Scene((4, 5), events=[Event(0, 1, instances=(-1,))]), DataError, "scene: .* name instance -1"),
        (lambda: Relations([0, 1], [0], [0]), ShapeError, r"relations: fields of different lengths \[1, 2\]"),
        (lambda: Scene.cat([Scene((4, 5)), Scene((5, 4))]), ShapeError, r"cannot be joined: \[\(4, 5\), \(5, 4\)\]"),
        (lambda: Scene((4, 5), Instances(ids=[0])).select([1]), ShapeError, "names instance 1, there are 1"),
    ],
)
def test_messages_name_picture_field_and_value(make, error, says):
    with pytest.raises(error, match=says):
        make()
