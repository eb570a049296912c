"""Which scene is given of which picture."""

from __future__ import annotations

import pytest

from videre.errors import DataError
from videre.predict.predictor import with_given
from videre.structures import Scene


def scenes(*names: str) -> dict[str, Scene]:
    return {name: Scene((9, 9), captions=[name]) for name in names}


def given(pictures: list[str], known: object) -> list[str | None]:
    return [scene and scene.captions[0] for _, _, scene in with_given([(name, None) for name in pictures], known)]


def test_by_name_and_by_the_end_of_the_path() -> None:
    known = scenes("a.png", "sub/b.png", "/far/c.png")
    assert given(["/x/a.png", "/x/sub/b.png", "/far/c.png", "d.png"], known) == [
        "a.png",
        "sub/b.png",
        "/far/c.png",
        None,
    ]


def test_the_longest_common_end_decides() -> None:
    known = scenes("left/a.png", "right/a.png")
    assert given(["/x/right/a.png", "/x/left/a.png"], known) == ["right/a.png", "left/a.png"]
    with pytest.raises(
        DataError, match=r"/x/a\.png: it is not clear what is given of it; left/a\.png and right/a\.png"
    ):
        given(["/x/a.png"], known)


def test_in_order() -> None:
    known = list(scenes("one", "two").values())
    assert given(["a", "b"], known) == ["one", "two"] and given(["a"], known[0]) == ["one"]
    assert given(["a", "b"], None) == [None, None]
    with pytest.raises(DataError, match="fewer scenes than pictures"):
        given(["a", "b", "c"], known)
    with pytest.raises(DataError, match="more scenes are given than there are pictures"):
        given(["a"], known)
