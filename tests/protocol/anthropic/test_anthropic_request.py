from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.protocol.anthropic.request import LEFT_OUT, NO_PLACE, parse_count, parse_messages

ASK = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
HI = {"role": "user", "content": "Hi"}
TOOL = {"name": "add", "input_schema": {"type": "object"}}
PNG = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
USE = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}
CALL = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}


def parsed(**changes):
    return parse_messages(orjson.dumps({**ASK, **changes}))


def params(**changes):
    found = dict(parsed(**changes).call.request.params)
    assert found.pop("max_tokens") == 9
    return found


def messages(*turns, **changes):
    return list(parsed(messages=list(turns), **changes).call.request.conversation.messages)


def refused(**changes):
    with pytest.raises(InvalidRequest) as caught:
        parsed(**changes)
    return caught.value.param


def test_a_body_is_a_chat_call():
    call = parsed(stream=True, moa={"max_calls": 3}).call

    assert (call.model, call.request.stream, call.wishes.max_calls) == ("m", True, 3)
    assert list(call.request.conversation.messages) == [HI]
    assert call.request.params == {"max_tokens": 9}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"top_k": 5}, {"top_k": 5}),
        ({"stop_sequences": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"stop_sequences": []}, {}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"metadata": {}}, {}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {}),
        ({"tool_choice": {"type": "any"}}, {}),
        ({"seed": 7, "vendor": {"x": 1}}, {"seed": 7, "vendor": {"x": 1}}),
        ({"temperature": None, "system": None, "tools": None}, {}),
        ({name: {"type": "ephemeral"} for name in LEFT_OUT}, {}),
    ],
)
def test_where_each_field_goes(given, expected):
    assert params(**given) == expected


def test_a_schema_for_the_answer_is_a_strict_response_format():
    schema = {"type": "object"}
    found = params(output_config={"format": {"type": "json_schema", "schema": schema}})

    assert found == {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    }


def test_tools_are_functions():
    tool = {**TOOL, "type": "custom", "description": "Adds.", "strict": True, "cache_control": {}}

    assert params(tools=[tool, TOOL])["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "add",
                "parameters": {"type": "object"},
                "description": "Adds.",
                "strict": True,
            },
        },
        {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "add"},
            {"tool_choice": {"type": "function", "function": {"name": "add"}}},
        ),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
)
def test_every_choice_of_tools(choice, expected):
    found = params(tools=[TOOL], tool_choice=choice)
    del found["tools"]

    assert found == expected


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("Be brief.", "Be brief."),
        ([{"type": "text", "text": "A"}, {"type": "text", "text": "B", "x": 1}], "A\n\nB"),
    ],
)
def test_the_system_prompt_comes_first(system, expected):
    assert messages(HI, system=system) == [{"role": "system", "content": expected}, HI]


@pytest.mark.parametrize("system", ["", [], [{"type": "text", "text": ""}]])
def test_an_empty_system_prompt_is_none(system):
    assert messages(HI, system=system) == [HI]


def test_instructions_in_the_middle_stay_there():
    assert messages(HI, {"role": "system", "content": "Now rhyme."}) == [
        HI,
        {"role": "system", "content": "Now rhyme."},
    ]


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            {"type": "image", "source": PNG},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        ),
        (
            {
                "type": "document",
                "title": "a.pdf",
                "source": {**PNG, "media_type": "application/pdf"},
            },
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            },
        ),
    ],
)
def test_what_is_seen_is_a_content_part(block, part):
    text = {"type": "text", "text": "Look."}

    assert messages({"role": "user", "content": [block, text]}) == [
        {"role": "user", "content": [part, text]}
    ]


@pytest.mark.parametrize(
    "block",
    [
        {
            "type": "document",
            "title": "T",
            "context": "C",
            "source": {"type": "text", "media_type": "text/plain", "data": "D"},
        },
        {
            "type": "document",
            "title": "T",
            "context": "C",
            "source": {"type": "content", "content": [{"type": "text", "text": "D"}]},
        },
        {
            "type": "document",
            "title": "T",
            "context": "C",
            "source": {"type": "content", "content": "D"},
        },
    ],
)
def test_a_document_of_text_is_text_under_its_title(block):
    (message,) = messages({"role": "user", "content": [block]})

    assert [part["text"] for part in message["content"]] == ["T", "C", "D"]


def test_a_search_result_is_text_with_its_source():
    block = {
        "type": "search_result",
        "source": "https://example.org",
        "title": "T",
        "content": [{"type": "text", "text": "D"}],
    }

    assert messages({"role": "user", "content": [block]}) == [
        {"role": "user", "content": "T (https://example.org)\nD"}
    ]


def test_an_earlier_answer_with_a_call():
    content = [{"type": "text", "text": "Let "}, {"type": "text", "text": "me see."}, USE]

    assert messages(HI, {"role": "assistant", "content": content})[1] == {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [CALL],
    }


def test_an_answer_that_only_calls_has_no_content():
    (_, message) = messages(HI, {"role": "assistant", "content": [USE]})

    assert message["content"] is None


@pytest.mark.parametrize("content", [[], [{"type": "redacted_thinking", "data": "x"}]])
def test_an_answer_without_words_is_empty(content):
    assert messages(HI, {"role": "assistant", "content": content})[1] == {
        "role": "assistant",
        "content": "",
    }


