"""Tokenizers: words by hand and by property, pieces of words against the library and BERT's own example."""

import copy
import json
import pickle
import string
import sys

import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st

from videre.errors import ConfigError, DataError
from videre.structures import SubwordTokenizer, Tokenizer, Vocabulary, WordTokenizer
from videre.structures.tokenizer import BERT, split_words

CAPTIONS = [
    "A man rides a horse on the beach.",
    "Two men are riding horses; one waves.",
    "A café in Zürich, un-believable!",
    "The horse isn't riding a man.",
    "猫 on a beach",
]
PETS = WordTokenizer(Vocabulary.of(["a", "dog", "isn't", "café", "猫"]))

# BERT's tokenization_test.py, with [PAD] in front
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "want", "##want", "##ed", "wa", "un", "runn", "##ing", ","]


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bytes_of_text():
    """Byte-level BPE as the library trains it, whose definition pads, cuts off and puts special tokens around."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<start>", "<stop>"],
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CAPTIONS, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def by_bytes(bytes_of_text):
    hindered = tokenizers.Tokenizer.from_str(bytes_of_text.to_str())
    hindered.enable_truncation(3)
    hindered.enable_padding(length=9)
    hindered.post_processor = tokenizers.processors.BertProcessing(("<stop>", 2), ("<start>", 1))
    return SubwordTokenizer(hindered.to_str(), ("<pad>", "<pad>", "<start>", "<stop>"))


# words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("A man rides a Horse.", ["a", "man", "rides", "a", "horse"]),
        ("", []),
        (" \t\n", []),
        ("?! - ' ... --", []),
        ("Isn't it the man's T-shirt?", ["isn't", "it", "the", "man's", "t-shirt"]),
        ("isn’t “quoted” ‘so’", ["isn't", "quoted", "so"]),
        ("'tis dogs' rock'n'roll -x- y--z", ["tis", "dogs", "rock'n'roll", "x", "y", "z"]),
        ("2 dogs, 3.5 m; 1,000.", ["2", "dogs", "3.5", "m", "1,000"]),
        ("end.Next,one U.S. v1.5b", ["end", "next", "one", "u", "s", "v1.5b"]),
        ("$5 & 10% (red/blue) snake_case #1 a+b", ["5", "10", "red", "blue", "snake", "case", "1", "a", "b"]),
        ("ÉCOLE e\u0301cole", ["école", "école"]),
        ("हिन्दी में। 猫、犬！ «да»…", ["हिन्दी", "में", "猫", "犬", "да"]),
        ("a 🐕 dog", ["a", "dog"]),
    ],
)
def test_words_by_hand(sentence, words):
    assert split_words(sentence) == words


@given(st.text())
def test_words_are_words_of_a_vocabulary_and_stay_as_they_are(sentence):
    words = split_words(sentence)
    Vocabulary.of(dict.fromkeys(words))
    assert split_words(" ".join(words)) == words


@given(st.text(st.characters(max_codepoint=127, exclude_characters="'-.,")))
def test_in_ascii_it_is_punctuation_to_blanks(sentence):
    blanks = str.maketrans(string.punctuation, " " * len(string.punctuation))
    assert split_words(sentence) == sentence.lower().translate(blanks).split()


def test_ids_of_words_by_hand():
    assert PETS.encode("Isn't a cow a DOG?") == [6, 4, 1, 4, 5] and PETS.encode("") == []
    assert PETS.encode("a 猫", ends=True) == [2, 4, 8, 3] and PETS.encode("", ends=True) == [2, 3]
    assert PETS.decode([2, 4, 1, 5, 3, 4, 0]) == "a <unk> dog" and PETS.decode(torch.tensor([2, 7, 3])) == "café"
    assert PETS.decode([]) == PETS.decode([3]) == "" and len(PETS) == 9
    assert PETS.encode("a </s> <s>") == [4, 1, 1]  # nothing written in a sentence ends it


@given(st.lists(st.sampled_from(CAPTIONS)), st.integers(1, 3), st.booleans())
def test_known_words_come_back(sentences, least, ends):
    tokenizer = WordTokenizer.build(sentences, least)
    assert tokenizer.vocabulary == Vocabulary.build([split_words(s) for s in sentences], least)
    if least == 1:
        for sentence in sentences:
            assert tokenizer.decode(tokenizer.encode(sentence, ends)) == " ".join(split_words(sentence))


# pieces of words ------------------------------------------------------------------------------------------------------


def test_the_example_of_bert(vocab):
    tokenizer = SubwordTokenizer.from_vocab_file(vocab)
    assert len(tokenizer) == 12 and (tokenizer.pad, tokenizer.unknown, tokenizer.begin, tokenizer.end) == (0, 1, 2, 3)
    assert tokenizer.encode("UNwantéd,running") == [8, 5, 6, 11, 9, 10] and tokenizer.encode("") == []
    assert tokenizer.encode("unwanted runningX", ends=True) == [2, 8, 5, 6, 1, 3]
    assert tokenizer.decode([2, 8, 5, 6, 11, 9, 10, 1, 0, 3, 4]) == "unwanted, running [UNK]"
    assert SubwordTokenizer.from_vocab_file(vocab, lower=False).encode("UN un") == [1, 8]


@given(st.lists(st.sampled_from([*PIECES[4:9], "Running", "wÁ", "é", "!", "猫", "\x00", "  "]) | st.text(max_size=4)))
def test_wordpiece_is_the_library_s(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "vocab.txt"
    path.write_text("\n".join(PIECES), encoding="utf-8")
    ours, theirs = SubwordTokenizer.from_vocab_file(path), tokenizers.BertWordPieceTokenizer(str(path))
    for sentence in ("".join(parts), " ".join(parts)):
        assert ours.encode(sentence, ends=True) == theirs.encode(sentence).ids
        assert ours.decode(ours.encode(sentence)) == theirs.decode(ours.encode(sentence), skip_special_tokens=False)


def test_pieces_trained_by_hand():
    """The characters inside of words, all characters, then pairs as they are frequent: a ##b four times, ab ##c once."""
    tokenizer = SubwordTokenizer.train_wordpiece(["ab ab, AB", "abc"], 12)
    table = json.loads(tokenizer.definition)["model"]["vocab"]
    assert list(table) == [*BERT, "##b", "##c", ",", "a", "b", "c", "ab", "abc"] and [*table.values()] == [*range(12)]
    assert tokenizer.encode("abcb, b") == [11, 4, 6, 8] and tokenizer.encode("d") == [1]
    assert len(SubwordTokenizer.train_wordpiece(["ab ab, AB", "abc"], 11)) == 11
    assert SubwordTokenizer.train_wordpiece(["ab ab, AB", "abc"], 1000) == tokenizer


