from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.protocol.chat_body import ChatBody, body_schema
from app.protocol.request import MAX_DEPTH, ChatCall, Wishes, parse_chat

USER = {"role": "user", "content": "Hello"}
PNG = "data:image/png;base64,AA=="


def body(**fields: Any) -> bytes:
    return orjson.dumps({"model": "m", "messages": [USER], **fields})


def refusal(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse_chat(raw)
    assert caught.value.status == 400
    return caught.value


def parsed_or_refused(raw: bytes) -> ChatCall | InvalidRequest:
    try:
        return parse_chat(raw)
    except InvalidRequest as error:
        return error


def test_every_field_but_ours_is_a_parameter_with_its_own_value():
    fields = {"temperature": 1, "tools": [], "top_k": 5, "vendor": {"a": [None]}, "seed": None}

    call = parse_chat(body(**fields, stream=False, moa={}))

    assert call.model == "m"
    assert call.request.conversation.messages == (USER,)
    assert call.request.params == fields
    assert type(call.request.params["temperature"]) is int


def test_an_unstreamed_request_wishes_for_nothing():
    call = parse_chat(body())

    assert not call.request.stream
    assert not call.include_usage
    assert call.wishes.include == ()
    assert call.wishes.progress is None


def test_caps_that_are_wished_for_are_read():
    wishes = {"max_cost": 0.07, "max_calls": 4, "timeout": "90s", "quorum": 2}
    call = parse_chat(body(moa=wishes))
    assert call.wishes == Wishes((), None, Decimal("0.07"), 4, 90.0, 2)


@pytest.mark.parametrize(
    ("timeout", "seconds"), [(5, 5.0), (0.5, 0.5), ("500ms", 0.5), ("2m", 120.0), ("1h", 3600.0)]
)
def test_a_timeout_is_in_seconds_or_in_words(timeout, seconds):
    found = parse_chat(body(moa={"timeout": timeout})).wishes.timeout
    assert (found, type(found)) == (seconds, float)


def test_a_timeout_that_cannot_be_read_is_refused_with_the_forms_there_are():
    assert refusal(body(moa={"timeout": "soon"})).message == (
        "moa.timeout: expected seconds or a duration such as 500ms, 5s, 2m or 1h"
    )


@pytest.mark.parametrize("timeout", ["9" * 400 + "h", "169h", 604_801, 1e300])
def test_a_timeout_is_seven_days_at_most(timeout):
    assert parse_chat(body(moa={"timeout": "168h"})).wishes.timeout == 604_800
    assert refusal(body(moa={"timeout": timeout})).message.startswith("moa.timeout: expected")


def test_stream_options_and_wishes_are_read():
    call = parse_chat(
        body(
            stream=True,
            stream_options={"include_usage": True},
            moa={"include": ["run"], "progress": "reasoning"},
        )
    )

    assert call.request.stream
    assert call.include_usage
    assert call.wishes.include == ("run",)
    assert call.wishes.progress == "reasoning"


def test_messages_of_every_role_and_part_pass_untouched():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "file", "file": {"file_id": "f"}},
                {"type": "video_url", "video_url": {"url": "data:"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "r"},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "function", "name": "f", "content": "1"},
    ]

    parsed = parse_chat(body(messages=messages))

    assert list(parsed.request.conversation.messages) == messages


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [USER, {"role": "robot", "content": "x"}]}, "messages[1].role"),
        ({"messages": [USER, {"content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"seed": 1.5}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"stop": ["a", 1]}, "stop[1]"),
        ({"stop": 1}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"response_format": {}}, "response_format.type"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"moa": {"speed": 1}}, "moa.speed"),
        ({"moa": {"include": ["all"]}}, "moa.include[0]"),
        ({"moa": {"progress": "loud"}}, "moa.progress"),
        ({"moa": {"max_cost": 0}}, "moa.max_cost"),
        ({"moa": {"max_cost": -0.1}}, "moa.max_cost"),
        ({"moa": {"max_cost": "0.1"}}, "moa.max_cost"),
        ({"moa": {"max_cost": True}}, "moa.max_cost"),
        ({"moa": {"max_calls": 0}}, "moa.max_calls"),
        ({"moa": {"max_calls": 2.5}}, "moa.max_calls"),
        ({"moa": {"max_calls": None}}, "moa.max_calls"),
        ({"moa": {"timeout": 0}}, "moa.timeout"),
        ({"moa": {"timeout": -1}}, "moa.timeout"),
        ({"moa": {"timeout": "soon"}}, "moa.timeout"),
        ({"moa": {"timeout": "0s"}}, "moa.timeout"),
        ({"moa": {"timeout": True}}, "moa.timeout"),
        ({"moa": {"timeout": "9" * 400 + "h"}}, "moa.timeout"),
        ({"moa": {"quorum": 0}}, "moa.quorum"),
        ({"moa": {"quorum": "all"}}, "moa.quorum"),
    ],
)
def test_a_refusal_names_the_field_at_fault(fields: dict[str, Any], param: str):
    error = refusal(body(**fields))

    assert error.param == param
    assert error.message.startswith(f"{param}: ")


