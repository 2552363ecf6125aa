from __future__ import annotations

from decimal import Decimal

import pytest

from app.cli.estimate import Estimate, dollars, estimate, typical_calls
from app.engine.graph import Graph
from app.protocol.usage import Usage
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
    assert found == Estimate(Decimal("0.034"), (), Usage(1000 + 1000 + 2000, 3 * 500))


def test_one_missing_price_makes_the_whole_unknown() -> None:
    found = estimate(graph(DUO), {"a": CHEAP, "b": None})
    assert (found.cost, found.unpriced) == (None, ("b", "c"))
    assert found.usage.prompt == 4000


def calls(spec: dict[str, object], **others: dict[str, object]) -> list[tuple[str, int, int]]:
    found = typical_calls(graph(spec, **others))
    return [(name, usage.prompt, usage.completion) for name, usage in found]


SAMPLED = {"nodes": {"n": {"model": "a", "samples": 5}}}


def test_a_reducer_pays_for_every_reference_once_and_for_its_own_answer_so_far() -> None:
    output = {"kind": "reduce", "model": "b", "window": 3}
    found = calls({"layers": [SAMPLED], "output": output})
    *_, first, second = found
    assert len(found) == 5 + 2
    assert sum(prompt for _, prompt, _ in (first, second)) == 2 * 1000 + (5 + 1) * 500


def test_a_judge_reads_everything_and_writes_a_verdict() -> None:
    output = {"kind": "select", "model": "b"}
    assert calls({"layers": [SAMPLED], "output": output})[-1] == ("b", 1000 + 5 * 500, 50)


def test_what_asks_no_model_costs_nothing() -> None:
    output = {"kind": "select", "by": "longest"}
    assert calls({"layers": [SAMPLED], "output": output}) == [("a", 1000, 500)] * 5


def test_a_node_after_a_choice_sees_the_chosen_alone() -> None:
    chosen = {"nodes": {"best": {"kind": "select", "model": "b", "pick": 2}}}
    found = calls({"layers": [SAMPLED, chosen], "aggregator": "c"})
    assert found[-1] == ("c", 1000 + 2 * 500, 500)


def test_gates_are_paid_for() -> None:
    first = {**SAMPLED, "filter": "cluster", "stop": {"when": "judge", "model": "b"}}
    found = calls({"layers": [first, {"proposers": ["c"]}], "aggregator": "a"})
    assert found[5] == ("b", 1000 + 5 * 500, 50)


def test_a_route_goes_the_longest_way_and_its_judge_says_little() -> None:
    choices = {"a": "quick questions", "duo": "the rest"}
    output = {
        "kind": "route",
        "ask": {"model": "b", "choices": choices},
        "otherwise": "a",
    }
    found = calls({"output": output}, duo=DUO)
    assert found == [("b", 1000, 50), ("a", 1000, 500), ("b", 1000, 500), ("c", 2000, 500)]


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
