"""Advice that is given once a user turn and shown again in its tool turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.advice import Advice
from app.engine.parts import Parts
from app.engine.reference import Reference
from app.protocol.chat import ChatRequest, Conversation
from app.protocol.json_types import JsonObject
from app.record import RunRecord, Step
from app.store.memory import MemoryCache
from app.upstream.fake import FakeModel, Script
from tests.engine.graphs import Asked, build, run

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
CALL: JsonObject = {
    "id": "1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
}
USER: JsonObject = {"role": "user", "content": "Is it sunny in Rome?"}
CALLING: JsonObject = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT: JsonObject = {"role": "tool", "tool_call_id": "1", "content": "Sun."}
TURNS: list[list[JsonObject]] = [
    [USER],
    [USER, CALLING, RESULT],
    [USER, CALLING, RESULT, CALLING, RESULT],
]
LITE = {"layers": [{"proposers": ["a", "b"]}], "aggregator": "agg"}


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class House:
    """A graph of fakes that advises on tools, and its store."""

    def __init__(self, **changes: Any) -> None:
        self.clock = Hand()
        self.store = MemoryCache(self.clock)
        self.models = {name: FakeModel(name, f"From {name}.") for name in ("a", "b", "agg")}
        self.spec: Mapping[str, Any] = {**LITE, **changes}
        self.graph = build({"moa": self.spec}, self.models, parts=Parts(self.store))["moa"]

    def calls(self) -> list[int]:
        return [len(self.models[name].calls) for name in ("a", "b", "agg")]

    def seen(self) -> list[JsonObject]:
        """What the aggregator was asked last."""
        return list(self.models["agg"].calls[-1].messages)

    async def ask(
        self, messages: list[JsonObject], caller: str = "", *, stream: bool = False, **params: Any
    ) -> Asked:
        asked = Asked()
        asked.record.caller = caller
        params = {"tools": TOOLS, **params}
        request = ChatRequest(Conversation(tuple(messages)), params, stream)
        return await run(self.graph, request, asked)


@pytest.mark.parametrize("stream", [True, False])
async def test_tool_turns_ask_the_output_alone_and_show_it_the_advice_again(
    stream: bool,  # noqa: FBT001 - a case
) -> None:
    house = House()
    for turn in TURNS:
        last = await house.ask(turn, stream=stream)
    assert house.calls() == [1, 1, 3]
    assert house.seen()[:-1] == TURNS[2]
    shown = house.seen()[-1]
    assert shown["role"] == "user"
    assert "From a." in shown["content"]
    assert "From b." in shown["content"]
    assert last.notes("panel_skipped") == ["output"]
    reused = [note for note in last.record.notes if note.what == "advice_reused"]
    assert [(note.node, note.detail) for note in reused] == [("output", "2")]
    assert last.record.degraded == []


async def test_the_output_keeps_its_tools_in_every_turn() -> None:
    house = House()
    house.models["agg"].answers = Script("", tool_calls=(CALL,))
    for turn in TURNS:
        asked = await house.ask(turn)
        assert asked.answer.tool_calls() == [CALL]
    assert all(call.params["tools"] == TOOLS for call in house.models["agg"].calls)


async def test_the_advice_stands_in_fresh_fences() -> None:
    house = House()
    await house.ask(TURNS[0])
    first = house.seen()[-1]["content"]
    await house.ask(TURNS[1])
    second = house.seen()[-1]["content"]
    fences = [{line for line in text.splitlines() if line[:3] == "==="} for text in (first, second)]
    assert all(len(each) == 4 for each in fences)
    assert not fences[0] & fences[1]


async def test_without_advice_there_are_no_references() -> None:
    house = House()
    asked = await house.ask(TURNS[1])
    assert house.calls() == [0, 0, 1]
    assert house.seen() == TURNS[1]
    assert asked.notes("advice_reused") == []


async def test_the_next_user_turn_is_advised_on_anew() -> None:
    house = House()
    await house.ask(TURNS[0])
    longer = [*TURNS[1], {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "?"}]
    await house.ask(longer)
    assert house.calls() == [2, 2, 2]
    house.models["agg"].calls.clear()
    await house.ask([*longer, CALLING, RESULT])
    assert house.calls() == [2, 2, 1]
    assert "From a." in house.seen()[-1]["content"]


@pytest.mark.parametrize(
    "other",
    [
        [{"role": "user", "content": "Is it sunny in Bonn?"}, CALLING, RESULT],
        [{"role": "system", "content": "Be brief."}, USER, CALLING, RESULT],
        [{**USER, "name": "x"}, CALLING, RESULT],
        [CALLING, RESULT],
    ],
)
async def test_another_conversation_gets_none(other: list[JsonObject]) -> None:
    house = House()
    await house.ask(TURNS[0])
    await house.ask(other)
    assert house.seen() == other


async def test_another_caller_gets_none() -> None:
    house = House()
    await house.ask(TURNS[0], caller="one")
    await house.ask(TURNS[1], caller="two")
    assert house.seen() == TURNS[1]
    await house.ask(TURNS[1], caller="one")
    assert house.seen() != TURNS[1]


async def test_another_graph_gets_none() -> None:
    house = House()
    await house.ask(TURNS[0])
    house.graph = build({"other": house.spec}, house.models, parts=Parts(house.store))["other"]
    await house.ask(TURNS[1])
    assert house.seen() == TURNS[1]


async def test_the_order_of_a_messages_fields_is_no_difference() -> None:
    house = House()
    await house.ask(TURNS[0])
    turned = [dict(reversed(USER.items())), CALLING, RESULT]
    await house.ask(turned)
    assert "From a." in house.seen()[-1]["content"]


async def test_advice_lasts_from_its_last_use() -> None:
    house = House(advice_ttl="10s")
    await house.ask(TURNS[0])
    for moment in (9.0, 18.0):
        house.clock.now = moment
        await house.ask(TURNS[1])
        assert house.seen() != TURNS[1]
    house.clock.now = 28.0
    await house.ask(TURNS[1])
    assert house.seen() == TURNS[1]


async def test_advice_may_be_turned_off() -> None:
    house = House(advice_ttl=0)
    await house.ask(TURNS[0])
    await house.ask(TURNS[1])
    assert house.seen() == TURNS[1]
    assert len(house.store) == 0


async def test_where_tool_turns_are_advised_on_nothing_is_kept() -> None:
    house = House(tool_turns="always")
    await house.ask(TURNS[0])
    await house.ask(TURNS[1])
    assert house.calls() == [2, 2, 2]
    assert len(house.store) == 0


async def test_nothing_is_kept_for_a_request_without_tools() -> None:
    house = House()
    await house.ask(TURNS[0], tools=[])
    assert len(house.store) == 0


async def test_nothing_is_kept_where_nothing_was_shown() -> None:
    house = House(on_empty="answer")
    house.models["a"].answers = house.models["b"].answers = ""
    await house.ask(TURNS[0])
    assert len(house.store) == 0


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
references = st.builds(
    Reference,
    node=texts,
    sample=st.integers(0, 9),
    text=texts,
    cut=st.booleans(),
    refused=st.booleans(),
    role=st.sampled_from(["response", "critique", "analysis"]),
)


@given(st.lists(references, min_size=1, max_size=4))
async def test_what_was_kept_comes_back_as_it_was(given: list[Reference]) -> None:
    advice = Advice(MemoryCache(Hand()), "moa", 10)
    step = Step(RunRecord("r", "moa", lambda: 0.0), node="output")
    request = ChatRequest(Conversation((USER,)), {"tools": TOOLS})
    await advice.keep(request, step, given)
    later = replace(request, conversation=Conversation(tuple(TURNS[2])))
    assert await advice.recall(later, step) == tuple(given)
