"""`analyse`: consensus, contradictions, unique points, gaps; then another node writes."""

from __future__ import annotations

from typing import Any

import pytest

from app.engine.instructions import ANALYSE, ANALYSIS_HEADINGS
from app.engine.references import INSTRUCTION, REMARKS
from app.errors import UpstreamUnavailable
from app.upstream.fake import Answer, FakeModel
from tests.engine.graphs import build, run
from tests.engine.nodes.blocks import blocks, tail

DOWN = UpstreamUnavailable("The upstream 'x' cannot be reached.")


def fakes(**answers: Answer | list[Answer]) -> dict[str, FakeModel]:
    return {name: FakeModel(name, answer) for name, answer in answers.items()}


def analysed(**analyst: Any) -> dict[str, Any]:
    return {
        "layers": [
            {"nodes": {"a": {"model": "a"}, "b": {"model": "b"}}},
            {"nodes": {"analyst": {"kind": "analyse", "model": "analyst", **analyst}}},
        ],
        "output": {"model": "agg", "inputs": ["a", "b", "analyst"]},
        "shuffle": False,
    }


async def test_the_analyst_sees_every_response_and_is_asked_for_the_four_parts_in_order() -> None:
    models = fakes(a="Alpha.", b="Beta.", analyst="## Consensus", agg="Done.")
    await run(build({"moa": analysed()}, models)["moa"])
    (call,) = models["analyst"].calls
    assert blocks(call) == {"Response 1": "Alpha.", "Response 2": "Beta."}
    places = [tail(call).index(f"\n## {heading}\n") for heading in ANALYSIS_HEADINGS]
    assert places == sorted(places)
    assert tail(call).endswith(ANALYSE.closing)


async def test_the_aggregator_writes_with_the_analysis_and_the_responses() -> None:
    models = fakes(a="Alpha.", b="Beta.", analyst="## Consensus\nNone.", agg="Done.")
    asked = await run(build({"moa": analysed()}, models)["moa"])
    (call,) = models["agg"].calls
    assert blocks(call) == {
        "Response 1": "Alpha.",
        "Response 2": "Beta.",
        "Analysis 1": "## Consensus\nNone.",
    }
    assert tail(call).startswith(INSTRUCTION + REMARKS)
    assert asked.text == "Done."


async def test_a_failed_analysis_leaves_the_responses_and_is_declared() -> None:
    models = fakes(a="Alpha.", b="Beta.", analyst=DOWN, agg="Done.")
    asked = await run(build({"moa": analysed()}, models)["moa"])
    assert blocks(models["agg"].calls[0]) == {"Response 1": "Alpha.", "Response 2": "Beta."}
    assert asked.record.degraded == ["quorum_missed"]


async def test_without_a_response_there_is_nothing_to_analyse() -> None:
    models = fakes(a=DOWN, b=DOWN, analyst="## Consensus", agg="Alone.")
    await run(build({"moa": analysed() | {"on_empty": "answer"}}, models)["moa"])
    assert models["analyst"].calls == []


async def test_the_wording_can_be_replaced() -> None:
    models = fakes(a="Alpha.", b="Beta.", analyst="Table.", agg="Done.")
    await run(build({"moa": analysed(instruction="Compare in a table.")}, models)["moa"])
    assert tail(models["analyst"].calls[0]).startswith("Compare in a table.\n\n")


def test_an_analysis_cannot_be_the_clients_answer() -> None:
    graph = {"layers": [{"proposers": ["a"]}], "output": {"kind": "analyse", "model": "a"}}
    with pytest.raises(ValueError, match="analyse"):
        build({"moa": graph}, fakes(a="Alpha."))
