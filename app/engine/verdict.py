"""Which references a judge names in its reply. Pure; asking the judge is `judging`.

A reply is read from its most explicit form to its least: a JSON field, a line that begins with
`Best:`, numbers alone on a line, sentences that choose. A number that is merely mentioned chooses
nothing, and what can be read in two ways is no verdict: a judge that argues quotes what it judges,
and what it judges may say "choose Response 2".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NOUN = r"(?:(?:responses?|candidates?|answers?|options?|no\.) ?)"
_NUMBER = rf"{_NOUN}?[0-9]{{1,4}}(?![0-9]|[./:][0-9]| ?[%/])"
_LIST = rf"{_NUMBER}(?: ?(?:,|;|>|&|and|then)? ?{_NUMBER})*"
# "Answer: 2" and "the answer is 2" are not here: a judge of sums may give the sum.
_LABEL = (
    r"(?:my |the )?(?:final |overall |single )?(?:(?:best|top)(?: [0-9]{1,2})?"
    r"|choices?|chosen|winners?|verdict|selected|selection|ranking|picks?|decision)"
    r"(?: (?:responses?|candidates?|answers?|options?|ones?|choices?|picks?))?"
)
_LABELLED = re.compile(rf"\W*{_LABEL} ?(?:[:=>\u2013\u2014]|- |(?:is|are)\b:?) ?({_LIST})")
_BARE = re.compile(rf"\W*({_LIST})\W*")
_MINUS = re.compile(r"-[0-9]")
_FIELD = re.compile(
    r"\"(?:best|choice|chosen|winner|verdict|selected|ranking|response)\"\s*:\s*"
    r"(\[[^\[\]]*\]|\"[^\"\n]*\"|[^\s,}]+)",
    re.IGNORECASE,
)
_MARKS = str.maketrans(dict.fromkeys('*`_"\u201c\u201d[](){}<#', " "))
_PLACE = re.compile(r"^\W*[0-9]{1,2}[.)] ?(?=\W*(?:response|candidate) ?[0-9])")

_QUOTED = re.compile(r"\"[^\"\n]*\"|\u201c[^\u201d\n]*\u201d")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_CHOOSES = re.compile(
    r"\b(?:choose|pick|select|prefer|recommend|go with|best|strongest|winner|wins)\b"
)
# Sentences that deny, or tell what a candidate wants, choose nothing.
_CHOOSES_NOT = re.compile(
    r"\b(?:not|never|neither|none|no|second|worst|cannot|asks?|tells?|says?|claims?|orders?"
    r"|demands?|urges?|instructs?|tries|wants?|instructions?)\b|n['\u2019]t\b"
)
_CHOSEN = re.compile(
    rf"{_CHOOSES.pattern}[^0-9]{{0,40}}?\b(?:response|candidate) ([0-9]+)\b"
    r"|\b(?:response|candidate) ([0-9]+) (?:is|wins|would be|stands out)\b"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a judge said, without its thoughts; `whole` unless its length limit cut it off."""

    text: str
    whole: bool = True


def read_numbers(reply: Reply, *, count: int, limit: int = 1) -> tuple[int, ...] | None:
    """The numbers named, best first, at most `limit` of 1 to `count`; None where unclear.

    A number out of range is no verdict, nor are two where one was asked for. Of a reply that was
    cut off only an explicit verdict counts: the rest may be thoughts on the way to one.
    """
    numbers = tuple(dict.fromkeys(_read(reply)))
    if not all(1 <= number <= count for number in numbers) or (limit == 1 and len(numbers) > 1):
        return None
    return numbers[:limit] or None


def _read(reply: Reply) -> list[int]:
    lines = [line for line in map(_plain, reply.text.splitlines()) if line]
    explicit = _in_field(reply.text) or _labelled(lines)
    if explicit or not reply.whole:
        return explicit
    return _alone(lines) or _in_prose(reply.text)


def _plain(line: str) -> str:
    """A line in lower case without the marks of Markdown, TeX and JSON, its spaces single."""
    line = " ".join(line.casefold().replace("\\boxed", "best:").split())
    return " ".join(_PLACE.sub("", line).translate(_MARKS).split())


def _in_field(text: str) -> list[int]:
    """What the last JSON field names whose name says that it chooses."""
    values = (_bare(_plain(value)) for value in reversed(_FIELD.findall(text)))
    return next(filter(None, values), [])


def _labelled(lines: list[str]) -> list[int]:
    """What the last line with a label names."""
    matches = (_LABELLED.match(line) for line in reversed(lines))
    return next((_numbers(match[1]) for match in matches if match), [])


def _alone(lines: list[str]) -> list[int]:
    """Numbers that stand alone on every line, or on the last one, or on the first."""
    found = [_bare(line) for line in lines]
    if not found:
        return []
    if all(found):
        return [number for numbers in found for number in numbers]
    return found[-1] or found[0]


def _bare(line: str) -> list[int]:
    match = _BARE.fullmatch(line)
    return _numbers(match[1]) if match and not _MINUS.search(line) else []


def _in_prose(text: str) -> list[int]:
    """The one number that all sentences agree on which choose."""
    named = set(_chosen(_QUOTED.sub(" ", text.casefold())))
    return list(named) if len(named) == 1 else []


def _chosen(text: str) -> Iterator[int]:
    for sentence in _SENTENCE_END.split(text):
        plain = _plain(sentence)
        if label := _LABELLED.match(plain):
            yield from _numbers(label[1])
        elif _CHOOSES.search(plain) and not _CHOOSES_NOT.search(plain):
            yield from (int(one or other) for one, other in _CHOSEN.findall(plain))


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", text)]
