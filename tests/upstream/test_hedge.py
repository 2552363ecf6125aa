"""The race of two legs: who is asked when, who wins, and that nothing is left of the other."""

from __future__ import annotations

import anyio
import pytest

from app.errors import UpstreamMalformed, UpstreamRejected, UpstreamTimeout, UpstreamUnavailable
from app.interfaces import Emit
from app.protocol.chat import Batch, ChatRequest
from app.record import Caps, Note, Step
from app.upstream.fake import PATIENCE, Answer, FakeModel, Script
from app.upstream.hedge import Hedged
from app.upstream.pool import Member
from app.upstream.retry import Retrying
from app.upstream.spec_guards import BreakerSpec, HedgeSpec
from tests.upstream.pools import QUESTION, Asking, Setting, cut, down, in_order, seeded


class Waiting:
    """The wait before a hedge: it is over when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.begun = anyio.Event()
        self.over = anyio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        self.begun.set()
        await self.over.wait()


class Mute(FakeModel):
    """Ends at once and hands out nothing."""

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        pass


class Race:
    """A hedged pool of the given answers, whose members are known to take a second."""

    def __init__(self, *answers: Answer, retries: int = 0, known: int = 20) -> None:
        self.setting = Setting()
        self.waiting = Waiting()
        self.members = [
            self.setting.member(name, answer, breaker=BreakerSpec())
            for name, answer in zip("abc", answers, strict=False)
        ]
        for member in self.members:
            self.teach(member, known)
        pool = in_order(*self.members)
        retrying = Retrying(pool, retries=retries, rng=seeded(), sleep=self.setting.clock.sleep)
        self.hedged = Hedged(retrying, pool, HedgeSpec(), sleep=self.waiting)
        self.asking = Asking(self.setting.clock)

    @staticmethod
    def teach(member: Member, known: int) -> None:
        for _ in range(known):
            member.standing.vitals.answered(1.0, streamed=True)

    async def ask(self) -> None:
        await self.hedged.answer(QUESTION, self.asking.step, self.asking.emit)

    async def ask_late(self) -> None:
        """Ask, and let the wait be over at once."""
        self.waiting.over.set()
        with anyio.fail_after(PATIENCE):
            await self.ask()

    async def when_ended(self, name: str, gate: anyio.Event) -> None:
        """Open the gate when a call of this model is over."""
        await self.setting.models[name].ended()
        gate.set()

    async def first_only(self, gate: anyio.Event) -> None:
        """Ask, let the wait pass and see that only the first is asked."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.ask)
            await self.waiting.begun.wait()
            self.waiting.over.set()
            await anyio.wait_all_tasks_blocked()
            gate.set()
        assert (self.asking.text, self.asked) == ("A.", ["a"])

    @property
    def asked(self) -> list[str]:
        return [name for name, _ in self.asking.outcomes]

    def is_quiet(self) -> bool:
        return not any(member.standing.vitals.in_flight for member in self.members)


async def test_a_fast_answer_is_not_hedged() -> None:
    race = Race("A.", "B.")
    await race.ask()
    assert (race.asking.text, race.asking.outcomes) == ("A.", [("a", "ok")])
    assert race.asking.run.notes == []


async def test_a_slow_first_loses_is_cancelled_and_booked_once() -> None:
    race = Race(Script(hang=True), "B.")
    await race.ask_late()
    assert race.asking.text == "B."
    assert race.asking.outcomes == [("a", "cancelled"), ("b", "ok")]
    assert race.asking.run.notes == [Note("hedge", "n", "b")]
    assert race.asking.run.promised == 1
    assert race.is_quiet()


async def test_the_first_may_still_win_and_its_rival_is_cancelled() -> None:
    gate = anyio.Event()
    race = Race(Script("A.", gate=gate), Script(hang=True))
    race.waiting.over.set()
    async with anyio.create_task_group() as group:
        group.start_soon(race.ask)
        await race.setting.models["b"].started()
        gate.set()
    assert race.asking.text == "A."
    assert race.asking.outcomes == [("a", "ok"), ("b", "cancelled")]


async def test_no_token_of_the_loser_is_ever_mixed_in() -> None:
    gate = anyio.Event()
    race = Race(Script("a1 a2 a3", gate=gate), Script("b1 b2 b3", gate=gate))
    race.waiting.over.set()
    async with anyio.create_task_group() as group:
        group.start_soon(race.ask)
        await race.setting.models["b"].started()
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert race.asking.text in {"a1 a2 a3", "b1 b2 b3"}
    assert sorted(outcome for _, outcome in race.asking.outcomes) == ["cancelled", "ok"]


