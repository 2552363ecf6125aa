from __future__ import annotations

from decimal import Decimal
from typing import Any

from app.cli.pools import pool_facts, price_lines, prices, seeded, to_json
from app.config import Config
from app.record import Price
from app.upstream.prices import snapshot_name

CHEAP, DEAR = {"input": 1, "output": 2}, {"input": 2, "output": 2}


def config(**models: dict[str, Any]) -> Config:
    base = {"base_url": "https://x.example"}
    seed = base | {"extra_body": {"seed": 1}}
    return Config.model_validate(
        {"upstreams": {"a": base, "b": base, "s": seed}, "models": models}, strict=False
    )


def place(upstream: str, **fields: Any) -> dict[str, Any]:
    return {"upstream": upstream, "model": "m", **fields}


def pool(*deployments: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"deployments": deployments, **fields}


def test_a_pool_is_told_with_its_deployments_and_fallbacks() -> None:
    found = pool_facts(
        config(
            plain=place("a"),
            two=pool(place("a"), place("b")),
            safe=place("a", fallback=["two", "plain"]),
            all=pool(place("a"), place("b"), fallback=["plain"], hedge="on", retries=1),
        )
    )
    assert [str(each) for each in found] == [
        "plain",
        "two (2 deployments)",
        "safe (else two, plain)",
        "all (2 deployments, else plain)",
    ]
    assert found[3].deployments == ("a/m", "b/m")
    assert (found[3].retries, found[3].is_hedged) == (1, True)
    assert (found[0].retries, found[0].is_hedged) == (2, False)


def test_a_pool_costs_what_its_dearest_deployment_does() -> None:
    found = prices(
        config(
            m=pool(place("a", price=CHEAP), place("b", price=DEAR)),
            n=pool(place("a"), place("b", price=CHEAP), price=DEAR),
            unknown=pool(place("a", price=CHEAP), place("b")),
        )
    )
    dear = Price(Decimal(2), Decimal(2))
    assert found == {"m": dear, "n": dear, "unknown": None}


def test_a_pool_has_a_fixed_seed_only_if_all_of_it_has() -> None:
    found = seeded(config(m=pool(place("a"), place("s")), n=pool(place("s")), o=place("s")))
    assert found == {"n", "o"}


def test_a_pool_that_does_not_use_its_other_deployments_is_advised() -> None:
    found = pool_facts(
        config(
            none=pool(place("a"), place("b"), retries=0),
            some=pool(place("a"), place("b")),
            one=place("a", retries=0),
        )
    )
    assert [len(each.advice) for each in found] == [1, 0, 0]
    assert "set `retries`" in found[0].advice[0]


def test_every_price_is_told_with_its_source() -> None:
    upstreams = {
        "openai": {"base_url": "https://api.openai.com/v1"},
        "own": {"base_url": "https://llm.example.com/v1"},
        "here": {"llama_cpp": {"model": "m.gguf"}},
    }
    models = {
        "listed": {"upstream": "openai", "model": "gpt-4o"},
        "mixed": pool(place("here"), place("own"), place("own", price=CHEAP)),
    }
    found = pool_facts(Config.model_validate({"upstreams": upstreams, "models": models}))
    assert list(price_lines(found)) == [
        f"listed: 2.5 in, 1.25 cached, 10 out ({snapshot_name()})",
        "mixed[0]: 0 in, 0 out (embedded)",
        "mixed[1]: unknown",
        "mixed[2]: 1 in, 2 out (config)",
    ]
    told = [price for each in found for price in to_json(each)["prices"]]
    assert [price["source"] for price in told] == [snapshot_name(), "embedded", "unknown", "config"]
    assert told[0]["usd_per_million"] == {"input": 2.5, "output": 10.0, "cached_input": 1.25}
    assert told[2]["usd_per_million"] is None
