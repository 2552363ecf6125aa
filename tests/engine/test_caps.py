"""Caps on calls, money and time: what is begun, what is skipped, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import anyio
import pytest

from app.caps import Cap, short_of
from app.engine.graph import Turn, Writer
from app.engine.graph_model import GraphModel
from app.errors import CapReached, DeadlineExceeded, GraphFailed, UpstreamUnavailable
from app.interfaces import Emit
from app.protocol.usage import Usage
from app.record import CallRecord, Caps, Degradation, Price, Target
from app.upstream.fake import Answer, FakeModel, Script
from tests.engine.graphs import Asked, build, run

A_DOLLAR = Price(Decimal(1_000_000), Decimal(0))
"""One dollar for every prompt token."""
DOWN = UpstreamUnavailable("The upstream 'x' cannot be reached.")
HANGS = Script(hang=True)


def fakes(price: Price | None = A_DOLLAR, **answers: Answer) -> dict[str, FakeModel]:
    priced = {name: FakeModel(name, answer, price=price) for name, answer in answers.items()}
    for name, model in priced.items():
        if isinstance(model.answers, str):
            model.answers = Script(f"{name} says {model.answers}", usage=Usage(prompt=1))
    return priced


def panel(models: Mapping[str, FakeModel], **graph: Any) -> GraphModel:
    """Two layers of two proposers and an aggregator: five calls."""
    spec = {"layers": [{"proposers": ["a", "b"]}, {"proposers": ["c", "d"]}], "aggregator": "agg"}
    return build({"moa": {**spec, **graph}}, models)["moa"]


def five(price: Price | None = A_DOLLAR) -> dict[str, FakeModel]:
    return fakes(price, a="A", b="B", c="C", d="D", agg="X")


def called(models: Mapping[str, FakeModel]) -> str:
    return "".join(name for name, model in models.items() for _ in model.calls)


def cap_notes(asked: Asked) -> list[tuple[str, str]]:
    return [(note.node, note.detail) for note in asked.record.notes if note.what == "cap_reached"]


def call(cost: int | None, price: Price | None = A_DOLLAR) -> CallRecord:
    usage = None if cost is None else Usage(prompt=cost)
    return CallRecord(Target("m", "u", "m-1", price), "moa", 1, "a", 0, 0.0, usage=usage)


@pytest.mark.parametrize(
    ("caps", "wanted", "cap"),
    [
        (Caps(), 100, None),
        (Caps(max_calls=5), 2, None),
        (Caps(max_calls=5), 3, Cap.CALLS),
        (Caps(max_cost=Decimal(8)), 1, None),
        (Caps(max_cost=Decimal(7)), 1, Cap.COST),
        (Caps(max_cost=Decimal(7)), 0, None),
        (Caps(max_calls=3, max_cost=Decimal(1)), 1, Cap.CALLS),
    ],
)
def test_a_cap_is_held_against_calls_begun_and_money_spent(
    caps: Caps, wanted: int, cap: Cap | None
) -> None:
    calls = [call(4), call(3), call(None)]  # the last is under way
    assert short_of(caps, calls, wanted) is cap


def test_a_call_without_a_price_counts_as_a_call_alone() -> None:
    calls = [call(1000, price=None)]
    assert short_of(Caps(max_cost=Decimal(1)), calls, 1) is None
    assert short_of(Caps(max_calls=1), calls, 1) is Cap.CALLS


def test_the_tightest_cap_of_each_sort_wins() -> None:
    one = Caps(max_calls=5, max_cost=None, until=9.0, quorum=2)
    other = Caps(max_calls=7, max_cost=Decimal(1), until=3.0)
    assert one.tightened(other) == Caps(5, Decimal(1), 3.0, 2) == other.tightened(one)


async def test_without_a_cap_everything_runs_and_nothing_is_said() -> None:
    models = five()
    asked = await run(panel(models))
    assert (called(models), asked.record.degraded) == ("abcd" + "agg", [])


async def test_a_layer_whose_calls_do_not_fit_is_skipped_and_the_output_sees_the_layer_before() -> (
    None
):
    models = five()
    asked = await run(panel(models, caps={"max_calls": 4}))
    assert called(models) == "ab" + "agg"
    shown = str(models["agg"].calls[0].messages[-1]["content"])
    assert "a says A" in shown
    assert "b says B" in shown
    assert asked.record.degraded == [Degradation.CAP_REACHED]
    assert cap_notes(asked) == [("layer 2", "calls")]


async def test_a_cap_that_fits_exactly_is_not_reached() -> None:
    models = five()
    asked = await run(panel(models, caps={"max_calls": 5}))
    assert (called(models), asked.record.degraded) == ("abcd" + "agg", [])


async def test_once_the_money_is_spent_no_layer_begins() -> None:
    models = five()
    asked = await run(panel(models, caps={"max_cost": 2}))
    assert called(models) == "ab" + "agg"
    assert cap_notes(asked) == [("layer 2", "cost")]
    assert asked.text == "agg says X"


async def test_money_is_no_reason_to_skip_while_some_is_left() -> None:
    models = five()
    asked = await run(panel(models, caps={"max_cost": 2.5}))
    assert (called(models), asked.record.degraded) == ("abcd" + "agg", [])


async def test_money_that_cannot_be_counted_is_told() -> None:
    models = five(price=None)
    asked = await run(panel(models, caps={"max_cost": 0.01}))
    assert called(models) == "abcd" + "agg"
    assert asked.notes("cost_unknown") == ["output"]


async def test_the_caps_of_the_graph_are_kept_with_the_run_and_a_tighter_wish_wins() -> None:
    models, asked = five(), Asked()
    asked.record.caps = Caps(max_calls=3, until=99.0)
    await run(panel(models, caps={"max_calls": 4, "max_cost": 10}), asked=asked)
    assert asked.record.caps == Caps(3, Decimal(10), 99.0)
    assert called(models) == "ab" + "agg"


@pytest.mark.parametrize("on_empty", ["error", "answer"])
async def test_a_cap_below_the_first_layer_leaves_no_reference_and_on_empty_decides(
    on_empty: str,
) -> None:
    models = five()
    graph = panel(models, caps={"max_calls": 2}, on_empty=on_empty)
    if on_empty == "answer":
        asked = await run(graph)
        assert called(models) == "agg"
        assert asked.record.degraded == [Degradation.CAP_REACHED, Degradation.NO_REFERENCES]
        return
    with pytest.raises(CapReached) as refused:
        await run(graph)
    assert (refused.value.status, refused.value.should_retry) == (429, False)
    assert called(models) == ""


@pytest.mark.parametrize(
    ("caps", "begun", "told"),
    [
        ({"max_calls": 4}, "ab", "(upstream calls: 4)"),
        ({"max_calls": 2}, "", "(upstream calls: 2)"),
        ({"max_cost": 2}, "ab", "(USD: 2)"),
        ({"max_cost": 4}, "abcd", "(USD: 4)"),
    ],
)
async def test_on_cap_error_fails_as_soon_as_the_cap_shows(
    caps: dict[str, Any], begun: str, told: str
) -> None:
    models = five()
    with pytest.raises(CapReached) as refused:
        await run(panel(models, caps={**caps, "on_cap": "error"}))
    error = refused.value
    assert told in error.message
    assert (error.status, error.type, error.code) == (429, *["insufficient_quota"] * 2)
    assert error.should_retry is False
    assert called(models) == begun


async def test_the_failures_of_the_panel_are_told_rather_than_the_cap_they_met() -> None:
    models = five()
    for name in "ab":
        models[name].answers = DOWN
    with pytest.raises(GraphFailed) as failed:
        await run(panel(models, caps={"max_calls": 4}))
    assert [failure.node for failure in failed.value.failures] == ["a", "b"]
    assert failed.value.should_retry is False


async def test_the_panel_leaves_the_output_node_its_part_of_the_time() -> None:
    models = five()
    models["d"].answers = HANGS
    asked = await run(panel(models, deadline=0.8))
    assert models["d"].calls[0].cancelled
    assert asked.text == "agg says X"
    assert asked.record.degraded == [
        *(Degradation.QUORUM_MISSED, Degradation.CAP_REACHED, Degradation.SINGLE_REFERENCE)
    ]
    assert cap_notes(asked) == [("output", "time")]


async def test_no_layer_begins_once_the_time_of_the_panel_is_over() -> None:
    models = five()
    models["b"].answers = HANGS
    asked = await run(panel(models, deadline=0.8))
    assert called(models) == "ab" + "agg"
    assert cap_notes(asked) == [("layer 2", "time"), ("output", "time")]


async def test_a_panel_whose_time_is_over_with_nothing_said_is_a_timeout() -> None:
    models = five()
    models["a"].answers = models["b"].answers = HANGS
    with pytest.raises(DeadlineExceeded) as late:
        await run(panel(models, deadline=0.1))
    assert (late.value.status, late.value.should_retry) == (504, False)


async def test_on_cap_error_gives_the_panel_all_the_time_and_then_fails() -> None:
    models = five()
    models["b"].answers = HANGS
    with pytest.raises(DeadlineExceeded) as late:
        await run(panel(models, deadline=0.1, caps={"on_cap": "error"}))
    assert late.value.should_retry is False
    assert called(models) == "ab"


async def test_the_time_that_counts_is_the_callers() -> None:
    models = five()
    models["b"].answers = HANGS
    with anyio.fail_after(0.8):
        asked = await run(panel(models))
    assert cap_notes(asked)[0] == ("layer 2", "time")


async def test_a_lower_quorum_is_waited_for_in_every_layer_and_is_no_degradation() -> None:
    models, asked = five(), Asked()
    models["b"].answers = models["c"].answers = HANGS
    asked.record.caps = Caps(quorum=1)
    await run(panel(models, single_reference="aggregate"), asked=asked)
    assert models["b"].calls[0].cancelled
    assert Degradation.QUORUM_MISSED not in asked.record.degraded
    assert asked.text == "agg says X"


async def test_a_higher_quorum_than_the_layers_own_changes_nothing() -> None:
    models, asked = five(), Asked()
    models["b"].answers = HANGS
    layers = [{"proposers": ["a", "b"], "quorum": 1}, {"proposers": ["c", "d"]}]
    asked.record.caps = Caps(quorum=2)
    await run(panel(models, layers=layers), asked=asked)
    assert models["b"].calls[0].cancelled


def with_fallbacks(models: Mapping[str, FakeModel], **graph: Any) -> GraphModel:
    nodes = {"x": {"model": "a", "fallback": ["b"]}}
    output = {"model": "agg", "fallback": ["c"]}
    return build({"moa": {"layers": [{"nodes": nodes}], "output": output, **graph}}, models)["moa"]


async def test_an_inner_fallback_leaves_room_for_the_output() -> None:
    models = fakes(a=DOWN, b="B", c="C", agg="X")
    asked = await run(with_fallbacks(models, caps={"max_calls": 2}, on_empty="answer"))
    assert called(models) == "a" + "agg"
    assert ("x", "calls") in cap_notes(asked)


async def test_a_fallback_that_fits_is_asked() -> None:
    models = fakes(a=DOWN, b="B", c="C", agg="X")
    await run(with_fallbacks(models, caps={"max_calls": 3}))
    assert called(models) == "ab" + "agg"


async def test_the_outputs_fallback_keeps_to_the_cap_too() -> None:
    models = fakes(a="A", b="B", c="C", agg=DOWN)
    with pytest.raises(GraphFailed):
        await run(with_fallbacks(models, caps={"max_calls": 2}))
    assert called(models) == "a" + "agg"


async def test_a_nested_graph_counts_its_own_calls_and_the_run_counts_all() -> None:
    models = five()
    inner = {
        "layers": [{"proposers": ["a"]}, {"proposers": ["b"]}],
        "aggregator": "c",
        "caps": {"max_calls": 2},
    }
    outer = {
        "layers": [{"proposers": ["d"]}, {"proposers": ["inner"]}],
        "aggregator": "agg",
        "caps": {"max_calls": 9},
    }
    asked = await run(build({"inner": inner, "outer": outer}, models)["outer"])
    assert called(models) == "acd" + "agg"  # d's call is not counted against the inner cap
    assert cap_notes(asked) == [("layer 2", "calls")]
    assert asked.record.caps.max_calls == 9


async def test_each_sample_of_a_nested_graph_has_its_caps_for_itself() -> None:
    models = five()
    inner = {
        "layers": [{"proposers": ["a"]}, {"proposers": ["b"]}],
        "aggregator": "c",
        "caps": {"max_calls": 3},
    }
    nodes = {"x": {"model": "inner", "samples": 2}}
    outer = {"layers": [{"nodes": nodes}], "aggregator": "agg"}
    asked = await run(build({"inner": inner, "outer": outer}, models)["outer"])
    assert called(models) == "aabbcc" + "agg"
    assert {each.graph for each in asked.record.calls} == {
        *("outer", "outer/x/inner", "outer/x#2/inner")
    }


async def test_a_nested_graph_keeps_to_the_cap_of_the_run() -> None:
    models = five()
    inner = {"layers": [{"proposers": ["a"]}, {"proposers": ["b"]}], "aggregator": "c"}
    outer = {"layers": [{"proposers": ["inner"]}], "aggregator": "agg"}
    asked = Asked()
    asked.record.caps = Caps(max_cost=Decimal(1))
    await run(build({"inner": inner, "outer": outer}, models)["outer"], asked=asked)
    assert called(models) == "ac" + "agg"


async def test_a_nested_graph_that_fails_at_its_cap_is_not_worth_a_retry() -> None:
    models = five()
    inner = {
        "layers": [{"proposers": ["a"]}],
        "aggregator": "b",
        "caps": {"max_calls": 1, "on_cap": "error"},
    }
    outer = {"layers": [{"proposers": ["inner"]}], "aggregator": "agg"}
    with pytest.raises(GraphFailed) as failed:
        await run(build({"inner": inner, "outer": outer}, models)["outer"])
    error = failed.value
    assert (error.status, error.code, error.should_retry) == (429, "insufficient_quota", False)


@dataclass(frozen=True)
class Thrice(Writer):
    """A kind that asks its model three times."""

    def asks(self, references: int) -> int:
        del references
        return 3

    async def run(self, turn: Turn, emit: Emit) -> None:
        for _ in range(3):
            await turn.node.models[0].answer(turn.request, turn.step, emit)


def with_greedy_output(models: Mapping[str, FakeModel], **caps: object) -> GraphModel:
    graph = panel(models, caps=caps).graph
    return GraphModel(replace(graph, output=replace(graph.output, kind=Thrice())))


@pytest.mark.parametrize(("max_calls", "asked_often"), [(7, 3), (6, 1), (5, 1)])
async def test_an_output_that_asks_often_asks_once_where_its_calls_do_not_fit(
    max_calls: int, asked_often: int
) -> None:
    models = five()
    asked = await run(with_greedy_output(models, max_calls=max_calls))
    assert len(models["agg"].calls) == asked_often
    assert called(models).startswith("abcd")
    assert cap_notes(asked) == ([] if asked_often == 3 else [("output", "calls")])
    if asked_often == 1:
        assert "c says C" in str(models["agg"].calls[0].messages[-1]["content"])


async def test_an_output_that_asks_often_asks_once_where_the_money_is_spent() -> None:
    models = five()
    asked = await run(with_greedy_output(models, max_cost=4))
    assert len(models["agg"].calls) == 1
    assert cap_notes(asked) == [("output", "cost")]


async def test_a_fallback_does_not_take_the_calls_that_others_are_sure_to_make() -> None:
    models = fakes(a=DOWN, b="B", r="R", agg="X")
    models["r"].answers = Script("R", first_token_delay=0.02)
    nodes = {"r": {"kind": "refine", "model": "r"}, "x": {"model": "a", "fallback": ["b"]}}
    graph = {"layers": [{"nodes": nodes}], "aggregator": "agg", "caps": {"max_calls": 5}}
    asked = await run(build({"moa": graph}, models)["moa"])
    assert sorted(called(models)) == sorted("a" + "rrr" + "agg")
    assert ("x", "calls") in cap_notes(asked)


async def test_a_nested_graph_knows_the_deadline_of_the_layer_it_is_asked_in() -> None:
    models = fakes(a="A", b=HANGS, agg="X")
    inner = {"layers": [{"proposers": ["a", "b"]}], "aggregator": "agg"}
    outer = {"layers": [{"proposers": ["inner"], "deadline": "200ms"}], "aggregator": "agg"}
    asked = await run(build({"inner": inner, "outer": outer}, models)["outer"])
    assert asked.notes("late") == ["b"]
    assert [len(models[name].calls) for name in ("a", "b", "agg")] == [1, 1, 2]


ASKS_A_JUDGE: dict[str, dict[str, Any]] = {
    "the judge of an output": {
        "layers": [{"proposers": ["a", "b"]}],
        "output": {"kind": "select", "model": "judge"},
    },
    "the judge of a layer": {
        "layers": [
            {"proposers": ["a", "b"]},
            {"nodes": {"best": {"kind": "select", "model": "judge"}}},
        ],
        "aggregator": "agg",
    },
    "the judge of a stop": {
        "layers": [
            {"proposers": ["a", "b"], "stop": {"when": "judge", "model": "judge"}},
            {"proposers": ["c"]},
        ],
        "aggregator": "agg",
    },
    "the judge of a route": {
        "output": {
            "kind": "route",
            "otherwise": "agg",
            "ask": {"model": "judge", "choices": {"agg": "hard", "a": "easy"}},
        }
    },
}


@pytest.mark.parametrize("spec", ASKS_A_JUDGE.values(), ids=ASKS_A_JUDGE)
async def test_a_late_judge_leaves_time_for_an_answer_however_short_the_request(
    spec: dict[str, Any],
) -> None:
    models = fakes(a="A", b="B", c="C", agg="X", judge=HANGS)
    asked = await run(build({"moa": {**spec, "deadline": "400ms"}}, models)["moa"])
    assert asked.text
    assert models["judge"].calls[0].cancelled


async def test_an_output_counts_the_calls_for_what_it_sees_where_layers_were_skipped() -> None:
    models = fakes(a="A", b="B", agg="X")
    nodes = {"many": {"model": "a", "samples": 4}}
    more = {"one": {"model": "b", "samples": 1}}
    graph = {
        "layers": [{"nodes": nodes}, {"nodes": more}],
        "output": {"kind": "reduce", "model": "agg", "window": 2},
        "caps": {"max_calls": 5},
    }
    asked = await run(build({"moa": graph}, models)["moa"])
    assert called(models) == "aaaa" + "agg"
    assert cap_notes(asked) == [("layer 2", "calls"), ("output", "calls")]
