"""Categories, Skeleton, Schema, Preprocess: plain values that survive JSON, and say what is wrong with them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videre.errors import ConfigError, DataError
from videre.structures import COCO_PERSON, Categories, Preprocess, Schema, Skeleton, WordTokenizer, palette

NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=12, unique=True)


@st.composite
def categories(draw):
    names = draw(NAMES)
    count = len(names)
    return Categories(
        tuple(names),
        source_ids=tuple(draw(st.lists(st.integers(0, 10**6), min_size=count, max_size=count, unique=True))),
        supercategories=tuple(draw(st.lists(st.text(max_size=5), min_size=count, max_size=count))),
    )


def through_json(value):
    return type(value).from_json(json.loads(json.dumps(value.to_json())))


@given(categories())
def test_categories_survive_json(value):
    assert through_json(value) == value


@given(categories(), categories(), st.booleans())
def test_a_schema_survives_json(things, nouns, with_skeleton):
    schema = Schema(
        things=things,
        nouns=nouns,
        skeleton=COCO_PERSON if with_skeleton else None,
        tokenizer=WordTokenizer.build(["a cat on a mat"], least=1),
    )
    assert through_json(schema) == schema
    assert through_json(Schema()) == Schema()


@given(categories(), st.randoms())
def test_remap_goes_by_name(ours, random):
    names = [*ours.names, "one more name"]
    random.shuffle(names)
    theirs = Categories.of(names[: random.randint(0, len(names))])
    for label, there in enumerate(ours.remap(theirs)):
        if there is None:
            assert ours[label] not in theirs.names
        else:
            assert theirs[there] == ours[label]
    assert ours.remap(ours) == tuple(range(len(ours)))


def test_categories_fill_in_what_is_absent():
    value = Categories.of(["cat", "dog"])
    assert value.source_ids == (1, 2) and value.supercategories == ("", "") and value.colors == palette(2)
    assert value.index("dog") == 1 and list(value) == ["cat", "dog"] and len(Categories.of([])) == 0


def test_a_longer_palette_begins_with_the_shorter_one():
    assert palette(30)[:7] == palette(7) and len(set(palette(100))) == 100


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Categories(("a", "b", "a")), r"repeated or empty: \['a'\]"),
        (lambda: Categories(("a", "")), r"repeated or empty: \[''\]"),
        (lambda: Categories(("a",), colors=((0, 0, 0), (1, 1, 1))), "colors has 2 entries for 1 names"),
        (lambda: Categories(("a", "b"), source_ids=(3, 3)), r"source_ids repeat: \(3, 3\)"),
        (lambda: Categories(("a", "b"), synsets=("cat.n.01",)), "synsets has 1 entries for 2 names"),
        (lambda: Skeleton(("a", "a")), r"names repeat: \('a', 'a'\)"),
        (lambda: Skeleton(("a", "b"), edges=((0, 2),)), r"edges names keypoint \(0, 2\), there are 2"),
        (lambda: Skeleton(("a", "b", "c"), flip_pairs=((0, 1), (1, 2))), "in two flip pairs"),
        (lambda: Skeleton(("a", "b"), sigmas=(0.1,)), "sigmas must be 2 positive numbers"),
        (lambda: Skeleton(("a",), sigmas=(0.0,)), "sigmas must be 1 positive numbers"),
    ],
)
def test_categories_and_skeletons_say_what_is_wrong(make, says):
    with pytest.raises(DataError, match=says):
        make()


def test_an_unknown_class_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="no class named 'cow'; there are: cat, dog"):
        Categories.of(["cat", "dog"]).index("cow")


def test_the_flip_order_is_its_own_inverse():
    order = COCO_PERSON.flip_order
    assert [order[i] for i in order] == list(range(17)) and order[:5] == [0, 2, 1, 4, 3]
    assert [COCO_PERSON.names[i].replace("left", "right") for i in (5, 7, 9)] == [
        COCO_PERSON.names[order[i]] for i in (5, 7, 9)
    ]
    assert through_json(COCO_PERSON) == COCO_PERSON
    unknown = Skeleton(("a", "b"), flip_pairs=None)
    assert through_json(unknown) == unknown
    with pytest.raises(DataError, match="flip_pairs"):
        _ = unknown.flip_order


# preprocess -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((480, 640), (800, 1066)),
        ((500, 375), (1066, 800)),
        ((427, 640), (800, 1199)),
        ((333, 500), (800, 1201)),
        ((1000, 300), (1333, 399)),
    ],
)
def test_sizes_are_torchvisions(size, resized):
    """Obtained by running torchvision 0.29's GeneralizedRCNNTransform."""
    preprocess = Preprocess()
    assert preprocess.resized(size) == resized
    assert preprocess.padded(size) == tuple(-(-n // 32) * 32 for n in resized)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 1000), st.integers(1, 2000), st.integers(1, 64))
def test_sizes_keep_their_limits(height, width, short, long, divisor):
    preprocess = Preprocess(short_side=short, long_side=long, divisor=divisor)
    new, padded = preprocess.resized((height, width)), preprocess.padded((height, width))
    # a strip so thin that its short side would vanish keeps one pixel
    assert 1 <= min(new) <= short and max(new) <= max(long, 1)
    assert min(new) in (short, 1) or max(new) == long
    assert all(p % divisor == 0 and n <= p < n + divisor for n, p in zip(new, padded))


def test_one_limit_alone_and_none():
    assert Preprocess(short_side=None, long_side=100).resized((50, 200)) == (25, 100)
    assert Preprocess(short_side=100, long_side=None).resized((50, 200)) == (100, 400)
    assert Preprocess(short_side=None, long_side=None).resized((50, 201)) == (50, 201)
    assert Preprocess(size=(30, 40)).padded((7, 9)) == (32, 64)


@pytest.mark.parametrize("value", [Preprocess(), Preprocess(size=(3, 4), mean=(0.5,), std=(1,), channels="grey")])
def test_preprocess_survives_json(value):
    assert through_json(value) == value


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mean": (0.5,)}, "as long as there are channels"),
        ({"std": (0.1, 0.0, 0.1)}, "std > 0"),
        ({"channels": "hsv"}, "channels must be rgb, bgr, grey or any, found 'hsv'"),
        ({"divisor": 0}, "divisor must be at least 1, found 0"),
        ({"short_side": 0}, "short_side must be at least 1, found 0"),
        ({"size": (0, 5)}, r"size must be at least 1 x 1, found \(0, 5\)"),
    ],
)
def test_preprocess_says_what_is_wrong(fields, says):
    with pytest.raises(ConfigError, match=says):
        Preprocess(**fields)
