"""Hypothesis strategies that damage saved inputs: bytes, tokens and whole pieces."""

import re

from hypothesis import strategies as st

from tests.fuzz.saved import corpus

MOST_BYTES = 20_000
_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[A-Za-z0-9_.+-]+|[^\sA-Za-z0-9]')
_PLACE = st.integers(0, 2**16)

ANYWHERE = (
    b"",
    b"\x00",
    b"\xff\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"9" * 400,
    b"1e999",
    b"5e-324",
    b'""',
    b'"\\ud800"',
    b'"\\u0000"',
    b"[]",
    b"{}",
    b"[" * 300 + b"]" * 300,
    b'{"a":' * 1100 + b"1" + b"}" * 1100,
    b'"model":"m","model":null',
    b'"messages"',
    b'"content":[{"type":"text"}]',
    b"data: [DONE]\n\n",
    b"data:",
    b": ",
)
"""What is put in the place of a token, or between two bytes."""


def damaged(kind: str, *more: bytes) -> st.SearchStrategy[bytes]:
    """Entries of a folder of the corpus after up to four accidents; `more` is also put in."""
    entries = [file.read_bytes() for file in corpus(kind)]
    pieces = (*ANYWHERE, *more)
    entry, piece = st.sampled_from(entries), st.sampled_from(pieces)
    accident = st.one_of(
        st.tuples(st.just(_flip), _PLACE, st.integers(0, 7)),
        st.tuples(st.just(_truncate), _PLACE, _PLACE),
        st.tuples(st.just(_double), _PLACE, _PLACE),
        st.tuples(st.just(_splice), _PLACE, entry),
        st.tuples(st.just(_insert), _PLACE, piece),
        st.tuples(st.just(_replace), _PLACE, piece),
        st.tuples(st.just(_replace), _PLACE, piece),
    )
    return st.builds(_damage, entry, st.lists(accident, max_size=4))


def _damage(data, accidents):
    for change, at, how in accidents:
        data = change(data, at, how)[:MOST_BYTES]
    return data


def _flip(data, at, bit):
    at %= len(data) + 1
    return data[:at] + bytes(each ^ (1 << bit) for each in data[at : at + 1]) + data[at + 1 :]


def _truncate(data, at, _):
    return data[: at % (len(data) + 1)]


def _double(data, at, length):
    at %= len(data) + 1
    return data[: at + length % 100] + data[at:]


def _splice(data, at, other):
    return data[: at % (len(data) + 1)] + other[at % (len(other) + 1) :]


def _insert(data, at, piece):
    at %= len(data) + 1
    return data[:at] + piece + data[at:]


def _replace(data, at, piece):
    tokens = list(_TOKEN.finditer(data))
    if not tokens:
        return piece
    token = tokens[at % len(tokens)]
    return data[: token.start()] + piece + data[token.end() :]
