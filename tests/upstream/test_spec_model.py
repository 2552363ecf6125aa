from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from app.upstream.spec import DeploymentSpec, ModelSpec, PriceSpec, UpstreamSpec
from app.upstream.spec_guards import BreakerSpec, HedgeSpec

A = {"upstream": "a", "model": "m"}
B = {"upstream": "b", "model": "m"}


def pool(**fields: Any) -> ModelSpec:
    return TypeAdapter(ModelSpec).validate_json(orjson.dumps(fields), strict=True)


def upstreams(**of_a: Any) -> dict[str, UpstreamSpec]:
    base = {"base_url": "https://x.example"}
    return {
        "a": UpstreamSpec.model_validate(base | of_a),
        "b": UpstreamSpec.model_validate(base | {"retries": 5, "hedge": "on"}),
    }


def test_the_short_form_is_a_pool_of_one_deployment() -> None:
    spec = pool(**A, context=100, headers={"x": "1"}, breaker="off")
    (only,) = spec.entries()
    assert (only.upstream, only.model, only.weight, only.api_key) == ("a", "m", 1.0, None)
    assert (only.context, only.headers, only.breaker) == (100, {"x": "1"}, "off")


def test_deployments_keep_their_order_and_weights() -> None:
    spec = pool(deployments=[A, B | {"weight": 0.5}])
    assert [(each.upstream, each.weight) for each in spec.entries()] == [("a", 1.0), ("b", 0.5)]


def test_what_the_pool_sets_is_the_default_of_each_deployment() -> None:
    spec = pool(
        deployments=[
            A,
            B
            | {
                "context": 50,
                "headers": {"x": "b", "z": "b"},
                "drop": ["b"],
                "timeouts": {"idle": 2},
                "tools": True,
                "price": {"input": 3, "output": 4},
                "breaker": {"rest": 9},
            },
        ],
        context=100,
        headers={"x": "p", "y": "p"},
        drop=["p"],
        timeouts={"connect": 1, "idle": 1},
        tools=False,
        price={"input": 1, "output": 2},
        breaker={"failures": 2},
        concurrency=4,
    )
    first, second = spec.entries()
    assert first == DeploymentSpec.model_validate(
        A | spec.model_dump(include=set(DeploymentSpec.model_fields) - {"upstream", "model"})
    )
    assert (second.context, second.tools, second.concurrency) == (50, True, 4)
    assert second.headers == {"x": "b", "y": "p", "z": "b"}
    assert second.drop == ("p", "b")
    assert (second.timeouts.connect, second.timeouts.idle) == (1, 2)
    assert second.price == PriceSpec.model_validate({"input": 3, "output": 4})
    assert second.breaker == BreakerSpec(failures=2, rest=9.0)


def test_a_deployment_may_have_its_own_key() -> None:
    own, other = pool(deployments=[A | {"api_key": "own-key"}, A]).entries()
    above = upstreams(api_key="the-upstream's")["a"]
    keys = [each.over(above).api_key for each in (own, other)]
    assert [key.get_secret_value() for key in keys if key] == ["own-key", "the-upstream's"]
    assert "own-key" not in repr(own)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"upstream": "a"},
        {"model": "m"},
        A | {"deployments": [B]},
        {"upstream": "a", "deployments": [B]},
        {"model": "m", "deployments": [B]},
    ],
)
def test_a_pool_has_exactly_one_form(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="either both of `upstream` and `model`, or"):
        pool(**fields)


@pytest.mark.parametrize(
    "deployment",
    [{"upstream": "a"}, A | {"weight": 0}, A | {"weight": -1}, A | {"retries": 1}, A | {"x": 1}],
)
def test_a_deployment_that_is_none_is_refused(deployment: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        pool(deployments=[deployment])


def test_a_pool_without_deployments_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1"):
        pool(deployments=[])


def test_the_same_deployment_twice_is_a_matter_of_its_weight() -> None:
    with pytest.raises(
        ValidationError, match=r"\[2\] is the same as \[0\]; give \[0\] more weight"
    ):
        pool(deployments=[A, B, A | {"weight": 3}])
    assert (
        len(pool(deployments=[A, A | {"api_key": "k"}, A | {"query": {"q": "1"}}]).entries()) == 3
    )


def test_retries_and_hedge_are_the_pools_own_or_those_of_its_first_upstream() -> None:
    both = {"deployments": [A, B]}
    assert pool(**both).retries_over(upstreams(retries=1)) == 1
    assert pool(**both, retries=0).retries_over(upstreams()) == 0
    assert pool(**both).hedge_over(upstreams()) is None
    assert pool(deployments=[B, A]).hedge_over(upstreams()) == HedgeSpec()
    assert pool(**both, hedge="on").hedge_over(upstreams()) == HedgeSpec()
    assert pool(**both, hedge="off").hedge_over(upstreams(hedge="on")) is None
    own, above = {"quantile": 0.9}, {"least": 1}
    assert pool(**both, hedge=own).hedge_over(upstreams(hedge=above)) == HedgeSpec(
        quantile=0.9, least=1.0
    )


def test_one_deployment_is_never_hedged() -> None:
    assert pool(**B).hedge_over(upstreams()) is None


def test_a_deadline_is_positive() -> None:
    assert pool(**A, deadline="2m").deadline == 120
    with pytest.raises(ValidationError):
        pool(**A, deadline=0)
