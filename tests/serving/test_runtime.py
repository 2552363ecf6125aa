"""What is served under which name."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from app.config.schema import Config
from app.engine.bounds import Asked
from app.engine.proposal_cache import CachedModel
from app.errors import ConfigError, ModelNotFound
from app.protocol.chat import ChatRequest, Conversation
from app.record import RunRecord, Step
from app.serving.runtime import POOL_DEADLINE, build_runtime, runtime_of
from app.store.memory import MemoryCache
from app.upstream.deployment import open_transports
from app.upstream.fake import FakeModel
from tests.engine.graphs import build

CONFIG: dict[str, Any] = {
    "upstreams": {
        "cloud": {"base_url": "https://api.example.com/v1", "api_key": "sk-planted-secret"},
        "own": {"llama_cpp": {"model": "smollm2-135m-instruct"}},
    },
    "models": {
        "org/big": {"upstream": "cloud", "model": "big-1", "context": 4096, "vision": False},
        "small": {"upstream": "own", "model": "small-1"},
    },
    "graphs": {
        "lite": {"layers": [{"proposers": ["small"]}], "aggregator": "org/big", "deadline": 9}
    },
    "aliases": {"gpt": "lite"},
}
ADDRESSES = {"own": "http://127.0.0.1:9/v1"}


async def test_a_configuration_serves_graphs_first_then_pools_with_their_deadlines() -> None:
    async with open_transports() as transports:
        runtime = build_runtime(Config.model_validate(CONFIG), transports, ADDRESSES, created=77)
    assert list(runtime.served) == ["lite", "org/big", "small"]
    kinds = [(served.kind, served.deadline, served.created) for served in runtime.served.values()]
    assert kinds == [("graph", 9.0, 77), ("pool", POOL_DEADLINE, 77), ("pool", POOL_DEADLINE, 77)]
    assert runtime.resolve("gpt") is runtime.resolve("lite")
    abilities = runtime.resolve("org/big").model.abilities
    assert (abilities.context, abilities.vision, abilities.audio) == (4096, False, True)


async def test_a_graph_that_cannot_be_compiled_stops_the_start_with_its_path() -> None:
    wrong = {
        **CONFIG,
        "graphs": {"lite": {"layers": [{"proposers": ["nope"]}], "aggregator": "small"}},
    }
    async with open_transports() as transports:
        with pytest.raises(ConfigError) as caught:
            build_runtime(Config.model_validate(wrong), transports, ADDRESSES)
    assert caught.value.path == "graphs.lite.layers[0].proposers"


async def test_graphs_are_given_the_cache_and_tell_configurations_of_a_model_apart() -> None:
    cache = MemoryCache(lambda: 0.0)
    lite = {**CONFIG["graphs"]["lite"], "cache": {}}
    other = {**CONFIG["models"], "small": {**CONFIG["models"]["small"], "extra_body": {"x": 1}}}
    keys = set()
    async with open_transports() as transports:
        for models in (CONFIG["models"], CONFIG["models"], other):
            config = Config.model_validate({**CONFIG, "models": models, "graphs": {"lite": lite}})
            runtime = build_runtime(config, transports, ADDRESSES, cache=cache)
            graph = runtime.resolve("lite").graph
            assert graph is not None
            assert graph.advice is not None
            (model,) = graph.layers[0].nodes[0].models
            assert isinstance(model, CachedModel)
            step = Step(RunRecord("run", "lite", lambda: 0.0), node="small")
            keys.add(model.key(ChatRequest(Conversation(())), step))
    assert len(keys) == 2


async def test_a_pool_is_sure_to_cost_what_its_priced_deployments_do() -> None:
    dear = {"upstream": "cloud", "model": "big-1", "price": {"input": 75, "output": 0}}
    unpriced = {"upstream": "own", "model": "small-1"}
    config = {
        "upstreams": {"cloud": CONFIG["upstreams"]["cloud"], "own": {"base_url": ADDRESSES["own"]}},
        "models": {"mixed": {"deployments": [dear, unpriced]}},
    }
    async with open_transports() as transports:
        runtime = build_runtime(Config.model_validate(config), transports, {})
    served, million = runtime.resolve("mixed"), Asked(10**6, cap=1)
    assert runtime.prices == {"mixed": None}
    worst = runtime.bounds(served).of(million)
    assert (worst.cost, worst.unpriced) == (Decimal(75), frozenset())
    assert runtime.bounds(served, "assume_max").of(million).cost == Decimal(75)
    assert runtime.bounds(served, "deny").of(million).unpriced == {"mixed"}


def test_names_with_slashes_resolve() -> None:
    model = FakeModel("org/big")
    assert runtime_of({"org/big": model}).resolve("org/big").model is model


@pytest.mark.parametrize("name", ["", "LITE", "lite ", "gpt-5"])
def test_names_are_taken_to_the_letter(name: str) -> None:
    with pytest.raises(ModelNotFound):
        runtime_of({"lite": FakeModel()}, {"gpt": "lite"}).resolve(name)


def test_a_graph_is_known_as_one() -> None:
    graphs = build(
        {"g": {"layers": [{"proposers": ["m"]}], "aggregator": "m"}}, {"m": FakeModel("m")}
    )
    served = runtime_of({**graphs, "m": FakeModel("m")}).served
    assert served["g"].graph is graphs["g"].graph
    assert served["m"].graph is None


def test_a_runtime_never_changes() -> None:
    runtime = runtime_of({"m": FakeModel()})
    with pytest.raises(TypeError):
        runtime.served["n"] = runtime.served["m"]  # type: ignore[index]