def test_training_gives_the_same_table_each_time():
    several = {SubwordTokenizer.train_wordpiece(CAPTIONS, 90) for _ in range(5)}
    assert len(several) == 1 and len(several.pop()) == 90


def test_captions_that_were_trained_on_come_back():
    tokenizer = SubwordTokenizer.train_wordpiece(CAPTIONS, 90)
    assert all(tokenizer.unknown not in tokenizer.encode(sentence) for sentence in CAPTIONS)
    assert tokenizer.decode(tokenizer.encode(CAPTIONS[0], ends=True)) == "a man rides a horse on the beach."
    assert tokenizer.decode(tokenizer.encode(CAPTIONS[2])) == "a cafe in zurich, un - believable!"


@given(st.text(), st.booleans())
def test_bytes_give_any_text_back_and_are_the_library_s(bytes_of_text, by_bytes, sentence, ends):
    plain = by_bytes.encode(sentence)
    assert by_bytes.encode(sentence, ends) == ([1, *plain, 2] if ends else plain)
    assert plain == bytes_of_text.encode(sentence).ids  # not cut off at 3, nor padded to 9, nor with two [CLS]
    assert by_bytes.decode(by_bytes.encode(sentence, ends)) == sentence


def test_special_tokens_in_a_sentence_are_text(by_bytes, vocab):
    for sentence in ("a <stop> b", "<start><pad>"):
        assert not {0, 1, 2} & set(by_bytes.encode(sentence))
        assert by_bytes.decode(by_bytes.encode(sentence)) == sentence
    assert 3 not in SubwordTokenizer.from_vocab_file(vocab).encode("wa [SEP] want")


