from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.answer import Answer
from app.protocol.chat import Chunk, text_chunk
from app.protocol.usage import Usage


def chunk(delta: dict[str, Any], index: int = 0, finish: str | None = None, **more: Any) -> Chunk:
    return Chunk(({"index": index, "delta": delta, "finish_reason": finish, **more},))


def answer_of(*chunks: Chunk) -> Answer:
    answer = Answer()
    answer.add(chunks)
    return answer


def wire(answer: Answer) -> dict[str, Any]:
    return answer.to_wire(id="chatcmpl-1", created=7, model="m", usage=None)


def test_text_is_put_together():
    answer = answer_of(text_chunk("Hel"), text_chunk("lo"), text_chunk("", finish_reason="stop"))

    assert answer.text() == "Hello"
    assert answer.finish_reason() == "stop"
    assert answer.refusal() is None


def test_nothing_said_is_an_empty_answer():
    answer = answer_of()

    assert answer.choices == 0
    assert answer.text() == ""
    assert answer.finish_reason() is None
    assert answer.tool_calls() == []


def test_the_text_parts_of_a_content_list_are_its_text():
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}]
    assert answer_of(chunk({"content": parts})).text() == "a"


def test_reasoning_is_read_under_both_names():
    assert answer_of(chunk({"reasoning_content": "a"})).reasoning() == "a"
    assert answer_of(chunk({"reasoning": "b"}), chunk({"reasoning": "c"})).reasoning() == "bc"


def test_choices_are_kept_apart_and_in_order():
    answer = answer_of(
        chunk({"content": "b"}, 1), chunk({"content": "a"}, 0), chunk({"content": "c"}, 1)
    )

    assert [choice["message"]["content"] for choice in wire(answer)["choices"]] == ["a", "bc"]
    assert [choice["index"] for choice in wire(answer)["choices"]] == [0, 1]


def test_choices_without_an_index_count_from_zero():
    answer = answer_of(Chunk(({"delta": {"content": "a"}}, {"delta": {"content": "b"}})))

    assert (answer.text(0), answer.text(1)) == ("a", "b")


def test_the_whole_answer_has_openai_shape():
    answer = answer_of(
        Chunk(
            ({"index": 0, "delta": {"role": "assistant", "content": "x"}},),
            extras={"service_tier": "t"},
        ),
        text_chunk("", finish_reason="stop"),
    )

    body = answer.to_wire(
        id="chatcmpl-1", created=7, model="m", usage={"total_tokens": 3}, moa={"run_id": "r"}
    )

    assert body == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "x", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "service_tier": "t",
        "usage": {"total_tokens": 3},
        "moa": {"run_id": "r"},
    }


def test_an_upstreams_extras_replace_nothing_of_ours():
    answer = answer_of(
        Chunk((), extras={"id": "theirs", "model": "theirs", "system_fingerprint": "f"})
    )

    assert wire(answer)["id"] == "chatcmpl-1"
    assert wire(answer)["model"] == "m"
    assert wire(answer)["system_fingerprint"] == "f"


def test_the_last_usage_counts():
    answer = answer_of(Chunk((), Usage(1, 1)), Chunk((), Usage(2, 3)), Chunk(()))

    assert answer.usage == Usage(2, 3)


def test_logprobs_are_put_end_to_end():
    answer = answer_of(
        chunk({"content": "a"}, logprobs={"content": [{"token": "a"}], "refusal": None}),
        chunk({"content": "b"}, logprobs={"content": [{"token": "b"}], "refusal": None}),
        chunk({}, finish="stop", logprobs=None),
    )

    logprobs = wire(answer)["choices"][0]["logprobs"]
    assert logprobs == {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}


def test_a_streamed_audio_answer_is_put_together():
    answer = answer_of(
        chunk({"audio": {"id": "a1", "transcript": "He"}}),
        chunk({"audio": {"data": "AA"}}),
        chunk({"audio": {"data": "BB", "transcript": "y", "expires_at": 9}}),
    )

    assert answer.message()["audio"] == {
        "id": "a1",
        "transcript": "Hey",
        "data": "AABB",
        "expires_at": 9,
    }


def test_other_fields_of_a_choice_are_kept():
    answer = answer_of(chunk({}, stop_reason=None), chunk({}, finish="stop", stop_reason=7))

    assert wire(answer)["choices"][0]["stop_reason"] == 7


