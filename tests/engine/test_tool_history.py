"""Tools told as text to nodes that only advise."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.tool_history import CONTINUE, LONGEST_TOLD, as_text, has_tool_history
from app.protocol.json_types import JsonObject
from app.protocol.tokens import estimate_text

QUESTION: JsonObject = {"role": "user", "content": "Weather?"}
GO_ON: JsonObject = {"role": "user", "content": CONTINUE}


def call(call_id: str = "1", name: str = "weather", arguments: str = "{}") -> JsonObject:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def calling(*calls: JsonObject, content: object = None) -> JsonObject:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(content: object, call_id: str = "1") -> JsonObject:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def told(*messages: JsonObject) -> str:
    """What the one retold message says."""
    found = as_text([QUESTION, *messages])
    assert [m["role"] for m in found] == ["user", "assistant", "user"]
    assert found[-1] == GO_ON
    return str(found[1]["content"])


def test_a_call_and_its_result_are_told_in_one_assistant_message() -> None:
    assert told(
        calling(call(arguments='{"city": "Rome"}'), content="Let me see."), result("Sun")
    ) == (
        'Let me see.\n[called the tool weather with {"city": "Rome"}]\n'
        "[result of the tool weather: Sun]"
    )


def test_parallel_calls_keep_their_results_apart_by_name() -> None:
    text = told(
        calling(call("a", "weather"), call("b", "time")), result("noon", "b"), result("sun", "a")
    )
    assert text.endswith("[result of the tool time: noon]\n[result of the tool weather: sun]")


def test_parallel_calls_in_messages_of_their_own_are_all_answered() -> None:
    text = told(calling(call("a")), calling(call("b", "time")), result("1", "a"), result("2", "b"))
    assert "[result of the tool weather: 1]" in text
    assert "[result of the tool time: 2]" in text


def test_a_legacy_function_call_is_told_like_a_tool() -> None:
    legacy = {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "f", "arguments": "1"},
    }
    text = told(legacy, {"role": "function", "name": "f", "content": "42"})
    assert text == "[called the tool f with 1]\n[result of the tool f: 42]"


def test_a_custom_tool_is_told_with_its_input() -> None:
    custom = {"id": "1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    assert told(calling(custom), result("a.txt")) == (
        "[called the tool sh with ls]\n[result of the tool sh: a.txt]"
    )


def test_a_result_in_parts_is_told_with_media_named() -> None:
    parts = [
        {"type": "text", "text": "One"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "text", "text": "Two"},
    ]
    assert told(calling(call()), result(parts)).endswith("weather: One\n[image]\nTwo]")


def test_long_results_and_arguments_keep_head_and_tail() -> None:
    long = "HEAD" + "x" * 9_000 + "TAIL"
    text = told(calling(call(arguments=long)), result(long))
    assert text.count("HEAD") == text.count("TAIL") == 2
    assert estimate_text(text) < 2 * LONGEST_TOLD + 40


def test_what_the_assistant_says_after_the_results_joins_the_same_message() -> None:
    found = as_text(
        [QUESTION, calling(call()), result("Sun"), {"role": "assistant", "content": "It is sunny."}]
    )
    assert [m["role"] for m in found] == ["user", "assistant"]
    assert found[1]["content"].endswith("[result of the tool weather: Sun]\nIt is sunny.")


def test_a_result_that_answers_no_call_is_not_sent() -> None:
    orphan = result("secret", "unknown")
    assert as_text([QUESTION, orphan]) == [QUESTION]
    assert "secret" not in told(calling(call()), orphan)
    late = as_text([QUESTION, calling(call()), QUESTION, result("secret")])
    assert "secret" not in str(late)


def test_where_nothing_but_orphans_is_left_the_node_is_still_asked_something() -> None:
    assert as_text([result("x")]) == [GO_ON]
    system = {"role": "system", "content": "S"}
    assert as_text([system, result("x")]) == [system, GO_ON]


@pytest.mark.parametrize(
    "end", [{"role": "user", "content": "Go on"}, {"role": "assistant", "content": "The answer"}]
)
def test_a_conversation_that_ends_without_tools_gets_no_prompt_to_go_on(end: JsonObject) -> None:
    found = as_text([QUESTION, calling(call()), result("Sun"), QUESTION, end])
    assert found[-1] == end


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "x", "tool_calls": None},
        {"role": "assistant", "content": "x", "tool_calls": []},
        {"role": "assistant", "content": "x", "function_call": None},
        QUESTION,
    ],
)
def test_messages_without_tools_are_no_tool_history(message: JsonObject) -> None:
    assert not has_tool_history([message])
    assert as_text([message]) == [message]


def test_a_refusal_beside_a_call_is_not_lost() -> None:
    assert told({**calling(call()), "refusal": "Not that."}).startswith("Not that.\n[called")


@pytest.mark.parametrize(
    "odd", [{}, {"id": None}, {"function": None}, {"function": {"name": None}}, {"custom": "x"}]
)
def test_a_broken_call_is_told_as_an_unknown_tool(odd: JsonObject) -> None:
    assert told(calling(odd)) == "[called the tool unknown with ]"


said = st.sampled_from(["", "Hm.", None])
calls = st.lists(
    st.builds(call, st.sampled_from(["1", "2"]), st.sampled_from(["f", "g"])),
    min_size=1,
    max_size=3,
)
rounds = st.builds(
    lambda made, content: [calling(*made, content=content), *(result("r", c["id"]) for c in made)],
    calls,
    said,
)
turns = st.lists(rounds, max_size=3).map(
    lambda steps: [QUESTION, *chain.from_iterable(steps), {"role": "assistant", "content": "Done."}]
)


@given(st.lists(turns, min_size=1, max_size=4), st.lists(rounds, max_size=2))
def test_turns_alternate_whatever_tools_did_between(
    whole: list[list[JsonObject]], last: list[list[JsonObject]]
) -> None:
    messages = [message for turn in whole for message in turn]
    messages += [QUESTION, *(message for step in last for message in step)]
    roles = [message["role"] for message in as_text(messages)]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


anything = st.one_of(
    st.just(QUESTION),
    st.builds(lambda made, content: calling(*made, content=content), calls, said),
    st.builds(
        result, st.sampled_from(["r", [], [{"type": "text", "text": "t"}]]), st.text(max_size=1)
    ),
    st.just({"role": "function", "name": "f", "content": None}),
    st.just({"role": "assistant", "content": [{"type": "text", "text": "t"}]}),
    st.just({"role": "system", "content": "S"}),
)


@given(st.lists(anything, min_size=1, max_size=12))
def test_no_trace_of_tools_is_left_for_a_template(messages: list[JsonObject]) -> None:
    found = as_text(messages)
    assert found
    assert not has_tool_history(found)
    assert all(set(m) <= {"role", "content"} for m in found)
    assert found.count(GO_ON) <= 1
    if has_tool_history([messages[-1]]):
        assert found[-1]["role"] == "user"
