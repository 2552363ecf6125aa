"""How alike texts are: exact overlap of n-grams, or the cosine of vectors. Pure, linear in length.

What follows from likeness (an outlier, an agreement, a vote) is decided elsewhere.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from operator import mul
from typing import TypeAlias, TypeVar

Grams: TypeAlias = frozenset[tuple[str, ...]]
"""The words of a text and its pairs of neighbours."""

T = TypeVar("T")

# Scripts written without spaces: each of their characters counts as a word, so that the n-grams
# of words become n-grams of characters. Thai, Lao, Tibetan, Burmese, Khmer, kana, Han, Yi.
_SPACELESS = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff"
)
# What ends or marks up a sentence says nothing; signs that change a formula or code do.
_SILENT = "\\s_.,;:!?\"'`()\\[\\]{}#*\u00a1-\u00bf\u2000-\u206f\u2e00-\u2e7f\u3000-\u303f"
_SIGNS = "-+/<>=%&|^~@$\\\\"
_WORD = re.compile(rf"[{_SPACELESS}]|[{_SIGNS}]|[^{_SILENT}{_SPACELESS}{_SIGNS}]+")


def normalised(text: str) -> str:
    """The text in compatibility form, without case, its white space as single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def grams(text: str) -> Grams:
    """The n-grams of a text, n = 1 and 2; a text without a word is one gram as a whole.

    Short ones, since two models that agree seldom share longer runs of words.
    """
    plain = normalised(text)
    words = _WORD.findall(plain) or [plain]
    return frozenset([*zip(words), *pairwise(words)])


def overlap(one: str, other: str) -> float:
    """How much of their n-grams two texts share, from 0 to 1 (1: the same n-grams).

    The Jaccard index of the sets. Containment would call a fragment the same as the whole text,
    and a text stuffed with everything the same as all; in a set, repetition gains nothing.
    """
    return _jaccard(grams(one), grams(other))


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two vectors of one length, 0 where it is negative or a vector is zero."""
    length = math.hypot(*one) * math.hypot(*other)
    if not length:
        return 0.0
    product = math.fsum(map(mul, one, other))
    return min(1.0, max(0.0, product / length))


@dataclass(frozen=True, slots=True)
class Similarity:
    """How alike each two of n things are: `matrix[i][j]` from 0 to 1, symmetric, 1 with itself.

    Means are exactly rounded sums, so that they do not depend on the things' order.
    """

    matrix: tuple[tuple[float, ...], ...]

    @property
    def size(self) -> int:
        """How many things there are."""
        return len(self.matrix)

    def mean(self) -> float:
        """The mean of all pairs; 0 where there is no pair."""
        return self.within(range(self.size))

    def least(self) -> float:
        """The pair that is least alike; 0 where there is no pair."""
        return min(self._pairs(range(self.size)), default=0.0)

    def within(self, group: Collection[int]) -> float:
        """The mean over the pairs of a group; 0 where there is no pair."""
        return _mean(self._pairs(group))

    def between(self, group: Collection[int], other: Collection[int]) -> float:
        """The mean over the pairs with one of each group; 0 where there is no pair."""
        return _mean(self.matrix[i][j] for i in group for j in other)

    def capped(self, most: float) -> Similarity:
        """The same, with whatever is more alike than that counted as just as alike."""
        return Similarity(tuple(tuple(min(most, each) for each in row) for row in self.matrix))

    def _pairs(self, group: Collection[int]) -> Iterator[float]:
        return (self.matrix[i][j] for i, j in combinations(group, 2))


def similarity_of_texts(texts: Sequence[str]) -> Similarity:
    """The `overlap` of all pairs; each text is read once."""
    return _compared([grams(text) for text in texts], _jaccard)


def similarity_of_vectors(vectors: Sequence[Sequence[float]]) -> Similarity:
    """The `cosine` of all pairs of vectors of one length."""
    return _compared(vectors, cosine)


def _compared(things: Sequence[T], alike: Callable[[T, T], float]) -> Similarity:
    rows = [[1.0] * len(things) for _ in things]
    for (i, one), (j, other) in combinations(enumerate(things), 2):
        rows[i][j] = rows[j][i] = alike(one, other)
    return Similarity(tuple(map(tuple, rows)))


def _mean(values: Iterator[float]) -> float:
    every = list(values)
    return math.fsum(every) / len(every) if every else 0.0


def _jaccard(one: Grams, other: Grams) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
