"""`revise`: one draft, improved in the light of everything else."""

from __future__ import annotations

from typing import Any

import pytest

from app.engine.instructions import REVISE
from app.engine.references import INSTRUCTION
from app.errors import ConfigError, UpstreamUnavailable
from app.protocol.chat import ChatRequest
from app.upstream.fake import Answer, FakeModel, Script
from tests.engine.graphs import Asked, build, question, run
from tests.engine.nodes.blocks import blocks, tail, texts

DOWN = UpstreamUnavailable("The upstream 'x' cannot be reached.")


def fakes(**answers: Answer | list[Answer]) -> dict[str, FakeModel]:
    return {name: FakeModel(name, answer) for name, answer in answers.items()}


def revised(**reviser: Any) -> dict[str, Any]:
    """Three drafts, a critic, and an output that revises."""
    node = {"kind": "revise", "model": "reviser", "inputs": ["a", "b", "c", "critic"]}
    return {
        "layers": [
            {"nodes": {each: {"model": each} for each in "abc"}},
            {"nodes": {"critic": {"kind": "critique", "model": "critic"}}},
        ],
        "output": {**node, **reviser},
    }


def panel(**changed: Answer) -> dict[str, FakeModel]:
    said: dict[str, Answer] = {"a": "Alpha.", "b": "Beta.", "c": "Gamma.", "critic": "Too short."}
    return fakes(**(said | {"reviser": "Better."} | changed))


async def test_the_draft_comes_first_whatever_the_shuffle_and_all_others_follow() -> None:
    others = set()
    for seed in range(12):
        models, asked = panel(), Asked()
        asked.record.seed = seed
        await run(build({"moa": revised(draft="b")}, models)["moa"], asked=asked)
        shown = blocks(models["reviser"].calls[0])
        assert next(iter(shown.items())) == ("Response 1", "Beta.")
        assert sorted(shown.values()) == ["Alpha.", "Beta.", "Gamma.", "Too short."]
        assert shown["Critique 1"] == "Too short."
        others.add(tuple(shown.values())[1:])
    assert len(others) > 1


async def test_it_is_asked_to_improve_that_draft() -> None:
    models = panel()
    asked = await run(build({"moa": revised(draft="b")}, models)["moa"])
    assert tail(models["reviser"].calls[0]).startswith(REVISE.instruction)
    assert tail(models["reviser"].calls[0]).endswith(REVISE.closing)
    assert asked.text == "Better."
    assert asked.record.degraded == []
    assert asked.record.notes == []


async def test_the_first_input_is_the_draft_by_default() -> None:
    models = panel()
    graph = revised(inputs=["c", "a", "critic"]) | {"shuffle": True}
    graph["layers"][1]["nodes"]["critic"]["inputs"] = ["a", "b"]
    await run(build({"moa": graph}, models)["moa"])
    assert texts(models["reviser"].calls[0])[0] == "Gamma."


async def test_a_lost_draft_makes_it_an_aggregator_of_what_there_is_and_is_noted() -> None:
    models = panel(b=DOWN)
    asked = await run(build({"moa": revised(draft="b") | {"shuffle": False}}, models)["moa"])
    (call,) = models["reviser"].calls
    assert texts(call) == ["Alpha.", "Gamma.", "Too short."]
    assert tail(call).startswith(INSTRUCTION)
    assert asked.notes("draft_missing") == ["output"]
    assert asked.text == "Better."


async def test_a_lost_first_input_is_not_replaced_by_the_next_one_as_the_draft() -> None:
    models = panel(a=DOWN)
    asked = await run(build({"moa": revised()}, models)["moa"])
    assert tail(models["reviser"].calls[0]).startswith(INSTRUCTION)
    assert [note.detail for note in asked.record.notes if note.what == "draft_missing"] == ["a"]


async def test_a_draft_that_refuses_is_lost_when_others_answered() -> None:
    models = panel(b="I'm sorry, but I can't help with that.")
    asked = await run(build({"moa": revised(draft="b")}, models)["moa"])
    assert asked.notes("draft_missing") == ["output"]


async def test_of_several_samples_the_first_is_the_draft_and_the_others_are_shown_too() -> None:
    models = fakes(a=["One.", "Two.", "Three."], reviser="Better.")
    graph = {
        "layers": [{"nodes": {"many": {"model": "a", "samples": 3}}}],
        "output": {"kind": "revise", "model": "reviser", "draft": "many"},
    }
    await run(build({"moa": graph}, models)["moa"])
    shown = texts(models["reviser"].calls[0])
    assert shown[0] == "One."
    assert sorted(shown) == ["One.", "Three.", "Two."]


