"""Deployments of one pool that differ in little are still several."""

from __future__ import annotations

from typing import Any

import pytest

from app.protocol.chat import ChatRequest, Conversation
from app.upstream.assembly import Assembly
from app.upstream.deployment import open_transports
from app.upstream.pool import Member, Tried
from app.upstream.spec import ModelSpec, UpstreamSpec
from app.upstream.standing import Standings

KEYS = [{"api_key": "sk-first"}, {"api_key": "sk-second"}]


async def chosen(several: list[dict[str, Any]], keys: list[str]) -> list[Member]:
    """Whom a pool of these would ask for each prompt cache key."""
    same = {"upstream": "vendor", "model": "same"}
    spec = ModelSpec.model_validate({"deployments": [{**same, **each} for each in several]})
    upstream = UpstreamSpec.model_validate({"base_url": "http://127.0.0.1:9/v1"})
    async with open_transports() as transports:
        assembly = Assembly({"vendor": upstream}, transports, Standings(), {})
        pool = assembly.pools({"pool": spec})["pool"].embeddings._pool
        requests = [ChatRequest(Conversation(()), {"prompt_cache_key": key}) for key in keys]
        return [pool.choose(request, Tried()) for request in requests]


async def test_sticky_calls_spread_over_the_keys_of_one_vendor() -> None:
    members = await chosen(KEYS, [str(number) for number in range(40)])
    assert {member.name for member in members} == {"vendor/same", "vendor/same#2"}


@pytest.mark.parametrize(
    "several",
    [
        KEYS,
        [{"headers": {"x-project": "1"}}, {"headers": {"x-project": "2"}}],
        [{"query": {"version": "1"}}, {"query": {"version": "2"}}],
        [{"extra_body": {"route": "1"}}, {"extra_body": {"route": "2"}}],
    ],
    ids=["key", "header", "query", "body"],
)
async def test_one_that_rests_leaves_the_other_of_the_same_model(
    several: list[dict[str, Any]],
) -> None:
    members = await chosen(several, [str(number) for number in range(40)])
    one, other = {member.name: member for member in members}.values()
    one.standing.vitals.rest(9.0)
    assert (one.refusal() is None, other.refusal() is None) == (False, True)
