"""The fake model: what it plays, what it books, what it remembers."""

from __future__ import annotations

import time

import anyio
import pytest

from app.errors import UpstreamMalformed, UpstreamRateLimited
from app.protocol.chat import Batch, ChatRequest, Chunk, Conversation
from app.protocol.json_types import JsonObject
from app.protocol.usage import Usage
from app.record import Outcome, RunRecord, Step
from app.upstream.fake import FakeModel, Script

QUESTION = ChatRequest(Conversation(({"role": "user", "content": "Why?"},)), stream=True)
UNSTREAMED = ChatRequest(QUESTION.conversation, {"temperature": 0.5})


class Listener:
    def __init__(self) -> None:
        self.step = Step(RunRecord("run", "fake", time.perf_counter))
        self.chunks: list[Chunk] = []

    async def emit(self, batch: Batch) -> None:
        self.chunks.extend(batch)

    async def ask(self, model: FakeModel, request: ChatRequest = QUESTION) -> None:
        await model.answer(request, self.step, self.emit)

    @property
    def deltas(self) -> list[JsonObject]:
        return [choice["delta"] for chunk in self.chunks for choice in chunk.choices]

    @property
    def text(self) -> str:
        return "".join(str(delta.get("content") or "") for delta in self.deltas)


@pytest.fixture
def listener() -> Listener:
    return Listener()


async def test_text_streams_word_by_word_and_ends_with_reason_and_usage(listener: Listener) -> None:
    await listener.ask(FakeModel(answers="To be, or not"))
    assert [delta.get("content") for delta in listener.deltas] == [
        "To ",
        "be, ",
        "or ",
        "not",
        None,
    ]
    assert listener.deltas[0]["role"] == "assistant"
    assert listener.chunks[-2].choices[0]["finish_reason"] == "stop"
    assert listener.chunks[-1] == Chunk((), Usage(10, 5))


async def test_an_unstreamed_answer_is_one_chunk_with_message_reason_and_usage(
    listener: Listener,
) -> None:
    model = FakeModel(answers=Script("Yes.", reasoning="Hm."))
    await listener.ask(model, UNSTREAMED)
    [chunk] = listener.chunks
    message = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    assert chunk.choices == ({"index": 0, "delta": message, "finish_reason": "stop"},)
    assert chunk.usage == Usage(10, 5)


async def test_a_sequence_gives_one_answer_per_call_and_then_its_last(listener: Listener) -> None:
    model = FakeModel(answers=["one ", Script("two ")])
    for _ in range(3):
        await listener.ask(model)
    assert listener.text == "one two two "


async def test_a_function_answers_what_it_is_asked(listener: Listener) -> None:
    model = FakeModel(answers=lambda asked: f"You said {asked.conversation.messages[0]['content']}")
    await listener.ask(model)
    assert listener.text == "You said Why?"


async def test_it_remembers_every_request(listener: Listener) -> None:
    model = FakeModel()
    await listener.ask(model)
    await listener.ask(model, UNSTREAMED)
    assert [call.request.stream for call in model.calls] == [True, False]
    assert model.calls[0].messages == ({"role": "user", "content": "Why?"},)
    assert model.calls[1].params == {"temperature": 0.5}


async def test_a_finished_call_is_booked_with_times_usage_and_target(listener: Listener) -> None:
    await listener.ask(FakeModel("qwen"))
    [call] = listener.step.run.calls
    assert (call.outcome, call.usage, call.target.model) == (Outcome.OK, Usage(10, 5), "qwen")
    assert call.first_token is not None
    assert call.ended is not None
    assert call.started <= call.first_token <= call.ended


async def test_an_error_before_the_first_token_emits_and_bills_nothing(listener: Listener) -> None:
    model = FakeModel(answers=UpstreamRateLimited("busy", retry_after=3))
    with pytest.raises(UpstreamRateLimited):
        await listener.ask(model)
    [call] = listener.step.run.calls
    assert listener.chunks == []
    assert (call.outcome, call.error_kind) == (Outcome.FAILED, "upstream_rate_limited")
    assert (call.usage, call.first_token) == (None, None)


