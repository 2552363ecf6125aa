"""Other pools in turn, as long as nothing was said."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from app.errors import (
    DeadlineExceeded,
    UpstreamCircuitOpen,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamUnavailable,
)
from app.interfaces import Abilities, Emit
from app.protocol.chat import ChatRequest
from app.record import Caps, Degradation, Note, Step
from app.upstream.fake import Answer, FakeModel, Script
from app.upstream.fallback import FallingBack
from tests.upstream.pools import QUESTION, Asking, Clock, cut, down, role_then

EMPTY = Script(())


def models(*answers: Answer) -> list[FakeModel]:
    return [FakeModel(name, answer) for name, answer in zip("abc", answers, strict=False)]


class LeftAlone(FakeModel):
    """Never makes its call."""

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:  # noqa: ARG002 - no call
        raise UpstreamCircuitOpen("left alone")


async def ask(
    pools: Sequence[FakeModel], caps: Caps | None = None, until: float | None = None
) -> Asking:
    asking = Asking(Clock(), caps, until)
    try:
        await FallingBack(pools).answer(QUESTION, asking.step, asking.emit)
    finally:
        assert all(model.active == 0 for model in pools)
    return asking


async def test_the_first_answers_as_long_as_it_can() -> None:
    asking = await ask(models("A.", "B."))
    assert (asking.text, asking.outcomes) == ("A.", [("a", "ok")])
    assert (asking.run.notes, asking.run.degraded, asking.run.promised) == ([], [], 0)


@pytest.mark.parametrize(
    "answer",
    [
        down(),
        UpstreamRejected("too long", status=400),
        DeadlineExceeded("late"),
        role_then(down()),
        EMPTY,
    ],
)
async def test_the_next_answers_where_nothing_was_said_and_it_is_declared(answer: Answer) -> None:
    asking = await ask(models(answer, "B."))
    roles = [c["delta"].get("role") for k in asking.chunks for c in k.choices]
    assert (asking.text, roles.count("assistant")) == ("B.", 1)
    assert asking.run.notes == [Note("fallback", "n", "b")]
    assert asking.run.degraded == [Degradation.FALLBACK]
    assert asking.run.promised == 1


async def test_nothing_falls_back_after_the_first_token() -> None:
    pools = models(cut("A ", down()), "B.")
    with pytest.raises(UpstreamUnavailable):
        await ask(pools)
    assert pools[1].calls == []


async def test_the_first_error_is_raised_when_all_fail() -> None:
    with pytest.raises(UpstreamMalformed):
        await ask(models(UpstreamMalformed("html"), down(), UpstreamRejected("no", status=400)))


async def test_an_empty_answer_is_given_when_there_is_no_other() -> None:
    asking = await ask(models(down(), EMPTY))
    assert [c["finish_reason"] for k in asking.chunks for c in k.choices] == ["stop"]
    assert asking.run.degraded == [Degradation.FALLBACK]


async def test_no_fallback_begins_when_the_time_is_over() -> None:
    pools = models(down(), "B.")
    with pytest.raises(UpstreamUnavailable):
        await ask(pools, until=Clock().now)
    assert pools[1].calls == []


async def test_no_fallback_begins_without_room_for_its_call() -> None:
    pools = models(down(), "B.")
    with pytest.raises(UpstreamUnavailable):
        await ask(pools, Caps(max_calls=1))
    assert pools[1].calls == []


async def test_a_call_that_was_never_made_leaves_its_room_to_the_fallback() -> None:
    asking = Asking(Clock(), Caps(max_calls=1))
    asking.run.promised = 1
    pools = [LeftAlone("a"), FakeModel("b", "B.")]
    await FallingBack(pools).answer(QUESTION, asking.step, asking.emit)
    assert (asking.text, asking.run.promised) == ("B.", 1)
    assert asking.run.degraded == [Degradation.FALLBACK]


async def test_a_bug_is_not_fallen_back_from() -> None:
    with pytest.raises(ZeroDivisionError):
        await ask(models(ZeroDivisionError(), "B."))


async def test_a_client_that_leaves_ends_it() -> None:
    pools = models(down(), Script(hang=True), "C.")
    asking = Asking(Clock())
    async with anyio.create_task_group() as group:
        group.start_soon(FallingBack(pools).answer, QUESTION, asking.step, asking.emit)
        await pools[1].started()
        group.cancel_scope.cancel()
    assert asking.outcomes == [("a", "failed"), ("b", "cancelled")]


def test_it_is_known_as_the_first() -> None:
    first, other = FakeModel("a", abilities=Abilities(context=9)), FakeModel("b")
    falling = FallingBack([first, other])
    assert (falling.name, falling.abilities) == ("a", Abilities(context=9))
