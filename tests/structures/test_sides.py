"""Left and right are found in names as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videre.structures import COCO_PERSON
from videre.structures.sides import mirror_name, mirror_order, mirror_pairs, mirror_words


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (COCO_PERSON.names, COCO_PERSON.flip_pairs),
        (("leftEye", "rightEye", "nose"), ((0, 1),)),
        (("LEFT_EYE", "NOSE", "RIGHT_EYE"), ((0, 2),)),
        (("L ear", "R ear"), ((0, 1),)),
        (("LShoulder", "RShoulder"), ((0, 1),)),
        (("eye-l", "eye-r", "eye.L", "eye.R"), ((0, 1), (2, 3))),
        (("EyeLeft", "EyeRight"), ((0, 1),)),
        (("lefteye", "righteye", "bright"), ((0, 1),)),
        (("left knee", "Right Knee"), ((0, 1),)),
        (("lt_wing", "rt_wing"), ((0, 1),)),
        (("thumb", "index", "little"), None),
        (("all", "older", "R", "cleft"), None),
    ],
)
def test_pairs(names, pairs):
    assert mirror_pairs(names) == pairs


def test_names_and_sentences():
    assert mirror_name("left_of") == "right_of" and mirror_name("Turn-Left") == "Turn-Right"
    assert mirror_name("L ear") == "L ear"  # alone, it may be anything
    assert mirror_words("The Left hand, RIGHTMOST; leftover right_of") == "The Right hand, LEFTMOST; leftover right_of"


@given(
    st.lists(st.text("abcdehnou", min_size=2, max_size=5), min_size=1, max_size=4, unique=True),
    st.sampled_from(["_", "-", " ", ".", "camel"]),
    st.sampled_from([("left", "right"), ("l", "r"), ("LEFT", "RIGHT"), ("Left", "Right")]),
    st.booleans(),
)
def test_any_join_any_place(parts, join, sides, first):
    def name(side: str, part: str) -> str:
        words = [side, part] if first else [part, side]
        return words[0].lower() + words[1].capitalize() if join == "camel" else join.join(words)

    names = [name(side, part) for part in parts for side in sides]
    assert mirror_order(names) == [i ^ 1 for i in range(len(names))]