async def test_a_role_alone_wins_nothing() -> None:
    race = Race(Script(("", "never said"), after=1, hang=True), "B.")
    await race.ask_late()
    roles = [c["delta"].get("role") for k in race.asking.chunks for c in k.choices]
    assert (race.asking.text, roles.count("assistant")) == ("B.", 1)


async def test_the_wait_is_the_members_own_quantile_and_never_less_than_least() -> None:
    race = Race("A.", "B.")
    await race.ask()
    quick = Race("A.", "B.", known=0)
    for _ in range(20):
        quick.members[0].standing.vitals.answered(0.01, streamed=True)
    await quick.ask()
    assert (race.waiting.asked, quick.waiting.asked) == ([1.0], [0.2])


async def test_without_enough_samples_there_is_no_hedge() -> None:
    race = Race("A.", "B.", known=19)
    await race.ask()
    assert (race.asking.text, race.waiting.asked) == ("A.", [])


async def test_a_pool_of_one_has_nobody_to_hedge_with() -> None:
    race = Race("A.")
    await race.ask()
    assert (race.asking.text, race.waiting.asked) == ("A.", [])


async def test_both_failing_raises_the_first_legs_error_as_itself() -> None:
    gate = anyio.Event()
    race = Race(Script(gate=gate, error=UpstreamTimeout("silent")), UpstreamMalformed("html"))
    race.waiting.over.set()
    async with anyio.create_task_group() as group:
        group.start_soon(race.when_ended, "b", gate)
        with pytest.raises(UpstreamTimeout):
            await race.ask()
    assert race.asking.outcomes == [("a", "failed"), ("b", "failed")]
    assert (race.asking.chunks, race.is_quiet()) == ([], True)


async def test_the_second_answers_when_the_first_fails_later() -> None:
    fails, answers = anyio.Event(), anyio.Event()
    race = Race(Script(gate=fails, error=down()), Script("B.", gate=answers))
    race.waiting.over.set()
    async with anyio.create_task_group() as group:
        group.start_soon(race.ask)
        await race.setting.models["b"].started()
        fails.set()
        await race.setting.models["a"].ended()
        answers.set()
    assert (race.asking.text, race.asking.outcomes) == ("B.", [("a", "failed"), ("b", "ok")])


async def test_the_first_answers_when_its_rival_fails() -> None:
    gate = anyio.Event()
    race = Race(Script("A.", gate=gate), UpstreamRejected("no", status=400))
    race.waiting.over.set()
    async with anyio.create_task_group() as group:
        group.start_soon(race.when_ended, "b", gate)
        await race.ask()
    assert race.asking.text == "A."


async def test_a_first_that_fails_before_the_wait_is_over_is_not_hedged() -> None:
    race = Race(down(), "B.")
    with anyio.fail_after(PATIENCE), pytest.raises(UpstreamUnavailable):
        await race.ask()
    assert race.asking.outcomes == [("a", "failed")]


async def test_the_legs_retries_never_ask_the_member_of_the_other() -> None:
    fails = anyio.Event()
    race = Race(Script(gate=fails, error=down()), Script(hang=True), "C.", retries=1)
    race.waiting.over.set()
    async with anyio.create_task_group() as group:
        group.start_soon(race.ask)
        await race.setting.models["b"].started()
        fails.set()
    assert race.asking.text == "C."
    assert race.asking.outcomes == [("a", "failed"), ("b", "cancelled"), ("c", "ok")]
    assert [note.what for note in race.asking.run.notes] == ["hedge", "retry"]


@pytest.mark.parametrize("error", [down(), ZeroDivisionError()])
async def test_a_winner_that_breaks_off_raises_its_error_as_itself(error: Exception) -> None:
    race = Race(Script(hang=True), cut("B ", error))
    with pytest.raises(type(error)):
        await race.ask_late()
    assert race.asking.text == "B "
    assert race.asking.outcomes == [("a", "cancelled"), ("b", "failed")]


async def test_a_caller_that_fails_is_heard_as_itself_and_nothing_is_left() -> None:
    race = Race(Script(hang=True), "B.")
    race.waiting.over.set()

    async def emit(_batch: Batch) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await race.hedged.answer(QUESTION, race.asking.step, emit)
    assert race.asked == ["a", "b"]
    assert race.is_quiet()


