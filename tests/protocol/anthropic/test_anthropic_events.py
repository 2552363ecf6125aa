"""Streams of messages, and that they say what whole messages say."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Overloaded
from app.protocol.answer import Answer
from app.protocol.anthropic.answer import Frame, message_object
from app.protocol.anthropic.events import MessageEvents
from app.protocol.chat import Chunk, text_chunk
from app.protocol.usage import Usage
from app.upstream.fake_script import Script

FRAME = Frame("msg_1", "m", stops=("END",), thinking=True)
USAGE = Usage(prompt=10, completion=5, cached=4, reasoning=2, cache_write=1).to_wire()


def stream(frame=FRAME):
    return MessageEvents(frame, input_tokens=7, request_id="req-1")


def events(raw: bytes) -> list[dict[str, Any]]:
    """The payloads, after checking that each event is named as its payload is."""
    if not raw:
        return []
    assert raw.endswith(b"\n\n")
    found = []
    for part in raw[:-2].split(b"\n\n"):
        name, data = part.split(b"\n")
        payload = orjson.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + payload["type"].encode()
        found.append(payload)
    return found


def message_of(found):
    """What a client makes of the events, holding them to the order Anthropic promises."""
    assert found[0]["type"] == "message_start"
    assert [each["type"] for each in found[-2:]] == ["message_delta", "message_stop"]
    message, blocks, arguments, open_ = dict(found[0]["message"]), [], {}, set()
    for each in found[1:-2]:
        kind = each["type"]
        if kind == "content_block_start":
            assert each["index"] == len(blocks)
            blocks.append(dict(each["content_block"]))
            open_.add(each["index"])
            continue
        assert each["index"] in open_
        if kind == "content_block_stop":
            open_.remove(each["index"])
            continue
        delta = each["delta"]
        if delta["type"] == "input_json_delta":
            arguments.setdefault(each["index"], []).append(delta["partial_json"])
        else:
            name = delta["type"].removesuffix("_delta")
            blocks[each["index"]][name] += delta[name]
    assert not open_
    for index, pieces in arguments.items():
        blocks[index]["input"] = orjson.loads("".join(pieces))
    last = found[-2]
    message |= {"content": blocks, **last["delta"], "usage": last["usage"]}
    return message | ({"moa": last["moa"]} if "moa" in last else {})


def streamed(batches, frame=FRAME, moa=None):
    coder = stream(frame)
    raw = b"".join(coder.encode(batch) for batch in batches) + coder.finish(USAGE, moa)
    return events(raw)


def whole(batches, frame=FRAME, moa=None):
    answer = Answer()
    for batch in batches:
        answer.add(batch)
    return message_object(frame, answer, USAGE, moa)


def fragment(index, arguments, **fields):
    function = {"arguments": arguments, **({"name": fields["name"]} if "name" in fields else {})}
    call = {"index": index, "function": function}
    if "id" in fields:
        call["id"] = fields["id"]
    return Chunk(({"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None},))


def test_a_text_is_one_block():
    found = streamed([[text_chunk("a"), text_chunk("b", finish_reason="stop")]])

    assert [(each["type"], each.get("index")) for each in found] == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert found[0]["message"]["usage"] == {"input_tokens": 7, "output_tokens": 0}
    assert found[-2]["usage"]["input_tokens"] == 5


def test_usage_tells_fresh_tokens_from_those_of_a_cache():
    usage = streamed([[text_chunk("a")]])[-2]["usage"]

    assert (usage["input_tokens"], usage["output_tokens"]) == (5, 5)
    assert (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (4, 1)
    assert usage["output_tokens_details"] == {"thinking_tokens": 2}


def test_each_piece_leaves_as_it_comes():
    coder = stream()

    for text in "abc":
        delta = events(coder.encode([text_chunk(text)]))[-1]["delta"]
        assert delta == {"type": "text_delta", "text": text}


def test_hidden_reasoning_makes_no_event():
    coder = stream(Frame("msg_1", "m"))

    assert coder.encode([text_chunk("hm", field="reasoning_content")]) == b""


def test_other_choices_are_not_told():
    assert stream().encode([text_chunk("a", index=1)]) == b""


def test_calls_one_after_the_other_are_closed_one_after_the_other():
    found = streamed(
        [
            [fragment(0, "", id="a", name="f")],
            [fragment(0, '{"x"')],
            [fragment(0, ":1}")],
            [fragment(1, "{}", id="b", name="g")],
        ]
    )

    assert [each["index"] for each in found if "index" in each] == [0, 0, 0, 0, 1, 1, 1]


def test_calls_that_are_mixed_keep_their_own_fragments():
    found = streamed(
        [
            [fragment(0, '{"x"', id="a", name="f"), fragment(1, '{"y"', id="b", name="g")],
            [fragment(0, ":1}"), fragment(1, ":2}")],
        ]
    )

    assert [block["input"] for block in message_of(found)["content"]] == [{"x": 1}, {"y": 2}]


def test_a_call_without_an_id_is_given_one_and_one_without_arguments_has_none():
    message = message_of(streamed([[fragment(0, "", name="f"), text_chunk("done")]]))

    assert message["content"][0] == {
        "type": "tool_use",
        "id": "toolu_1_0",
        "name": "f",
        "input": {},
    }
    assert message["content"][1]["text"] == "done"


def test_a_name_that_comes_late_is_waited_for():
    message = message_of(streamed([[fragment(0, '{"x"', id="a")], [fragment(0, ":1}", name="f")]]))

    assert message["content"] == [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]


def test_an_answer_that_says_nothing_is_an_empty_message():
    message = message_of(streamed([]))

    assert (message["content"], message["stop_reason"]) == ([], "end_turn")


def test_a_sign_of_life_begins_the_message_and_is_a_ping():
    coder = stream()

    first, second = events(coder.heartbeat("comment")), events(coder.heartbeat("delta"))

    assert [each["type"] for each in first + second] == ["message_start", "ping", "ping"]
    assert coder.heartbeat("off") == b""
    assert events(coder.encode([text_chunk("a")]))[0]["type"] == "content_block_start"


def test_a_failure_is_one_error_event_with_the_id_of_the_request():
    coder = stream()
    coder.encode([text_chunk("a")])

    assert events(coder.failure(Overloaded("full"))) == [
        {
            "type": "error",
            "error": {
                "type": "overloaded_error",
                "message": "full",
                "details": {"error_code": "overloaded"},
            },
            "request_id": "req-1",
        }
    ]


def test_a_line_end_in_the_text_does_not_end_the_event():
    found = streamed([[text_chunk("a\r\n\n\u2028b")]])

    assert found[2]["delta"]["text"] == "a\r\n\n\u2028b"


names = st.text("abc", min_size=1, max_size=3)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(st.fixed_dictionaries({}, optional={
    "content": json,
    "refusal": json,
    "reasoning": json,
    "tool_calls": st.lists(
        st.fixed_dictionaries({}, optional={
            "index": st.integers(0, 2),
            "function": json | st.fixed_dictionaries({}, optional={
                "name": st.sampled_from(["f", None]), "arguments": json,
            }),
        }),
        max_size=2,
    ),
}), max_size=4))  # fmt: skip
def test_whatever_an_upstream_says_the_events_are_in_order(deltas):
    batches = [[Chunk(({"index": 0, "delta": delta},))] for delta in deltas]
    found = streamed(batches)

    assert found[0]["type"] == "message_start"
    assert found[-1]["type"] == "message_stop"
    opened = [each["index"] for each in found if each["type"] == "content_block_start"]
    closed = [each["index"] for each in found if each["type"] == "content_block_stop"]
    assert opened == sorted(closed) == list(range(len(opened)))


arguments = st.dictionaries(st.text(max_size=3), st.integers(-9, 9) | st.text(), max_size=3)
calls = st.lists(
    st.builds(
        lambda name, given: {
            "type": "function",
            "function": {"name": name, "arguments": orjson.dumps(given).decode()},
        },
        names,
        arguments,
    ),
    max_size=3,
)
scripts = st.builds(
    Script,
    text=st.lists(st.text(), max_size=4).map(tuple),
    reasoning=st.text(),
    refusal=st.text(),
    tool_calls=calls.map(tuple),
    finish_reason=st.sampled_from([None, "stop", "length", "content_filter", "tool_calls"]),
)


@given(
    script=scripts,
    with_ids=st.booleans(),
    thinking=st.booleans(),
    moa=st.none() | st.just({"run_id": "r"}),
)
def test_a_streamed_message_is_the_whole_message(script, with_ids, thinking, moa):
    if with_ids:
        for number, call in enumerate(script.tool_calls):
            call["id"] = f"c{number}"
    frame = Frame("msg_1", "m", thinking=thinking)

    in_pieces, at_once = script.batches(stream=True), script.batches(stream=False)
    expected = whole(at_once, frame, moa)

    assert message_of(streamed(in_pieces, frame, moa)) == expected
    assert message_of(streamed(at_once, frame, moa)) == expected
    assert whole(in_pieces, frame, moa) == expected
