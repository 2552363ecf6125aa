"""Regular expressions of the operator's on text of a stranger's, which must not stop the gateway.

Python's matcher tries one way after the other, and a pattern such as `(a+)+$` has more ways through
thirty characters than there is time for. So the ways are counted before a pattern is accepted, and
the more it has, the fewer characters it is shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from re import _parser as parser  # type: ignore[attr-defined]  # the parser has no public name
from typing import Any, TypeAlias

LENGTHS = (4000, 2000, 1000, 500)
"""Characters a pattern may be shown, the most first."""
MOST_STEPS = 2.5e8
"""Ways a match may take in the worst case. It is an upper bound that real text is far below."""

# What re's parser gives: pairs of an operator's constant and its arguments.
Parsed: TypeAlias = Iterable[tuple[Any, Any]]

_REPEATS = {"MAX_REPEAT", "MIN_REPEAT"}
# What a possessive repetition has taken is never tried otherwise: its ways do not multiply.
_BODY_AT = {"POSSESSIVE_REPEAT": 2, "SUBPATTERN": 3, "ASSERT": 1, "ASSERT_NOT": 1}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that is searched for in the first `length` characters of a text."""

    regex: re.Pattern[str]
    length: int

    def is_in(self, text: str) -> bool:
        """Whether it is found."""
        return self.regex.search(text[: self.length]) is not None


def read_pattern(source: str) -> Pattern:
    """The pattern; ValueError tells what is wrong with it."""
    try:
        regex, parsed = re.compile(source), parser.parse(source)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"expected a regular expression: {error}") from error
    for length in LENGTHS:
        begins = 1 if _is_anchored(regex, list(parsed)) else length
        if math.log(begins) + _ways(parsed, length) <= math.log(MOST_STEPS):
            return Pattern(regex, length)
    raise ValueError(
        "expected a pattern that no text can make slow: no repetition or alternative inside a "
        "repetition, two repetitions without a limit at most; write `{0,20}` instead of `*`, or "
        "a possessive `*+`"
    )


def _is_anchored(regex: re.Pattern[str], parsed: Sequence[tuple[Any, Any]]) -> bool:
    """Whether a match begins where the text does, not wherever a search may try."""
    operator, argument = parsed[0] if parsed else ("", "")
    anchors = {"AT_BEGINNING_STRING"} | (set() if regex.flags & re.MULTILINE else {"AT_BEGINNING"})
    return str(operator) == "AT" and str(argument) in anchors


def _ways(parsed: Parsed, length: int) -> float:
    """The logarithm of how many ways there are through a sequence."""
    return sum(_ways_of(str(operator), argument, length) for operator, argument in parsed)


def _ways_of(operator: str, argument: Any, length: int) -> float:
    if operator == "BRANCH":
        return _ways_of_branches(argument[1], length)
    if operator == "GROUPREF_EXISTS":
        return _ways_of_branches([argument[1], argument[2] or []], length)
    if operator in _REPEATS:
        least, most, body = argument
        most = min(int(most), length)
        return most * _ways(body, length) + math.log(max(1, most - least + 1))
    if operator in _BODY_AT:
        return _ways(argument[_BODY_AT[operator]], length)
    if operator == "GROUPREF":
        # One way, but each try compares as much as the group has taken.
        return math.log(length)
    return _ways(argument, length) if operator == "ATOMIC_GROUP" else 0.0


def _ways_of_branches(branches: Iterable[Parsed], length: int) -> float:
    """Of alternatives that begin with different characters only one is ever followed."""
    ways: dict[str, float] = {}
    anyhow = 0.0
    for branch in branches:
        items = list(branch)
        count = math.exp(min(_ways(items, length), 700.0))
        if items and str(items[0][0]) == "LITERAL":
            first = chr(items[0][1]).casefold()
            ways[first] = ways.get(first, 0.0) + count
        else:
            anyhow += count
    return math.log(anyhow + max(ways.values(), default=0.0))
