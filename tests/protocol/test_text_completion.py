"""Answers as `text_completion`: streamed pieces put together are the whole answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamMalformed
from app.protocol.answer import Answer
from app.protocol.chat import Chunk
from app.protocol.text_completion import TextEncoder, TextHead, text_completion

HEAD = TextHead("cmpl-1", 5, "m")
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def chunk(text: str | None = None, finish: str | None = None, index: int = 0, **more: Any) -> Chunk:
    delta = {} if text is None else {"content": text}
    return Chunk(({"index": index, "delta": delta, "finish_reason": finish, **more},))


def events(raw: bytes) -> list[Any]:
    payloads = [each.removeprefix(b"data: ") for each in raw.split(b"\n\n") if each]
    return [each if each == b"[DONE]" else orjson.loads(each) for each in payloads]


def prompt_of(index: int) -> str:
    return f"prompt {index}: "


def streamed(*chunks: Chunk, moa: Any = None, echo: bool = False, **options: Any) -> list[Any]:
    encoder = TextEncoder(HEAD, prompt_of if echo else None, **options)
    raw = b"".join(encoder.encode([each]) for each in chunks)
    return events(raw + encoder.finish(USAGE, moa))


def whole(*chunks: Chunk, moa: Any = None, echo: bool = False) -> Any:
    answer = Answer()
    answer.add(chunks)
    return text_completion(HEAD, prompt_of if echo else None, answer, USAGE, moa)


def test_a_stream_is_texts_and_an_end() -> None:
    head = {"id": "cmpl-1", "object": "text_completion", "created": 5, "model": "m"}
    role = Chunk(({"index": 0, "delta": {"role": "assistant", "content": ""}},))
    assert streamed(role, chunk("a"), chunk(finish="length")) == [
        {**head, "choices": [{"text": "a", "index": 0, "logprobs": None, "finish_reason": None}]},
        {
            **head,
            "choices": [{"text": "", "index": 0, "logprobs": None, "finish_reason": "length"}],
        },
        b"[DONE]",
    ]


def test_usage_is_one_event_without_choices_where_it_is_asked_for() -> None:
    *said, last, done = streamed(chunk("a"), chunk(finish="stop"), include_usage=True)
    assert [each["usage"] for each in said] == [None, None]
    assert (last["choices"], last["usage"], done) == ([], USAGE, b"[DONE]")


@pytest.mark.parametrize("include_usage", [True, False])
def test_the_extension_is_on_the_last_object(include_usage: bool) -> None:  # noqa: FBT001 - a case
    moa = {"run_id": "r"}
    found = streamed(chunk("a"), chunk(finish="stop"), moa=moa, include_usage=include_usage)
    assert [each.get("moa") for each in found[:-1]] == [None] * (len(found) - 2) + [moa]
    assert whole(chunk("a", "stop"), moa=moa)["moa"] == moa


def test_the_extension_of_an_answer_that_says_nothing_is_still_told() -> None:
    assert streamed(moa={"run_id": "r"})[0]["moa"] == {"run_id": "r"}


def test_echo_puts_each_prompt_before_its_text() -> None:
    chunks = (chunk("a"), chunk("b", index=1), chunk("c"), chunk(finish="stop", index=1))
    texts = ["", ""]
    for event in streamed(*chunks, echo=True)[:-1]:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == ["prompt 0: ac", "prompt 1: b"]
    assert [each["text"] for each in whole(*chunks, echo=True)["choices"]] == texts


def test_log_probabilities_are_four_lists_whose_offsets_go_on() -> None:
    def token(text: str, value: float) -> dict[str, Any]:
        return {
            "token": text,
            "logprob": value,
            "bytes": None,
            "top_logprobs": [{"token": text, "logprob": value}],
        }

    first = chunk("one ", logprobs={"content": [token("one", -1), token(" ", -2)]})
    second = chunk("two", "stop", logprobs={"content": [token("two", -3)]})
    expected = {
        "tokens": ["one", " ", "two"],
        "token_logprobs": [-1, -2, -3],
        "top_logprobs": [{"one": -1}, {" ": -2}, {"two": -3}],
        "text_offset": [0, 3, 4],
    }
    joined: dict[str, list[Any]] = {name: [] for name in expected}
    for event in streamed(first, second)[:-1]:
        for name, values in event["choices"][0]["logprobs"].items():
            joined[name] += values
    assert joined == expected
    assert whole(first, second)["choices"][0]["logprobs"] == expected


def test_a_refusal_is_the_text_where_there_is_no_other() -> None:
    refusal = Chunk(({"index": 0, "delta": {"refusal": "No."}, "finish_reason": "stop"},))
    assert whole(refusal)["choices"][0]["text"] == "No."
    assert streamed(refusal)[0]["choices"][0]["text"] == "No."


def test_reasoning_stays_out() -> None:
    thought = Chunk(({"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": None},))
    assert streamed(thought) == [b"[DONE]"]


def test_what_is_said_of_the_answer_as_a_whole_goes_on() -> None:
    extras = {"system_fingerprint": "fp", "service_tier": "flex"}
    last = Chunk(chunk("a", "stop").choices, extras=extras)
    assert extras.items() <= whole(last).items()
    assert extras.items() <= streamed(Chunk(extras=extras), chunk("a", "stop"))[0].items()


def test_a_failure_is_the_last_event() -> None:
    (event,) = events(TextEncoder(HEAD).failure(UpstreamMalformed("cut")))
    assert event["error"]["code"] == "upstream_malformed"


def test_signs_of_life() -> None:
    encoder = TextEncoder(HEAD)
    assert encoder.heartbeat("comment").startswith(b":")
    assert encoder.heartbeat("off") == b""
    assert events(encoder.heartbeat("delta"))[0]["choices"][0]["text"] == ""


@given(
    st.lists(st.tuples(st.text(max_size=4), st.integers(0, 2)), max_size=12),
    st.booleans(),
    st.booleans(),
)
def test_streamed_pieces_are_the_whole_answer(
    pieces: list[tuple[str, int]],
    echo: bool,  # noqa: FBT001 - a case
    include_usage: bool,  # noqa: FBT001 - a case
) -> None:
    chunks = [chunk(text, index=index) for text, index in pieces]
    chunks += [chunk(finish="stop", index=index) for index in {index for _, index in pieces}]
    texts: dict[int, str] = {}
    reasons: dict[int, str] = {}
    for event in streamed(*chunks, echo=echo, include_usage=include_usage)[:-1]:
        for choice in event["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
            if choice["finish_reason"]:
                reasons[choice["index"]] = choice["finish_reason"]
    choices = whole(*chunks, echo=echo)["choices"]
    assert texts == {each["index"]: each["text"] for each in choices}
    assert reasons == {each["index"]: each["finish_reason"] for each in choices}
