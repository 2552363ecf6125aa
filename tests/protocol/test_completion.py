from typing import Any

import pytest

from app.protocol.chat import Chunk
from app.protocol.completion import ToolNumbers, chunk_from_completion, chunk_from_event, error_in
from app.protocol.usage import Usage


def event(delta: object = None, **fields: object) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": None}
    return {"id": "x", "object": "chat.completion.chunk", "choices": [choice], **fields}


def read(*events: dict[str, Any]) -> list[Chunk | None]:
    tools = ToolNumbers()
    return [chunk_from_event(each, tools) for each in events]


def only(*events: dict[str, Any]) -> Chunk:
    [chunk] = read(*events)
    assert chunk is not None
    return chunk


def numbers(*deltas: list[dict[str, Any]]) -> list[int]:
    chunks = read(*(event({"tool_calls": calls}) for calls in deltas))
    return [
        call["index"]
        for chunk in chunks
        if chunk
        for call in chunk.choices[0]["delta"]["tool_calls"]
    ]


def call(index: int | None, call_id: str | None = None, name: str | None = None) -> dict[str, Any]:
    fragment: dict[str, Any] = {"function": {"arguments": "{"}}
    if index is not None:
        fragment["index"] = index
    if call_id is not None:
        fragment["id"] = call_id
    if name is not None:
        fragment["function"]["name"] = name
    return fragment


def test_a_delta_stays_as_it_was_sent() -> None:
    delta = {"role": "assistant", "content": "a", "reasoning_content": "b", "x": {"y": [1]}}
    assert only(event(dict(delta))).choices == [{"index": 0, "delta": delta, "finish_reason": None}]


def test_missing_fields_of_a_choice_are_filled_in() -> None:
    chunk = only({"choices": [{}, {"delta": None}, {"delta": {"content": "a"}, "logprobs": {}}]})
    assert chunk.choices == [
        {"index": 0, "delta": {}, "finish_reason": None},
        {"index": 1, "delta": {}, "finish_reason": None},
        {"index": 2, "delta": {"content": "a"}, "finish_reason": None, "logprobs": {}},
    ]


@pytest.mark.parametrize("choices", [None, [], {}, "x", [None, 1]])
def test_an_event_without_a_choice_or_usage_says_nothing(choices: object) -> None:
    assert read({"choices": choices}) == [None]


def test_an_event_of_an_unknown_kind_says_nothing() -> None:
    assert read({"type": "ping"}) == [None]


USAGE = {"prompt_tokens": 3, "completion_tokens": 4}


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [], "usage": USAGE},
        {"usage": USAGE},
        {"choices": None, "usage": USAGE},
        event({"content": "a"}, usage=USAGE),
        event({}, x_groq={"usage": USAGE}),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]},
    ],
)
def test_usage_is_found_wherever_it_stands(answer: dict[str, Any]) -> None:
    assert only(answer).usage == Usage(3, 4)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "3"}, [], "x"])
def test_usage_without_counts_is_none(usage: object) -> None:
    assert only(event({"content": "a"}, usage=usage)).usage is None


def test_only_named_extras_are_handed_on() -> None:
    chunk = only(event({"content": "a"}, system_fingerprint="fp", service_tier=None, provider="x"))
    assert dict(chunk.extras) == {"system_fingerprint": "fp"}


def test_tool_calls_that_are_numbered_keep_their_numbers() -> None:
    assert numbers([call(0, "a", "f")], [call(0)], [call(1, "b", "g")], [call(1)], [call(0)]) == [
        0,
        0,
        1,
        1,
        0,
    ]


def test_different_ids_at_one_index_are_different_calls() -> None:
    assert numbers([call(0, "a", "f"), call(0, "b", "g")], [call(0)], [call(0, "c", "h")]) == [
        0,
        1,
        1,
        2,
    ]


def test_an_id_repeated_on_every_fragment_is_one_call() -> None:
    assert numbers([call(0, "a", "f")], [call(0, "a", "f")], [call(0, "b")], [call(0, "a")]) == [
        0,
        0,
        1,
        0,
    ]