def call(index: int | None, id: str | None, name: str | None, arguments: str) -> dict[str, Any]:  # noqa: A002 - the wire's name
    fragment: dict[str, Any] = {"function": {"arguments": arguments}}
    if name is not None:
        fragment["function"]["name"] = name
    if id is not None:
        fragment |= {"id": id, "type": "function"}
    if index is not None:
        fragment["index"] = index
    return fragment


def whole(id: str | None, name: str, arguments: str) -> dict[str, Any]:  # noqa: A002 - the wire's name
    known = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return known if id is None else {"id": id, **known}


@pytest.mark.parametrize(
    "fragments",
    [
        pytest.param(
            [call(0, "a", "f", ""), call(0, None, None, "{1"), call(1, "b", "g", "{2"),
             call(0, None, None, "}"), call(1, None, None, "}")],
            id="as OpenAI sends them",
        ),
        pytest.param(
            [call(0, "a", "f", "{1"), call(0, None, None, "}"), call(0, "b", "g", "{2}")],
            id="all at index 0",
        ),
        pytest.param([call(None, "a", "f", "{1}"), call(None, "b", "g", "{2}")], id="no index"),
        pytest.param(
            [call(0, "a", "f", "{1"), call(0, "a", "f", "}"), call(1, "b", "g", "{2}")],
            id="id and name in every fragment",
        ),
        pytest.param(
            [call(0, "a", "f", "{1"), call(0, "x9", None, "}"), call(1, "b", "g", "{2}")],
            id="another id in every fragment",
        ),
    ],
)  # fmt: skip
def test_tool_calls_are_put_together_however_they_are_numbered(fragments: list[dict[str, Any]]):
    answer = answer_of(*(chunk({"tool_calls": [fragment]}) for fragment in fragments))

    assert answer.message()["tool_calls"] == [whole("a", "f", "{1}"), whole("b", "g", "{2}")]


def test_tool_calls_of_a_whole_message_need_neither_index_nor_id():
    calls = [whole(None, "f", "{}"), whole(None, "f", "{}")]

    assert answer_of(chunk({"tool_calls": calls})).message()["tool_calls"] == calls


def test_no_tool_calls_are_no_field():
    assert "tool_calls" not in answer_of(chunk({"content": "x", "tool_calls": []})).message()
    assert "tool_calls" not in answer_of(chunk({"content": "x", "tool_calls": None})).message()


def test_chunks_are_not_changed():
    part = {"audio": {"data": "A"}, "annotations": [1], "tool_calls": [call(0, "a", "f", "")]}
    first = chunk(part)
    before = repr(first)

    answer_of(first, first, chunk({"audio": {"data": "B"}, "annotations": [2]})).message()

    assert repr(first) == before


def cut(text: str, places: list[int]) -> list[str]:
    stops = sorted({min(place, len(text)) for place in places})
    return [text[a:b] for a, b in zip([0, *stops], [*stops, len(text)], strict=True)]


texts = st.text(max_size=30)
places = st.lists(st.integers(0, 30), max_size=5)
messages = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": texts},
    optional={
        "refusal": texts,
        "reasoning_content": texts,
        "vendor_text": texts,
        "annotations": st.lists(st.integers(), max_size=3),
        "tool_calls": st.lists(
            st.builds(whole, st.uuids().map(str), st.text(min_size=1, max_size=5), texts),
            min_size=1,
            max_size=3,
            unique_by=lambda each: each["id"],
        ),
    },
)


@given(st.lists(messages, min_size=1, max_size=3), places)
def test_fragments_and_the_whole_message_give_the_same_answer(said: list[Any], where: list[int]):
    streamed, together = Answer(), Answer()
    for index, message in enumerate(said):
        together.add([chunk(message, index, "stop")])
        for delta in fragments_of(message, where):
            streamed.add([chunk(delta, index)])
        streamed.add([chunk({}, index, "stop")])

    assert wire(streamed) == wire(together)


def fragments_of(message: dict[str, Any], where: list[int]) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    for name, value in message.items():
        if name == "tool_calls":
            for index, each in enumerate(value):
                function = each["function"]
                deltas.append({name: [call(index, each["id"], function["name"], "")]})
                deltas += (
                    {name: [call(index, None, None, piece)]}
                    for piece in cut(function["arguments"], where)
                )
        elif isinstance(value, list):
            deltas += ({name: [item]} for item in value)
            if not value:
                deltas.append({name: []})
        elif name != "role":
            deltas += ({name: piece} for piece in cut(value, where))
    return deltas