async def test_a_whole_answer_that_says_nothing_ends_the_race() -> None:
    race = Race(Script(hang=True), Script((), usage=None))
    await race.ask_late()
    assert race.asking.outcomes == [("a", "cancelled"), ("b", "ok")]
    assert len(race.asking.chunks) == 1


async def test_an_answer_that_says_nothing_at_all_ends_it_too() -> None:
    race = Race(Script(hang=True), "B.")
    race.members[1].model = Mute("b")
    await race.ask_late()
    assert race.asking.outcomes == [("a", "cancelled")]
    assert race.asking.chunks == []


async def test_after_the_first_token_there_is_no_hedge() -> None:
    gate = anyio.Event()
    race = Race(Script("A B", after=1, gate=gate), "B.")
    async with anyio.create_task_group() as group:
        group.start_soon(race.ask)
        await race.setting.models["a"].sent()
        race.waiting.over.set()
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert (race.asking.text, race.asking.run.notes) == ("A B", [])


async def test_a_token_in_the_moment_of_the_hedge_spares_the_call() -> None:
    gate = anyio.Event()
    race = Race(Script("A.", gate=gate), "B.")
    async with anyio.create_task_group() as group:
        group.start_soon(race.ask)
        await race.waiting.begun.wait()
        await anyio.wait_all_tasks_blocked()
        race.waiting.over.set()
        gate.set()
    assert race.asking.outcomes == [("a", "ok")]


async def test_first_legs_count_for_the_budget_as_first_calls() -> None:
    race = Race("A.", "B.")
    for _ in range(100):
        await race.ask()
    budget = race.setting.budgets["up-a"]
    assert [budget.allows() for _ in range(11)] == [True] * 10 + [False]


async def test_without_budget_there_is_no_second_call() -> None:
    gate = anyio.Event()
    race = Race(Script("A.", gate=gate), "B.")
    while race.setting.budgets["up-b"].allows():
        pass
    await race.first_only(gate)


async def test_without_room_in_the_caps_there_is_no_second_call() -> None:
    gate = anyio.Event()
    race = Race(Script("A.", gate=gate), "B.")
    race.asking = Asking(race.setting.clock, Caps(max_calls=1))
    await race.first_only(gate)
    assert race.asking.run.promised == 0


async def test_a_rival_that_rests_is_not_asked() -> None:
    gate = anyio.Event()
    race = Race(Script("A.", gate=gate), "B.")
    race.members[1].standing.vitals.rest(9.0)
    await race.first_only(gate)


async def test_where_all_rest_the_retries_wait_for_the_soonest() -> None:
    race = Race("A.", "B.", retries=1)
    for seconds, member in enumerate(race.members, start=2):
        member.standing.vitals.rest(seconds)
    await race.ask()
    assert race.asking.text == "A."
    assert 2.0 <= sum(race.setting.clock.slept) <= 2.2


async def test_a_client_that_leaves_closes_both_legs() -> None:
    race = Race(Script(hang=True), Script(hang=True))
    race.waiting.over.set()
    async with anyio.create_task_group() as group:
        group.start_soon(race.ask)
        await race.setting.models["b"].started()
        group.cancel_scope.cancel()
    assert race.asking.outcomes == [("a", "cancelled"), ("b", "cancelled")]
    assert race.is_quiet()


async def test_a_client_that_leaves_before_the_hedge_ends_the_wait() -> None:
    race = Race(Script(hang=True), "B.")
    async with anyio.create_task_group() as group:
        group.start_soon(race.ask)
        await race.waiting.begun.wait()
        await race.setting.models["a"].started()
        group.cancel_scope.cancel()
    assert race.asking.outcomes == [("a", "cancelled")]


async def test_a_hedge_is_no_failure_of_the_loser() -> None:
    race = Race(Script(hang=True), "B.")
    await race.ask_late()
    assert all(member.refusal() is None for member in race.members)


async def test_a_loser_that_took_longer_than_usual_counts_as_slower() -> None:
    gate = anyio.Event()
    race = Race(Script(hang=True), Script("B.", gate=gate))
    race.waiting.over.set()
    async with anyio.create_task_group() as group:
        group.start_soon(race.ask)
        await race.setting.models["b"].started()
        race.setting.clock.now += 8.0
        gate.set()
    assert race.members[0].standing.vitals.latency > 2.0


def test_it_is_known_by_its_pool() -> None:
    race = Race("A.", "B.")
    assert (race.hedged.name, race.hedged.abilities.vision) == ("pool", True)
