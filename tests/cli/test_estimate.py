from __future__ import annotations

from decimal import Decimal

import pytest

from app.cli.estimate import Estimate, dollars, estimate, typical_calls
from app.engine.graph import Graph
from app.record import Price
from app.upstream.fake import FakeModel
from tests.engine.graphs import build

MODELS = {name: FakeModel(name) for name in "abc"}
DUO = {"layers": [{"proposers": ["a", "b"]}], "aggregator": "c"}
CHEAP = Price(Decimal(1), Decimal(2))
DEAR = Price(Decimal(10), Decimal(20))


def graph(spec: dict[str, object], **others: dict[str, object]) -> Graph:
    return build({**others, "it": spec}, MODELS)["it"].graph


def test_a_node_pays_for_the_references_it_sees() -> None:
    calls = [(name, usage.prompt, usage.completion) for name, usage in typical_calls(graph(DUO))]
    assert calls == [("a", 1000, 500), ("b", 1000, 500), ("c", 2000, 500)]


def test_every_sample_and_every_call_of_a_nested_graph_counts() -> None:
    spec = {
        "layers": [{"nodes": {"n": {"model": "duo", "samples": 2}}}],
        "aggregator": "a",
    }
    prompts = [(name, usage.prompt) for name, usage in typical_calls(graph(spec, duo=DUO))]
    inner = [("a", 1000), ("b", 1000), ("c", 2000)]
    assert prompts == [*inner, *inner, ("a", 2000)]


def test_the_estimate_is_the_sum_over_all_calls() -> None:
    found = estimate(graph(DUO), {"a": CHEAP, "b": CHEAP, "c": DEAR})
    # a, b: (1000 x 1 + 500 x 2) / 1e6 each; c: (2000 x 10 + 500 x 20) / 1e6
    assert found == Estimate(Decimal("0.034"))


def test_one_missing_price_makes_the_whole_unknown() -> None:
    found = estimate(graph(DUO), {"a": CHEAP, "b": None})
    assert found == Estimate(None, ("b", "c"))


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (None, "unknown"),
        ("0", "$0"),
        ("0.034", "$0.034"),
        ("0.0000004", "under $0.000001"),
        ("0.00000149", "$0.000001"),
        ("12.5", "$12.5"),
        ("100", "$100"),
    ],
)
def test_dollars_are_written_for_people(cost: str | None, text: str) -> None:
    assert dollars(None if cost is None else Decimal(cost)) == text
