"""Vocabulary: words and ids, there and back, in JSON and in tensors."""

import copy
import json
import pickle
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videre.errors import ConfigError, DataError, ShapeError
from videre.structures import Vocabulary
from videre.structures.vocabulary import SPECIALS

WORD = st.text(min_size=1, max_size=6).filter(lambda w: w.split() == [w] and w not in SPECIALS)
WORDS = st.lists(WORD, max_size=12, unique=True)
PETS = Vocabulary.of(["cat", "dog", "café"])


def test_ids_by_hand():
    assert PETS.words == ("<pad>", "<unk>", "<s>", "</s>", "cat", "dog", "café") and len(PETS) == 7
    assert (PETS.pad, PETS.unknown, PETS.begin, PETS.end) == (0, 1, 2, 3)
    assert PETS.encode(["dog", "cow", "cat"]) == [5, 1, 4] and PETS.encode([]) == []
    assert PETS.index("café") == 6 and len(Vocabulary.of([])) == 4
    assert PETS.decode([2, 5, 1, 0, 4, 3, 6, -1]) == ["dog", "<unk>", "cat"]  # behind the end may lie anything
    assert PETS.decode(torch.tensor([2, 4, 3, 0, 0])) == ["cat"] and PETS.decode([]) == []


@given(WORDS, st.data())
def test_words_come_back(words, data):
    value = Vocabulary.of(words)
    tokens = data.draw(st.lists(st.sampled_from(words), max_size=9)) if words else []
    assert value.decode(value.encode(tokens)) == tokens
    assert value.decode([value.begin, *value.encode(tokens), value.end, value.pad]) == tokens
    assert [value.index(word) for word in words] == list(range(4, 4 + len(words)))


@given(WORDS)
def test_it_survives_json_tensors_and_copies(words):
    value = Vocabulary.of(words)
    value.encode(words)  # what is kept for looking up is no part of it
    assert Vocabulary.from_json(json.loads(json.dumps(value.to_json()))) == value
    assert value.to_tensor().dtype == torch.uint8 and Vocabulary.from_tensor(value.to_tensor()) == value
    assert copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value and hash(value) == hash(
        Vocabulary.of(words)
    )


def test_the_tensor_is_lines_of_utf8():
    assert bytes(PETS.to_tensor().tolist()) == "<pad>\n<unk>\n<s>\n</s>\ncat\ndog\ncafé".encode()


def test_built_by_hand():
    sentences = [["a", "dog", "a"], ["a", "cat"], ["the", "cat", "<unk>", "<unk>"], ["dog"]]
    assert Vocabulary.build(sentences, least=1).words[4:] == ("a", "cat", "dog", "the")
    assert Vocabulary.build(sentences, least=2).words[4:] == ("a", "cat", "dog")
    assert Vocabulary.build(sentences, least=2, most=1).words[4:] == ("a",)
    assert Vocabulary.build(sentences).words[4:] == () and Vocabulary.build([]) == Vocabulary.of([])


@given(st.lists(st.lists(st.sampled_from("abcdefg"), max_size=8), max_size=8), st.integers(1, 4), st.integers(0, 9))
def test_built_words_are_the_most_frequent(sentences, least, most):
    counts = Counter(token for tokens in sentences for token in tokens)
    words = Vocabulary.build(sentences, least, most).words[4:]
    keys = [(-counts[word], word) for word in words]
    assert keys == sorted(keys) and all(counts[word] >= least for word in words)
    assert len(words) == min(most, sum(count >= least for count in counts.values()))
    if words:
        assert all(key > keys[-1] for word in counts.keys() - set(words) for key in [(-counts[word], word)])


@given(WORDS, st.randoms(use_true_random=False))
def test_remap_goes_by_word(words, random):
    others = [*words, "longer-than-six"]
    random.shuffle(others)
    ours, theirs = Vocabulary.of(words), Vocabulary.of(others[: random.randint(0, len(others))])
    for i, there in enumerate(ours.remap(theirs)):
        assert (ours.words[i] not in theirs.words) if there is None else theirs.words[there] == ours.words[i]
    assert ours.remap(theirs)[:4] == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda: Vocabulary(("a", "b")),
            DataError,
            r"begins with <pad> <unk> <s> </s>, found \('a', 'b'\); Vocabulary.of",
        ),
        (lambda: Vocabulary.of(["a", ""]), DataError, "'' is no word"),
        (lambda: Vocabulary.of(["a b"]), DataError, "'a b' is no word"),
        (lambda: Vocabulary.of(["a\n"]), DataError, r"'a\\n' is no word"),
        (lambda: Vocabulary.of(["\u3000"]), DataError, r"'\\u3000' is no word"),
        (lambda: Vocabulary.of(["\ud83d"]), DataError, r"'\\ud83d' is no word"),
        (lambda: Vocabulary.of(["a", "b", "a"]), DataError, "the word 'a' is there 2 times"),
        (lambda: Vocabulary.of(["<s>"]), DataError, "the word '<s>' is there 2 times"),
        (lambda: Vocabulary.build(["a dog"]), DataError, "a list of tokens, found the text 'a dog'"),
        (lambda: PETS.decode([7]), DataError, "no word has the id 7; there are 7"),
        (lambda: PETS.decode([-1]), DataError, "no word has the id -1"),
        (lambda: PETS.index("cafe"), ConfigError, "no word 'cafe' among the 7 of the vocabulary; did you mean café?"),
        (lambda: PETS.index("zebra"), ConfigError, "of the vocabulary$"),
        (lambda: Vocabulary.from_tensor(torch.zeros(3)), ShapeError, r"uint8 \[bytes\], found float32 \[3\]"),
        (lambda: Vocabulary.from_tensor(PETS.to_tensor()[:-1]), DataError, "vocabulary: its text is damaged"),
    ],
)
def test_what_is_wrong_is_said(make, error, says):
    with pytest.raises(error, match=says):
        make()