async def test_a_draft_may_be_what_another_node_chose() -> None:
    models = panel(a="Alpha.", b="Beta.", c="Beta.")
    graph = {
        "layers": [
            {"proposers": ["a", "b", "c"]},
            {"nodes": {"winner": {"kind": "vote"}}},
            {"nodes": {"critic": {"kind": "critique", "model": "critic"}}},
        ],
        "output": {
            "kind": "revise",
            "model": "reviser",
            "draft": "winner",
            "inputs": ["critic", "winner"],
        },
    }
    asked = await run(build({"moa": graph}, models)["moa"])
    shown = blocks(models["reviser"].calls[0])
    assert shown == {"Response 1": "Beta.", "Critique 1": "Too short."}
    assert asked.notes("draft_missing") == []


async def test_as_output_it_streams_with_the_callers_own_parameters() -> None:
    models = panel()
    asked = question(tools=[{"type": "function"}], stop=["x"], temperature=0.1)
    streamed = ChatRequest(asked.conversation, asked.params, stream=True)
    found = await run(build({"moa": revised(draft="b")}, models)["moa"], streamed)
    (call,) = models["reviser"].calls
    assert call.request.stream
    assert {**call.params} == {**asked.params}
    assert len(found.batches) > 1


async def test_critique_then_revise_gives_every_agent_its_own_draft_back_with_the_critiques() -> (
    None
):
    """Attention-MoA's exchange (arXiv 2601.16596): respond, criticise the others, revise."""
    models = {n: FakeModel(n, [f"{n}1.", f"{n} on others.", f"{n}2."]) for n in "abc"}
    models["agg"] = FakeModel("agg", "Done.")
    critics: dict[str, Any] = {
        f"{n}-critic": {"kind": "critique", "model": n, "inputs": [o for o in "abc" if o != n]}
        for n in "abc"
    }
    revisers: dict[str, Any] = {
        f"{n}-again": {
            "kind": "revise",
            "model": n,
            "draft": n,
            "inputs": [n, *(f"{o}-critic" for o in "abc" if o != n)],
        }
        for n in "abc"
    }
    graph = {
        "layers": [{"proposers": ["a", "b", "c"]}, {"nodes": critics}, {"nodes": revisers}],
        "aggregator": "agg",
        "shuffle": False,
    }
    await run(build({"moa": graph}, models)["moa"])
    assert [len(models[n].calls) for n in "abc"] == [3, 3, 3]
    assert blocks(models["b"].calls[2]) == {
        "Response 1": "b1.",
        "Critique 1": "a on others.",
        "Critique 2": "c on others.",
    }
    assert texts(models["agg"].calls[0]) == ["a2.", "b2.", "c2."]


async def test_without_any_reference_it_answers_alone_where_configured() -> None:
    models = panel(a=DOWN, b=DOWN, c=DOWN)
    asked = await run(build({"moa": revised(draft="b") | {"on_empty": "answer"}}, models)["moa"])
    assert models["reviser"].calls[0].messages == question().conversation.messages
    assert asked.notes("draft_missing") == []


async def test_an_empty_reviser_gives_way_to_its_fallback() -> None:
    models = panel(reviser=Script(text="")) | fakes(spare="Spare.")
    asked = await run(build({"moa": revised(draft="b", fallback=["spare"])}, models)["moa"])
    assert texts(models["spare"].calls[0])[0] == "Beta."
    assert asked.text == "Spare."


def test_a_draft_that_is_no_input_is_refused_with_its_path_and_the_inputs() -> None:
    with pytest.raises(ConfigError, match=r"graphs\.moa\.output\.draft: found 'd'.*: a, b, c"):
        build({"moa": revised(draft="d")}, panel())
    in_a_layer = {
        "layers": [
            {"proposers": ["a", "b"]},
            {"nodes": {"x": {"kind": "revise", "model": "c", "draft": "z"}}},
        ],
        "aggregator": "c",
    }
    with pytest.raises(ConfigError, match=r"layers\[1\]\.nodes\.x\.draft: found 'z'.*: a, b$"):
        build({"moa": in_a_layer}, panel())
