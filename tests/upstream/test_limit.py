import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.errors import UpstreamBusy, UpstreamUnavailable
from app.interfaces import Abilities, ChatModel
from app.protocol.chat import Batch, ChatRequest, Conversation
from app.record import RunRecord, Step
from app.upstream.fake import FakeModel
from app.upstream.fake_script import Script
from app.upstream.limit import Limited, Slots
from app.upstream.spec_guards import ConcurrencySpec

REQUEST = ChatRequest(Conversation(({"role": "user", "content": "hi"},)), stream=True)


def slots_for(limit: int, queue: int, patience: float = 10.0) -> Slots:
    return Slots(ConcurrencySpec(limit=limit, queue=queue, patience=patience))


async def test_a_free_place_is_taken_without_waiting_for_anything() -> None:
    slots = slots_for(1, 0)
    entering = slots.taken("up", math.inf).__aenter__()
    with pytest.raises(StopIteration):
        entering.send(None)
    assert slots.in_use == 1
    assert slots.is_full


async def test_with_all_places_and_the_queue_full_a_call_is_refused_at_once() -> None:
    slots = slots_for(1, 0)
    async with slots.taken("up", math.inf):
        with pytest.raises(UpstreamBusy) as caught:
            await slots.take("up", math.inf)
    assert caught.value.retry_after == 1.0
    assert "'up'" in caught.value.message
    assert slots.in_use == 0


async def test_a_call_that_fails_gives_its_place_back() -> None:
    slots = slots_for(1, 0)
    with pytest.raises(UpstreamUnavailable):
        async with slots.taken("up", math.inf):
            raise UpstreamUnavailable("down")
    assert slots.in_use == 0


async def test_a_call_out_of_patience_leaves_the_queue() -> None:
    slots = slots_for(1, 1, patience=0.01)
    async with slots.taken("up", math.inf):
        with pytest.raises(UpstreamBusy):
            await slots.take("up", math.inf)
        assert slots.waiting == 0
        assert slots.in_use == 1


async def test_nobody_waits_longer_than_the_answer_is_of_use() -> None:
    slots = slots_for(1, 1, patience=3600.0)
    async with slots.taken("up", math.inf):
        with anyio.fail_after(5), pytest.raises(UpstreamBusy):
            await slots.take("up", 0.01)
        with pytest.raises(UpstreamBusy):
            await slots.take("up", -1.0)


@dataclass
class Asked:
    """A model with slots before it."""

    model: ChatModel
    refused: list[UpstreamBusy] = field(default_factory=list)

    async def ask(self) -> None:
        try:
            await self.model.answer(REQUEST, Step(RunRecord("run", "m", perf_counter)), self._drop)
        except UpstreamBusy as error:
            self.refused.append(error)

    async def _drop(self, batch: Batch) -> None:
        assert batch


def test_it_is_the_model_it_wraps() -> None:
    inner = FakeModel("pool", abilities=Abilities(context=7))
    model: ChatModel = Limited(inner, slots_for(1, 0), "up")
    assert (model.name, model.abilities) == ("pool", Abilities(context=7))


async def test_a_model_is_never_asked_more_than_its_limit_at_once() -> None:
    inner = FakeModel()
    asked = Asked(Limited(inner, slots_for(3, 7), "up"))
    async with anyio.create_task_group() as group:
        for _ in range(14):
            group.start_soon(asked.ask)
    assert inner.max_active == 3
    assert len(inner.calls) == 10
    assert len(asked.refused) == 4


async def test_a_cancelled_call_makes_room_for_one_that_waits() -> None:
    inner = FakeModel(answers=[Script(hang=True), "an answer"])
    slots = slots_for(1, 1)
    asked = Asked(Limited(inner, slots, "up"))
    async with anyio.create_task_group() as outer:
        async with anyio.create_task_group() as group:
            group.start_soon(asked.ask)
            await inner.started()
            outer.start_soon(asked.ask)
            await anyio.wait_all_tasks_blocked()
            assert slots.waiting == 1
            group.cancel_scope.cancel()
        await inner.ended(2)
    assert slots.in_use == 0
    assert not asked.refused