def test_results_of_tools_come_before_what_the_user_says():
    content = [
        {"type": "text", "text": "Go on."},
        {"type": "tool_result", "tool_use_id": "t1", "content": "2"},
        {
            "type": "tool_result",
            "tool_use_id": "t2",
            "is_error": True,
            "content": [{"type": "text", "text": "no"}, {"type": "text", "text": "way"}],
        },
        {"type": "tool_result", "tool_use_id": "t3"},
    ]

    assert messages({"role": "user", "content": content}) == [
        {"role": "tool", "tool_call_id": "t1", "content": "2"},
        {"role": "tool", "tool_call_id": "t2", "content": "[the tool failed]\nno\nway"},
        {"role": "tool", "tool_call_id": "t3", "content": ""},
        {"role": "user", "content": "Go on."},
    ]


def test_what_a_tool_shows_goes_into_the_message_after_it():
    image = {"type": "image", "source": PNG}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "A plot."}, image],
    }

    tool, shown = messages({"role": "user", "content": [result]})

    assert tool["content"] == "A plot."
    assert [part["type"] for part in shown["content"]] == ["text", "image_url"]
    assert "t1" in shown["content"][0]["text"]


def test_a_turn_of_results_alone_ends_with_them():
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "2"}

    assert [m["role"] for m in messages({"role": "user", "content": [result]})] == ["tool"]


def test_reasoning_goes_back_as_long_as_its_calls_are_answered():
    own = {"type": "thinking", "thinking": "hm", "signature": ""}
    signed = {**own, "thinking": "theirs", "signature": "abc"}
    called = {"role": "assistant", "content": [own, signed, USE]}
    result = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "2"}],
    }

    in_loop = messages(HI, called, result)
    later = messages(HI, called, result, {"role": "assistant", "content": "2."}, HI)

    assert in_loop[1]["reasoning_content"] == "hm"
    assert "reasoning_content" not in later[1]


def test_reasoning_without_a_call_is_left_out():
    own = {"type": "thinking", "thinking": "hm"}
    said = {"role": "assistant", "content": [own, {"type": "text", "text": "A"}]}

    assert messages(HI, said)[1] == {"role": "assistant", "content": "A"}


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, True),
        ({"thinking": {"type": "adaptive"}}, True),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, False),
        ({"moa": {"progress": "reasoning"}}, True),
        ({"moa": {"progress": "off"}}, False),
    ],
)
def test_reasoning_is_shown_to_who_asked_for_it(changes, shown):
    assert parsed(**changes).thinking is shown


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [USE]}]}, "messages[0].content[0].type"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}],
                    }
                ]
            },
            "messages[0].content[0].source.type",
        ),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"temperature": 3}, "temperature"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"moa": {"wish": 1}}, "moa.wish"),
        ({"seed": "x"}, "seed"),
        ({"reasoning_effort": 1}, "reasoning_effort"),
    ],
)
def test_a_wrong_field_is_named(changes, param):
    assert refused(**changes) == param


@pytest.mark.parametrize("name", NO_PLACE)
def test_what_a_message_cannot_hold_is_refused(name):
    assert refused(**{name: 1}) == name


def test_a_missing_limit_is_named():
    with pytest.raises(InvalidRequest) as caught:
        parse_messages(orjson.dumps({"model": "m", "messages": [HI]}))

    assert caught.value.param == "max_tokens"


def test_a_count_needs_no_limit_and_grows_with_all_it_counts():
    def count(**changes):
        return parse_count(orjson.dumps({"model": "m", "messages": [HI], **changes}))

    bare = count()

    assert bare == ("m", 5)
    for more in ({"system": "Be brief."}, {"tools": [TOOL]}, {"messages": [HI, HI]}):
        assert count(**more)[1] > bare[1], more


blocks = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, st.text()),
    st.just({"type": "image", "source": PNG}),
    st.builds(
        lambda number, text: {
            "type": "tool_result",
            "tool_use_id": f"t{number}",
            "content": [{"type": "text", "text": text}],
        },
        st.integers(0, 9),
        st.text(),
    ),
)


@given(st.lists(blocks, min_size=1, max_size=8))
def test_nothing_of_a_turn_is_lost(content):
    found = messages({"role": "user", "content": content})

    results = [block for block in content if block["type"] == "tool_result"]
    tools = [message for message in found if message["role"] == "tool"]
    assert [message["content"] for message in tools] == [
        block["content"][0]["text"] for block in results
    ]
    rest = [message["content"] for message in found if message["role"] == "user"]
    parts = [part for each in rest for part in (each if isinstance(each, list) else [each])]
    assert len(parts) == len(content) - len(results)
    assert found[: len(tools)] == tools


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "text", "role", "content"]), inner, max_size=3)
    ),
    max_leaves=6,
)
fields = ["model", "max_tokens", "messages", "system", "tools", "tool_choice", "thinking", "n"]


@given(st.dictionaries(st.sampled_from([*fields, "metadata", "output_config", "moa"]), values))
def test_any_json_is_a_request_or_refused(changes):
    with suppress(InvalidRequest):
        assert parsed(**changes).call.request.conversation.messages
