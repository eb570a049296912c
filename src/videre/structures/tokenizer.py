"""Tokenizer: how a sentence becomes numbers and numbers a sentence; by words, or by pieces of words."""

from __future__ import annotations

import abc
import dataclasses
import functools
import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from videre.errors import ConfigError, DataError
from videre.structures.vocabulary import Vocabulary, content, tensor_to_text, text_to_tensor

BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""BERT's names for padding, an unknown piece, begin and end of a sentence."""


class Tokenizer(abc.ABC):
    """What every tokenizer does. `len` is the number of ids: the rows of an embedding, the columns of a classifier.

    Attributes:
        pad, unknown, begin, end: ids of the special tokens.
    """

    pad: int
    unknown: int
    begin: int
    end: int

    def encode(self, sentence: str, ends: bool = False) -> list[int]:
        """Ids of a sentence; with `ends` begin stands before them and end behind. Special tokens in it are plain text."""
        ids = self._encode(sentence)
        return [self.begin, *ids, self.end] if ends else ids

    @abc.abstractmethod
    def decode(self, ids: Iterable[int] | Tensor) -> str:
        """The sentence up to the first end, without padding and begin. DataError for an id that is not in the table."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def _encode(self, sentence: str) -> list[int]: ...

    @abc.abstractmethod
    def to_json(self) -> dict[str, Any]: ...

    @staticmethod
    def from_json(data: dict[str, Any]) -> Tokenizer:
        """Of either kind, as `to_json` gave it."""
        if data["kind"] == "words":
            return WordTokenizer(Vocabulary.from_json(data["vocabulary"]))
        if data["kind"] == "subwords":
            return SubwordTokenizer(data["definition"], data["specials"])
        raise DataError(f"tokenizer: kind must be words or subwords, found {data['kind']!r}")

    def to_tensor(self) -> Tensor:
        """uint8 [bytes]: the JSON as UTF-8. A table is large: it belongs to the tensors of a checkpoint, not to its header."""
        return text_to_tensor(json.dumps(self.to_json(), ensure_ascii=False))

    @staticmethod
    def from_tensor(tensor: Tensor) -> Tokenizer:
        """Of either kind, as `to_tensor` gave it."""
        try:
            data = json.loads(tensor_to_text("tokenizer", tensor))
        except json.JSONDecodeError as error:
            raise DataError(f"tokenizer: its text is damaged, it is no JSON ({error})") from error
        return Tokenizer.from_json(data)


@dataclasses.dataclass(frozen=True)
class WordTokenizer(Tokenizer):
    """Words as `split_words` finds them, numbered by a vocabulary. What comes back are the words with blanks between."""

    vocabulary: Vocabulary

    pad, unknown, begin, end = Vocabulary.pad, Vocabulary.unknown, Vocabulary.begin, Vocabulary.end

    @classmethod
    def build(cls, sentences: Iterable[str], least: int = 5, most: int | None = None) -> WordTokenizer:
        """Over the words of these sentences, see `Vocabulary.build`."""
        return cls(Vocabulary.build(map(split_words, sentences), least, most))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def _encode(self, sentence: str) -> list[int]:
        return self.vocabulary.encode(split_words(sentence))

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        return " ".join(self.vocabulary.decode(ids))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "words", "vocabulary": self.vocabulary.to_json()}


@dataclasses.dataclass(frozen=True)
class SubwordTokenizer(Tokenizer):
    """Pieces of words (WordPiece, BPE, ...) by the `tokenizers` library.

    Args:
        definition: JSON of the library, as in a published tokenizer.json. Its truncation, padding and special tokens around
            a sentence have no effect: how long sentences may be is a net's own affair.
        specials: what its table calls padding, an unknown piece, begin and end; one may have several parts.

    Raises:
        ConfigError: the library is not installed. DataError: it cannot read the definition, or a special token is not
            in the table.
    """

    definition: str = dataclasses.field(repr=False)  # a megabyte
    specials: tuple[str, str, str, str] = BERT

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)
        put("specials", tuple(self.specials))
        if len(self.specials) != len(BERT):
            raise DataError(f"tokenizer: specials must name padding, unknown, begin and end, found {self.specials}")
        for name, special in zip(("pad", "unknown", "begin", "end"), self.specials):
            place = self._tokenizer.token_to_id(special)
            if place is None:
                raise DataError(
                    f"tokenizer: {special!r}, the special token {name!r}, is not in its table; give the names "
                    "that the table has as `specials`"
                )
            put(name, place)

    def __reduce__(self) -> tuple[Any, ...]:
        return SubwordTokenizer, (self.definition, self.specials)  # a copy of the library's object forgets its settings

    @classmethod
    def train_wordpiece(cls, sentences: Sequence[str], size: int) -> SubwordTokenizer:
        """WordPiece over these sentences, lower-cased and without accents as BERT's; the same each time.

        Args:
            size: of the table, special tokens counted; fewer where the sentences have no more pieces.

        Raises ConfigError where the characters of the sentences alone are more.
        """
        library = _import_tokenizers()
        trained = _wordpiece({}, lower=True)
        words = lambda s: trained.pre_tokenizer.pre_tokenize_str(trained.normalizer.normalize_str(s))
        inner = sorted({f"##{character}" for s in sentences for word, _ in words(s) for character in word[1:]})
        # Characters inside of words are given beforehand, as if they were special: the library would number them, and so
        # decide between pairs that are equally frequent, in an order that is another one each time (its issue 1794).
        trainer = library.trainers.WordPieceTrainer(
            vocab_size=size, special_tokens=[*BERT, *inner], limit_alphabet=sys.maxunicode, show_progress=False
        )
        trained.train_from_iterator(sentences, trainer)
        table = trained.get_vocab()
        if len(table) > size:
            raise ConfigError(
                f"a table of {size} pieces cannot hold the characters of the sentences; give at least {len(table)}"
            )
        return cls(_wordpiece(table, lower=True).to_str())

    @classmethod
    def from_vocab_file(cls, path: str | Path, lower: bool = True) -> SubwordTokenizer:
        """WordPiece from a vocab.txt of BERT: a piece a line, its id the number of the line from 0.

        Args:
            lower: lower-case and take accents off, as the `uncased` ones want it.
        """
        try:
            pieces = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: no vocabulary could be read ({error})") from error
        table = {piece: i for i, piece in enumerate(pieces)}
        if len(table) < len(pieces):
            i, piece = next((i, piece) for i, piece in enumerate(pieces) if table[piece] != i)
            raise DataError(f"{path}: the piece {piece!r} of line {i + 1} comes again in line {table[piece] + 1}")
        missing = [special for special in BERT if special not in table]
        if missing:
            raise DataError(f"{path}: has no line {', '.join(missing)}, so it is no vocabulary of BERT")
        return cls(_wordpiece(table, lower).to_str())

    def __len__(self) -> int:
        return self._size

    def _encode(self, sentence: str) -> list[int]:
        return self._tokenizer.encode(sentence, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        said = content(ids, len(self), self.pad, self.begin, self.end)
        return self._tokenizer.decode(said, skip_special_tokens=False)  # what is unknown shows, as with words

    def to_json(self) -> dict[str, Any]:
        return {"kind": "subwords", **dataclasses.asdict(self)}

    @functools.cached_property
    def _tokenizer(self) -> Any:
        library = _import_tokenizers()
        try:
            tokenizer = library.Tokenizer.from_str(self.definition)
        except Exception as error:  # the library raises nothing narrower
            raise DataError(f"tokenizer: the library cannot read its definition ({error})") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # so that no caption can end itself by spelling out a special token
        return tokenizer

    @functools.cached_property
    def _size(self) -> int:
        return max(self._tokenizer.get_vocab().values()) + 1  # ids of published tables can have gaps


def split_words(sentence: str) -> list[str]:
    """The words of a sentence, as is usual for captions of COCO: lower-cased, punctuation off, split at blanks.

    Punctuation is what Unicode calls punctuation or symbol (categories P and S; of ASCII !"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~),
    and becomes a blank. Two kinds stay: a single apostrophe or hyphen inside a word ("don't", "t-shirt"; ’ becomes '),
    and a point or comma between digits ("3.5", "1,000"). So numbers are words. Accents are composed (NFC).

    Penn Treebank's rule, by which the evaluation of COCO counts, also splits "don't" into "do n't" and "man's" into
    "man 's", and keeps "$", "%", "&" and abbreviations such as "u.s.".
    """
    return _WORD.findall(unicodedata.normalize("NFC", sentence.lower()).translate(_blanks()))


_WORD = re.compile(r"[^\s'.,-]+(?:(?:['-]|(?<=\d)[.,](?=\d))[^\s'.,-]+)*")


@functools.cache
def _blanks() -> dict[int, str]:
    """What `split_words` exchanges before it looks at apostrophes, hyphens, points and commas."""
    everything = map(chr, range(sys.maxunicode + 1))
    blanks = {ord(c): " " for c in everything if unicodedata.category(c)[0] in "PS" and c not in "'-.,"}
    return blanks | {ord("’"): "'"}


def _import_tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ConfigError("pieces of words need tokenizers, not installed here: pip install 'videre[words]'") from error
    return tokenizers


def _wordpiece(table: dict[str, int], lower: bool) -> Any:
    """BERT's tokenizer over a table of pieces, without the special tokens around a sentence."""
    library = _import_tokenizers()
    tokenizer = library.Tokenizer(library.models.WordPiece(table, unk_token=BERT[1], max_input_chars_per_word=100))
    tokenizer.normalizer = library.normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = library.decoders.WordPiece()
    if table:
        tokenizer.add_special_tokens(list(BERT))
    return tokenizer
