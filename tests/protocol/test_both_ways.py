"""Streamed and whole answers carry the same: content, reasoning, refusals, tool calls, usage."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.answer import Answer
from app.protocol.chat import Chunk
from app.protocol.completion import ToolNumbers, chunk_from_completion, chunk_from_event
from app.protocol.stream import ChunkEncoder
from app.protocol.usage import parse_usage

texts = st.text(min_size=1, max_size=12)
calls = st.lists(
    st.fixed_dictionaries({"name": texts, "arguments": st.text(max_size=20)}), max_size=3
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "content": texts,
        "refusal": texts,
        "reasoning_content": texts,
        "reasoning": texts,
        "calls": calls,
    },
)
counts = st.integers(0, 10**6)
usages = st.fixed_dictionaries(
    {
        "prompt_tokens": counts,
        "completion_tokens": counts,
        "prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": counts}),
        "completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": counts}),
    }
)


def whole_message(said: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", **{k: v for k, v in said.items() if k != "calls"}}
    if said.get("calls"):
        message["tool_calls"] = [
            {"id": f"call-{n}", "type": "function", "function": function}
            for n, function in enumerate(said["calls"])
        ]
    return message


def pieces(draw: Any, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def deltas(draw: Any, said: dict[str, Any]) -> list[dict[str, Any]]:
    """The message in fragments: each field's in order, tool calls one after the other."""
    found: list[dict[str, Any]] = [{"role": "assistant"}]
    for name, text in said.items():
        if name != "calls":
            found += [{name: piece} for piece in pieces(draw, text)]
    for n, call in enumerate(said.get("calls", ())):
        opening = {"index": n, "id": f"call-{n}", "type": "function"}
        function = {"name": call["name"], "arguments": ""}
        found.append({"tool_calls": [{**opening, "function": function}]})
        for piece in pieces(draw, call["arguments"]):
            found.append({"tool_calls": [{"index": n, "function": {"arguments": piece}}]})
    return found


@st.composite
def answers(draw: Any) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """A whole completion, the events that stream it, and its reasons to end."""
    said = draw(st.lists(messages, min_size=1, max_size=3))
    reasons = [draw(st.sampled_from(["stop", "length", "tool_calls"])) for _ in said]
    usage = draw(usages)
    whole = {
        "choices": [
            {"index": n, "message": whole_message(each), "finish_reason": reason}
            for n, (each, reason) in enumerate(zip(said, reasons, strict=True))
        ],
        "usage": usage,
    }
    lanes = [
        [
            *({"index": n, "delta": each} for each in draw(deltas(one))),
            {"index": n, "delta": {}, "finish_reason": reasons[n]},
        ]
        for n, one in enumerate(said)
    ]
    events = []
    while any(lanes):
        lane = draw(st.sampled_from([each for each in lanes if each]))
        events.append({"choices": [lane.pop(0)]})
    return whole, [*events, {"choices": [], "usage": usage}], reasons


def received(events: bytes) -> Answer:
    """What a client puts together from our events."""
    answer, numbers = Answer(), ToolNumbers()
    for payload in events.split(b"\n\n"):
        if payload.startswith(b"data: {"):
            chunk = chunk_from_event(orjson.loads(payload[6:]), numbers)
            answer.add([chunk] if chunk else [])
    return answer


@given(answers(), st.booleans())
def test_what_is_streamed_is_what_is_said_whole(
    answer: tuple[dict[str, Any], list[dict[str, Any]], list[str]],
    include_usage: bool,  # noqa: FBT001 - a case
) -> None:
    completion, events, reasons = orjson.loads(orjson.dumps(answer))
    chunk = chunk_from_completion(completion)
    assert chunk is not None
    whole = Answer()
    whole.add([chunk])
    numbers, encoder = ToolNumbers(), ChunkEncoder("id", 1, "m", include_usage=include_usage)
    chunks: list[Chunk] = []
    for event in events:
        found = chunk_from_event(event, numbers)
        chunks += [found] if found else []
    usage = next(each.usage for each in chunks if each.usage)
    sent = b"".join(encoder.encode([each]) for each in chunks)
    heard = received(sent + encoder.finish(usage.to_wire()))

    assert heard.choices == whole.choices == len(reasons)
    for index, reason in enumerate(reasons):
        one, other = heard.message(index), whole.message(index)
        for call in (*one.get("tool_calls", ()), *other.get("tool_calls", ())):
            call.pop("index", None)
        assert one == other
        assert heard.finish_reason(index) == whole.finish_reason(index) == reason
    assert usage == chunk.usage == parse_usage(usage.to_wire())
    assert (heard.usage == usage) if include_usage else (heard.usage is None)