async def test_a_stream_cut_after_two_tokens_is_billed_by_estimate(listener: Listener) -> None:
    model = FakeModel(answers=Script("a b c d", after=2, error=UpstreamMalformed("cut")))
    with pytest.raises(UpstreamMalformed):
        await listener.ask(model)
    [call] = listener.step.run.calls
    assert listener.text == "a b "
    assert call.usage == Usage(QUESTION.conversation.tokens, 2, estimated=True)


async def test_an_unstreamed_answer_fails_whole_however_late_the_error(listener: Listener) -> None:
    model = FakeModel(answers=Script("a b", after=2, error=UpstreamMalformed("cut")))
    with pytest.raises(UpstreamMalformed):
        await listener.ask(model, UNSTREAMED)
    assert listener.chunks == []


async def test_an_error_that_is_not_ours_is_booked_as_a_bug(listener: Listener) -> None:
    with pytest.raises(ZeroDivisionError):
        await listener.ask(FakeModel(answers=ZeroDivisionError()))
    assert listener.step.run.calls[0].error_kind == "moa_internal"


async def test_a_hanging_call_is_booked_as_cancelled_when_its_caller_leaves(
    listener: Listener,
) -> None:
    model = FakeModel(answers=Script("a b c", after=1, hang=True))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.ask, model)
        await model.sent(1)
        tasks.cancel_scope.cancel()
    assert model.calls[0].cancelled
    assert model.active == 0
    assert listener.text == "a "
    assert listener.step.run.calls[0].outcome is Outcome.CANCELLED


@pytest.mark.parametrize("request_", [QUESTION, UNSTREAMED], ids=["streamed", "unstreamed"])
async def test_a_gate_holds_the_answer_until_it_opens(
    listener: Listener, request_: ChatRequest
) -> None:
    gate = anyio.Event()
    model = FakeModel(answers=Script("Open.", gate=gate))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.ask, model, request_)
        await model.started()
        await anyio.wait_all_tasks_blocked()
        assert listener.chunks == []
        gate.set()
        await model.ended()
    assert listener.text == "Open."


async def test_it_counts_how_many_calls_were_under_way_at_once(listener: Listener) -> None:
    gate = anyio.Event()
    model = FakeModel(answers=Script(gate=gate))
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(listener.ask, model)
        await model.started(3)
        gate.set()
    await listener.ask(model)
    assert (model.max_active, model.active) == (3, 0)


async def test_delays_pass_before_the_first_and_between_tokens(listener: Listener) -> None:
    model = FakeModel(answers=Script("a b c", first_token_delay=0.03, token_delay=0.01))
    for request in (QUESTION, UNSTREAMED):
        started = time.perf_counter()
        await listener.ask(model, request)
        assert time.perf_counter() - started >= 0.05


async def test_tool_calls_stream_as_name_once_and_argument_fragments(listener: Listener) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    await listener.ask(FakeModel(answers=Script("", tool_calls=(call,))))
    opening, *rest = (delta["tool_calls"][0] for delta in listener.deltas if "tool_calls" in delta)
    assert opening == {**call, "index": 0, "function": {"name": "add", "arguments": ""}}
    assert "".join(part["function"]["arguments"] for part in rest) == '{"a":1}'
    assert listener.chunks[-2].choices[0]["finish_reason"] == "tool_calls"


async def test_a_refusal_is_said_in_its_own_field(listener: Listener) -> None:
    await listener.ask(FakeModel(answers=Script("", refusal="No.")))
    assert listener.deltas[0] == {"role": "assistant", "refusal": "No."}


async def test_waiting_for_a_call_that_never_comes_times_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.upstream.fake.PATIENCE", 0.01)
    with pytest.raises(TimeoutError):
        await FakeModel().started()
