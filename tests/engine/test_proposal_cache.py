"""Proposals kept, and asked for once at a time: exact call counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import anyio
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.engine.graph_model import GraphModel
from app.engine.parts import Parts
from app.engine.proposal_cache import CachedModel, Keeping, identity, uncached
from app.errors import GraphFailed, InternalError, UpstreamUnavailable
from app.interfaces import Abilities
from app.protocol.answer import Answer
from app.protocol.chat import ChatRequest, Conversation
from app.record import Caps, Degradation, Outcome, Price, RunRecord, Step, Target
from app.store.memory import MemoryCache
from app.upstream.fake import FakeModel, Script
from tests.engine.graphs import Asked, build, question, run

MANY = 20
DOWN = UpstreamUnavailable("The upstream 'x' could not be reached.")
LITE = {"layers": [{"proposers": ["a", "b"]}], "aggregator": "agg", "cache": {}}


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class House:
    """A graph of fakes with a store."""

    spec: Mapping[str, Any] = field(default_factory=lambda: LITE)
    clock: Hand = field(default_factory=Hand)

    def __post_init__(self) -> None:
        self.store = MemoryCache(self.clock)
        self.models = {name: FakeModel(name, f"From {name}.") for name in ("a", "b", "agg", "c")}
        self.graph = self.built(self.spec)

    def built(self, spec: Mapping[str, Any], name: str = "moa") -> GraphModel:
        return build({name: spec}, self.models, parts=Parts(self.store))[name]

    def calls(self) -> list[int]:
        """How often a, b and the aggregator were asked."""
        return [len(self.models[name].calls) for name in ("a", "b", "agg")]

    async def ask(self, request: ChatRequest | None = None, caller: str = "") -> Asked:
        asked = Asked()
        asked.record.caller = caller
        return await run(self.graph, request, asked)


def with_(**changes: Any) -> Mapping[str, Any]:
    return {**LITE, **changes}


async def test_the_same_question_again_costs_the_output_alone() -> None:
    house = House()
    first, second = await house.ask(), await house.ask()
    assert house.calls() == [1, 1, 2]
    assert first.notes("cached") == []
    assert second.notes("cached") == ["a", "b"]
    assert [call.node for call in second.record.calls] == ["output"]
    assert second.record.usage() == first.record.output_usage()


async def test_a_hit_is_shown_to_the_output_as_the_answer_was() -> None:
    house = House(with_(shuffle=False))
    await house.ask()
    house.graph = house.built(with_(shuffle=False))
    await house.ask()
    first, second = (call.messages[-1]["content"] for call in house.models["agg"].calls)
    assert house.calls() == [1, 1, 2]
    assert "From a." in second
    assert [line for line in second.splitlines() if "[" not in line] == [
        line for line in first.splitlines() if "[" not in line
    ]


async def test_nothing_is_kept_unless_the_graph_says_so() -> None:
    house = House({key: value for key, value in LITE.items() if key != "cache"})
    await house.ask()
    await house.ask()
    assert house.calls() == [2, 2, 2]


async def test_an_answer_is_kept_for_its_time() -> None:
    house = House(with_(cache={"ttl": "10s"}))
    await house.ask()
    house.clock.now = 9.9
    await house.ask()
    assert house.calls() == [1, 1, 2]
    house.clock.now = 10.0
    await house.ask()
    assert house.calls() == [2, 2, 3]


async def test_each_sample_is_kept_for_itself() -> None:
    house = House(with_(layers=[{"nodes": {"s": {"model": "a", "samples": 3}}}]))
    house.models["a"].answers = ("One.", "Two.", "Three.")
    await house.ask()
    again = await house.ask()
    assert house.calls() == [3, 0, 2]
    shown = house.models["agg"].calls[1].messages[-1]["content"]
    assert all(text in shown for text in ("One.", "Two.", "Three."))
    assert [note.detail for note in again.record.notes if note.what == "cached"] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "request_",
    [
        question("What is a quorum? "),
        question(temperature=0.1),
        question(temperature=0),
        question(top_p=0.5),
        question(seed=1),
        ChatRequest(
            Conversation(
                (
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "What is a quorum?"},
                )
            )
        ),
    ],
)
async def test_another_question_is_a_miss(request_: ChatRequest) -> None:
    house = House()
    await house.ask()
    await house.ask(request_)
    assert house.calls() == [2, 2, 2]


async def test_what_does_not_reach_a_proposer_does_not_matter_to_it() -> None:
    house = House()
    await house.ask(question(max_tokens=5, stop=["x"], user="me"))
    await house.ask(question(max_tokens=9, tools=[{"type": "function", "function": {"name": "f"}}]))
    assert house.calls() == [1, 1, 2]


@pytest.mark.parametrize(
    ("nodes", "asked"),
    [
        ({"n": {"model": "c"}}, ("c", 1)),
        ({"m": {"model": "a"}}, ("a", 2)),
        ({"n": {"model": "a", "system": "Be brief."}}, ("a", 2)),
        ({"n": {"model": "a", "temperature": 0.3}}, ("a", 2)),
        ({"n": {"model": "a", "max_tokens": 7}}, ("a", 2)),
        ({"n": {"model": "a", "fallback": ["c"]}}, ("a", 1)),
    ],
)
async def test_another_node_or_model_is_a_miss(
    nodes: Mapping[str, Any], asked: tuple[str, int]
) -> None:
    house = House(with_(layers=[{"nodes": {"n": {"model": "a"}}}]))
    await house.ask()
    house.graph = house.built(with_(layers=[{"nodes": nodes}]))
    await house.ask()
    assert len(house.models[asked[0]].calls) == asked[1]


async def test_another_graph_is_a_miss() -> None:
    house = House()
    await house.ask()
    house.graph = house.built(LITE, name="other")
    await house.ask()
    assert house.calls() == [2, 2, 2]


async def test_another_caller_gets_nothing_unless_the_graph_says_so() -> None:
    house = House()
    await house.ask(caller="one")
    await house.ask(caller="two")
    assert house.calls() == [2, 2, 2]
    await house.ask(caller="two")
    assert house.calls() == [2, 2, 3]


async def test_scope_all_shares_between_callers_and_with_none_of_the_other_scope() -> None:
    house = House()
    await house.ask(caller="one")
    house.graph = house.built(with_(cache={"scope": "all"}))
    await house.ask(caller="one")
    await house.ask(caller="two")
    assert house.calls() == [2, 2, 3]


@pytest.mark.parametrize(
    "script",
    [
        Script("Cut of", finish_reason="length"),
        Script("Filtered", finish_reason="content_filter"),
        Script("I'm sorry, but I can't help with that."),
        Script("", refusal="No."),
        Script(""),
        Script("  \n"),
        Script("", reasoning="Only a thought."),
        Script("x", tool_calls=({"id": "1", "function": {"name": "f", "arguments": "{}"}},)),
        Script("x", finish_reason="tool_calls"),
        Script("A start, then", after=1, error=DOWN),
        DOWN,
        InternalError("An internal error."),
    ],
)
async def test_only_whole_good_answers_are_kept(script: Script | Exception) -> None:
    house = House()
    house.models["a"].answers = (script, "Good.")
    await house.ask()
    second = await house.ask()
    assert house.calls() == [2, 1, 2]
    assert second.notes("cached") == ["b"]
    await house.ask()
    assert house.calls() == [2, 1, 3]


async def test_the_output_is_asked_anew_even_where_it_is_also_a_proposer() -> None:
    house = House(with_(layers=[{"proposers": ["agg"]}]))
    await house.ask()
    await house.ask()
    assert house.calls() == [0, 0, 3]


async def test_a_nested_graph_sees_to_its_own_answers() -> None:
    house = House()
    inner = {"layers": [{"proposers": ["a"]}], "aggregator": "b", "cache": {}}
    outer = {"layers": [{"proposers": ["inner", "c"]}], "aggregator": "agg", "cache": {}}
    graphs = {"inner": inner, "outer": outer}
    house.graph = build(graphs, house.models, parts=Parts(house.store))["outer"]
    await house.ask()
    second = await house.ask()
    assert house.calls() == [1, 2, 2]
    assert len(house.models["c"].calls) == 1
    assert sorted(second.notes("cached")) == ["a", "c"]


async def test_a_fallback_is_kept_and_its_use_is_declared_each_time() -> None:
    nodes = {"n": {"model": "a", "fallback": ["b"]}}
    house = House(with_(layers=[{"nodes": nodes}]))
    house.models["a"].answers = DOWN
    await house.ask()
    second = await house.ask()
    assert house.calls() == [2, 1, 2]
    assert Degradation.FALLBACK in second.record.degraded


async def test_later_layers_see_fresh_fences_and_are_asked_again() -> None:
    house = House(with_(layers=[{"proposers": ["a"]}, {"proposers": ["b"]}]))
    await house.ask()
    await house.ask()
    assert house.calls() == [1, 2, 2]


class Crowd:
    """Equal runs at the same time. `ended` are those that were answered, `failed` the errors."""

    def __init__(self, graph: GraphModel) -> None:
        self.graph = graph
        self.asked = [Asked() for _ in range(MANY)]
        self.scopes = [anyio.CancelScope() for _ in range(MANY)]
        self.ended: list[Asked] = []
        self.failed: list[Exception] = []

    async def one(self, place: int) -> None:
        with self.scopes[place]:
            try:
                await run(self.graph, question(), self.asked[place])
            except GraphFailed as error:
                self.failed.append(error)
            else:
                self.ended.append(self.asked[place])

    def notes(self, what: str) -> int:
        return sum(len(asked.notes(what)) for asked in self.asked)


@contextmanager
def patience() -> Iterator[None]:
    with anyio.fail_after(5):
        yield


async def all_at_once(house: House, gate: anyio.Event | None = None) -> Crowd:
    """Let a crowd ask, and open the gate when all of it waits."""
    crowd = Crowd(house.graph)
    with patience():
        async with anyio.create_task_group() as group:
            for place in range(MANY):
                group.start_soon(crowd.one, place)
            await anyio.wait_all_tasks_blocked()
            if gate is not None:
                gate.set()
    return crowd


async def test_equal_questions_at_the_same_time_make_one_call_a_proposer() -> None:
    house, gate = House(), anyio.Event()
    price = Price(Decimal(1), Decimal(1))
    for name in ("a", "b"):
        house.models[name].answers = Script(f"From {name}.", gate=gate)
        house.models[name].price = price
    crowd = await all_at_once(house, gate)
    assert house.calls() == [1, 1, MANY]
    assert len(crowd.ended) == MANY
    assert crowd.notes("shared") == 2 * (MANY - 1)
    billed = [call for asked in crowd.asked for call in asked.record.billed()]
    assert sorted(call.node for call in billed) == sorted(["a", "b", *["output"] * MANY])
    assert not any(asked.record.degraded for asked in crowd.asked)
    for call in house.models["agg"].calls:
        assert "From a." in call.messages[-1]["content"]
        assert "From b." in call.messages[-1]["content"]


async def test_equal_questions_of_different_callers_do_not_meet() -> None:
    house, gate = House(), anyio.Event()
    house.models["a"].answers = Script("From a.", gate=gate)
    with patience():
        async with anyio.create_task_group() as group:
            for caller in ("one", "two", "two"):
                group.start_soon(house.ask, None, caller)
            await anyio.wait_all_tasks_blocked()
            gate.set()
    assert house.calls() == [2, 2, 3]


async def test_where_the_one_who_asks_leaves_exactly_one_other_asks_and_nobody_fails() -> None:
    house, gate = House(), anyio.Event()
    a = house.models["a"]
    a.answers = (Script(hang=True), Script("From a.", gate=gate))
    crowd = Crowd(house.graph)
    with patience():
        async with anyio.create_task_group() as group:
            for place in range(MANY):
                group.start_soon(crowd.one, place)
            await a.started()
            await anyio.wait_all_tasks_blocked()
            leader = next(i for i, asked in enumerate(crowd.asked) if asked.record.calls)
            crowd.scopes[leader].cancel()
            await a.started(2)
            await anyio.wait_all_tasks_blocked()
            gate.set()
    assert [call.outcome for call in a.calls] == [Outcome.CANCELLED, Outcome.OK]
    assert len(crowd.ended) == MANY - 1
    assert not crowd.failed
    assert not any(asked.record.degraded for asked in crowd.ended)
    assert house.calls()[1] == 1


async def test_one_who_waits_may_leave_without_a_trace() -> None:
    house, gate = House(), anyio.Event()
    a = house.models["a"]
    a.answers = Script("From a.", gate=gate)
    crowd = Crowd(house.graph)
    with patience():
        async with anyio.create_task_group() as group:
            for place in range(MANY):
                group.start_soon(crowd.one, place)
            await anyio.wait_all_tasks_blocked()
            led = [bool(asked.record.calls) for asked in crowd.asked]
            crowd.scopes[led.index(False)].cancel()
            await anyio.wait_all_tasks_blocked()
            gate.set()
    assert house.calls()[:2] == [1, 1]
    assert len(crowd.ended) == MANY - 1


async def test_where_the_call_fails_one_other_asks_and_the_rest_share_its_answer() -> None:
    house, gate = House(), anyio.Event()
    house.models["a"].answers = (Script(gate=gate, error=DOWN), "From a.")
    crowd = await all_at_once(house, gate)
    assert house.calls() == [2, 1, MANY]
    assert len(crowd.ended) == MANY
    assert sum(bool(asked.record.degraded) for asked in crowd.ended) == 1


async def test_an_upstream_that_is_down_is_asked_twice_and_not_by_everybody_in_turn() -> None:
    house, gate = House(with_(layers=[{"proposers": ["a"]}])), anyio.Event()
    house.models["a"].answers = Script(gate=gate, error=DOWN)
    crowd = await all_at_once(house, gate)
    assert house.calls() == [2, 0, 0]
    assert len(crowd.failed) == MANY
    assert {str(error) for error in crowd.failed} == {str(crowd.failed[0])}
    house.models["a"].answers = "Back."
    await house.ask()
    assert house.calls() == [3, 0, 1]


async def test_a_bug_in_the_call_of_one_is_not_handed_to_the_others() -> None:
    house, gate = House(with_(layers=[{"proposers": ["a"]}])), anyio.Event()
    house.models["a"].answers = (*(Script(gate=gate, error=ValueError("bug")),) * 3, "Fine.")
    crowd = await all_at_once(house, gate)
    assert house.calls() == [4, 0, MANY - 3]
    assert len(crowd.failed) == 3


async def test_a_cut_answer_is_shared_but_not_kept() -> None:
    house, gate = House(), anyio.Event()
    house.models["a"].answers = Script("Cut of", gate=gate, finish_reason="length")
    await all_at_once(house, gate)
    assert house.calls() == [1, 1, MANY]
    await house.ask()
    assert house.calls() == [2, 1, MANY + 1]


async def test_one_who_waits_goes_on_when_his_own_layer_ends() -> None:
    house, gate = House(), anyio.Event()
    house.models["a"].answers = Script("From a.", gate=gate)
    first, second = Asked(), Asked()
    second.record.caps = Caps(quorum=1)
    with patience():
        async with anyio.create_task_group() as group:
            group.start_soon(run, house.graph, question(), first)
            await house.models["a"].started()
            await run(house.graph, question(), second)
            assert not first.batches
            gate.set()
    assert second.notes("late") == ["a"]
    assert house.calls() == [1, 1, 2]
    assert not first.record.degraded


@dataclass(frozen=True)
class Whole:
    """Everything that determines a call."""

    model: str
    upstream: str
    upstream_model: str
    context: int | None
    vision: bool
    fingerprint: str
    graph: str
    scope: str
    caller: str
    node: str
    sample: int
    messages: tuple[dict[str, Any], ...]
    params: tuple[tuple[str, Any], ...]

    def key(self) -> str:
        model = FakeModel(self.model, abilities=Abilities(context=self.context, vision=self.vision))
        setattr(model, "target", Target(self.model, self.upstream, self.upstream_model))  # noqa: B010 - as a deployment has one
        keeping = Keeping(self.graph, 1.0, "all" if self.scope == "all" else "key")
        cached = CachedModel(model, MemoryCache(Hand()), {}, keeping, self.fingerprint)
        record = RunRecord("r", "m", lambda: 0.0, caller=self.caller)
        step = Step(record, "whatever", node=self.node, sample=self.sample)
        return cached.key(ChatRequest(Conversation(self.messages), dict(self.params)), step)

    def normal(self) -> object:
        """What must be equal for the keys to be: who asks counts in scope `key` alone."""
        params = sorted((name, repr(value)) for name, value in self.params)
        caller = None if self.scope == "all" else self.caller
        return repr(replace(self, params=(), caller="")), params, caller


names = st.text(alphabet='ab":,[]', max_size=3)
values = st.one_of(
    st.none(), st.booleans(), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]), names
)
wholes = st.builds(
    Whole,
    model=names,
    upstream=names,
    upstream_model=names,
    context=st.sampled_from([None, 1, 2]),
    vision=st.booleans(),
    fingerprint=names,
    graph=names,
    scope=st.sampled_from(["key", "all"]),
    caller=names,
    node=names,
    sample=st.integers(0, 2),
    messages=st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": names}),
        min_size=1,
        max_size=2,
    ).map(tuple),
    params=st.dictionaries(st.sampled_from(["temperature", "seed", "x"]), values).map(
        lambda params: tuple(params.items())
    ),
)


@given(wholes, wholes, st.data())
def test_a_change_of_any_determining_field_is_another_key(
    one: Whole, other: Whole, data: st.DataObject
) -> None:
    changed = data.draw(st.sampled_from(sorted(Whole.__dataclass_fields__)))
    mixed = replace(one, **{changed: getattr(other, changed)})
    assume(mixed.normal() != one.normal())
    assert mixed.key() != one.key()


@given(wholes, wholes)
def test_equal_questions_have_equal_keys_and_others_do_not(one: Whole, other: Whole) -> None:
    assert (one.key() == other.key()) == (one.normal() == other.normal())
    assert one.key() == replace(one, params=tuple(reversed(one.params))).key()


def test_a_model_without_an_upstream_is_known_by_its_name_and_settings() -> None:
    assert identity(FakeModel("a"), "") != identity(FakeModel("b"), "")
    assert identity(FakeModel("a"), "1") != identity(FakeModel("a"), "2")


def test_a_cached_model_passes_for_its_model() -> None:
    model = FakeModel("a", abilities=Abilities(context=7))
    cached = CachedModel(model, MemoryCache(Hand()), {}, Keeping("g", 1.0))
    assert (cached.name, cached.abilities) == ("a", model.abilities)
    assert uncached(cached) is model
    assert uncached(model) is model


async def test_a_stream_is_handed_on_piece_by_piece_and_kept_whole() -> None:
    model = FakeModel("a", "One two three.")
    cached = CachedModel(model, MemoryCache(Hand()), {}, Keeping("g", 1.0))
    first, second = Asked(), Asked()
    request = replace(question(), stream=True)
    for asked in (first, second):
        await run(cached, request, asked)  # type: ignore[arg-type] # any model will do
    assert len(first.batches) > 2
    assert len(second.batches) == 1
    answers: list[Answer] = [first.answer, second.answer]
    assert [answer.message() for answer in answers] == [first.answer.message()] * 2
    assert [answer.finish_reason() for answer in answers] == ["stop", "stop"]


async def test_samples_of_a_nested_graph_are_independent() -> None:
    proposer = FakeModel("p", ["one", "two"])
    models = {"p": proposer, "w": FakeModel("w")}
    inner = {"cache": {}, "layers": [{"proposers": ["p"]}], "aggregator": "w"}
    outer = {"layers": [{"nodes": {"x": {"model": "inner", "samples": 2}}}], "aggregator": "w"}
    parts = Parts(MemoryCache(Hand()))
    graph = build({"inner": inner, "outer": outer}, models, parts=parts)["outer"]
    for _ in range(2):
        await run(graph)
    assert len(proposer.calls) == 2