class HandTurned(asyncio.SelectorEventLoop):
    """A loop whose time passes when a test says so."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Call:
    """A call at the slots; `scope` cancels it, `done` lets it go. Knows how far it came."""

    def __init__(self, index: int, patience: float) -> None:
        self.index, self.patience = index, patience
        self.scope, self.done = anyio.CancelScope(), anyio.Event()
        self.state = "begun"
        self.is_cancelled = False

    async def run(self, slots: Slots, entered: Callable[["Call"], None]) -> None:
        with self.scope:
            try:
                async with slots.taken("up", self.patience):
                    self.state = "inside"
                    entered(self)
                    await self.done.wait()
            except UpstreamBusy:
                self.state = "refused"
                return
            finally:
                self.state = "refused" if self.state == "refused" else "over"


class AnySlots(RuleBasedStateMachine):
    """Calls that come, wait, end, lose patience and are cancelled, many in one turn of the loop."""

    LIMIT, QUEUE = 2, 3

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=HandTurned)
        self.slots = slots_for(self.LIMIT, self.QUEUE, patience=10.0)
        self.calls: list[Call] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.entered: list[int] = []

    def teardown(self) -> None:
        for call in self.calls:
            call.done.set()
        self.settle()
        assert not self.slots.in_use
        assert not self.slots.waiting
        assert all(task.cancelled() or task.exception() is None for task in self.tasks)
        self.runner.close()

    @rule(patience=st.sampled_from([5.0, math.inf]))
    def one_comes(self, patience: float) -> None:
        async def come() -> None:
            call = Call(len(self.calls), patience)
            self.calls.append(call)
            task = asyncio.get_running_loop().create_task(call.run(self.slots, self.enter))
            self.tasks.append(task)

        self.runner.run(come())

    def enter(self, call: Call) -> None:
        self.entered.append(call.index)
        assert sum(call.state == "inside" for call in self.calls) <= self.LIMIT
        earlier = self.calls[: call.index]
        assert not any(self.waits(other) for other in earlier), "it jumped the queue"

    def waits(self, call: Call) -> bool:
        return call.state == "begun" and not call.is_cancelled

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def one_ends(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.calls), label="call").done.set()

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def one_is_cancelled(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.calls), label="call")
        call.is_cancelled = True

        async def cancel() -> None:
            call.scope.cancel()

        self.runner.run(cancel())

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def one_ends_as_another_is_cancelled_by_asyncio(self, data: st.DataObject) -> None:
        """Unlike a scope, a task's `cancel` strikes also who has just been given a place."""
        ended, cancelled = (data.draw(st.sampled_from(self.calls)) for _ in range(2))
        cancelled.is_cancelled = True

        async def end_and_cancel() -> None:
            ended.done.set()
            await asyncio.sleep(0)
            self.tasks[cancelled.index].cancel()

        self.runner.run(end_and_cancel())

    @rule(seconds=st.sampled_from([1.0, 4.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        loop = self.runner.get_loop()
        assert isinstance(loop, HandTurned)
        loop.now += seconds

    @rule()
    def all_settle(self) -> None:
        self.settle()
        inside = sum(call.state == "inside" for call in self.calls)
        waiting = sum(call.state == "begun" for call in self.calls)
        assert (self.slots.in_use, self.slots.waiting) == (inside, waiting)
        assert inside == self.LIMIT or not waiting, "a place is free and somebody waits"

    def settle(self) -> None:
        async def turn() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        self.runner.run(turn())

    @invariant()
    def the_limits_hold(self) -> None:
        assert self.slots.in_use <= self.LIMIT
        assert self.slots.waiting <= self.QUEUE
        is_full = self.slots.in_use == self.LIMIT and self.slots.waiting == self.QUEUE
        assert self.slots.is_full is is_full


AnySlots.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
test_calls_in_any_order = AnySlots.TestCase
