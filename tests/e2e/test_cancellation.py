"""A client that leaves, in every phase of a request: nothing of it is left at any upstream."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from app.upstream.fake_log import Ending
from app.upstream.fake_server import Reply
from app.upstream.vitals import ENOUGH
from tests.e2e.test_raw_http import read_until, request

CONFIG = """
upstreams:
  fake: {base_url: BASE, retries: 0, breaker: off}
models:
  plain: {upstream: fake, model: plain-up}
  one: {upstream: fake, model: one-up}
  two: {upstream: fake, model: two-up}
  three: {upstream: fake, model: three-up}
  stubborn: {upstream: fake, model: stubborn-up, retries: 5}
  narrow: {upstream: fake, model: narrow-up, concurrency: {limit: 1, queue: 1, patience: 60s}}
  covered: {upstream: fake, model: covered-up, fallback: [plain]}
  raced:
    hedge: {quantile: 0.5, least: 20ms}
    deployments: [{upstream: fake, model: left-up}, {upstream: fake, model: right-up}]
graphs:
  deep:
    layers: [{proposers: [one, two]}, {proposers: [two, three]}, {proposers: [one, three]}]
    aggregator: plain
  outer: {layers: [{proposers: [deep, stubborn]}], aggregator: plain}
  racing: {layers: [{proposers: [raced, one]}], aggregator: plain}
