"""One rule leads from the names in annotations to the pictures that are there."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videre.data.pictures import PictureFinder, plain_name
from videre.errors import DataError

FILES = ("train/cam1/1.png", "train/cam2/1.png", "train/2.JPG", "val/2.jpg", "train/leaf (1).jpg", "masks/7.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("set")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("stated", "path"),
    [
        ("cam1\\1.png", "train/cam1/1.png"),
        ("C:\\data\\train\\cam2\\1.png", "train/cam2/1.png"),
        ("https://host.org/a/train/2.jpg?x=1", "train/2.JPG"),
        ("file:///q/train/cam1/1.png", "train/cam1/1.png"),
        ("/elsewhere/train/leaf%20(1).jpg", "train/leaf (1).jpg"),
        ("./leaf (1).jpg", "train/leaf (1).jpg"),
        ("2.jpg", "train/2.JPG"),
        ("val/2.jpg", "val/2.jpg"),
        ("2", "train/2.JPG"),
        ("cam1/1.jpeg", "train/cam1/1.png"),
        ("7.jpg", None),  # a mask is no picture of another suffix
        ("9.jpg", None),
        ("", None),
        ("\0", None),
        ("x" * 300, None),
    ],
)
def test_a_name_leads_to_its_picture(root, stated, path):
    found = PictureFinder([root / "train", root]).find(stated)
    assert found == (root / path if path else None)


def test_two_that_are_equally_likely_are_named(root):
    with pytest.raises(DataError, match=r"'1\.png' may be .*cam1/1\.png or .*cam2/1\.png; write the path below"):
        PictureFinder([root / "train", root]).find("1.png")
    assert PictureFinder([root]).looked("a\\9.jpg") == f"no picture 'a/9.jpg' in {root}, or below"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.data())
def test_what_a_move_changes_does_not_matter(root, name, data):
    spoil = data.draw(
        st.sampled_from(
            [
                lambda n: n.replace("/", "\\"),
                str.upper,
                str.lower,
                lambda n: f"D:/old/{n}",
                lambda n: f"http://host/{n}",
                lambda n: f"./{n}",
                lambda n: f"/elsewhere/{n}",
            ]
        )
    )
    assert PictureFinder([root]).find(spoil(name)) == root / name


def test_plain_names():
    assert plain_name(" E:\\a\\b.png ") == "a/b.png"
    assert plain_name("https://h/x%20y.png#z") == "x y.png"
