"""Several conversations in one request: numbered through, one record, one failure for all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import pytest

from app.errors import GraphFailed, UpstreamUnavailable
from app.interfaces import ChatModel
from app.protocol.chat import ChatRequest, Conversation
from app.record import Outcome
from app.serving.several import AT_ONCE, Several
from app.upstream.fake import Answer, FakeModel, Script
from tests.serving.served import Ear, House, chat


def conversations(*prompts: str) -> tuple[Conversation, ...]:
    return tuple(Conversation(({"role": "user", "content": each},)) for each in prompts)


def asked(request: ChatRequest) -> str:
    return str(request.conversation.messages[0]["content"])


def several(prompts: Sequence[str]) -> Any:
    def asking(served: Any) -> ChatModel:
        return Several(served.model, conversations(*prompts))

    return asking


@pytest.mark.parametrize("stream", [True, False])
async def test_each_conversation_is_answered_at_its_own_numbers(stream: bool) -> None:  # noqa: FBT001 - a case
    model = FakeModel("m", lambda request: f"to {asked(request)}")
    house = House({"m": model})
    run, ear = house.open(chat("m", stream=stream, n=2), asking=several("abc")), Ear()
    await run.execute(ear)
    assert [ear.answer.text(index) for index in (0, 2, 4)] == ["to a", "to b", "to c"]
    assert ear.answer.choices == 3
    assert len(run.record.calls) == 3
    assert run.usage()["total_tokens"] == 3 * 15
    assert house.ended == [run.record]


async def test_so_many_are_under_way_at_once_and_no_more() -> None:
    gate = anyio.Event()
    model = FakeModel("m", Script(gate=gate))
    run = House({"m": model}).open(chat("m"), asking=several("abcdef"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.execute, Ear())
        await model.started(AT_ONCE)
        await anyio.wait_all_tasks_blocked()
        assert model.active == AT_ONCE
        gate.set()
    assert (len(model.calls), model.max_active) == (6, AT_ONCE)


async def test_a_failure_ends_the_others_and_leaves_as_itself() -> None:
    def answer(request: ChatRequest) -> Answer:
        failure = UpstreamUnavailable("The upstream 'x' could not be reached.")
        return failure if asked(request) == "bad" else Script(hang=True)

    model = FakeModel("m", answer)
    run = House({"m": model}).open(chat("m"), asking=several(["good", "bad"]))
    with anyio.fail_after(5), pytest.raises(UpstreamUnavailable):
        await run.execute(Ear())
    assert [call.outcome for call in run.record.calls] == [Outcome.CANCELLED, Outcome.FAILED]


async def test_a_graph_answers_each_conversation_with_its_whole_panel() -> None:
    one, two = FakeModel("a", "Alpha."), FakeModel("b", "Beta.")
    graph = {"layers": [{"proposers": ["a"]}], "aggregator": "b"}
    house = House({"a": one, "b": two}, {"lite": graph})
    run, ear = house.open(chat("lite"), asking=several("xy")), Ear()
    await run.execute(ear)
    assert [ear.answer.text(index) for index in (0, 1)] == ["Beta.", "Beta."]
    assert (len(one.calls), len(two.calls)) == (2, 2)


async def test_a_graphs_failure_is_the_requests() -> None:
    broken = FakeModel("a", UpstreamUnavailable("down"))
    graph = {"layers": [{"proposers": ["a"]}], "aggregator": "b"}
    house = House({"a": broken, "b": FakeModel("b")}, {"lite": graph})
    with pytest.raises(GraphFailed):
        await house.open(chat("lite"), asking=several("xy")).execute(Ear())


async def test_no_two_speak_at_once() -> None:
    model = FakeModel("m", Script("one two three"))
    speaking = 0

    async def emit(_: object) -> None:
        nonlocal speaking
        speaking += 1
        assert speaking == 1
        await anyio.lowlevel.checkpoint()
        speaking -= 1

    run = House({"m": model}).open(chat("m", stream=True), asking=several("abcd"))
    await partial(run.execute, emit)()
