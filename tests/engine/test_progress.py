"""What people read while the panel works."""

from __future__ import annotations

from typing import Any

from app.engine.graph import Layer
from app.engine.layer import Raced, seats
from app.engine.panel import Result
from app.engine.progress import answered, asking
from app.engine.reference import Reference
from app.errors import NodeFailure, UpstreamUnavailable
from app.upstream.fake import FakeModel
from tests.engine.graphs import build

SPEC: Any = {
    "layers": [{"nodes": {"one": {"model": "m"}, "many": {"model": "m", "samples": 2}}}],
    "aggregator": "m",
}


def layer() -> Layer:
    return build({"g": SPEC}, {"m": FakeModel("m")})["g"].graph.layers[0]


def told(*results: Result | None) -> str:
    return answered(2, seats(layer()), Raced(results, good=0))


def test_a_layer_that_begins_names_its_nodes_and_samples() -> None:
    assert asking(1, layer()) == "Layer 1: asking one, many x2.\n"


def test_a_layer_that_ends_counts_answers() -> None:
    answer = (Reference("n", 0, "x"),)
    assert told(answer, answer, answer) == "Layer 2: 3 of 3 answered.\n"


def test_whoever_failed_or_was_late_is_named_and_the_reason_is_not() -> None:
    failure = NodeFailure("one", UpstreamUnavailable("Down.", detail="secret"))
    line = told(failure, (Reference("many", 0, "x"),), None)
    assert line == "Layer 2: 1 of 3 answered; nothing from one, many#2.\n"
