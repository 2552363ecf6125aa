from time import perf_counter

import anyio
import pytest

from app.errors import DeadlineExceeded, UpstreamUnavailable
from app.interfaces import Abilities, ChatModel
from app.protocol.chat import Batch, ChatRequest, Conversation
from app.record import Caps, Outcome, RunRecord, Step
from app.upstream.deadline import Deadlined
from app.upstream.fake import FakeModel
from app.upstream.fake_script import Script

REQUEST = ChatRequest(Conversation(({"role": "user", "content": "hi"},)), stream=True)
HANGS = Script(hang=True)


def a_step(until: float | None = None) -> Step:
    return Step(RunRecord("run", "m", perf_counter), until=until)


async def drop(batch: Batch) -> None:
    assert batch


def test_it_is_the_model_it_wraps() -> None:
    inner = FakeModel("pool", abilities=Abilities(context=7))
    model: ChatModel = Deadlined(inner, 1.0)
    assert (model.name, model.abilities) == ("pool", Abilities(context=7))


async def test_an_answer_in_time_passes() -> None:
    batches: list[Batch] = []

    async def keep(batch: Batch) -> None:
        batches.append(batch)

    inner = FakeModel()
    await Deadlined(inner, 5.0).answer(REQUEST, a_step(), keep)
    assert len(batches) == inner.calls[0].sent


async def test_a_hanging_model_is_cancelled_and_the_client_told_not_to_try_again() -> None:
    inner = FakeModel(answers=HANGS)
    with anyio.fail_after(5), pytest.raises(DeadlineExceeded) as caught:
        await Deadlined(inner, 0.02).answer(REQUEST, a_step(), drop)
    assert caught.value.should_retry is False
    assert "0.02 seconds" in caught.value.message
    assert inner.calls[0].cancelled


async def test_an_error_in_time_stays_what_it_is() -> None:
    inner = FakeModel(answers=UpstreamUnavailable("gone"))
    with pytest.raises(UpstreamUnavailable):
        await Deadlined(inner, 5.0).answer(REQUEST, a_step(), drop)


async def test_a_caller_who_leaves_is_no_deadline() -> None:
    inner = FakeModel(answers=HANGS)
    async with anyio.create_task_group() as group:
        group.start_soon(Deadlined(inner, 60.0).answer, REQUEST, a_step(), drop)
        await inner.started()
        group.cancel_scope.cancel()
    assert inner.calls[0].outcome is Outcome.CANCELLED


async def test_the_deadline_is_handed_down() -> None:
    inner = FakeModel()
    await Deadlined(inner, 5.0).answer(REQUEST, a_step(), drop)
    assert 4.0 < inner.calls[0].step.time_left() <= 5.0


async def test_an_earlier_moment_stays() -> None:
    inner = FakeModel()
    step = a_step(until=perf_counter() + 1.0)
    step.run.caps = Caps(until=perf_counter() + 2.0)
    await Deadlined(inner, 5.0).answer(REQUEST, step, drop)
    assert inner.calls[0].step == step
