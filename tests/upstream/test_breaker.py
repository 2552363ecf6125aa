from dataclasses import dataclass, field
from time import perf_counter

import anyio
import pytest

from app.errors import (
    DeadlineExceeded,
    MoaError,
    UpstreamBusy,
    UpstreamCircuitOpen,
    UpstreamConnectTimeout,
    UpstreamDenied,
    UpstreamEmpty,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from app.interfaces import Abilities, ChatModel
from app.protocol.chat import Batch, ChatRequest, Chunk, Conversation
from app.record import RunRecord, Step
from app.upstream.breaker import PROBE_SECONDS, Breaker, Breaking, Pass, State
from app.upstream.fake import FakeModel
from app.upstream.fake_script import Script
from app.upstream.spec_guards import BreakerSpec

SPEC = BreakerSpec(failures=3, share=0.5, window=10.0, rest=5.0, longest_rest=18.0)
REQUEST = ChatRequest(Conversation(({"role": "user", "content": "hi"},)), stream=True)
DOWN = UpstreamUnavailable("down")


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(SPEC, clock)


def enter(breaker: Breaker) -> Pass:
    leave = breaker.enter()
    assert leave is not None
    return leave


def fail(breaker: Breaker, times: int = 3) -> None:
    for _ in range(times):
        breaker.failed(enter(breaker))


def succeed(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.succeeded(enter(breaker))


def test_too_many_failures_open_it(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert breaker.state is State.CLOSED
    assert breaker.rest() == 0.0
    fail(breaker, 1)
    assert breaker.state is State.OPEN
    assert breaker.rest() == 5.0
    assert breaker.enter() is None


def test_failures_that_are_a_small_share_of_the_calls_do_not(breaker: Breaker) -> None:
    succeed(breaker, 10)
    fail(breaker, 9)
    assert breaker.state is State.CLOSED
    fail(breaker, 1)
    assert breaker.state is State.OPEN


def test_failures_of_long_ago_do_not_count(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 2)
    clock.now += 10
    fail(breaker, 2)
    assert breaker.state is State.CLOSED


def test_after_the_rest_one_probe_is_let_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 4.9
    assert breaker.enter() is None
    clock.now += 0.1
    assert breaker.state is State.HALF_OPEN
    assert breaker.rest() == 0.0
    probe = enter(breaker)
    assert breaker.is_probe(probe)
    assert breaker.state is State.HALF_OPEN
    assert breaker.rest() == PROBE_SECONDS
    assert breaker.enter() is None


def test_a_good_probe_closes_it_and_what_was_is_forgotten(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 5
    succeed(breaker, 1)
    assert breaker.state is State.CLOSED
    fail(breaker, 2)
    assert breaker.state is State.CLOSED
    fail(breaker, 1)
    assert breaker.rest() == 5.0


def test_each_probe_that_fails_doubles_the_rest_up_to_the_longest(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker)
    rests = []
    for _ in range(4):
        rests.append(breaker.rest())
        clock.now += rests[-1]
        fail(breaker, 1)
    assert rests == [5.0, 10.0, 18.0, 18.0]


def test_an_abandoned_probe_gives_its_place_back(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 5
    breaker.abandoned(enter(breaker))
    assert breaker.state is State.HALF_OPEN
    assert breaker.is_probe(enter(breaker))


def test_a_probe_is_handed_back_once(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 5
    first = enter(breaker)
    breaker.abandoned(first)
    enter(breaker)
    breaker.abandoned(first)
    breaker.succeeded(first)
    assert breaker.enter() is None


def test_a_probe_that_closed_it_has_no_say_any_more(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 5
    probe = enter(breaker)
    breaker.succeeded(probe)
    for _ in range(3):
        breaker.failed(probe)
    assert breaker.state is State.CLOSED


def test_calls_begun_before_it_opened_decide_nothing(breaker: Breaker, clock: Clock) -> None:
    late = [enter(breaker) for _ in range(3)]
    fail(breaker)
    breaker.succeeded(late[0])
    assert breaker.state is State.OPEN
    clock.now += 5
    enter(breaker)
    breaker.failed(late[1])
    breaker.abandoned(late[2])
    assert breaker.rest() == PROBE_SECONDS


@pytest.mark.parametrize(
    "error",
    [
        UpstreamUnavailable("x"),
        UpstreamTimeout("x"),
        UpstreamConnectTimeout("x"),
        UpstreamMalformed("x"),
        UpstreamDenied("x"),
    ],
)
def test_what_the_upstream_is_to_blame_for_counts(breaker: Breaker, error: MoaError) -> None:
    for _ in range(3):
        with pytest.raises(type(error)), breaker.guard("up"):
            raise error
    assert breaker.state is State.OPEN


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRateLimited("x"),
        UpstreamRejected("x", status=400),
        UpstreamBusy("x"),
        UpstreamEmpty("x"),
        DeadlineExceeded("x"),
        ConnectionResetError(),
        KeyboardInterrupt(),
    ],
)
def test_what_it_cannot_help_does_not(breaker: Breaker, clock: Clock, error: BaseException) -> None:
    def ends_so() -> None:
        with pytest.raises(type(error)), breaker.guard("up"):
            raise error

    for _ in range(10):
        ends_so()
    assert breaker.state is State.CLOSED
    fail(breaker)
    clock.now += 5
    ends_so()
    assert breaker.state is State.HALF_OPEN
    assert breaker.rest() == 0.0


def test_a_refused_call_is_told_when_to_come_back(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 2
    with pytest.raises(UpstreamCircuitOpen) as caught, breaker.guard("up"):
        pytest.fail("it was called")
    assert caught.value.retry_after == 3.0
    assert "'up'" in caught.value.message


@dataclass
class Asked:
    """A model behind a breaker, and what came out of it."""

    model: ChatModel
    batches: list[Batch] = field(default_factory=list)

    async def ask(self) -> None:
        step = Step(RunRecord("run", "m", perf_counter))
        await self.model.answer(REQUEST, step, self._keep)

    async def _keep(self, batch: Batch) -> None:
        self.batches.append(batch)


def test_it_is_the_model_it_wraps(breaker: Breaker) -> None:
    model: ChatModel = Breaking(FakeModel("pool", abilities=Abilities(context=7)), breaker, "up")
    assert (model.name, model.abilities) == ("pool", Abilities(context=7))


async def test_a_model_that_keeps_failing_is_left_alone_until_it_answers(
    breaker: Breaker, clock: Clock
) -> None:
    inner = FakeModel(answers=[DOWN, DOWN, DOWN, "well again"])
    asked = Asked(Breaking(inner, breaker, "up"))
    for _ in range(3):
        with pytest.raises(UpstreamUnavailable):
            await asked.ask()
    with pytest.raises(UpstreamCircuitOpen):
        await asked.ask()
    assert len(inner.calls) == 3
    clock.now += 5
    await asked.ask()
    assert breaker.state is State.CLOSED
    assert len(asked.batches) == inner.calls[-1].sent


async def test_a_cancelled_probe_leaves_its_place_to_the_next(
    breaker: Breaker, clock: Clock
) -> None:
    inner = FakeModel(answers=[Script(hang=True), "an answer"])
    asked = Asked(Breaking(inner, breaker, "up"))
    fail(breaker)
    clock.now += 5
    async with anyio.create_task_group() as group:
        group.start_soon(asked.ask)
        await inner.started()
        with pytest.raises(UpstreamCircuitOpen):
            await asked.ask()
        group.cancel_scope.cancel()
    await asked.ask()
    assert breaker.state is State.CLOSED


async def test_the_first_token_of_a_probe_is_proof_enough(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 5
    gate = anyio.Event()
    inner = FakeModel(answers=Script("one two three", after=1, gate=gate))
    asked = Asked(Breaking(inner, breaker, "up"))
    async with anyio.create_task_group() as group:
        group.start_soon(asked.ask)
        await inner.sent()
        assert breaker.state is State.CLOSED
        gate.set()
    assert len(asked.batches) == inner.calls[0].sent


async def test_a_role_alone_is_no_proof(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 5

    async def keep(batch: Batch) -> None:
        assert batch

    with breaker.guard("up") as call:
        role = Chunk(({"index": 0, "delta": {"role": "assistant", "content": ""}},))
        await call.watch(keep)([role])
        assert breaker.enter() is None


async def test_a_probe_cut_after_its_first_token_is_a_failure_like_any_other(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker)
    clock.now += 5
    cut = Script("one two three", after=1, error=UpstreamMalformed("cut"))
    with pytest.raises(UpstreamMalformed):
        await Asked(Breaking(FakeModel(answers=cut), breaker, "up")).ask()
    assert breaker.state is State.CLOSED
    fail(breaker, 2)
    assert breaker.state is State.OPEN
