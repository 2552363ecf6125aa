"""What is asked again after a failure, where, when, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import anyio
import pytest

from app.errors import (
    InternalError,
    UpstreamBusy,
    UpstreamCircuitOpen,
    UpstreamConnectTimeout,
    UpstreamDenied,
    UpstreamEmpty,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from app.protocol.json_types import JsonObject
from app.record import Caps, Note, Outcome, Step, Target
from app.upstream.embeddings import EmbeddingsCall
from app.upstream.fake import Script
from app.upstream.pool import Member, Pool
from app.upstream.retry import FIRST_WAIT, LONGEST_WAIT, Helps, Retrying, helps
from app.upstream.spec_guards import BreakerSpec, ConcurrencySpec
from tests.upstream.pools import (
    QUESTION,
    UNSTREAMED,
    Asking,
    Setting,
    cut,
    down,
    in_order,
    limited,
    role_then,
    seeded,
)


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def ask(retrying: Retrying, asking: Asking) -> None:
    await retrying.answer(QUESTION, asking.step, asking.emit)


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (UpstreamRejected("no", status=400), Helps.NOWHERE),
        (UpstreamDenied("no"), Helps.ELSEWHERE),
        (UpstreamTimeout("silent"), Helps.ELSEWHERE),
        (UpstreamBusy("full"), Helps.ELSEWHERE),
        (UpstreamCircuitOpen("open"), Helps.ELSEWHERE),
        (UpstreamEmpty("nothing"), Helps.ELSEWHERE),
        (down(), Helps.ANYWHERE),
        (UpstreamUnavailable("404", should_retry=False), Helps.ELSEWHERE),
        (UpstreamConnectTimeout("slow"), Helps.ANYWHERE),
        (UpstreamMalformed("html"), Helps.ANYWHERE),
        (limited(), Helps.ANYWHERE),
        (UpstreamRateLimited("no quota", should_retry=False), Helps.ELSEWHERE),
    ],
)
def test_each_error_says_where_asking_again_helps(error: UpstreamError, where: Helps) -> None:
    assert helps(error) is where


async def test_a_good_answer_takes_one_call_and_no_extra(setting: Setting) -> None:
    asking = Asking(setting.clock)
    await ask(setting.retrying(setting.member("a"), setting.member("b")), asking)
    assert asking.text == "Yes."
    assert asking.outcomes == [("a", "ok")]
    assert (asking.run.notes, asking.run.promised, setting.clock.slept) == ([], 0, [])


async def test_a_failure_goes_to_another_member_at_once(setting: Setting) -> None:
    asking = Asking(setting.clock)
    await ask(setting.retrying(setting.member("a", down()), setting.member("b")), asking)
    assert asking.outcomes == [("a", "failed"), ("b", "ok")]
    assert setting.clock.slept == []
    assert asking.run.notes == [Note("retry", "n", "1")]
    assert asking.run.promised == 1


async def test_a_429_goes_to_another_member_at_once_and_the_first_is_left_alone(
    setting: Setting,
) -> None:
    a, b = setting.member("a", limited(retry_after=20.0)), setting.member("b")
    retrying = setting.retrying(a, b)
    for _ in range(3):
        await ask(retrying, Asking(setting.clock))
    assert setting.clock.slept == []
    assert setting.asked() == {"a": 1, "b": 3}


async def test_the_same_one_is_asked_again_after_growing_random_waits() -> None:
    waits = []
    for seed in range(40):
        each = Setting()
        member = each.member("a", [down(), down(), "Yes."])
        asking = Asking(each.clock)
        await ask(each.retrying(member, seed=seed), asking)
        assert asking.outcomes == [("a", "failed"), ("a", "failed"), ("a", "ok")]
        waits.append(each.clock.slept)
    first, second = zip(*waits, strict=True)
    assert 0.0 <= min(first) < 0.1 * FIRST_WAIT
    assert 0.9 * FIRST_WAIT < max(first) <= FIRST_WAIT
    assert 1.6 * FIRST_WAIT < max(second) <= 2 * FIRST_WAIT


async def test_other_members_come_before_any_wait(setting: Setting) -> None:
    members = [setting.member("a", [down(), "Yes."]), setting.member("b", down())]
    asking = Asking(setting.clock)
    await ask(setting.retrying(*members), asking)
    assert [name for name, _ in asking.outcomes] == ["a", "b", "a"]
    assert len(setting.clock.slept) == 1
    assert [note.detail for note in asking.notes("retry")] == ["1", "2"]


@pytest.mark.parametrize("error", [limited(retry_after=3.0), down(retry_after=3.0)])
async def test_retry_after_is_honoured_and_spread_a_little(
    setting: Setting, error: UpstreamError
) -> None:
    asking = Asking(setting.clock)
    await ask(setting.retrying(setting.member("a", [error, "Yes."])), asking)
    assert asking.text == "Yes."
    [wait] = setting.clock.slept
    assert 3.0 <= wait <= 3.3


async def test_of_two_that_rest_the_one_that_may_be_asked_first_is(setting: Setting) -> None:
    a = setting.member("a", [limited(retry_after=9.0), "A."])
    b = setting.member("b", [limited(retry_after=2.0), "B."])
    asking = Asking(setting.clock)
    await ask(setting.retrying(a, b), asking)
    assert asking.text == "B."
    assert sum(setting.clock.slept) < 2.3


async def test_a_rest_of_a_tried_one_is_no_reason_to_wait_for_another(setting: Setting) -> None:
    a = setting.member("a", [down(), "A."])
    b = setting.member("b", limited(retry_after=20.0))
    asking = Asking(setting.clock)
    await ask(setting.retrying(a, b), asking)
    assert asking.text == "A."
    assert sum(setting.clock.slept) <= 2 * FIRST_WAIT


async def test_a_new_request_waits_for_a_rest_that_is_short_and_calls_once(
    setting: Setting,
) -> None:
    member = setting.member("a")
    member.standing.vitals.rest(2.0)
    asking = Asking(setting.clock)
    await ask(setting.retrying(member), asking)
    assert asking.outcomes == [("a", "ok")]
    assert 2.0 <= sum(setting.clock.slept) <= 2.2
    assert asking.run.promised == 0


@pytest.mark.parametrize("retry_after", [LONGEST_WAIT + 1, 5.0])
async def test_no_wait_passes_the_time_left_or_the_limit(
    setting: Setting, retry_after: float
) -> None:
    error = limited(retry_after=retry_after)
    until = setting.clock.now + 4.0 if retry_after < LONGEST_WAIT else None
    asking = Asking(setting.clock, until=until)
    with pytest.raises(UpstreamRateLimited) as caught:
        await ask(setting.retrying(setting.member("a", error)), asking)
    assert caught.value is error
    assert (setting.clock.slept, setting.asked()) == ([], {"a": 1})


async def test_nobody_is_asked_when_the_time_is_over(setting: Setting) -> None:
    asking = Asking(setting.clock, until=setting.clock.now)
    with pytest.raises(UpstreamUnavailable):
        await ask(setting.retrying(setting.member("a", down()), setting.member("b")), asking)
    assert setting.asked() == {"a": 1, "b": 0}


async def test_nothing_is_retried_after_the_first_token(setting: Setting) -> None:
    asking = Asking(setting.clock)
    a, b = setting.member("a", cut("One ", down())), setting.member("b", "Other.")
    with pytest.raises(UpstreamUnavailable):
        await ask(setting.retrying(a, b), asking)
    assert asking.text == "One "
    assert setting.asked() == {"a": 1, "b": 0}


async def test_a_role_of_a_failed_try_is_never_seen(setting: Setting) -> None:
    asking = Asking(setting.clock)
    await ask(setting.retrying(setting.member("a", role_then(down())), setting.member("b")), asking)
    roles = [c["delta"]["role"] for k in asking.chunks for c in k.choices if "role" in c["delta"]]
    assert (asking.text, len(roles)) == ("Yes.", 1)


async def test_nothing_of_a_try_is_seen_when_all_fail(setting: Setting) -> None:
    asking = Asking(setting.clock)
    with pytest.raises(UpstreamUnavailable):
        await ask(setting.retrying(setting.member("a", role_then(down()))), asking)
    assert asking.chunks == []
    assert setting.asked() == {"a": 3}


async def test_a_whole_answer_without_a_token_arrives_with_its_end(setting: Setting) -> None:
    asking = Asking(setting.clock)
    await ask(setting.retrying(setting.member("a", Script(()))), asking)
    assert [c["finish_reason"] for k in asking.chunks for c in k.choices] == ["stop"]


async def test_a_rejected_request_is_wrong_everywhere(setting: Setting) -> None:
    rejected = UpstreamRejected("no", status=400)
    asking = Asking(setting.clock)
    with pytest.raises(UpstreamRejected):
        await ask(setting.retrying(setting.member("a", rejected), setting.member("b")), asking)
    assert setting.asked() == {"a": 1, "b": 0}


async def test_a_bug_is_not_asked_for_twice(setting: Setting) -> None:
    with pytest.raises(ZeroDivisionError):
        await ask(
            setting.retrying(setting.member("a", ZeroDivisionError()), setting.member("b")),
            Asking(setting.clock),
        )
    assert setting.asked() == {"a": 1, "b": 0}


@pytest.mark.parametrize("error", [UpstreamDenied("no"), UpstreamTimeout("silent")])
async def test_what_only_helps_elsewhere_is_not_asked_of_the_same_one(
    setting: Setting, error: UpstreamError
) -> None:
    alone = setting.retrying(setting.member("a", error))
    with pytest.raises(type(error)):
        await ask(alone, Asking(setting.clock))
    asking = Asking(setting.clock)
    both = setting.retrying(setting.member("b", error), setting.member("c", [down(), "Yes."]))
    await ask(both, asking)
    assert [name for name, _ in asking.outcomes] == ["b", "c", "c"]
    assert setting.asked()["a"] == 1


async def test_the_last_error_is_raised(setting: Setting) -> None:
    errors = [down(), UpstreamMalformed("html"), limited()]
    with pytest.raises(UpstreamRateLimited):
        await ask(setting.retrying(setting.member("a", errors)), Asking(setting.clock))


async def test_no_retries_means_one_call(setting: Setting) -> None:
    members = [setting.member("a", down()), setting.member("b")]
    with pytest.raises(UpstreamUnavailable):
        await ask(setting.retrying(*members, retries=0), Asking(setting.clock))
    assert setting.asked() == {"a": 1, "b": 0}


async def test_the_budget_refuses_a_storm(setting: Setting) -> None:
    retrying = setting.retrying(setting.member("a", down()))
    for _ in range(100):
        setting.clock.now = 1000.0
        with pytest.raises(UpstreamUnavailable):
            await ask(retrying, Asking(setting.clock))
    assert setting.asked() == {"a": 110}


async def test_a_member_that_began_to_rest_during_the_wait_is_not_asked(setting: Setting) -> None:
    a, b = setting.member("a", down()), setting.member("b", [down(), "B."])

    async def sleep(seconds: float) -> None:
        await setting.clock.sleep(seconds)
        a.standing.vitals.rest(20.0)

    asking = Asking(setting.clock)
    retrying = Retrying(in_order(a, b), rng=seeded(), sleep=sleep)
    await ask(retrying, asking)
    assert [name for name, _ in asking.outcomes] == ["a", "b", "b"]


async def test_the_budget_is_that_of_the_upstream_asked_next(setting: Setting) -> None:
    a, b = setting.member("a", down(), upstream="one"), setting.member("b", upstream="two")
    while setting.budgets["one"].allows():
        pass
    await ask(setting.retrying(a, b), Asking(setting.clock))
    while setting.budgets["two"].allows():
        pass
    with pytest.raises(UpstreamUnavailable):
        await ask(setting.retrying(a, b), Asking(setting.clock))
    assert setting.asked() == {"a": 2, "b": 1}


async def test_the_caps_of_the_run_leave_no_room_for_a_retry(setting: Setting) -> None:
    asking = Asking(setting.clock, Caps(max_calls=1))
    with pytest.raises(UpstreamUnavailable):
        await ask(setting.retrying(setting.member("a", down()), setting.member("b")), asking)
    assert setting.asked() == {"a": 1, "b": 0}
    assert asking.notes("cap_reached")


async def test_one_that_opens_its_circuit_is_not_waited_for(setting: Setting) -> None:
    member = setting.member("a", down(), breaker=BreakerSpec(failures=2))
    with pytest.raises(UpstreamUnavailable):
        await ask(setting.retrying(member, retries=5), Asking(setting.clock))
    assert setting.asked() == {"a": 2}
    assert len(setting.clock.slept) == 1
    with pytest.raises(UpstreamCircuitOpen):
        await ask(setting.retrying(member), Asking(setting.clock))
    assert len(setting.clock.slept) == 1


async def test_who_finds_a_probe_under_way_goes_elsewhere_for_free(setting: Setting) -> None:
    gate = anyio.Event()
    a = setting.member("a", [down(), Script("A.", gate=gate)], breaker=BreakerSpec(failures=1))
    b = setting.member("b")
    with pytest.raises(UpstreamUnavailable):
        await ask(setting.retrying(a, retries=0), Asking(setting.clock))
    setting.clock.now += 6.0
    probing, other = Asking(setting.clock), Asking(setting.clock)
    both = setting.retrying(a, b, retries=0)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, both, probing)
        await setting.models["a"].started(2)
        await ask(both, other)
        gate.set()
    assert (probing.text, other.text) == ("A.", "Yes.")
    assert (other.run.notes, other.run.promised) == ([], 0)


async def test_a_full_queue_found_too_late_costs_no_retry(setting: Setting) -> None:
    gate = anyio.Event()
    spec = ConcurrencySpec(limit=1, queue=1, patience=0.01)
    a, b = setting.member("a", Script("A.", gate=gate), concurrency=spec), setting.member("b")
    b.standing.vitals.shun(100.0)
    retrying = setting.retrying(a, b, retries=0)
    holding, waiting = Asking(setting.clock), Asking(setting.clock)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, retrying, holding)
        await setting.models["a"].started()
        await ask(retrying, waiting)
        gate.set()
    assert (holding.text, waiting.text) == ("A.", "Yes.")
    assert (waiting.run.promised, setting.budgets["up-b"].allows()) == (0, True)


async def test_cancelling_ends_a_wait_and_a_call(setting: Setting) -> None:
    waits = anyio.Event()

    async def sleep(_seconds: float) -> None:
        waits.set()
        await anyio.sleep_forever()

    member = setting.member("a", [down(), Script(hang=True)])
    retrying = Retrying(in_order(member), rng=seeded(), sleep=sleep)
    asking = Asking(setting.clock)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, retrying, asking)
        await waits.wait()
        group.cancel_scope.cancel()
    async with anyio.create_task_group() as group:
        group.start_soon(ask, retrying, asking)
        await setting.models["a"].started(2)
        group.cancel_scope.cancel()
    assert asking.outcomes == [("a", "failed"), ("a", "cancelled")]
    assert member.standing.vitals.in_flight == 0


async def test_an_unstreamed_answer_is_retried_the_same_way(setting: Setting) -> None:
    asking = Asking(setting.clock)
    retrying = setting.retrying(setting.member("a", down()), setting.member("b"))
    await retrying.answer(UNSTREAMED, asking.step, asking.emit)
    assert (len(asking.chunks), asking.text) == (1, "Yes.")


class Embeddings:
    """Fails with the errors it is given, then answers; its calls are booked."""

    def __init__(self, name: str, *errors: Exception) -> None:
        self._target = Target(name, name, name)
        self._errors = list(errors)

    async def embed(self, texts: Sequence[str], step: Step) -> list[list[float]]:
        self._book(step)
        return [[1.0]] * len(texts)

    async def pass_on(self, params: Mapping[str, object], step: Step) -> list[JsonObject]:
        self._book(step)
        return [{"embedding": params["input"]}]

    def _book(self, step: Step) -> None:
        call = step.begin(self._target)
        step.end(call, Outcome.FAILED if self._errors else Outcome.OK)
        if self._errors:
            raise self._errors.pop(0)


def embedding_member(setting: Setting, name: str, *errors: Exception) -> Member:
    spec = BreakerSpec(failures=1), ConcurrencySpec(limit=1, queue=0)
    standing = setting.member(name, breaker=spec[0], concurrency=spec[1]).standing
    return Member(
        name,
        setting.models[name],
        standing,
        setting.budgets[f"up-{name}"],
        upstream=f"up-{name}",
        embeddings=cast("EmbeddingsCall", Embeddings(name, *errors)),
        clock=setting.clock,
    )


async def test_embeddings_pass_the_same_policy_and_guards(setting: Setting) -> None:
    a, b = embedding_member(setting, "a", down()), embedding_member(setting, "b")
    retrying, asking = setting.retrying(a, b), Asking(setting.clock)
    assert await retrying.embed(["x", "y"], asking.step) == [[1.0], [1.0]]
    assert asking.outcomes == [("a", "failed"), ("b", "ok")]
    assert asking.notes("retry")
    assert isinstance(a.refusal(), UpstreamCircuitOpen)
    assert b.standing.slots is not None
    assert (b.standing.slots.in_use, b.standing.vitals.in_flight) == (0, 0)


async def test_a_clients_own_embeddings_rest_and_wait_like_answers(setting: Setting) -> None:
    member = embedding_member(setting, "a", limited(retry_after=2.0))
    asking = Asking(setting.clock)
    found = await setting.retrying(member).pass_on({"input": [1]}, asking.step)
    assert found == [{"embedding": [1]}]
    assert 2.0 <= sum(setting.clock.slept) <= 2.2


async def test_a_full_member_gets_no_embeddings_to_make(setting: Setting) -> None:
    member, asking = embedding_member(setting, "a"), Asking(setting.clock)
    assert member.standing.slots is not None
    async with member.standing.slots.taken("up-a", 1.0):
        with pytest.raises(UpstreamBusy):
            await member.embed(["x"], asking.step)
    assert asking.run.calls == []


async def test_a_member_without_embeddings_is_a_bug(setting: Setting) -> None:
    with pytest.raises(InternalError):
        await setting.retrying(setting.member("a")).embed(["x"], Asking(setting.clock).step)


def test_it_is_known_by_its_pool(setting: Setting) -> None:
    pool = Pool("pool", [setting.member("a")])
    assert (Retrying(pool).name, Retrying(pool).abilities) == ("pool", pool.abilities)


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_where_all_are_limited_for_long_the_soonest_is_told(
    setting: Setting, order: str
) -> None:
    waits = {"a": 50.0, "b": 40.0}
    members = [setting.member(name, limited(retry_after=waits[name])) for name in order]
    with pytest.raises(UpstreamRateLimited) as caught:
        await ask(setting.retrying(*members), Asking(setting.clock))
    assert (caught.value.retry_after, setting.clock.slept) == (40.0, [])
