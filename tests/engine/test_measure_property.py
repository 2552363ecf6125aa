"""What `measure` says of a graph holds when it runs: on random graphs, with whatever fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, TypeAlias

import anyio
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.engine.graph_model import GraphModel
from app.engine.measure import expected_calls, worst_case_calls
from app.engine.spec import LimitsSpec
from app.errors import MoaError, UpstreamUnavailable
from app.protocol.chat import ChatRequest, Conversation
from app.record import Degradation, Outcome, RunRecord, Step, Target
from app.upstream.fake import Answer as Played
from app.upstream.fake import FakeModel, Script
from tests.engine.graphs import Asked, build

Config: TypeAlias = dict[str, Any]

NAMES = ("a", "b", "c")
ANY_SIZE = LimitsSpec(max_depth=10, max_calls=100_000)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
USER = {"role": "user", "content": "What is a quorum?"}
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOL_TURN = (
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "A number."},
)
BAD: tuple[Played, ...] = (
    UpstreamUnavailable("It is down."),
    Script("", finish_reason="stop"),
    "I'm sorry, but I can't help with that.",
    "Best: 99",
    Script(tool_calls=(CALL,), text=""),
)


class Embedding(FakeModel):
    """Makes one vector for all texts, and books the call."""

    async def embed(self, texts: Sequence[str], step: Step) -> list[list[float]]:
        line = step.begin(Target(self.name, "fake", self.name))
        step.end(line, Outcome.OK)
        return [[1.0, 0.0] for _ in texts]


def well_behaved() -> Callable[[ChatRequest], Played]:
    """Answers whatever it is asked as it should be, never twice the same."""
    numbers = count()

    def answer(request: ChatRequest) -> Played:
        asked = str(request.conversation.messages[-1]["content"])
        if "<number>, <number>" in asked:
            return "Best: 1, 2"
        if "Best: <number>" in asked:
            return "Best: 1"
        if asked.endswith("yes or no."):
            return "no"
        return f"Answer number {next(numbers)}."

    return answer


def moody(bad: Sequence[Played | None]) -> Callable[[ChatRequest], Played]:
    """Fails in turn in all the ways given, and answers well where None is given."""
    good, turn = well_behaved(), count()

    def answer(request: ChatRequest) -> Played:
        return bad[next(turn) % len(bad)] or good(request)

    return answer


def models(answers: Callable[[str], Callable[[ChatRequest], Played]]) -> dict[str, FakeModel]:
    fakes = {name: FakeModel(name, answers(name)) for name in NAMES}
    return {**fakes, "vectors": Embedding("vectors")}


@st.composite
def asking(draw: st.DrawFn, names: Sequence[str], kind: str) -> Config:
    node: Config = {"kind": kind, "model": draw(st.sampled_from(names))}
    node["fallback"] = draw(st.lists(st.sampled_from(names), max_size=2))
    if kind == "reduce":
        node["window"] = draw(st.integers(2, 4))
        node["best_slots"] = draw(st.integers(1, node["window"] - 1))
    if kind == "refine":
        node["rounds"] = draw(st.integers(1, 3))
    if kind == "select":
        node["both_orders"] = draw(st.booleans())
    return node


@st.composite
def inner_node(draw: st.DrawFn, names: Sequence[str], kinds: Sequence[str]) -> Config:
    kind = draw(st.sampled_from(kinds))
    if kind == "vote":
        return {"kind": kind}
    node = draw(asking(names, kind))
    if kind == "select":
        return {**node, "pick": draw(st.integers(1, 2))}
    return {**node, "samples": draw(st.integers(1, 3))}


FIRST = ("propose", "aggregate", "refine", "reduce")
WRITING = (*FIRST, "revise")
REMARKING = ("critique", "analyse")
CHOOSING = ("select", "vote")


@st.composite
def layers(draw: st.DrawFn, names: Sequence[str], *, anything: bool) -> list[Config]:
    """One to three layers; unless `anything` goes, no layer hands on the same answer twice."""
    made: list[Config] = []
    for number in range(draw(st.integers(1, 3))):
        size = draw(st.integers(1, 3))
        kinds: Sequence[str] = WRITING if number else FIRST
        if number and anything:
            kinds = (*WRITING, *REMARKING, *CHOOSING)
        elif number and size == 1:
            kinds = (*WRITING, *CHOOSING)
        drawn = [draw(inner_node(names, kinds)) for _ in range(size)]
        layer: Config = {"nodes": {f"n{number}_{at}": node for at, node in enumerate(drawn)}}
        if draw(st.booleans()):
            layer["filter"] = {"by": "embedding", "model": "vectors"}
        made.append(layer)
    for layer in made[:-1]:
        if draw(st.booleans()):
            layer["stop"] = {"when": "judge", "model": draw(st.sampled_from(names))}
    if anything:
        add_skip_edges(draw, made)
    return made


def add_skip_edges(draw: st.DrawFn, made: list[Config]) -> None:
    """Let nodes of later layers see more than the layer before."""
    before: list[str] = []
    for layer in made:
        for node in layer["nodes"].values():
            if before and draw(st.booleans()):
                node["inputs"] = list(before)
        before += layer["nodes"]


@st.composite
def graph(draw: st.DrawFn, names: Sequence[str], *, anything: bool) -> Config:
    kinds = ("aggregate", "revise", "refine", "reduce", "select")
    spec: Config = {
        "layers": draw(layers(names, anything=anything)),
        "output": draw(asking(names, draw(st.sampled_from(kinds)))),
    }
    if anything:
        spec |= {
            "on_empty": draw(st.sampled_from(["answer", "error"])),
            "last_resort": draw(st.sampled_from(["none", "best_reference"])),
            "tools": draw(st.sampled_from(ways(spec))),
            "min_references": 1,
        }
    return spec


def ways(spec: Config) -> list[str]:
    """What `tools` may say: somebody must be there to propose."""
    kinds = {node["kind"] for node in spec["layers"][0]["nodes"].values()}
    return ["advise", "pick"] if "propose" in kinds else ["advise"]


@st.composite
def nested(draw: st.DrawFn, *, anything: bool) -> dict[str, Config]:
    """A graph, and perhaps one that it uses as a model."""
    inner = draw(graph(NAMES, anything=anything))
    names = (*NAMES, "inner") if draw(st.booleans()) else NAMES
    return {"inner": inner, "outer": draw(graph(names, anything=anything))}


def record_of(model: GraphModel, request: ChatRequest) -> RunRecord:
    asked = Asked()

    async def ask() -> None:
        with anyio.fail_after(30):
            await model.answer(request, Step(asked.record), asked.emit)

    with suppress(MoaError):
        anyio.run(ask)
    return asked.record


@settings(max_examples=150, deadline=None)
@given(
    specs=nested(anything=True),
    bad=st.lists(st.sampled_from([None, *BAD]), min_size=1, max_size=12),
    messages=st.sampled_from([(USER,), TOOL_TURN]),
    params=st.sampled_from([{}, {"tools": TOOLS}]),
)
def test_the_worst_case_is_never_exceeded_whatever_fails(
    specs: dict[str, Config],
    bad: list[Played | None],
    messages: tuple[Config, ...],
    params: Config,
) -> None:
    outer = build(specs, models(lambda _: moody(bad)), ANY_SIZE)["outer"]
    record = record_of(outer, ChatRequest(Conversation(messages), params))
    assert len(record.calls) <= worst_case_calls(outer.graph)


@settings(max_examples=150, deadline=None)
@given(
    spec=graph(NAMES, anything=True),
    bad=st.lists(st.sampled_from([None, *BAD]), min_size=1, max_size=12),
    spare=st.integers(-2, 3),
    params=st.sampled_from([{}, {"tools": TOOLS}]),
)
def test_a_cap_on_calls_is_never_exceeded_whatever_fails(
    spec: Config, bad: list[Played | None], spare: int, params: Config
) -> None:
    plain = build({"outer": spec}, models(lambda _: moody(bad)), ANY_SIZE)["outer"]
    most = max(1, expected_calls(plain.graph) + spare)
    capped = {**spec, "caps": {"max_calls": most}}
    outer = build({"outer": capped}, models(lambda _: moody(bad)), ANY_SIZE)["outer"]
    record = record_of(outer, ChatRequest(Conversation((USER,)), params))
    assert len(record.calls) <= most


@settings(max_examples=150, deadline=None)
@given(specs=nested(anything=False))
def test_the_expected_calls_are_those_made_when_nothing_fails(specs: dict[str, Config]) -> None:
    good = well_behaved()
    outer = build(specs, models(lambda _: good), ANY_SIZE)["outer"]
    record = record_of(outer, ChatRequest(Conversation((USER,))))
    assert len(record.calls) == expected_calls(outer.graph)


@settings(max_examples=100, deadline=None)
@given(specs=nested(anything=True))
def test_no_more_than_the_expected_calls_are_made_when_nothing_fails(
    specs: dict[str, Config],
) -> None:
    good = well_behaved()
    outer = build(specs, models(lambda _: good), ANY_SIZE)["outer"]
    record = record_of(outer, ChatRequest(Conversation((USER,))))
    # A judge that sees nothing but critiques cannot choose, and another one is asked.
    assume(Degradation.FALLBACK not in record.degraded)
    assert len(record.calls) <= expected_calls(outer.graph)
