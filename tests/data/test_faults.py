"""All faults of a reading in one error, or counted and left out."""

import pytest

from videre.data.faults import Faults
from videre.errors import DataError

WHOLE = ("a whole number", lambda v: isinstance(v, int))
ROWS = [{"id": 1, "k": 2}, {"id": 7, "k": "x"}, {"k": 3}, 5, {"k": None}]


def test_every_fault_is_listed():
    faults = Faults()
    assert faults.demand("a.json", "annotation", ROWS, id=WHOLE, k=WHOLE) == ROWS[:1]
    with pytest.raises(DataError) as error:
        faults.settle()
    assert str(error.value).splitlines() == [
        "5 faults; correct them, or go on without what is broken (--skip-broken, skip_broken=True)",
        "  a.json: annotation 7: k should be a whole number, found 'x'; correct the file",
        "  a.json: annotation at place 2: id should be a whole number, but it is missing; correct the file",
        "  a.json: annotation at place 3: should be an object, found 5; correct it",
        "  a.json: annotation at place 4: id should be a whole number, but it is missing; correct the file",
        "  a.json: annotation at place 4: k should be a whole number, found None; correct the file",
    ]


def test_one_is_one_line_and_many_are_counted():
    one, many = Faults(), Faults()
    one.add("b.xml", "no name; give it one")
    with pytest.raises(DataError, match=r"^b\.xml: no name; give it one \(or go on without it: --skip-broken"):
        one.settle()
    for n in range(25):
        many.add(f"{n}.xml", "broken")
    with pytest.raises(DataError, match=r"^25 faults(.|\n)*  19\.xml: broken\n  and 5 more$"):
        many.settle()


def test_with_skip_they_are_repairs():
    faults = Faults(skip=True)
    faults.add("b.xml", "no name", "b.jpg")
    assert [str(r) for r in faults.settle()] == ["b.jpg, annotation b.xml: broken annotation no name, dropped"]
    assert Faults().settle() == []
    with pytest.raises(DataError, match=r"a list with an object for each image is expected, found \{\}"):
        faults.demand("a.json", "image", {})