def test_an_id_that_comes_late_or_empty_opens_no_new_call() -> None:
    assert numbers([call(0, "", "f")], [call(0, "a")], [call(0, "")]) == [0, 0, 0]


def test_calls_without_an_index_are_counted() -> None:
    assert numbers([call(None, "a", "f")], [call(None)], [call(None, "b", "g")], [call(None)]) == [
        0,
        0,
        1,
        1,
    ]
    assert numbers([call(None, None, "f"), call(None, None, "g")], [call(None)]) == [0, 1, 1]


def test_a_new_number_never_takes_a_taken_one() -> None:
    assert numbers([call(0, "a"), call(1, "b"), call(0, "c")], [call(2, "d"), call(1)]) == [
        0,
        1,
        2,
        3,
        1,
    ]


def test_choices_number_their_calls_apart() -> None:
    choices = [{"index": n, "delta": {"tool_calls": [call(0, f"c{n}")]}} for n in range(2)]
    chunk = only({"choices": choices})
    assert [c["delta"]["tool_calls"][0]["index"] for c in chunk.choices] == [0, 0]


@pytest.mark.parametrize("bad", [{"index": [], "id": {}}, {"index": "0", "id": 5}])
def test_tool_calls_of_absurd_types_break_nothing(bad: dict[str, Any]) -> None:
    assert numbers([bad]) == [0]
    assert read(event({"tool_calls": "x"}), event({"tool_calls": [None, 3]})) != [None, None]


def completion(message: object, **choice: object) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}],
        "usage": USAGE,
        "service_tier": "default",
    }


def test_a_whole_answer_is_one_chunk_with_the_message_as_its_delta() -> None:
    message = {"role": "assistant", "content": "a", "annotations": []}
    chunk = chunk_from_completion(completion(message, logprobs={"content": []}))
    assert chunk is not None
    assert chunk.choices == [
        {"index": 0, "delta": message, "finish_reason": "stop", "logprobs": {"content": []}}
    ]
    assert chunk.usage == Usage(3, 4)
    assert dict(chunk.extras) == {"service_tier": "default"}


def test_tool_calls_of_a_whole_answer_are_numbered() -> None:
    message = {"content": None, "tool_calls": [{"id": "a"}, {"id": "b"}, {"id": "c"}]}
    chunk = chunk_from_completion(completion(message, finish_reason=None))
    assert chunk is not None
    assert [c["index"] for c in chunk.choices[0]["delta"]["tool_calls"]] == [0, 1, 2]
    assert chunk.choices[0]["finish_reason"] == "tool_calls"


def test_a_whole_answer_without_a_reason_has_stopped() -> None:
    chunk = chunk_from_completion(completion(None, finish_reason=None))
    assert chunk is not None
    assert chunk.choices == [{"index": 0, "delta": {}, "finish_reason": "stop"}]


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": None}, {"choices": "x"}])
def test_a_body_without_a_choice_is_no_answer(body: dict[str, Any]) -> None:
    assert chunk_from_completion(body) is None


def test_whole_answers_inside_a_stream_are_understood() -> None:
    chunk = only(completion({"role": "assistant", "content": "a"}))
    assert chunk.choices[0]["delta"]["content"] == "a"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"error": {"message": "m", "code": 429}}, {"message": "m", "code": 429}),
        ({"error": "text"}, {"message": "text"}),
        ({"object": "error", "code": 400}, {"object": "error", "code": 400}),
        ({"choices": [{"finish_reason": "error", "error": {"code": 5}}]}, {"code": 5}),
        ({"choices": [{"finish_reason": "error"}]}, {}),
        ({"error": None, "choices": [{"finish_reason": "stop"}]}, None),
        ({"choices": []}, None),
    ],
)
def test_errors_are_seen_in_every_shape(answer: dict[str, Any], found: object) -> None:
    assert error_in(answer) == found
