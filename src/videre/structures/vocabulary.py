"""Vocabulary: which words there are, and the number of each."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from videre.errors import ConfigError, DataError, ShapeError

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
"""The first words of every vocabulary: padding, any word that is not in it, begin and end of a sentence."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """An ordered list of words; equal when the words are equal. `Vocabulary.of` puts the special tokens in front.

    Args:
        words: unique, without blanks, the `SPECIALS` first; the position is the id.

    Raises DataError naming the word that is empty, repeated, or has a blank or half a character in it; or special tokens that
    are not there.
    """

    words: tuple[str, ...]

    pad, unknown, begin, end = range(len(SPECIALS))
    """Ids of the special tokens, the same in every vocabulary."""

    def __post_init__(self) -> None:
        words = tuple(self.words)
        object.__setattr__(self, "words", words)
        if words[: len(SPECIALS)] != SPECIALS:
            raise DataError(
                f"a vocabulary begins with {' '.join(SPECIALS)}, found {words[: len(SPECIALS)]}; "
                "Vocabulary.of(words) puts them there"
            )
        odd = next((word for word in words if word.split() != [word] or not _is_utf8(word)), None)
        if odd is not None:
            raise DataError(
                f"vocabulary: {odd!r} is no word; a word is not empty, and has neither blanks nor half "
                "characters (lone surrogates) in it"
            )
        if len(self._ids) < len(words):
            word, times = Counter(words).most_common(1)[0]
            raise DataError(f"vocabulary: the word {word!r} is there {times} times; each must be there once")

    @classmethod
    def of(cls, words: Iterable[str]) -> Vocabulary:
        """The special tokens, then these words."""
        return cls((*SPECIALS, *words))

    @classmethod
    def build(cls, sentences: Iterable[Sequence[str]], least: int = 5, most: int | None = None) -> Vocabulary:
        """The words of sentences (each a list of tokens) by falling count, those of equal count by the alphabet.

        Args:
            least: words that occur less often become unknown; 5 as in Karpathy & Fei-Fei, Deep visual-semantic
                alignments (CVPR 2015), and in most work on captions since.
            most: at most so many words, the special tokens not counted.
        """
        counts: Counter[str] = Counter()
        for tokens in sentences:
            if isinstance(tokens, str):
                raise DataError(f"vocabulary: a sentence must be a list of tokens, found the text {tokens!r}")
            counts.update(tokens)
        for special in SPECIALS:  # data whose rare words have been replaced hold <unk>
            counts.pop(special, None)
        order = sorted((-count, word) for word, count in counts.items() if count >= least)
        return cls.of(word for _, word in order[:most])

    def __len__(self) -> int:
        return len(self.words)

    def index(self, word: str) -> int:
        """Id of a word; ConfigError with near ones when there is none."""
        if word not in self._ids:
            near = ", ".join(difflib.get_close_matches(word, self.words))
            raise ConfigError(
                f"no word {word!r} among the {len(self)} of the vocabulary"
                + (f"; did you mean {near}?" if near else "")
            )
        return self._ids[word]

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Id of each token, `unknown` where it is not in the vocabulary."""
        return [self._ids.get(token, self.unknown) for token in tokens]

    def decode(self, ids: Iterable[int] | Tensor) -> list[str]:
        """The words up to the first end, without padding and begin. DataError for an id of no word."""
        return [self.words[i] for i in content(ids, len(self), self.pad, self.begin, self.end)]

    def remap(self, other: Vocabulary) -> tuple[int | None, ...]:
        """For each of our ids the id of the same word in `other`, or None."""
        return tuple(other._ids.get(word) for word in self.words)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Vocabulary:
        return cls(**data)

    def to_tensor(self) -> Tensor:
        """uint8 [bytes]: all words as UTF-8, a newline between them; for the tensors of a checkpoint."""
        return text_to_tensor("\n".join(self.words))

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> Vocabulary:
        return cls(tuple(tensor_to_text("vocabulary", tensor).split("\n")))

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}


def content(ids: Iterable[int] | Tensor, size: int, pad: int, begin: int, end: int) -> list[int]:
    """What a sequence of ids says: all up to the first `end`, without `pad` and `begin`.

    Raises DataError for an id outside 0..size-1.
    """
    said = []
    for i in ids.tolist() if isinstance(ids, Tensor) else ids:
        if i == end:
            break
        if i not in (pad, begin):
            if not 0 <= i < size:
                raise DataError(f"no word has the id {i}; there are {size}")
            said.append(i)
    return said


def text_to_tensor(text: str) -> Tensor:
    """uint8 [bytes], UTF-8."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def tensor_to_text(name: str, tensor: Tensor) -> str:
    """What `text_to_tensor` was given. `name`: what the text is, for messages."""
    if tensor.dtype != torch.uint8 or tensor.ndim != 1:
        raise ShapeError(f"{name}: its text must be uint8 [bytes], found {str(tensor.dtype)[6:]} {list(tensor.shape)}")
    try:
        return tensor.cpu().numpy().tobytes().decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: its text is damaged, it is no UTF-8 ({error})") from error


def _is_utf8(word: str) -> bool:
    """Whether it can be written: JSON files hold halves of characters at times, which no file of text does."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