@pytest.mark.parametrize("field", ["model", "messages"])
def test_model_and_messages_are_required(field: str):
    whole = {"model": "m", "messages": [USER]}
    del whole[field]

    assert refusal(orjson.dumps(whole)).param == field


def test_a_refusal_says_what_is_accepted():
    assert "'assistant'" in refusal(body(messages=[{"role": "robot"}])).message
    assert "less than or equal to 2" in refusal(body(temperature=9)).message
    either = refusal(body(stop=1)).message
    assert "string" in either
    assert "list" in either


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'"text"', b'{"model": "\xff"}', b'{"n": NaN}', b'{"a": "\\ud800"}']
)
def test_a_body_that_is_no_json_object_is_refused_without_repeating_it(raw: bytes):
    error = refusal(raw)

    assert error.param is None
    assert "\\ud800" not in error.message


@pytest.mark.parametrize("nested", [MAX_DEPTH, 253, 254, 255, 1_020, 5_000, 100_000])
def test_a_body_nested_too_deep_is_refused(nested: int):
    deep = b"[" * nested + b"]" * nested

    message = refusal(body()[:-1] + b',"x":' + deep + b"}").message

    assert "nested too deep" in message or "depth limit" in message


def test_a_body_nested_as_deep_as_allowed_can_be_sent_on():
    nested = MAX_DEPTH - 1
    raw = body()[:-1] + b',"x":' + b"[" * nested + b"]" * nested + b"}"

    params = dict(parse_chat(raw).request.params)

    assert orjson.dumps({"messages": [USER], **params})


def test_many_shallow_containers_are_not_deep():
    assert parse_chat(body(tools=[{"type": "function"}] * 500)).request.params


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text() | st.sampled_from(["model", "messages", "moa", "stop"]), json_values)
)
def test_any_json_object_is_either_parsed_or_refused(value: dict[str, Any]):
    result = parsed_or_refused(orjson.dumps(value))

    assert result.message if isinstance(result, InvalidRequest) else result.model


@given(st.binary())
def test_any_bytes_are_either_parsed_or_refused(raw: bytes):
    refusal(raw)


@given(st.text(min_size=1), json_values)
def test_unknown_fields_arrive_as_they_came(name: str, value: Any):
    assume(name not in ChatBody.__annotations__)

    params = parse_chat(body(**{name: value})).request.params

    assert params == orjson.loads(orjson.dumps({name: value}))


def test_the_documented_shape_names_the_fields():
    schema = body_schema("#/{model}")

    assert {"model", "messages", "tools", "moa"} <= set(schema["properties"])
    assert schema["required"] == ["model", "messages"]
