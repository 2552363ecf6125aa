from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamError, UpstreamMalformed
from app.protocol.chat import Chunk
from app.upstream import answer_reader
from app.upstream.answer_reader import AnswerReader
from app.upstream.errors import ErrorTranslator


def reader(*, whole: bool = False) -> AnswerReader:
    return AnswerReader(ErrorTranslator("up"), whole=whole)


def read(data: bytes, cuts: list[int] | None = None, *, whole: bool = False) -> Any:
    """Everything there is to see of an answer, however its bytes were cut."""
    edges = sorted({0, len(data), *(at % (len(data) + 1) for at in cuts or ())})
    reading = reader(whole=whole)
    chunks: list[Chunk] = []
    error = None
    try:
        for begin, end in pairwise(edges):
            if not reading.done:
                chunks += reading.feed(data[begin:end])
        chunks += reading.end()
    except UpstreamError as caught:
        error = (type(caught), caught.message)
    said = [(list(chunk.choices), chunk.usage) for chunk in chunks]
    return said, error, reading.usage, reading.estimated_tokens, reading.is_complete


def event(content: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n"


USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\n'
ERROR = b'data: {"error": {"message": "no", "code": 429}}\n\n'
PIECES = st.sampled_from(
    [
        event("a"),
        event("ü🎉"),
        event("b", "stop"),
        USAGE,
        ERROR,
        b": wait\n\n",
        b"data: [DONE]\n\n",
        b"data: [DONE]",
        b"data: nonsense\n\n",
        b"\n",
        b" ",
        b'{"choices": [{"message": {"content": "whole"}}]}',
        b'{"error": "no"}',
        b"<html>",
        b"\xef\xbb\xbf",
    ]
)
BODIES = st.lists(PIECES, max_size=8).map(b"".join)
CUTS = st.lists(st.integers(0, 2_000), max_size=12)


@given(body=BODIES, cuts=CUTS, whole=st.booleans())
def test_an_answer_means_the_same_however_its_bytes_are_cut(
    body: bytes, cuts: list[int], *, whole: bool
) -> None:
    assert read(body, cuts, whole=whole) == read(body, whole=whole)


def test_what_came_before_an_error_in_the_same_read_is_not_lost() -> None:
    said, error, *_, is_complete = read(event("a", "stop") + ERROR + event("b"))
    assert len(said) == 1
    assert error is not None
    assert not is_complete


def test_a_choice_that_ended_in_an_error_is_an_error() -> None:
    said, error, *_ = read(event("a") + event("", "error") + b"data: [DONE]\n\n")
    assert len(said) == 1
    assert error is not None


@given(BODIES)
def test_an_answer_asked_for_whole_is_one_chunk_or_none(body: bytes) -> None:
    said, error, *_ = read(body, whole=True)
    assert len(said) == (0 if error else 1)


@given(body=st.binary(max_size=300), whole=st.booleans())
def test_any_bytes_are_an_answer_or_an_upstreams_error(body: bytes, *, whole: bool) -> None:
    said, error, *_ = read(body, whole=whole)
    assert said or error


@pytest.mark.parametrize("lead", [b"", b"\n\n\n", b"\xef\xbb\xbf", b" \r\n\t"])
def test_blank_bytes_before_an_answer_are_passed_over(lead: bytes) -> None:
    """DeepSeek keeps unstreamed requests alive with empty lines."""
    body = b'{"choices": [{"message": {"content": "a"}}]}'
    [(choices, _)], error, *_ = read(lead + body, list(range(len(lead) + 5)))
    assert error is None
    assert choices[0]["delta"] == {"content": "a"}
    assert read(lead + event("a", "stop"))[1] is None


def test_nothing_after_done_is_read() -> None:
    said, error, *_ = read(event("a", "stop") + b"data: [DONE]\n\n" + ERROR)
    assert error is None
    assert len(said) == 1


def test_a_late_event_of_a_finished_choice_does_not_open_it_again() -> None:
    assert read(event("a", "stop") + event(""))[1] is None


def test_the_last_usage_counts() -> None:
    every = USAGE.replace(b": 2", b": 1") + event("a", "stop") + USAGE
    assert read(every)[2].completion == 2


def test_text_of_every_kind_is_counted_for_the_estimate() -> None:
    delta = {
        "content": "aaa",
        "reasoning_content": "bbb",
        "refusal": "ccc",
        "role": "assistant",
        "audio": {"data": "xxx"},
    }
    reading = reader()
    reading.feed(b"data: " + orjson.dumps({"choices": [{"delta": delta}]}) + b"\n\n")
    assert reading.estimated_tokens == 3
    calls = [{"index": 0, "function": {"arguments": "x" * 300}}]
    reading.feed(
        b"data: " + orjson.dumps({"choices": [{"delta": {"tool_calls": calls}}]}) + b"\n\n"
    )
    assert 103 < reading.estimated_tokens < 130


def test_an_endless_line_is_refused() -> None:
    reading = reader()
    reading.feed(b"data: ")
    with pytest.raises(UpstreamMalformed):  # noqa: PT012 - any of them may raise
        for _ in range(20):
            reading.feed(b"x" * 1_000_000)


def test_an_endless_body_is_refused() -> None:
    reading = reader()
    reading.feed(b"{")
    rounds = answer_reader.MAX_BODY_BYTES // 1_000_000
    for _ in range(rounds):
        reading.feed(b" " * 1_000_000)
    with pytest.raises(UpstreamMalformed):
        reading.feed(b" " * 1_000_000)


def test_events_that_are_kept_for_a_whole_answer_have_an_end_too() -> None:
    piece = event("x" * 1_000_000)
    keeping, passing = reader(whole=True), reader()
    rounds = answer_reader.MAX_BODY_BYTES // len(piece)
    for _ in range(rounds):
        assert keeping.feed(piece) == []
    with pytest.raises(UpstreamMalformed, match="more than an answer can hold"):
        keeping.feed(piece)
    for _ in range(rounds + 2):
        assert passing.feed(piece)
