"""What an editor knows of node kinds: it completes their names and fields, and marks wrong ones."""

from __future__ import annotations

import json
from collections.abc import Mapping

import jsonschema
import pytest

from app.config.json_schema import schema_text
from app.engine.nodes import NODE_KINDS, OUTPUT_KINDS
from app.protocol.json_types import JsonObject

SCHEMA: JsonObject = json.loads(schema_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
IN_LAYER = SCHEMA["$defs"]["LayerSpec"]["properties"]["nodes"]
AS_OUTPUT = SCHEMA["$defs"]["GraphSpec"]["properties"]["output"]

NODES: Mapping[str, JsonObject] = {
    "propose": {"model": "m", "samples": 2},
    "aggregate": {"model": "m"},
    "select": {"model": "m", "pick": 2, "both_orders": True},
    "vote": {"extract": "last_number"},
    "critique": {"model": "m", "inputs": ["a"]},
    "analyse": {"model": "m"},
    "revise": {"model": "m", "draft": "a"},
    "refine": {"model": "m", "rounds": 3},
    "reduce": {"model": "m", "window": 4, "best_slots": 2},
}
OUTPUTS: Mapping[str, JsonObject] = {
    "aggregate": {"model": "m", "fallback": ["n"]},
    "select": {"model": "m"},
    "vote": {"min_share": 0.5},
    "revise": {"model": "m", "draft": "a"},
    "refine": {"model": "m", "rounds": 3},
    "reduce": {"model": "m", "window": 4},
    "route": {"otherwise": "m", "rules": [{"to": "n", "when": {"tool_turn": True}}]},
}


def variants(field: JsonObject) -> list[JsonObject]:
    """The specs that may stand in a field, as an editor follows them."""
    (choice,) = (each for each in field["anyOf"] if each.get("type") != "null")
    choice = choice.get("additionalProperties", choice)
    return [SCHEMA["$defs"][each["$ref"].removeprefix("#/$defs/")] for each in choice["oneOf"]]


def graph(node: JsonObject, output: JsonObject | None = None) -> JsonObject:
    layers = [{"nodes": {"a": {"model": "m"}}}, {"nodes": {"b": node}}]
    return {"graphs": {"g": {"layers": layers, "output": output or {"model": "m"}}}}


def inner(kind: str, **fields: object) -> JsonObject:
    return graph({"kind": kind, **NODES[kind], **fields})


def outer(kind: str, **fields: object) -> JsonObject:
    return graph({"model": "m"}, {"kind": kind, **OUTPUTS[kind], **fields})


def complaints(tree: JsonObject) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(tree)]


@pytest.mark.parametrize(("field", "kinds"), [(IN_LAYER, NODE_KINDS), (AS_OUTPUT, OUTPUT_KINDS)])
def test_each_kind_is_one_choice_told_apart_by_its_word(
    field: JsonObject, kinds: Mapping[str, object]
) -> None:
    words = [spec["properties"]["kind"]["const"] for spec in variants(field)]
    assert words == list(kinds)


@pytest.mark.parametrize(("field", "default"), [(IN_LAYER, "propose"), (AS_OUTPUT, "aggregate")])
def test_only_the_default_kind_may_go_unsaid(field: JsonObject, default: str) -> None:
    for spec in variants(field):
        word = spec["properties"]["kind"]["const"]
        assert ("kind" in spec["required"]) == (word != default)


@pytest.mark.parametrize("field", [IN_LAYER, AS_OUTPUT], ids=["layer", "output"])
def test_an_editor_shows_what_a_kind_and_its_fields_mean(field: JsonObject) -> None:
    for spec in variants(field):
        about = {"": spec, **spec["properties"]}
        assert [name for name, told in about.items() if not told.get("description")] == []


def test_every_kind_is_tried_below() -> None:
    assert (set(NODES), set(OUTPUTS)) == (set(NODE_KINDS), set(OUTPUT_KINDS))


@pytest.mark.parametrize("kind", NODES)
def test_a_node_of_each_kind_is_accepted(kind: str) -> None:
    assert complaints(inner(kind)) == []


@pytest.mark.parametrize("kind", OUTPUTS)
def test_an_output_node_of_each_kind_is_accepted(kind: str) -> None:
    assert complaints(outer(kind)) == []


@pytest.mark.parametrize("kind", NODES)
def test_an_unknown_field_is_marked_on_each_kind(kind: str) -> None:
    assert complaints(inner(kind, temprature=0.5))


@pytest.mark.parametrize("kind", OUTPUTS)
def test_an_output_node_has_no_samples(kind: str) -> None:
    assert complaints(outer(kind, samples=2))


@pytest.mark.parametrize(
    "tree",
    [
        graph({"kind": "selct", "model": "m"}),
        graph({"kind": "route", "otherwise": "m"}),
        graph({"model": "m"}, {"kind": "critique", "model": "m"}),
        graph({"model": "m"}, {"kind": "propose", "model": "m"}),
        graph({"kind": "critique"}),
        inner("vote", model="m"),
        inner("vote", extract="first_line"),
        inner("select", pick=0),
        inner("refine", rounds=9),
        inner("reduce", window=1),
        inner("reduce", rounds=2),
        inner("revise", draft=["a"]),
        inner("propose", window=3),
        outer("route", rules=[{"to": "n", "when": {"shorter": 10}}]),
        outer("route", rules=[{"when": {"tool_turn": True}}]),
    ],
    ids=str,
)
def test_a_wrong_kind_or_field_is_marked(tree: JsonObject) -> None:
    assert complaints(tree)


@pytest.mark.parametrize(
    ("layer", "is_right"),
    [
        ({"filter": "cluster"}, True),
        ({"filter": {"by": "ngram", "threshold": 0.4}}, True),
        ({"filter": "clusters"}, False),
        ({"filter": {"by": "words"}}, False),
        ({"stop": {"when": "judge", "model": "m"}}, True),
        ({"stop": {"model": "m"}}, False),
        ({"stop": "judge"}, False),
    ],
    ids=str,
)
def test_gates_of_a_layer_are_checked(layer: JsonObject, is_right: bool) -> None:  # noqa: FBT001 - a column
    tree = {"graphs": {"g": {"layers": [{"proposers": ["m"], **layer}], "aggregator": "m"}}}
    assert (complaints(tree) == []) == is_right


@pytest.mark.parametrize(
    ("fields", "is_right"),
    [
        ({"caps": {"max_calls": 8, "max_cost": 0.5, "on_cap": "error"}}, True),
        ({"caps": {"on_cap": "stop"}}, False),
        ({"cache": {"ttl": "5m", "scope": "all"}}, True),
        ({"cache": {"scope": "user"}}, False),
        ({"tools": "pick", "tool_turns": "always", "advice_ttl": 0}, True),
        ({"tools": "never"}, False),
    ],
    ids=str,
)
def test_policies_of_a_graph_are_checked(fields: JsonObject, is_right: bool) -> None:  # noqa: FBT001 - a column
    tree = {"graphs": {"g": {"layers": [{"proposers": ["m"]}], "aggregator": "m", **fields}}}
    assert (complaints(tree) == []) == is_right
