"""Asking a judge: what it is shown, with which parameters, and what counts as its reply."""

from __future__ import annotations

from typing import Any

import pytest

from app.engine.graph import Turn
from app.engine.judging import JUDGE_TOKENS, ask_judge
from app.engine.reference import Reference
from app.engine.verdict import Reply
from app.errors import InvalidRequest, NodeSkipped, UpstreamUnavailable
from app.interfaces import Abilities
from app.protocol.chat import ChatRequest, Conversation
from app.protocol.json_types import JsonObject
from app.record import Degradation, RunRecord, Step
from app.upstream.fake import FakeModel, Script
from tests.engine.graphs import Ticks, build, question

SHOWN = (Reference("b", 0, "Beta."), Reference("a", 0, "Alpha."))


def turn(
    *models: FakeModel, request: ChatRequest | None = None, node: dict[str, Any] | None = None
) -> Turn:
    """A turn of an output selection whose model and fallbacks these are."""
    named = {model.name: model for model in models}
    first, *rest = named
    output = {"kind": "select", "model": first, "fallback": rest, **(node or {})}
    spec = {"layers": [{"proposers": [first]}], "output": output, "instruction": "Write."}
    graph = build({"g": spec}, named)["g"].graph
    step = Step(RunRecord("run", "g", Ticks(), seed=1), "g", 2, "output")
    return Turn(graph, graph.output, request or question(), (), step, "abc123")


async def ask(at: Turn) -> Reply:
    return await ask_judge(at, SHOWN, "Judge these.", "Say a number.")


async def test_the_references_stand_fenced_in_the_order_given_between_our_words() -> None:
    judge = FakeModel("j", "Best: 1")
    assert await ask(turn(judge)) == Reply("Best: 1")
    assert judge.calls[0].messages == (
        {"role": "user", "content": "What is a quorum?"},
        {
            "role": "user",
            "content": "Judge these.\n\n"
            "=== Response 1 [abc123] ===\nBeta.\n=== end of Response 1 [abc123] ===\n\n"
            "=== Response 2 [abc123] ===\nAlpha.\n=== end of Response 2 [abc123] ===\n\n"
            "Say a number.",
        },
    )


async def test_a_judge_gets_neither_the_callers_sampling_nor_tools() -> None:
    judge = FakeModel("j")
    tools: JsonObject = {"type": "function", "function": {"name": "f"}}
    request = question(
        temperature=2, frequency_penalty=2, tools=[tools], response_format={}, stop=["1"], user="u"
    )
    await ask(turn(judge, request=request))
    assert judge.calls[0].params == {"temperature": 0.0, "max_tokens": JUDGE_TOKENS}
    assert judge.calls[0].request.stream is False


async def test_tools_in_the_history_are_told_as_text() -> None:
    judge = FakeModel("j")
    messages: tuple[JsonObject, ...] = (
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "Sun"},
    )
    await ask(turn(judge, request=ChatRequest(Conversation(messages))))
    assert {message["role"] for message in judge.calls[0].messages} == {"user", "assistant"}
    assert all("tool_calls" not in message for message in judge.calls[0].messages)


@pytest.mark.parametrize(
    ("abilities", "cap"),
    [
        (Abilities(), JUDGE_TOKENS),
        (Abilities(max_output=100), 100),
        (Abilities(context=4000), 1000),
        (Abilities(context=4000, max_output=4000), 1000),
        (Abilities(context=100_000, max_output=100_000), JUDGE_TOKENS),
    ],
)
async def test_the_cap_of_a_judge_leaves_most_of_its_window_to_the_question(
    abilities: Abilities, cap: int
) -> None:
    judge = FakeModel("j", abilities=abilities)
    await ask(turn(judge))
    assert judge.calls[0].params["max_tokens"] == cap


async def test_thoughts_are_no_reply() -> None:
    judge = FakeModel("j", Script("<think>Best: 2</think>\nBest: 1", reasoning="Best: 3"))
    assert (await ask(turn(judge))).text.strip() == "Best: 1"


async def test_a_reply_that_was_cut_off_is_marked() -> None:
    judge = FakeModel("j", Script("Best: 1", finish_reason="length"))
    assert await ask(turn(judge)) == Reply("Best: 1", whole=False)


async def test_a_fallback_is_asked_the_same_in_the_same_order() -> None:
    down = FakeModel("j", UpstreamUnavailable("Down."))
    spare = FakeModel("k", "Best: 2")
    at = turn(down, spare)
    assert await ask(at) == Reply("Best: 2")
    assert down.calls[0].messages == spare.calls[0].messages
    assert at.step.run.degraded == [Degradation.FALLBACK]


async def test_the_error_of_the_first_model_comes_out_where_all_fail() -> None:
    with pytest.raises(UpstreamUnavailable, match="First"):
        await ask(turn(FakeModel("j", UpstreamUnavailable("First.")), FakeModel("k", NODE_ERROR)))


NODE_ERROR = UpstreamUnavailable("Second.")


async def test_a_judge_is_not_asked_without_the_references() -> None:
    judge = FakeModel("j", abilities=Abilities(context=120))
    with pytest.raises(NodeSkipped):
        await ask(turn(judge))
    assert judge.calls == []


async def test_a_judge_is_not_asked_without_the_conversation() -> None:
    judge = FakeModel("j", abilities=Abilities(context=120))
    with pytest.raises(InvalidRequest):
        await ask(turn(judge, request=question("word " * 1000)))
    assert judge.calls == []