"""
BOUND = 2.0
"""Seconds; the goal is 0.1, and a busy machine must fail no test."""
PATIENCE = 10.0
BEFORE_HEADERS = Reply(after=-1, then="hang")
BEFORE_TOKENS = Reply(then="hang")
AFTER_A_TOKEN = Reply(text="one two", after=1, then="hang")
BUSY = Reply(status=429, retry_after="5")
STREAMED = {"stream": True}


@dataclass(frozen=True)
class Phase:
    """`open` upstream calls are under way, and `over` have ended, when the client leaves.

    `said` is what it has read by then.
    """

    name: str
    model: str
    replies: Mapping[str, Reply]
    open: int = 1
    over: int = 0
    said: bytes = b""
    fields: Mapping[str, Any] = field(default_factory=lambda: STREAMED)


def _both(name: str, model: str, replies: Mapping[str, Reply], **more: Any) -> list[Phase]:
    whole = Phase(f"{name}, whole", model, replies, fields={}, **more)
    return [Phase(f"{name}, streamed", model, replies, **more), whole]


PHASES = [
    *_both("before the headers", "plain", {"plain-up": BEFORE_HEADERS}),
    *_both("before a token", "plain", {"plain-up": BEFORE_TOKENS}),
    Phase("after a token", "plain", {"plain-up": AFTER_A_TOKEN}, said=b'"one '),
    *_both("layer 1", "deep", {"one-up": BEFORE_HEADERS, "two-up": BEFORE_HEADERS}, open=2),
    *_both("a survivor in layer 1", "deep", {"two-up": BEFORE_TOKENS}, over=1),
    *_both("layer 2", "deep", {"three-up": BEFORE_TOKENS}, over=3),
    *_both("output", "deep", {"plain-up": BEFORE_HEADERS}, over=6),
    Phase("output after a token", "deep", {"plain-up": AFTER_A_TOKEN}, over=6, said=b'"one '),
    *_both("nested", "outer", {"one-up": BEFORE_HEADERS, "two-up": BEFORE_TOKENS}, open=2, over=1),
    *_both("nested output", "outer", {"plain-up": BEFORE_HEADERS}, over=7),
    *_both("a backoff", "stubborn", {"stubborn-up": BUSY}, open=0, over=1),
    *_both(
        "a backoff beside a nested graph",
        "outer",
        {"stubborn-up": BUSY, "one-up": BEFORE_HEADERS, "two-up": BEFORE_TOKENS},
        open=2,
        over=1,
    ),
    *_both(
        "a fallback",
        "covered",
        {"covered-up": Reply(status=500), "plain-up": BEFORE_TOKENS},
        over=1,
    ),
    Phase(
        "a fallback after a token",
        "covered",
        {"covered-up": Reply(status=500), "plain-up": AFTER_A_TOKEN},
        over=1,
        said=b'"one ',
    ),
]
HUNG = {"left-up": BEFORE_HEADERS, "right-up": BEFORE_TOKENS}
HEDGED = [
    Phase(
        "two legs, streamed", "raced", HUNG, open=2, fields={"prompt_cache_key": "k", **STREAMED}
    ),
    Phase("two legs, whole", "raced", HUNG, open=2, fields={"prompt_cache_key": "k"}),
]


def learn(gateway, fields):
    """Ask both deployments so often that their usual times are known; keys spread over them."""
    log, key = gateway.upstream.log, 0
    log.clear()
    with httpx.Client(base_url=gateway.url) as client:
        while min(Counter({"left-up": 0, "right-up": 0} | count(log)).values()) < ENOUGH:
            key += 1
            ask = {**fields, "model": "raced", "prompt_cache_key": str(key)}
            ask["messages"] = [{"role": "user", "content": "Hi"}]
            assert client.post("/v1/chat/completions", json=ask).status_code == 200


def count(log):
    """How many calls each model got."""
    return Counter(each.model for each in log.entries)


def settle(gateway, *, tasks=0):
    """Wait until no more than so many requests are under way in the gateway."""
    ends = time.monotonic() + BOUND
    while len(gateway.server.server_state.tasks) > tasks:
        assert time.monotonic() < ends, "a request goes on without its client"
        time.sleep(0.001)


def leave(gateway, phase):
    """Ask, leave in that phase, and tell the seconds until the last upstream call was closed."""
    log = gateway.upstream.log
    log.clear()
    gateway.upstream.replies.update(phase.replies)

    def is_there(asked):
        still_open = sum(each.ending is Ending.OPEN for each in asked)
        return still_open == phase.open and len(asked) == phase.open + phase.over

    with gateway.connect() as connection:
        connection.sendall(request({"model": phase.model, **phase.fields}))
        log.wait(is_there)
        if phase.said:
            read_until(connection, phase.said)
        asked = log.entries
        left_open = [each for each in asked if each.ending is Ending.OPEN]
    left = time.monotonic()
    log.wait(lambda all_: all(each.ending is not Ending.OPEN for each in all_))
    settle(gateway)
    seconds = max((each.ended - left for each in left_open), default=time.monotonic() - left)
    assert {each.ending for each in left_open} <= {Ending.ABORTED}
    assert len(log.entries) == len(asked), "an upstream was asked for a client who had left"
    return seconds


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_every_upstream_call_ends_when_the_client_leaves(gateway_with, phase):
    with gateway_with(CONFIG) as gateway:
        assert leave(gateway, phase) < BOUND


@pytest.mark.parametrize("phase", HEDGED, ids=lambda phase: phase.name)
def test_both_legs_of_a_hedge_end_when_the_client_leaves(gateway_with, phase):
    with gateway_with(CONFIG) as gateway:
        learn(gateway, phase.fields)
        assert leave(gateway, phase) < BOUND


def test_a_hedge_in_a_layer_ends_with_its_graph(gateway_with):
    with gateway_with(CONFIG) as gateway:
        learn(gateway, {})
        phase = Phase("", "racing", {**HUNG, "one-up": BEFORE_TOKENS}, open=3)
        assert leave(gateway, phase) < BOUND


@pytest.mark.parametrize("fields", [{}, STREAMED], ids=["whole", "streamed"])
def test_a_place_in_the_queue_is_given_up_and_not_lost(gateway_with, fake_upstream, fields):
    fake_upstream.replies["narrow-up"] = BEFORE_TOKENS
    with gateway_with(CONFIG) as gateway:
        with gateway.connect() as first:
            first.sendall(request({"model": "narrow", **fields}))
            fake_upstream.log.wait(lambda asked: len(asked) == 1)
            for _ in range(3):
                # The queue has one place: whoever leaves gives it to the next.
                with gateway.connect() as second:
                    second.sendall(request({"model": "narrow", **fields}))
                    second.settimeout(0.1)
                    with pytest.raises(TimeoutError):
                        second.recv(1)
                settle(gateway, tasks=1)
            assert [each.ending for each in fake_upstream.log.entries] == [Ending.OPEN]
        fake_upstream.log.wait(lambda asked: asked[0].ending is Ending.ABORTED)
        settle(gateway)
        fake_upstream.replies["narrow-up"] = Reply()
        ask = {"model": "narrow", "messages": [{"role": "user", "content": "Hi"}]}
        answer = httpx.post(f"{gateway.url}/v1/chat/completions", json=ask)
        assert answer.status_code == 200


@pytest.mark.parametrize("model", ["plain", "deep", "stubborn"])
def test_after_the_commit_too(gateway_with, model):
    replies = {"plain-up": BEFORE_HEADERS, "one-up": BEFORE_HEADERS, "stubborn-up": BUSY}
    over = {"plain": 0, "deep": 1, "stubborn": 1}[model]
    phase = Phase("", model, replies, open=model != "stubborn", over=over, said=b"\r\n\r\n")
    with gateway_with(CONFIG, commit_after=0.01, heartbeat=0.05) as gateway:
        assert leave(gateway, phase) < BOUND
