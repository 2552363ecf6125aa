"""What a request is said to cost at worst is never less than what it then costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.bounds import Asked as Asked_
from app.engine.bounds import Bounds, Worst, asked, worst_case
from app.engine.judging import JUDGE_TOKENS
from app.engine.requests import DEFAULT_OUTPUT
from app.errors import MoaError
from app.interfaces import Abilities
from app.protocol.chat import ChatRequest, Conversation
from app.protocol.usage import Usage
from app.record import FREE, Price, Step
from app.upstream.fake import Answer as Played
from app.upstream.fake import FakeModel, Script
from tests.engine.graphs import Asked, build, question
from tests.engine.test_measure_property import (
    ANY_SIZE,
    BAD,
    NAMES,
    TOOL_TURN,
    TOOLS,
    USER,
    nested,
)

PRICE = Price(Decimal(1), Decimal(10))
CAPPED = Abilities(max_output=60)


def prices(*names: str) -> Callable[[str], Price | None]:
    return dict.fromkeys(names, PRICE).get


def spendthrift(bad: Sequence[Played | None]) -> Callable[[ChatRequest], Played]:
    """Writes as much as it may and bills for all of it; now and then it fails."""
    turn = iter(range(10**9))

    def answer(request: ChatRequest) -> Played:
        number = next(turn)
        failure = bad[number % len(bad)]
        if failure is not None:
            return failure
        cap = request.params["max_tokens"]
        assert isinstance(cap, int)
        text = f"Best: 1, 2 yes {number} " + "ab " * cap
        choices = request.params.get("n", 1)
        assert isinstance(choices, int)
        return Script(text[: 3 * cap], usage=Usage(request.prompt_tokens, choices * cap))

    return answer


@settings(max_examples=100, deadline=None)
@given(
    specs=nested(anything=True),
    bad=st.lists(st.sampled_from([None, None, *BAD]), min_size=1, max_size=8),
    messages=st.sampled_from([(USER,), TOOL_TURN]),
    cap=st.sampled_from([1, 90, 3_000]),
    more=st.sampled_from([{}, {"n": 3}, {"tools": TOOLS}, {"tools": TOOLS, "n": 3}]),
)
def test_no_run_costs_more_than_its_worst_case(specs, bad, messages, cap, more) -> None:
    models = {
        name: FakeModel(name, spendthrift(bad), abilities=CAPPED, price=PRICE) for name in NAMES
    }
    without_vectors = {
        name: {**spec, "layers": [{**layer, "filter": None} for layer in spec["layers"]]}
        for name, spec in specs.items()
    }
    graph = build(without_vectors, models, ANY_SIZE)["outer"]
    request = ChatRequest(Conversation(messages), {"max_tokens": cap, **more})
    run = Asked()
    run.record.is_reserved = True

    async def ask() -> None:
        with anyio.fail_after(30):
            await graph.answer(request, Step(run.record), run.emit)

    with suppress(MoaError):
        anyio.run(ask)
    worst = worst_case(graph, asked(request), prices(*NAMES))
    drawn = Bounds(graph, prices(*NAMES)).of(asked(request))
    assert (drawn.cost, drawn.tokens, drawn.calls) == (worst.cost, worst.tokens, worst.calls)
    assert sum((call.cost or FREE for call in run.record.calls), FREE) <= worst.cost
    usage = run.record.usage()
    assert usage.prompt + usage.completion <= worst.tokens
    assert len(run.record.calls) <= worst.calls


def test_a_pool_costs_its_prompt_and_the_clients_cap_for_every_choice() -> None:
    request = question("abc" * 100, max_completion_tokens=50, n=3)
    worst = worst_case(FakeModel("a"), asked(request), prices("a"))
    prompt = request.conversation.tokens
    assert worst == Worst(PRICE.of(Usage(prompt, 150)), prompt + 150, 1)


@pytest.mark.parametrize(
    ("abilities", "written"),
    [
        (Abilities(), DEFAULT_OUTPUT),
        (Abilities(max_output=900), 900),
        (Abilities(context=2_000), 1_000),
        (Abilities(context=2_000, max_output=8_000), 1_000),
    ],
)
def test_without_a_cap_an_answer_may_be_as_long_as_its_model_writes(abilities, written) -> None:
    request = question("a")
    worst = worst_case(FakeModel("a", abilities=abilities), asked(request), prices("a"))
    assert worst.tokens == request.conversation.tokens + written


def test_of_two_caps_the_larger_counts_since_a_server_may_know_one_name_only() -> None:
    request = question("a", max_completion_tokens=1, max_tokens=9_000)
    assert asked(request).cap == 9_000


@pytest.mark.parametrize("params", [{"n": 8}, {"max_tokens": 100_000}, {"max_tokens": 1}])
def test_where_proposers_answer_whole_each_may_write_what_the_client_wants(params) -> None:
    def answer(request: ChatRequest) -> Played:
        choices, cap = request.params.get("n", 1), request.params.get("max_tokens", DEFAULT_OUTPUT)
        assert isinstance(choices, int)
        assert isinstance(cap, int)
        return Script("Best: 1", usage=Usage(request.prompt_tokens, choices * cap))

    models = {name: FakeModel(name, answer, price=PRICE) for name in NAMES}
    spec = {"layers": [{"proposers": list(NAMES)}], "aggregator": "a", "tools": "pick"}
    graph = build({"g": spec}, models)["g"]
    request, run = question("a", tools=TOOLS, **params), Asked()
    anyio.run(graph.answer, request, Step(run.record), run.emit)
    assert len(run.record.calls) == 4
    worst = worst_case(graph, asked(request), prices(*NAMES))
    assert sum((call.cost or FREE for call in run.record.calls), FREE) <= worst.cost


def test_the_judge_of_a_router_may_write_more_than_the_client_wants() -> None:
    fakes = {name: FakeModel(name) for name in ("judge", "one", "two")}
    judge = {"model": "judge", "choices": {"one": "easy", "two": "hard"}}
    route = {"kind": "route", "otherwise": "one", "ask": judge}
    graph = build({"g": {"layers": [], "output": route}}, fakes)["g"]
    worst = worst_case(graph, asked(question("a", max_tokens=1)), prices("judge"))
    assert worst.cost >= PRICE.of(Usage(0, JUDGE_TOKENS))


def test_tools_and_formats_count_as_prompt() -> None:
    plain = asked(question("a"))
    tooled = asked(question("a", tools=[{"type": "function", "function": {"name": "x" * 300}}]))
    assert tooled.prompt >= plain.prompt + 100


def test_an_unknown_price_is_named_and_not_counted() -> None:
    graph = build(
        {"g": {"layers": [{"proposers": ["a", "b"]}], "aggregator": "a"}},
        {name: FakeModel(name) for name in ("a", "b")},
    )["g"]
    worst = worst_case(graph, asked(question()), prices("a"))
    assert worst.unpriced == {"b"}
    assert worst.calls == 3
    assert worst.cost > 0


def test_a_router_may_cost_as_much_as_its_dearest_target() -> None:
    fakes = {name: FakeModel(name) for name in ("cheap", "dear")}
    route = {
        "kind": "route",
        "rules": [{"when": {"longer_than": 10}, "to": "dear"}],
        "otherwise": "cheap",
    }
    graph = build({"g": {"layers": [], "output": route}}, fakes)["g"]
    dear = Price(Decimal(5), Decimal(50))
    by_name = {"cheap": PRICE, "dear": dear}
    worst = worst_case(graph, asked(question()), by_name.get)
    alone = worst_case(graph, asked(question()), {"cheap": FREE_PRICE, "dear": dear}.get)
    assert worst.cost == alone.cost > 0
    assert worst.calls == 1
    assert Bounds(graph, by_name.get).of(asked(question())).cost == worst.cost


@given(prompt=st.integers(0, 2_000_000), cap=st.none() | st.integers(1, 9_000))
def test_no_line_is_below_the_worst_case_where_targets_differ(prompt: int, cap: int | None) -> None:
    talker, reader = Price(Decimal(1), Decimal(90)), Price(Decimal(9), Decimal(1))
    route = {
        "kind": "route",
        "rules": [{"when": {"longer_than": 10}, "to": "talker"}],
        "otherwise": "reader",
    }
    fakes = {name: FakeModel(name) for name in ("talker", "reader")}
    graph = build({"g": {"layers": [], "output": route}}, fakes)["g"]
    by_name = {"talker": talker, "reader": reader}
    request = Asked_(prompt, cap)
    drawn = Bounds(graph, by_name.get).of(request)
    assert drawn.cost >= worst_case(graph, request, by_name.get).cost


FREE_PRICE = Price(FREE, FREE)
