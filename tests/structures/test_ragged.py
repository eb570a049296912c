"""Ragged: the same as a list of tensors, whole or in part, eager, compiled and exported."""

import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from videre.errors import ShapeError
from videre.structures import Ragged


@st.composite
def lists(draw, least=0):
    """Rows as a list of tensors [length, 2], no two values alike."""
    lengths = draw(st.lists(st.integers(0, 5), min_size=least, max_size=6))
    return list(torch.arange(2.0 * sum(lengths)).reshape(-1, 2).split(lengths))


def ragged(rows):
    return Ragged.of(rows, like=torch.zeros(1, 2))


def same(value, rows):
    """Whether it is these rows, and would pass its own check."""
    Ragged(value.values, value.offsets)
    return len(value) == len(rows) and all(torch.equal(a, b) for a, b in zip(value, rows))


THREE = [torch.tensor([1, 2]), torch.tensor([], dtype=torch.int64), torch.tensor([3, 4, 5])]


def test_three_rows_by_hand():
    value = Ragged.of(THREE)
    assert value.values.tolist() == [1, 2, 3, 4, 5] and value.offsets.tolist() == [0, 2, 2, 5]
    assert value.lengths.tolist() == [2, 0, 3] and value.rows_of().tolist() == [0, 0, 2, 2, 2]
    padded, inside = value.padded(-1)
    assert padded.tolist() == [[1, 2, -1], [-1, -1, -1], [3, 4, 5]] and padded.dtype == torch.int64
    assert inside.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert value.select(torch.tensor([2, 0, 2])).values.tolist() == [3, 4, 5, 1, 2, 3, 4, 5]
    assert value[-1].tolist() == [3, 4, 5] and value.to("meta").values.device.type == "meta"


@given(lists())
def test_rows_come_back(rows):
    value = ragged(rows)
    assert same(value, rows) and value.values.shape[1:] == (2,)
    assert value.lengths.tolist() == [len(r) for r in rows]
    assert value.rows_of().tolist() == [i for i, r in enumerate(rows) for _ in range(len(r))]
    for i in range(-len(rows), len(rows)):
        assert torch.equal(value[i], rows[i])
    for i in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            value[i]


@given(lists(least=1), st.data())
def test_any_selection_is_that_of_the_list(rows, data):
    value, count = ragged(rows), len(rows)
    index = data.draw(st.lists(st.integers(-count, count - 1), max_size=8))
    flags = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    part = data.draw(st.slices(count))
    assert same(value.select(torch.tensor(index, dtype=torch.int64)), [rows[i] for i in index])
    assert same(value[torch.tensor(flags)], [row for row, flag in zip(rows, flags) if flag])
    assert same(value[part], rows[part])


@given(st.lists(lists(), min_size=1, max_size=4))
def test_cat_is_the_lists_one_after_the_other(lists_of_rows):
    joined = Ragged.cat([ragged(rows) for rows in lists_of_rows])
    assert same(joined, [row for rows in lists_of_rows for row in rows])


@given(lists())
def test_padded_is_that_of_torch(rows):
    padded, inside = ragged(rows).padded(7)
    if rows:
        assert torch.equal(padded, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=7))
    assert torch.equal(padded[inside], ragged(rows).values) and padded.shape == (*inside.shape, 2)
    assert inside.sum(1).tolist() == [len(r) for r in rows] and bool((padded[~inside] == 7).all())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Ragged(torch.zeros(5), torch.tensor([1, 5])), r"begin at 0, .* found \[1\] at 0"),
        (lambda: Ragged(torch.zeros(5), torch.tensor([0, 4])), r"end at 5, the number of values; found \[4\] at 1"),
        (lambda: Ragged(torch.zeros(5), torch.tensor([0])), r"end at 5, the number of values; found \[0\] at 0"),
        (lambda: Ragged(torch.zeros(5), torch.tensor([0, 3, 2, 5])), r"never fall, .* found \[3, 2\] at 1"),
        (lambda: Ragged(torch.zeros(5), torch.tensor([0.0, 5])), r"int64 \[N \+ 1\], found float32 \[2\]"),
        (lambda: Ragged(torch.zeros(0), torch.tensor([], dtype=torch.int64)), r"found int64 \[0\]"),
        (
            lambda: Ragged(torch.tensor(2.5), torch.tensor([0])),
            r"values must be \[S, ...\], found the single number 2.5",
        ),
        (lambda: Ragged.of([]), "no rows, .* give a row as `like`"),
        (lambda: Ragged.of([torch.zeros(2, 3), torch.zeros(3)]), r"row 1 is float32 \[3\], row 0 float32 \[2, 3\]"),
        (lambda: Ragged.of([torch.zeros(1), torch.zeros(1).long()]), r"row 1 is int64 \[1\], row 0 float32 \[1\]"),
        (lambda: Ragged.of([torch.tensor(1)]), r"row 0 is int64 \[\]"),
        (lambda: Ragged.cat([Ragged.of(THREE), ragged([])]), r"item 1 is float32 \[0, 2\], item 0 int64 \[5\]"),
        (lambda: Ragged.of(THREE).select(torch.tensor([3])), "names row 3, there are 3"),
        (lambda: Ragged.of(THREE)[torch.tensor([True])], r"a selection of shape \(1,\) for 3 rows"),
    ],
)
def test_what_is_wrong_is_said(make, says):
    with pytest.raises(ShapeError, match=says):
        make()


# inside nets ----------------------------------------------------------------------------------------------------------


class Scaled(torch.nn.Module):
    """A net that takes rows and gives rows."""

    def forward(self, factor, rows):
        return {"rows": Ragged.unchecked(rows.values * factor, rows.offsets), "lengths": rows.lengths}


def holds(result, rows):
    return same(result["rows"], [row * 3 for row in rows]) and result["lengths"].tolist() == [len(r) for r in rows]


ROWS, OTHERS = ([torch.rand(n, 2) for n in lengths] for lengths in ((2, 0, 3), (4, 1)))


def test_a_node_of_pytrees():
    leaves, spec = pytree.tree_flatten({"a": ragged(ROWS)})
    assert len(leaves) == 2 and spec == pytree.treespec_loads(pytree.treespec_dumps(spec))
    doubled = pytree.tree_map(lambda leaf: leaf * 2, ragged(ROWS))  # not a Ragged that would pass: nothing is checked
    assert doubled.offsets.tolist() == [0, 4, 4, 10]
    assert [pytree.keystr(path) for path, _ in pytree.tree_leaves_with_path(ragged(ROWS))] == [".values", ".offsets"]


def test_a_file_with_it_loads_without_running_code():
    file = io.BytesIO()
    torch.save(ragged(ROWS), file)
    file.seek(0)
    assert same(torch.load(file, weights_only=True), ROWS)


def test_compiled_nets_take_and_give_it():
    net = torch.compile(Scaled(), backend="aot_eager", fullgraph=True)
    for rows in (ROWS, OTHERS):
        assert holds(net(torch.tensor(3.0), ragged(rows)), rows)


@pytest.mark.parametrize("strict", [False, True])
def test_exported_nets_take_and_give_it(strict):
    # torch knows sizes of 1 apart: two rows or more
    shapes = (None, [{0: torch.export.Dim("S")}, {0: torch.export.Dim("M", min=3)}])
    program = torch.export.export(Scaled(), (torch.tensor(3.0), ragged(ROWS)), dynamic_shapes=shapes, strict=strict)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for rows in (ROWS, OTHERS):
        assert holds(loaded(torch.tensor(3.0), ragged(rows)), rows)
