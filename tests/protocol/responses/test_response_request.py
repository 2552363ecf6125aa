"""What a body of /v1/responses becomes in chat, and what is refused by name."""

import orjson
import pytest

from app.errors import InvalidRequest
from app.protocol.responses.request import param_in_request, parse_response_call

SCHEMA = {"type": "object", "properties": {}}
TOOL = {"type": "function", "name": "add", "parameters": SCHEMA, "strict": True}
OTHER = {"type": "function", "name": "sub", "parameters": SCHEMA}


def parsed(**fields):
    return parse_response_call(orjson.dumps({"model": "m", "input": "Hi", **fields}))


def chat(**fields):
    call = parsed(**fields)
    return call.chat(call.items)


def params(**fields):
    return dict(chat(**fields).request.params)


def messages(**fields):
    return list(chat(**fields).request.conversation.messages)


def test_a_string_is_a_users_turn():
    assert messages() == [{"role": "user", "content": "Hi"}]


def test_instructions_are_the_system_message():
    assert messages(instructions="Be brief.")[0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("field", "value", "in_chat"),
    [
        ("max_output_tokens", 64, {"max_tokens": 64}),
        ("temperature", 0.5, {"temperature": 0.5}),
        ("top_p", 0.5, {"top_p": 0.5}),
        ("metadata", {"a": "b"}, {"metadata": {"a": "b"}}),
        ("user", "u", {"user": "u"}),
        ("safety_identifier", "s", {"safety_identifier": "s"}),
        ("service_tier", "flex", {"service_tier": "flex"}),
        ("prompt_cache_key", "k", {"prompt_cache_key": "k"}),
        ("prompt_cache_retention", "24h", {"prompt_cache_retention": "24h"}),
        ("reasoning", {"effort": "low", "summary": "auto"}, {"reasoning_effort": "low"}),
        ("reasoning", {"effort": None}, {}),
        ("text", {"verbosity": "low"}, {"verbosity": "low"}),
        ("text", {"format": {"type": "text"}}, {}),
        (
            "text",
            {"format": {"type": "json_object"}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            "text",
            {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        ("top_logprobs", 3, {"logprobs": True, "top_logprobs": 3}),
        ("include", ["message.output_text.logprobs"], {"logprobs": True}),
        ("include", ["reasoning.encrypted_content"], {}),
        ("store", False, {}),
        ("truncation", "auto", {}),
        ("max_tool_calls", 3, {}),
        ("background", False, {}),
        ("conversation", None, {}),
        ("seed", 5, {"seed": 5}),
        ("top_k", 40, {"top_k": 40}),
    ],
)
def test_fields_go_where_chat_has_them(field, value, in_chat):
    assert params(**{field: value}) == in_chat


def test_tools_are_nested_as_chat_has_them():
    function = {"name": "add", "parameters": SCHEMA, "strict": True}
    assert params(tools=[TOOL], tool_choice="required", parallel_tool_calls=False) == {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }


def test_a_chosen_function_is_nested_too():
    chosen = params(tools=[TOOL], tool_choice={"type": "function", "name": "add"})
    assert chosen["tool_choice"] == {"type": "function", "function": {"name": "add"}}


def test_of_allowed_tools_the_others_are_left_out():
    allowed = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "sub"}],
    }
    given = params(tools=[TOOL, OTHER], tool_choice=allowed)
    assert [tool["function"]["name"] for tool in given["tools"]] == ["sub"]
    assert given["tool_choice"] == "required"


def test_without_tools_nothing_is_said_of_them():
    assert params(tools=[], tool_choice="auto", parallel_tool_calls=True) == {}


def test_the_stream_is_as_the_client_wants_it():
    assert not chat().request.stream
    assert chat(stream=True).request.stream


def test_wishes_are_read():
    assert parsed(moa={"include": ["run"], "max_calls": 3}).wishes.max_calls == 3


def test_responses_are_stored_unless_refused():
    assert parsed().store
    assert parsed(store=None).store
    assert not parsed(store=False).store


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{}]}, "input[0].role"),
        ({"input": [{"role": "nobody", "content": ""}]}, "input[0].role"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "text"}]}]}, "input[0].content[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]},
            "input[0].content[0].file_url",
        ),
        ({"input": [{"type": "function_call_output", "output": "4"}]}, "input[0].call_id"),
        ({"model": None}, "model"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "messages"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "custom", "name": "n"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"temperature": 9}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
        ({"moa": {"unknown": 1}}, "moa.unknown"),
    ],
)
def test_what_is_wrong_or_not_there_is_refused_by_name(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("in_chat", "in_request"),
    [
        (None, None),
        ("response_format", "text.format"),
        ("messages[1].content", "input"),
        ("max_tokens", "max_output_tokens"),
        ("temperature", "temperature"),
        ("tools", "tools"),
    ],
)
def test_errors_name_the_clients_own_fields(in_chat, in_request):
    assert param_in_request(in_chat) == in_request


def test_a_response_repeats_its_request():
    repeated = parsed(instructions="Be brief.", tools=[TOOL], temperature=0.5).repeated
    assert repeated["instructions"] == "Be brief."
    assert repeated["tools"] == [TOOL]
    assert repeated["temperature"] == 0.5
    assert repeated["text"] == {"format": {"type": "text"}}
    assert repeated["store"] is True
