"""The typed events of a streamed response, and that they come to what is not streamed."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from app.errors import (
    GraphFailed,
    InvalidRequest,
    NodeFailure,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from app.protocol.answer import Answer
from app.protocol.chat import Chunk
from app.protocol.responses.events import ResponseEvents
from app.protocol.responses.output import Head, whole_response
from app.protocol.responses.request import parse_response_call
from app.protocol.usage import Usage

REPEATED = parse_response_call(b'{"model": "m", "input": "Hi"}').repeated
HEAD = Head("0" * 24, 1_700_000_000, "m", REPEATED)
USAGE = {**Usage(10, 5, cached=3, reasoning=2).to_wire(), "cost": 0.5}
EVENT = TypeAdapter(ResponseStreamEvent)


def chunk(delta, finish=None, **fields):
    return Chunk(({"index": 0, "delta": delta, "finish_reason": finish, **fields},))


def fragment(index, arguments, **fields):
    function = {"arguments": arguments}
    if "name" in fields:
        function["name"] = fields.pop("name")
    return chunk({"tool_calls": [{"index": index, "function": function, **fields}]})


def events_in(raw):
    found = []
    for block in raw.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        event = orjson.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def streamed(chunks, moa=None):
    events = ResponseEvents(HEAD)
    raw = b"".join(events.encode([each]) for each in chunks)
    return events_in(raw + events.finish(USAGE, moa))


def whole(chunks, moa=None):
    answer = Answer()
    answer.add(chunks)
    return whole_response(HEAD, answer, USAGE, moa)


def kinds(events):
    return [event["type"].removeprefix("response.") for event in events]


def put_together(events):
    """The output by added items and deltas alone."""
    items = {}
    for event in events:
        kind, index = event["type"], event.get("output_index")
        if kind == "response.output_item.added":
            items[index] = orjson.loads(orjson.dumps(event["item"]))
        elif kind == "response.content_part.added":
            assert len(items[index]["content"]) == event["content_index"]
            items[index]["content"].append(dict(event["part"]))
        elif kind == "response.output_text.delta":
            part = items[index]["content"][event["content_index"]]
            part["text"] += event["delta"]
            part["logprobs"] = part["logprobs"] + event["logprobs"]
        elif kind == "response.refusal.delta":
            items[index]["content"][event["content_index"]]["refusal"] += event["delta"]
        elif kind == "response.function_call_arguments.delta":
            items[index]["arguments"] += event["delta"]
        elif kind == "response.reasoning_summary_part.added":
            items[index]["summary"].append(dict(event["part"]))
        elif kind == "response.reasoning_summary_text.delta":
            items[index]["summary"][event["summary_index"]]["text"] += event["delta"]
    done = {e["output_index"]: e["item"] for e in events if e["type"].endswith("output_item.done")}
    return [{**items[index], "status": done[index]["status"]} for index in sorted(items)], done


def test_a_text_is_told_in_openais_order():
    events = streamed([chunk({"role": "assistant"}), chunk({"content": "Hi"}), chunk({}, "stop")])
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(9))


def test_thoughts_and_calls_are_told_in_openais_order():
    events = streamed(
        [
            chunk({"reasoning_content": "Hm."}),
            fragment(0, "", id="c1", name="add"),
            fragment(0, "{}"),
            fragment(1, "{}", id="c2", name="sub"),
            chunk({}, "tool_calls"),
        ]
    )
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]


def test_a_refusal_is_a_part_of_its_own():
    events = streamed([chunk({"content": "Well. "}), chunk({"refusal": "No."}), chunk({}, "stop")])
    (item,) = events[-1]["response"]["output"]
    assert [part["type"] for part in item["content"]] == ["output_text", "refusal"]
    assert "refusal.done" in kinds(events)


def test_calls_whose_fragments_alternate_stay_open():
    events = streamed(
        [
            fragment(0, '{"a":', id="c1", name="add"),
            fragment(1, '{"b":', id="c2", name="sub"),
            fragment(0, "1}"),
            fragment(1, "2}"),
            chunk({}, "tool_calls"),
        ]
    )
    output = events[-1]["response"]["output"]
    assert [item["arguments"] for item in output] == ['{"a":1}', '{"b":2}']
    assert put_together(events)[0] == output


def test_a_call_begins_when_its_name_is_known():
    events = streamed([fragment(0, "", id="c1"), fragment(0, "{}", name="add"), chunk({}, "stop")])
    (item,) = events[-1]["response"]["output"]
    assert (item["call_id"], item["name"], item["arguments"]) == ("c1", "add", "{}")


def test_whole_messages_with_unnumbered_calls_are_understood():
    calls = [
        {"id": call_id, "function": {"name": "add", "arguments": "{}"}} for call_id in ("a", "b")
    ]
    events = streamed([chunk({"content": "Hm.", "tool_calls": calls}, "tool_calls")])
    kinds_of_items = [item["type"] for item in events[-1]["response"]["output"]]
    assert kinds_of_items == ["message", "function_call", "function_call"]


def test_a_call_without_an_id_gets_one():
    (item,) = streamed([fragment(0, "{}", name="add")])[-1]["response"]["output"]
    assert item["call_id"].startswith("call_")


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_is_incomplete(finish, reason):
    chunks = [chunk({"reasoning_content": "Hm."}), chunk({"content": "Hi"}), chunk({}, finish)]
    last = streamed(chunks)[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["status"] == "incomplete"
    assert last["response"]["incomplete_details"] == {"reason": reason}
    assert [item["status"] for item in last["response"]["output"]] == ["completed", "incomplete"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamTimeout("too slow"), "server_error"),
        (UpstreamRateLimited("too fast"), "rate_limit_exceeded"),
        (InvalidRequest("wrong", param="input"), "invalid_prompt"),
    ],
)
def test_a_failure_ends_the_stream_with_what_there_is(error, code):
    events = ResponseEvents(HEAD)
    raw = events.encode([chunk({"content": "Hi"})]) + events.failure(error)
    last = events_in(raw)[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert (last["response"]["error"]["code"], last["response"]["error"]["message"]) == (
        code,
        error.message,
    )
    assert last["response"]["output"][0]["content"][0]["text"] == "Hi"


def test_a_failed_graph_says_why_node_by_node():
    error = GraphFailed("all failed", failures=(NodeFailure("a", UpstreamTimeout("too slow")),))
    (*_, last) = events_in(ResponseEvents(HEAD).failure(error))
    assert last["response"]["error"]["nodes"][0]["node"] == "a"


def test_the_first_sign_of_life_tells_the_id_and_later_ones_are_comments():
    events = ResponseEvents(HEAD)
    first, second = events.heartbeat("comment"), events.heartbeat("comment")
    assert kinds(events_in(first)) == ["created", "in_progress"]
    assert second.startswith(b":")
    (event, *_) = events_in(events.encode([chunk({"content": "Hi"})]))
    assert event["type"] == "response.output_item.added"


def test_a_delta_heartbeat_is_an_event_any_client_knows():
    events = ResponseEvents(HEAD)
    events.encode([chunk({"content": "Hi"})])
    assert kinds(events_in(events.heartbeat("delta"))) == ["in_progress"]
    assert events.heartbeat("off") == b""


def test_the_first_choice_is_the_answer():
    both = Chunk(tuple({"index": n, "delta": {"content": f"{n}"}} for n in range(2)))
    (item,) = streamed([both])[-1]["response"]["output"]
    assert item["content"][0]["text"] == "0"


def test_usage_has_the_names_of_responses():
    usage = whole([chunk({"content": "Hi"}, "stop")])["usage"]
    assert usage == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
        "cost": 0.5,
    }


def test_the_upstreams_service_tier_and_our_extension_are_told():
    chunks = [Chunk((), None, {"service_tier": "flex"}), chunk({"content": "Hi"}, "stop")]
    for response in (
        whole(chunks, {"run_id": "r"}),
        streamed(chunks, {"run_id": "r"})[-1]["response"],
    ):
        assert response["service_tier"] == "flex"
        assert response["moa"] == {"run_id": "r"}


LOGPROB = st.fixed_dictionaries(
    {
        "token": st.text(max_size=3),
        "logprob": st.floats(-9, 0),
        "bytes": st.none() | st.lists(st.integers(0, 255), max_size=2),
        "top_logprobs": st.just([]),
    }
)
TEXT = st.text(min_size=1, max_size=5)
CALLS = st.lists(
    st.tuples(st.uuids().map(str), TEXT, st.dictionaries(TEXT, st.integers(0, 9), max_size=2)),
    max_size=3,
    unique_by=lambda call: call[0],
)


@st.composite
def answers(draw, thought_in=("reasoning_content", "reasoning")):
    """The chunks of a stream as OpenAI's: thoughts, text, refusal, calls, the end."""
    thoughts = draw(st.lists(TEXT, max_size=3))
    chunks = [chunk({"role": "assistant", "content": ""})]
    name = draw(st.sampled_from(thought_in))
    chunks += [chunk({name: text}) for text in thoughts]
    for text in draw(st.lists(TEXT, max_size=4)):
        logprobs = draw(st.none() | st.lists(LOGPROB, max_size=2))
        more = {} if logprobs is None else {"logprobs": {"content": logprobs}}
        chunks.append(chunk({"content": text}, **more))
    chunks += [chunk({"refusal": text}) for text in draw(st.lists(TEXT, max_size=2))]
    for index, (call_id, called, arguments) in enumerate(draw(CALLS)):
        written = orjson.dumps(arguments).decode()
        cut = draw(st.integers(0, len(written)))
        chunks.append(fragment(index, written[:cut], id=call_id, name=called))
        chunks.append(fragment(index, written[cut:]))
    chunks.append(chunk({}, draw(st.sampled_from(["stop", "length", "tool_calls"]))))
    return chunks


