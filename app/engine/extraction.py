"""The answer in a text, and the form in which two answers are compared for votes. Pure.

All of it is linear in the length of the text, whatever the text is; what an operator's own
pattern is shown is as long as `pattern` finds harmless.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, TypeAlias

from app.engine.pattern import read_pattern

Rule: TypeAlias = Literal["answer", "whole", "last_line", "last_number", "boxed", "choice", "regex"]
"""Where in a text its answer is; `regex` needs a pattern with one group."""

# "The answer is", "Final answer:", "the answer to this is", and GSM8K's "####".
_LEAD_IN = re.compile(
    r"\banswer\b[^\n:=.?!]{0,60}?(?:\b(?:is|was|would be)\b:?|[:=])|^[ \t]*####",
    re.IGNORECASE | re.MULTILINE,
)
# A sentence ends behind a number, a bracket or a word; behind "St." or "J." it does not.
_SENTENCE_END = re.compile(r"(?:(?<=[^\W_]{5})|(?<=[0-9)\]}%$*]))[.!?](?=\s)")
_NUMBER = re.compile(
    r"(?:(?<![\w)])[-+\u2212][$\u20ac\u00a3]?)?(?<![\w.])"
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?"
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"[{}]")
_ONE_LETTER = re.compile(r"\W*(?:(?:option|choice)\W{1,3})?([A-Za-z])\W*", re.IGNORECASE)
_LETTER_FIRST = re.compile(
    r"\W*(?:(?:option|choice)\W{1,3})?([A-Z])(?:[).:,;*\]}]|\s+(?:because|since|as|is)\b|\s[-\u2013])"
)
_LETTER_IN_BRACKETS = re.compile(r"\(([A-Za-z])\)")

_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|operatorname|boxed|fbox)\s*\{([^{}]*)\}"
)
_TEX_NOISE = re.compile(r"\\(?:left|right)(?![a-z])|\\[,;:!()\[\]]|\\(?=[$%&#_])")
_DEEPEST = 4
_MARKS = re.compile(r"[*_]{2}|[`\"\u201c\u201d\u00ab\u00bb]")
_PAUSES = re.compile(r"[.,;:!?\u3002]+(?=\s|$)")
_BRACKETED = re.compile(r"[(\[{]([^()\[\]{},;]*)[)\]}]")
_PLAIN_NUMBER = re.compile(
    r"([-+]?)[$\u20ac\u00a3]? ?([-+]?)([0-9]{1,3}(?:,[0-9]{3})+|[0-9]*)(?:\.([0-9]*))? ?%?"
)
_ASCII: Mapping[int, int | str] = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},
    0x3000: " ",
    0x2212: "-",
    0x2044: "/",
    0x2019: "'",
}


def extract(text: str, rule: Rule, pattern: re.Pattern[str] | None = None) -> str | None:
    """The answer in a text as it stands there; None where the rule finds none."""
    if rule == "regex":
        found = _by_pattern(text, pattern) if pattern else None
    else:
        found = _RULES[rule](text)
    return (found or "").strip() or None


def normalise(answer: str) -> str:
    """The form in which answers are compared; empty if nothing is left.

    Case, white space, quotes, Markdown, punctuation at the end of words and the dress of TeX do
    not count; neither do a number's thousands separators, its needless zeros, "$" and "%". Signs
    inside a formula do.
    """
    text = unicodedata.normalize("NFC", answer).translate(dict(_ASCII)).casefold()
    text = _MARKS.sub("", _undressed(text))
    text = " ".join(_PAUSES.sub("", text).split()).strip("*#>' ")
    if match := _BRACKETED.fullmatch(text):
        text = match[1].strip()
    if text.endswith(")") and "(" not in text:
        text = text.rstrip(") ")
    return _plain_number(text) or text.replace("$", "").strip()


def _answer(text: str) -> str:
    """In a box, else after "the answer is", as in the paper, else the last line."""
    return _boxed(text) or _stated(text) or _last_line(text)


def _stated(text: str) -> str | None:
    lead = _last(_LEAD_IN, text)
    if lead is None:
        return None
    rest = text[lead.end() :].lstrip(" \t*_:").lstrip()
    line = rest.partition("\n")[0]
    return _SENTENCE_END.split(line, maxsplit=1)[0].strip()


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]


def _last_number(text: str) -> str | None:
    match = _last(_NUMBER, _undressed(text))
    return match[0] if match else None


def _boxed(text: str) -> str | None:
    """What stands in the last box, braces within it balanced."""
    box = _last(_BOX, text)
    if box is None:
        return None
    depth = 1
    for brace in _BRACE.finditer(text, box.end()):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return text[box.end() : brace.start()]
    return None


def _choice(text: str) -> str | None:
    """The letter that is stated, or alone on the last line, or the only one in brackets there."""
    for place in (_boxed(text), _stated(text), _last_line(text)):
        if place is None:
            continue
        match = _ONE_LETTER.fullmatch(_undressed(place)) or _LETTER_FIRST.match(place)
        if match:
            return match[1].upper()
    letters = {letter.upper() for letter in _LETTER_IN_BRACKETS.findall(_last_line(text))}
    return letters.pop() if len(letters) == 1 else None


def _by_pattern(text: str, pattern: re.Pattern[str]) -> str | None:
    match = _last(pattern, text[-_length_for(pattern.pattern) :])
    found: str | None = match[1] if match else None
    return found


@lru_cache
def _length_for(source: str) -> int:
    return read_pattern(source).length


_RULES: Mapping[str, Callable[[str], str | None]] = MappingProxyType(
    {
        "answer": _answer,
        "whole": str,
        "last_line": _last_line,
        "last_number": _last_number,
        "boxed": _boxed,
        "choice": _choice,
    }
)


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def _undressed(text: str) -> str:
    """Without the commands of TeX that only dress what stands in them, down to some depth."""
    if "\\" in text:
        for _ in range(_DEEPEST):
            text = _WRAPPER.sub(r"\1", _FRACTION.sub(r"\1/\2", text))
        text = _TEX_NOISE.sub("", text)
    return text.replace("{,}", ",")


def _plain_number(text: str) -> str | None:
    """A number in its shortest decimal form, however long; None where there is something else."""
    match = _PLAIN_NUMBER.fullmatch(text.strip("$ "))
    if match is None or not (match[3] or match[4]):
        return None
    whole = match[3].replace(",", "").lstrip("0") or "0"
    part = (match[4] or "").rstrip("0")
    digits = f"{whole}.{part}" if part else whole
    return f"-{digits}" if "-" in match[1] + match[2] and digits != "0" else digits
