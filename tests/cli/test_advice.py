from __future__ import annotations

from app.cli.advice import advice
from app.interfaces import Abilities
from app.upstream.fake import FakeModel
from tests.engine.graphs import build

MODELS = {
    **{name: FakeModel(name) for name in "abc"},
    "tiny": FakeModel("tiny", abilities=Abilities(context=2500)),
    "roomy": FakeModel("roomy", abilities=Abilities(context=32_000)),
}


def told(**spec: object) -> list[str]:
    return advice(build({"it": {"aggregator": "c", **spec}}, MODELS)["it"].graph)


def test_an_ordinary_graph_needs_no_advice() -> None:
    assert told(layers=[{"proposers": ["a", "b", "c"], "quorum": 2, "grace": 5}]) == []


def test_a_layer_of_one_is_pointed_out() -> None:
    (sentence,) = told(layers=[{"proposers": ["a", "b"]}, {"proposers": ["c"]}])
    assert sentence.startswith("layer 2 gives one answer only")


def test_a_single_node_with_samples_is_no_layer_of_one() -> None:
    assert told(layers=[{"nodes": {"n": {"model": "a", "samples": 2}}}]) == []


def test_a_grace_that_never_begins_is_pointed_out() -> None:
    (sentence,) = told(layers=[{"proposers": ["a", "b"], "grace": "5s"}])
    assert "its grace of 5s never begins" in sentence


def test_samples_at_temperature_zero_are_pointed_out() -> None:
    nodes = {"cold": {"model": "a", "samples": 2, "temperature": 0}, "warm": {"model": "b"}}
    (sentence,) = told(layers=[{"nodes": nodes}])
    assert sentence.startswith("cold is sampled 2 times at temperature 0")


def test_a_window_too_small_for_the_references_is_pointed_out_with_what_is_left() -> None:
    (sentence,) = told(layers=[{"proposers": ["a", "b"]}], aggregator="tiny")
    assert "output: the context window of tiny (2500 tokens) leaves " in sentence
    assert "for each of 2 references" in sentence


def test_the_window_of_a_fallback_counts_too() -> None:
    output = {"model": "roomy", "fallback": ["tiny"]}
    (sentence,) = told(layers=[{"proposers": ["a", "b"]}], aggregator=None, output=output)
    assert "the context window of tiny" in sentence


def test_a_first_layer_sees_no_references_and_needs_no_room_for_them() -> None:
    assert told(layers=[{"proposers": ["tiny", "a"]}]) == []
