"""One run from start to end: its record, its deadline, what it came to."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import anyio
import orjson
import pytest

from app.access.caller import Caller, Limits, VirtualKey
from app.access.limiter import Check
from app.errors import DeadlineExceeded, GraphFailed, InternalError, UpstreamUnavailable
from app.protocol.chat import Batch
from app.protocol.request import Wishes
from app.protocol.usage import Usage
from app.record import Outcome, Price, RunRecord
from app.serving import runtime as runtime_module
from app.serving.admission import Admission
from app.serving.chat import ChatService
from app.store.limits_memory import MemoryLimiter
from app.upstream.fake import Answer, FakeModel, Script
from tests.serving.served import Ear, House, chat

DOWN = UpstreamUnavailable("The upstream 'x' could not be reached.")
PRICE = Price(Decimal(1), Decimal(2))
HANGS = Script(hang=True)
RUN = Wishes(include=("run",))
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def house(
    a: Answer = "Alpha.", b: Answer = "Beta.", price: Price | None = PRICE, **graph: Any
) -> tuple[House, FakeModel, FakeModel]:
    one, two = FakeModel("a", a, price=price), FakeModel("b", b, price=PRICE)
    lite = {"layers": [{"proposers": ["a"]}], "aggregator": "b", **graph}
    return House({"a": one, "b": two}, {"lite": lite}), one, two


@pytest.mark.parametrize("stream", [True, False])
async def test_a_good_run_answers_and_ends_once(stream: bool) -> None:  # noqa: FBT001 - a case
    at, _, _ = house()
    run, ear = at.open(chat("lite", stream=stream)), Ear()
    await run.execute(ear)
    assert ear.answer.text() == "Beta."
    assert at.ended == [run.record]
    assert (run.record.outcome, run.record.error_kind) == (Outcome.OK, None)
    assert run.record.ended is not None


async def test_a_failed_run_raises_and_ends_once() -> None:
    at, _, _ = house(a=DOWN)
    run = at.open(chat("lite"))
    with pytest.raises(GraphFailed):
        await run.execute(Ear())
    assert at.ended == [run.record]
    assert (run.record.outcome, run.record.error_kind) == (Outcome.FAILED, "moa_graph_failed")


async def test_a_bug_ends_the_run_as_an_internal_error() -> None:
    at, _, _ = house(b=ZeroDivisionError("bug"))
    run = at.open(chat("b"))
    with pytest.raises(ZeroDivisionError):
        await run.execute(Ear())
    assert [record.error_kind for record in at.ended] == ["moa_internal"]


async def test_a_bug_after_a_billed_call_is_not_to_be_paid_again() -> None:
    at, _, _ = house(b=ZeroDivisionError("bug"))
    with pytest.raises(InternalError) as caught:
        await at.open(chat("lite")).execute(Ear())
    assert caught.value.should_retry is False
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert [record.error_kind for record in at.ended] == ["moa_internal"]


@pytest.mark.parametrize("waiting_for", ["a", "b"])
async def test_a_client_who_leaves_ends_the_run_once_and_every_call_in_it(waiting_for: str) -> None:
    hangs = Script(hang=True, after=1)
    at, one, two = house(**{waiting_for: hangs})
    run = at.open(chat("lite", stream=True))
    async with anyio.create_task_group() as group:
        group.start_soon(run.execute, Ear())
        await (one if waiting_for == "a" else two).started()
        group.cancel_scope.cancel()
    assert at.ended == [run.record]
    assert (run.record.outcome, run.record.error_kind) == (Outcome.CANCELLED, None)
    assert run.record.calls[-1].outcome is Outcome.CANCELLED
    assert (one.active, two.active) == (0, 0)


async def test_an_ear_that_breaks_ends_the_run_once() -> None:
    at, _, two = house()

    async def deaf(_: Batch) -> None:
        raise BrokenPipeError

    run = at.open(chat("lite", stream=True))
    with pytest.raises(InternalError) as caught:
        await run.execute(deaf)
    assert isinstance(caught.value.__cause__, BrokenPipeError)
    assert at.ended == [run.record]
    assert two.active == 0


async def test_the_deadline_of_a_graph_ends_the_run_as_a_timeout() -> None:
    at, _, two = house(b=Script(hang=True), deadline=0.05)
    run = at.open(chat("lite"))
    with pytest.raises(DeadlineExceeded) as caught:
        await run.execute(Ear())
    assert (caught.value.status, caught.value.should_retry) == (504, False)
    assert (run.record.outcome, run.record.error_kind) == (Outcome.FAILED, "moa_deadline")
    assert at.ended == [run.record]
    assert two.calls[0].cancelled


async def test_a_plain_pool_has_a_deadline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "POOL_DEADLINE", 0.05)
    at, one, _ = house(a=Script(hang=True))
    with pytest.raises(DeadlineExceeded):
        await at.open(chat("a")).execute(Ear())
    assert one.calls[0].cancelled


async def test_the_deadline_counts_what_has_been_streamed_as_no_answer() -> None:
    at, _, _ = house(b=Script(hang=True, after=1), deadline=0.05)
    ear = Ear()
    with pytest.raises(DeadlineExceeded):
        await at.open(chat("lite", stream=True)).execute(ear)
    assert ear.answer.finish_reason() is None


async def test_the_first_token_is_stamped_before_it_leaves_and_never_again() -> None:
    at, _, _ = house(b=Script(("One", " two", " three")))
    run = at.open(chat("lite", stream=True))
    stamps: list[float | None] = []

    async def watch(_: Batch) -> None:
        stamps.append(run.record.first_token)

    assert run.record.first_token is None
    await run.execute(watch)
    assert stamps[0] is not None
    assert len(set(stamps)) == 1
    assert run.record.started < stamps[0] < (run.record.ended or 0)


async def test_a_run_that_said_nothing_has_no_first_token() -> None:
    at, _, _ = house(a=DOWN)
    run = at.open(chat("lite"))
    with pytest.raises(GraphFailed):
        await run.execute(Ear())
    assert run.record.first_token is None


@pytest.mark.parametrize(("counts", "prompt"), [("all", 40), ("answer", 30)])
async def test_usage_is_everything_billed_or_the_answers_alone_and_cost_always_everything(
    counts: str, prompt: int
) -> None:
    at, _, _ = house(
        a=Script(usage=Usage(10, 5)), b=Script(usage=Usage(30, 7, cached=2)), usage=counts
    )
    run = at.open(chat("lite"))
    await run.execute(Ear())
    usage = run.usage()
    assert usage["prompt_tokens"] == prompt
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 2
    assert usage["cost"] == pytest.approx((40 + 12 * 2) / 1e6, rel=1e-12)


async def test_the_cost_is_null_as_soon_as_one_price_is_unknown() -> None:
    at, _, _ = house(price=None)
    run = at.open(chat("lite", wishes=RUN))
    await run.execute(Ear())
    assert run.usage()["cost"] is None
    assert "x-moa-cost" not in run.headers()
    extension = run.extension()
    assert extension is not None
    assert [call["cost"] is None for call in extension["calls"]] == [True, False]


async def test_without_a_wish_a_good_run_has_no_extension() -> None:
    at, _, _ = house()
    run = at.open(chat("lite"))
    await run.execute(Ear())
    assert run.extension() is None
    assert set(run.headers()) == {"x-moa-run-id", "x-moa-cost"}


async def test_a_degraded_run_says_so_without_being_asked() -> None:
    at, _, _ = house(a=DOWN, on_empty="answer")
    run = at.open(chat("lite"))
    await run.execute(Ear())
    assert run.extension() == {
        "run_id": "run-1",
        "degraded": ["quorum_missed", "no_references"],
    }
    assert run.headers()["x-moa-degraded"] == "quorum_missed,no_references"


async def test_a_wish_for_the_run_shows_every_call_of_it() -> None:
    at, _, _ = house()
    run = at.open(chat("lite", wishes=RUN))
    await run.execute(Ear())
    extension = orjson.loads(orjson.dumps(run.extension()))
    assert extension["run_id"] == "run-1"
    assert extension["degraded"] == []
    one, two = extension["calls"]
    assert (one["graph"], one["layer"], one["node"], one["model"]) == ("lite", 1, "a", "a")
    assert (two["layer"], two["node"], two["outcome"], two["error"]) == (2, "output", "ok", None)
    assert 0 < one["started"] < one["ended"] <= two["started"] < two["first_token"] < two["ended"]
    assert two["usage"]["prompt_tokens"] == 10
    assert extension["cost"] == pytest.approx(sum(c["cost"] for c in extension["calls"]))


async def test_a_wish_shows_why_a_call_failed_and_nothing_of_where() -> None:
    at, _, _ = house(a=UpstreamUnavailable("Down.", detail="10.0.0.1"), on_empty="answer")
    run = at.open(chat("lite", wishes=RUN))
    await run.execute(Ear())
    shown = orjson.dumps(run.extension()).decode()
    assert "upstream_unavailable" in shown
    assert "10.0.0.1" not in shown
    assert "fake/a" not in shown


def test_before_the_end_the_headers_name_the_run_alone() -> None:
    at, _, _ = house()
    assert at.open(chat("lite")).headers() == {"x-moa-run-id": "run-1"}


async def test_the_cost_header_is_a_plain_number() -> None:
    at, _, _ = house()
    run = at.open(chat("b"))
    await run.execute(Ear())
    assert run.headers()["x-moa-cost"] == "0.00002"


@pytest.mark.parametrize(
    ("graph", "wish", "stream", "told"),
    [
        ("off", None, True, False),
        ("reasoning", None, True, True),
        ("off", "reasoning", True, True),
        ("off", "reasoning", False, False),
        ("reasoning", "off", True, False),
        ("reasoning", None, False, False),
    ],
)
async def test_progress_is_told_in_streams_alone_and_the_clients_wish_counts_first(
    graph: str, wish: Any, *, stream: bool, told: bool
) -> None:
    at, _, _ = house(progress=graph)
    ear = Ear()
    await at.open(chat("lite", stream=stream, wishes=Wishes(progress=wish))).execute(ear)
    assert bool(ear.answer.reasoning()) is told
    assert ear.answer.text() == "Beta."


async def capped(at: House, **wishes: Any) -> tuple[Any, Ear]:
    run, ear = at.open(chat("lite", wishes=Wishes(("run",), **wishes))), Ear()
    await run.execute(ear)
    return run.extension(), ear


async def test_a_wish_for_fewer_calls_is_kept_and_told() -> None:
    at, one, two = house(on_empty="answer")
    extension, ear = await capped(at, max_calls=1)
    assert (len(one.calls), len(two.calls)) == (0, 1)
    assert ear.answer.text() == "Beta."
    assert extension["degraded"] == ["cap_reached", "no_references"]
    assert extension["caps"] == {
        "max_calls": 1,
        "max_cost": None,
        "timeout": 300.0,
        "quorum": None,
    }


async def test_a_wish_to_spend_less_is_kept_before_the_next_layer() -> None:
    at, one, two = house(layers=[{"proposers": ["a"]}, {"proposers": ["a"]}])
    extension, _ = await capped(at, max_cost=Decimal("0.000001"))
    assert (len(one.calls), len(two.calls)) == (1, 1)
    assert extension["degraded"] == ["cap_reached"]


async def test_a_wish_never_loosens_what_the_operator_allows() -> None:
    at, _, _ = house(caps={"max_calls": 2, "max_cost": 0.5}, deadline=9)
    extension, _ = await capped(at, max_calls=50, max_cost=Decimal(9), timeout=1e6, quorum=99)
    assert extension["caps"] == {
        "max_calls": 2,
        "max_cost": 0.5,
        "timeout": 9.0,
        "quorum": 99,
    }
    assert extension["degraded"] == []


@pytest.mark.parametrize("model", ["lite", "a"])
async def test_a_wished_timeout_ends_a_run_on_time(model: str) -> None:
    at, _, _ = house(a=Script(hang=True))
    with pytest.raises(DeadlineExceeded) as late:
        await at.open(chat(model, wishes=Wishes(timeout=0.05))).execute(Ear())
    assert (late.value.status, late.value.should_retry) == (504, False)


async def test_a_wished_quorum_lets_a_layer_go_on_without_the_rest() -> None:
    models = {"a": FakeModel("a"), "b": FakeModel("b"), "slow": FakeModel("slow", HANGS)}
    at = House(models, {"lite": {"layers": [{"proposers": ["a", "slow"]}], "aggregator": "b"}})
    extension, _ = await capped(at, quorum=1)
    assert models["slow"].calls[0].cancelled
    assert "quorum_missed" not in extension["degraded"]


async def test_a_plain_pool_makes_its_one_call_whatever_its_caps() -> None:
    at, one, _ = house()
    run, ear = at.open(chat("a", wishes=Wishes(max_calls=1, max_cost=Decimal("1e-9")))), Ear()
    await run.execute(ear)
    assert (len(one.calls), ear.answer.text()) == (1, "Alpha.")


async def test_a_listener_that_breaks_does_not_keep_a_place_or_the_books_open() -> None:
    def broken(_record: RunRecord) -> None:
        raise ZeroDivisionError("bug")

    limiter = MemoryLimiter()
    who = Caller("k", VirtualKey("k", "ada", "moa-abc", NOW, limits=Limits(concurrent=1)))
    runtime = runtime_module.runtime_of({"a": FakeModel("a")})
    admission = Admission(limiter=limiter)
    service = ChatService(lambda: runtime, on_end=broken, admission=admission)
    with pytest.raises(ZeroDivisionError):
        await service.open(chat("a"), run_id="one", who=who).execute(Ear())
    verdict = await limiter.take("two", [Check("key:k", "concurrent", 1, 1)], 60.0)
    assert verdict.allowed
