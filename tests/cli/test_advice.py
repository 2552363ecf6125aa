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


def test_a_layer_of_one_critic_or_judge_is_what_it_is_meant_to_be() -> None:
    critic = {"nodes": {"critic": {"kind": "critique", "model": "c"}}}
    assert told(layers=[{"proposers": ["a", "b"]}, critic]) == []


def test_a_quorum_of_required_nodes_saves_no_time() -> None:
    nodes = {name: {"model": name, "required": True} for name in "ab"}
    (sentence,) = told(layers=[{"nodes": nodes, "quorum": 1}])
    assert "every node of layer 1 is required, so its quorum of 1 saves no time" in sentence


def test_a_grace_as_long_as_the_deadline_saves_no_time() -> None:
    (sentence,) = told(layers=[{"proposers": ["a", "b"], "quorum": 1, "grace": 60}])
    assert "a grace of 60s, as long as its deadline of 60s" in sentence


def test_samples_with_one_seed_are_pointed_out() -> None:
    spec = {"layers": [{"nodes": {"n": {"model": "a", "samples": 3}}}], "aggregator": "a"}
    graph = build({"it": spec}, MODELS)["it"].graph
    (sentence,) = advice(graph, seeded={"a"})
    assert sentence.startswith("layer 1 asks a 3 times with the same `seed`")


def test_a_model_named_twice_with_one_seed_is_pointed_out_and_named_once_it_is_not() -> None:
    twice = {"layers": [{"proposers": ["a", "a", "b"]}], "aggregator": "a"}
    once = {"layers": [{"proposers": ["a", "b"]}], "aggregator": "a"}
    graphs = build({"twice": twice, "once": once}, MODELS)
    assert len(advice(graphs["twice"].graph, seeded={"a"})) == 1
    assert advice(graphs["once"].graph, seeded={"a"}) == []


RANKED = {
    name: FakeModel(name, abilities=Abilities(strength=strength))
    for name, strength in {"weak": 1000.0, "fair": 1100.0, "strong": 1200.5}.items()
} | {"unknown": FakeModel("unknown")}


def told_ranked(**spec: object) -> list[str]:
    return advice(build({"it": spec}, RANKED)["it"].graph)


def test_an_aggregator_below_a_proposer_is_pointed_out_with_both() -> None:
    (sentence,) = told_ranked(layers=[{"proposers": ["weak", "strong"]}], aggregator="fair")
    assert sentence == (
        "output: fair (strength 1100) works on what strong (strength 1200.5) wrote and may spoil "
        "it: let the stronger model do this"
    )


def test_where_strengths_are_unknown_nothing_is_said_of_them() -> None:
    assert told_ranked(layers=[{"proposers": ["weak", "strong"]}], aggregator="unknown") == []
    assert told_ranked(layers=[{"proposers": ["weak", "unknown"]}], aggregator="fair") == []


def test_a_weak_proposer_beside_others_is_no_bottleneck_but_one_alone_is() -> None:
    first = {"proposers": ["strong", "fair"]}
    assert told_ranked(layers=[first, {"proposers": ["weak", "strong"]}], aggregator="strong") == []
    alone = {"nodes": {"one": {"kind": "aggregate", "model": "weak"}}}
    (sentence,) = told_ranked(layers=[first, alone], aggregator="strong")
    assert sentence.startswith("one: weak (strength 1000)")


def test_a_choice_does_not_hide_who_wrote_what_was_chosen() -> None:
    chosen = {"nodes": {"best": {"kind": "select", "by": "longest"}}}
    (sentence,) = told_ranked(layers=[{"proposers": ["strong", "fair"]}, chosen], aggregator="weak")
    assert "what strong (strength 1200.5) wrote" in sentence


def test_a_judge_of_its_own_single_answer_is_pointed_out() -> None:
    critic = {"nodes": {"critic": {"kind": "critique", "model": "a", "inputs": ["a"]}}}
    output = {"kind": "aggregate", "model": "b", "inputs": ["a", "b", "critic"]}
    (sentence,) = told(layers=[{"proposers": ["a", "b"]}, critic], aggregator=None, output=output)
    assert sentence.startswith("critic: a judges its own only answer, that of a")


def test_a_self_critique_beside_another_ones_is_not() -> None:
    critics = {f"by-{name}": {"kind": "critique", "model": name, "inputs": ["a"]} for name in "ab"}
    output = {"kind": "aggregate", "model": "b", "inputs": ["a", "b", *critics]}
    layers = [{"proposers": ["a", "b"]}, {"nodes": critics}]
    assert told(layers=layers, aggregator=None, output=output) == []


def test_a_single_draft_to_be_refined_is_no_layer_of_one() -> None:
    output = {"kind": "refine", "model": "a"}
    assert told(layers=[{"proposers": ["a"]}], aggregator=None, output=output) == []


def test_a_choice_of_one_is_pointed_out() -> None:
    chosen = {"nodes": {"best": {"kind": "select", "model": "c", "inputs": ["a"]}}}
    output = {"model": "b", "inputs": ["best", "b"]}
    (sentence,) = told(layers=[{"proposers": ["a", "b"]}, chosen], aggregator=None, output=output)
    assert sentence.startswith("best has one reference to choose from, that of a")


def test_a_window_that_takes_everything_at_once_is_pointed_out() -> None:
    layers = [{"nodes": {"n": {"model": "a", "samples": 3}}}]
    output = {"kind": "reduce", "model": "b", "window": 3}
    (sentence,) = told(layers=layers, aggregator=None, output=output)
    assert "output: a window of 3 takes its 3 references at once" in sentence
    assert told(layers=layers, aggregator=None, output={**output, "window": 2}) == []


def test_a_reducer_needs_room_for_its_window_alone() -> None:
    layers = [{"nodes": {"n": {"model": "a", "samples": 12}}}]
    output = {"kind": "reduce", "model": "small", "window": 2}
    models = {**MODELS, "small": FakeModel("small", abilities=Abilities(context=4000))}
    spec = {"layers": layers, "output": output}
    assert advice(build({"it": spec}, models)["it"].graph) == []
    spec["output"] = {"kind": "aggregate", "model": "small"}
    assert len(advice(build({"it": spec}, models)["it"].graph)) == 1


def test_a_cap_on_money_without_prices_is_pointed_out() -> None:
    spec = {
        "layers": [{"proposers": ["a", "b"]}],
        "aggregator": "c",
        "caps": {"max_cost": 0.5},
    }
    graph = build({"it": spec}, MODELS)["it"].graph
    (sentence,) = advice(graph, unpriced=["b"])
    assert sentence.startswith("caps.max_cost of 0.5 USD cannot be kept, since there is no price")
    assert advice(graph) == []


def test_a_layer_that_its_caps_never_let_begin_is_pointed_out() -> None:
    layers = [{"proposers": ["a", "b"]}, {"proposers": ["a", "b"]}]
    (sentence,) = told(layers=layers, caps={"max_calls": 4})
    assert sentence == (
        "layer 2 never begins: with it a request comes to 5 calls, and caps.max_calls is 4"
    )
    assert told(layers=layers, caps={"max_calls": 5}) == []


def test_a_graph_without_layers_or_models_of_its_own_needs_no_advice() -> None:
    assert told(aggregator=None, output={"kind": "route", "otherwise": "a"}) == []
