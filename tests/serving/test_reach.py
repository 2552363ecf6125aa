"""Which upstreams a name may lead to: no way round is left out."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.schema import Config
from app.serving.runtime import build_runtime
from app.upstream.deployment import open_transports

CONFIG: dict[str, Any] = {
    "upstreams": {name: {"base_url": f"https://{name}.example.com/v1"} for name in "abcd"},
    "models": {
        "one": {"upstream": "a", "model": "m"},
        "two": {"upstream": "b", "model": "m"},
        "both": {"deployments": [{"upstream": "a", "model": "m"}, {"upstream": "c", "model": "m"}]},
        "backed": {"upstream": "a", "model": "m", "fallback": ["two"]},
        "embedder": {"upstream": "d", "model": "m"},
    },
    "graphs": {
        "plain": {"layers": [{"proposers": ["one", "one"]}], "aggregator": "one"},
        "nested": {"layers": [{"proposers": ["one", "inner"]}], "aggregator": "one"},
        "inner": {"layers": [{"proposers": ["one", "both"]}], "aggregator": "backed"},
        "gated": {
            "layers": [
                {
                    "proposers": ["one", "one", "one"],
                    "filter": {"by": "embedding", "model": "embedder"},
                }
            ],
            "aggregator": "one",
        },
        "routed": {
            "output": {
                "kind": "route",
                "rules": [{"to": "both", "when": {"tool_turn": True}}],
                "ask": {"model": "embedder", "choices": {"two": "hard", "one": "easy"}},
                "otherwise": "one",
            },
        },
        "falling": {
            "layers": [{"nodes": {"x": {"kind": "propose", "model": "one", "fallback": ["two"]}}}],
            "aggregator": "one",
        },
    },
}
REACHED = {
    "one": "a",
    "both": "ac",
    "backed": "ab",
    "plain": "a",
    "inner": "abc",
    "nested": "abc",
    "gated": "ad",
    "routed": "abcd",
    "falling": "ab",
}


@pytest.mark.parametrize(("name", "upstreams"), REACHED.items())
async def test_every_upstream_that_may_be_asked_is_counted(name: str, upstreams: str) -> None:
    async with open_transports() as transports:
        runtime = build_runtime(Config.model_validate(CONFIG), transports, {})
    assert runtime.served[name].upstreams == set(upstreams)