def test_gaps_in_the_numbers_count():
    table = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 9}
    tokenizer = SubwordTokenizer(tokenizers.Tokenizer(tokenizers.models.WordPiece(table, unk_token="[UNK]")).to_str())
    assert len(tokenizer) == 10 and tokenizer.encode("a") == [9]


# both -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["words", "wordpiece", "bytes"])
def test_they_survive_json_tensors_and_copies(kind, by_bytes, vocab):
    value = {"words": PETS, "wordpiece": SubwordTokenizer.from_vocab_file(vocab), "bytes": by_bytes}[kind]
    tensor = value.to_tensor()
    copies = [
        Tokenizer.from_json(json.loads(json.dumps(value.to_json()))),
        Tokenizer.from_tensor(tensor),
        copy.deepcopy(value),
        pickle.loads(pickle.dumps(value)),
    ]
    assert tensor.dtype == torch.uint8 and tensor.ndim == 1
    for again in copies:
        assert type(again) is type(value) and again == value and hash(again) == hash(value)
        for sentence in (*CAPTIONS, "want <stop> [SEP] </s>"):
            assert again.encode(sentence, ends=True) == value.encode(sentence, ends=True)


def test_the_library_is_asked_for_only_by_pieces(monkeypatch, vocab, by_bytes):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert WordTokenizer.build(["a dog"], least=1).encode("dog") == [5]
    for make in (
        lambda: SubwordTokenizer.from_vocab_file(vocab),
        lambda: SubwordTokenizer.train_wordpiece(["a"], 9),
        lambda: Tokenizer.from_json(by_bytes.to_json()),
    ):
        with pytest.raises(ConfigError, match=r"need tokenizers, not installed here: pip install 'videre\[words\]'"):
            make()


def lines(folder, *pieces):
    (folder / "v.txt").write_text("\n".join(pieces), encoding="utf-8")
    return SubwordTokenizer.from_vocab_file(folder / "v.txt")


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda at: SubwordTokenizer("{}"), DataError, "the library cannot read its definition"),
        (
            lambda at: SubwordTokenizer(lines(at, *PIECES).definition, ("[PAD]", "[UNK]", "<s>", "[SEP]")),
            DataError,
            "'<s>', the special token 'begin', is not in its table",
        ),
        (
            lambda at: SubwordTokenizer("{}", ("[PAD]",)),
            DataError,
            r"name padding, unknown, begin and end, found \('\[PAD",
        ),
        (
            lambda at: lines(at, *BERT, "a", "b", "a"),
            DataError,
            r"v\.txt: the piece 'a' of line 5 comes again in line 7",
        ),
        (lambda at: lines(at, "[PAD]", "[UNK]", "a"), DataError, r"v\.txt: has no line \[CLS\], \[SEP\]"),
        (
            lambda at: SubwordTokenizer.from_vocab_file(at / "none.txt"),
            DataError,
            r"none\.txt: no vocabulary could be read",
        ),
        (lambda at: SubwordTokenizer.train_wordpiece(["ab cd"], 9), ConfigError, "a table of 9 .* give at least 10"),
        (lambda at: Tokenizer.from_json({"kind": "bits"}), DataError, "kind must be words or subwords, found 'bits'"),
        (lambda at: Tokenizer.from_tensor(PETS.to_tensor()[:-1]), DataError, "tokenizer: its text is damaged"),
        (lambda at: PETS.decode([9]), DataError, "no word has the id 9; there are 9"),
        (lambda at: lines(at, *PIECES).decode([12]), DataError, "no word has the id 12; there are 12"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, make, error, says):
    with pytest.raises(error, match=says):
        make(tmp_path)