@given(answers())
def test_events_put_together_are_the_unstreamed_response(chunks):
    events = streamed(chunks)
    output, done = put_together(events)

    response = events[-1]["response"]
    assert response == whole(chunks)
    assert output == response["output"]
    assert [done[index] for index in sorted(done)] == response["output"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@given(answers())
def test_the_sdk_puts_every_stream_together(chunks):
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in streamed(chunks):
        state.handle_event(EVENT.validate_python(event, strict=False))

    done = state._completed_response
    if chunks[-1].choices[0]["finish_reason"] != "length":
        assert done.to_dict(exclude_none=False)["status"] == "completed"
        assert [item.type for item in done.output] == [
            item["type"] for item in whole(chunks)["output"]
        ]


@given(answers())
def test_every_event_and_response_is_of_the_sdks_type(chunks):
    for event in streamed(chunks):
        EVENT.validate_python(event)
    Response.model_validate(whole(chunks))


@given(st.lists(answers(["reasoning"]), min_size=2, max_size=3), st.randoms(use_true_random=False))
def test_no_order_of_deltas_loses_anything(several, random):
    chunks = [each for answer in several for each in answer]
    random.shuffle(chunks)
    texts = [c for c in chunks if "tool_calls" not in c.choices[0]["delta"]]
    events = streamed(texts)
    output, _ = put_together(events)

    assert output == events[-1]["response"]["output"]
    assert said(output) == said(whole(texts)["output"])


def said(output):
    texts = {"output_text": "", "refusal": "", "summary_text": ""}
    for item in output:
        for part in (*item.get("content", ()), *item.get("summary", ())):
            texts[part["type"]] += part.get("text", part.get("refusal"))
    return texts
