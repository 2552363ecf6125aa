"""Pools, retries, hedges, breakers and limits over real sockets, held against its log."""

from __future__ import annotations

import time
from collections import Counter
from select import select

import httpx
import pytest

from app.upstream.fake_log import Ending
from app.upstream.fake_server import Reply
from tests.e2e.test_raw_http import read_until, request

CONFIG = """
upstreams:
  fake: {base_url: BASE, api_key: sk-of-the-upstream, breaker: off}
models:
  plain: {upstream: fake, model: plain-up, retries: 0}
  pair: {deployments: [{upstream: fake, model: left-up}, {upstream: fake, model: right-up}]}
  keys:
    deployments:
      - {upstream: fake, model: same-up, api_key: sk-first, extra_body: {tag: first}}
      - {upstream: fake, model: same-up, api_key: sk-second, extra_body: {tag: second}}
  fragile: {upstream: fake, model: fragile-up, retries: 0, breaker: {failures: 3, rest: 300ms}}
  narrow: {upstream: fake, model: narrow-up, concurrency: {limit: 1, queue: 1, patience: 60s}}
  wide:
    deployments:
      - {upstream: fake, model: left-up, concurrency: {limit: 1, queue: 0}}
      - {upstream: fake, model: right-up, concurrency: {limit: 1, queue: 0}}
  raced:
    hedge: {quantile: 0.5, least: 20ms}
    deployments: [{upstream: fake, model: left-up}, {upstream: fake, model: right-up}]
  timed: {upstream: fake, model: timed-up, retries: 5, deadline: 800ms}
  stubborn: {upstream: fake, model: stubborn-up, retries: 5}
  a: {upstream: fake, model: a-up}
  b: {upstream: fake, model: b-up}
  c: {upstream: fake, model: c-up}
  d: {upstream: fake, model: d-up}
  e: {upstream: fake, model: e-up}
  f: {upstream: fake, model: f-up}
graphs:
  capped: {layers: [{proposers: [a, b]}], aggregator: plain, caps: {max_calls: 3}}
  mixed: {layers: [{proposers: [a, raced, pair]}], aggregator: plain}
  five: {layers: [{proposers: [a, b, c, d, e]}], aggregator: plain}
  six: {layers: [{proposers: [a, b, c, d, e, f], quorum: 5, grace: 300ms}], aggregator: plain}
"""
PATIENCE = 10.0
SLACK = 1.0
"""Seconds that a busy machine may take on top."""
RUN = {"moa": {"include": ["run"]}}
DOWN = Reply(status=500)


def ask(gateway, model, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=PATIENCE)


def asked(gateway, model=None):
    """The calls of that model at the upstream, all of them without one."""
    return [each for each in gateway.upstream.log.entries if model in {None, each.model}]


def ask_until(gateway, model, reached):
    """Ask again and again until the upstream's log has what is waited for; all are answered."""
    ends = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < ends
        assert ask(gateway, model).status_code == 200


def send_until(connection, model, reached):
    """Send again after each answer, until what is waited for; the last has no answer yet."""
    ends = time.monotonic() + PATIENCE
    connection.sendall(request({"model": model}))
    while not reached():
        assert time.monotonic() < ends
        if select([connection], [], [], 0.01)[0]:
            read_until(connection, b"}}")
            connection.sendall(request({"model": model}))


@pytest.fixture
def guarded(gateway_with):
    with gateway_with(CONFIG) as gateway:
        yield gateway


def test_a_rate_limited_deployment_rests_while_the_other_answers(guarded):
    guarded.upstream.replies["left-up"] = Reply(status=429, retry_after="1")
    ask_until(guarded, "pair", lambda: asked(guarded, "left-up"))
    guarded.upstream.replies["left-up"] = Reply()
    ask_until(guarded, "pair", lambda: len(asked(guarded, "left-up")) > 1)
    refused, again = asked(guarded, "left-up")[:2]
    assert again.started - refused.ended >= 0.99
    assert len(asked(guarded, "right-up")) > 2


def test_where_all_are_limited_the_soonest_is_told(guarded):
    guarded.upstream.replies.update(
        {
            "left-up": Reply(status=429, retry_after="50"),
            "right-up": Reply(status=429, retry_after="40"),
        }
    )
    for _ in range(2):
        refusal = ask(guarded, "pair")
        assert refusal.status_code == 429
        assert 39 <= int(refusal.headers["retry-after"]) <= 40
    assert len(asked(guarded)) == 2


def test_two_keys_of_a_vendor_are_two_deployments(guarded):
    def reply(body):
        is_first = body["tag"] == "first"
        return Reply(status=429, retry_after="60") if is_first else Reply()

    guarded.upstream.replies["same-up"] = reply
    ask_until(guarded, "keys", lambda: len(asked(guarded)) > 10)
    keys = Counter(each.headers["authorization"] for each in asked(guarded))
    assert keys["Bearer sk-first"] == 1
    assert set(keys) == {"Bearer sk-first", "Bearer sk-second"}


@pytest.mark.parametrize("model", ["pair", "keys"])
def test_a_cache_key_sticks_to_one_deployment_and_keys_spread_over_all(guarded, model):
    def deployment(key):
        guarded.upstream.log.clear()
        assert ask(guarded, model, prompt_cache_key=key).status_code == 200
        (call,) = asked(guarded)
        return call.model, call.headers["authorization"]

    assert len({deployment("one") for _ in range(8)}) == 1
    assert len({deployment(f"key {number}") for number in range(24)}) == 2


def test_a_breaker_opens_probes_and_closes_by_itself(guarded):
    guarded.upstream.replies["fragile-up"] = DOWN
    assert [ask(guarded, "fragile").status_code for _ in range(3)] == [502] * 3
    refusal = ask(guarded, "fragile")
    assert (refusal.status_code, len(asked(guarded))) == (503, 3)
    assert refusal.json()["error"]["code"] == "upstream_circuit_open"
    assert int(refusal.headers["retry-after"]) >= 1

    guarded.upstream.replies["fragile-up"] = Reply(first=0.05)
    ends = time.monotonic() + PATIENCE
    while ask(guarded, "fragile").status_code == 503:
        assert time.monotonic() < ends
    probe = asked(guarded)[3]
    assert (len(asked(guarded)), probe.ending) == (4, Ending.ANSWERED)
    assert probe.started - asked(guarded)[2].ended >= 0.29
    assert ask(guarded, "fragile").status_code == 200


def test_while_the_probe_is_under_way_nobody_else_asks(guarded):
    guarded.upstream.replies["fragile-up"] = DOWN
    for _ in range(3):
        ask(guarded, "fragile")
    guarded.upstream.replies["fragile-up"] = Reply(after=-1, then="gate")
    with guarded.connect() as connection:
        send_until(connection, "fragile", lambda: len(asked(guarded)) == 4)
        assert ask(guarded, "fragile").status_code == 503
        assert len(asked(guarded)) == 4
        guarded.upstream.open_gate()
        assert read_until(connection, b"}}").startswith(b"HTTP/1.1 200 ")


def test_a_breaker_that_is_off_never_opens_and_no_retries_are_none(guarded):
    guarded.upstream.replies["plain-up"] = DOWN
    assert {ask(guarded, "plain").status_code for _ in range(10)} == {502}
    assert len(asked(guarded)) == 10


def test_a_full_queue_is_told_at_once(guarded):
    guarded.upstream.replies["narrow-up"] = Reply(after=-1, then="gate")
    with guarded.connect() as first, guarded.connect() as second:
        first.sendall(request({"model": "narrow"}))
        guarded.upstream.log.wait(lambda all_: len(all_) == 1)
        second.sendall(request({"model": "narrow"}))
        while len(guarded.server.server_state.tasks) < 2:
            time.sleep(0.001)
        started = time.monotonic()
        refusal = ask(guarded, "narrow")
        assert time.monotonic() - started < SLACK
        assert (refusal.status_code, refusal.headers["retry-after"]) == (503, "1")
        assert refusal.json()["error"]["code"] == "upstream_busy"
        assert len(asked(guarded)) == 1
        guarded.upstream.replies["narrow-up"] = Reply()
        guarded.upstream.open_gate()
        for each in (first, second):
            assert read_until(each, b"}}").startswith(b"HTTP/1.1 200 ")


def test_a_full_deployment_leaves_its_calls_to_the_other(guarded):
    guarded.upstream.replies["left-up"] = Reply(after=-1, then="gate")
    with guarded.connect() as first:
        send_until(first, "wide", lambda: asked(guarded, "left-up"))
        assert [ask(guarded, "wide").status_code for _ in range(5)] == [200] * 5
        assert len(asked(guarded, "left-up")) == 1
        guarded.upstream.open_gate()
        assert read_until(first, b"}}").startswith(b"HTTP/1.1 200 ")


def test_a_hedge_answers_and_the_loser_is_aborted_and_booked(guarded):
    key = {"prompt_cache_key": "k"}
    for _ in range(20):
        assert ask(guarded, "raced", **key).status_code == 200
    usual = asked(guarded)[0].model
    other = ({"left-up", "right-up"} - {usual}).pop()
    guarded.upstream.log.clear()
    guarded.upstream.replies[usual] = Reply(after=-1, then="hang")
    answer = ask(guarded, "raced", **key, **RUN)
    guarded.upstream.log.wait(lambda all_: all(each.ending is not Ending.OPEN for each in all_))
    assert [(e.model, e.ending) for e in asked(guarded)] == [
        (usual, Ending.ABORTED),
        (other, Ending.ANSWERED),
    ]
    assert asked(guarded)[0].ended - asked(guarded)[1].ended < SLACK
    run = answer.json()["moa"]
    assert [call["outcome"] for call in run["calls"]] == ["cancelled", "ok"]
    assert [note["what"] for note in run["notes"]] == ["hedge"]
    assert (run["degraded"], "x-moa-degraded" in answer.headers) == ([], False)


@pytest.mark.parametrize("then", ["reset", "cut", "error", "garbage", "half", "end"])
def test_nothing_is_asked_again_after_a_token(guarded, then):
    broken = Reply(text="one two", after=1, then=then)
    guarded.upstream.replies.update({"left-up": broken, "right-up": broken})
    with guarded.connect() as connection:
        connection.sendall(request({"model": "pair", "stream": True}))
        raw = read_until(connection, b"0\r\n\r\n")
    assert (raw.count(b'"one '), raw.count(b'data: {"error":')) == (1, 1)
    assert b"[DONE]" not in raw
    assert len(asked(guarded)) == 1


@pytest.mark.parametrize(
    ("model", "fields"),
    [("timed", {}), ("stubborn", {"moa": {"timeout": 0.8}})],
    ids=["of the model", "of the request"],
)
@pytest.mark.parametrize("wait", [None, "0.3", "5"])
def test_retries_never_outlast_the_deadline(guarded, model, fields, wait):
    slow = Reply(status=503, first=0.15, retry_after=wait)
    guarded.upstream.replies.update({"timed-up": slow, "stubborn-up": slow})
    started = time.monotonic()
    answer = ask(guarded, model, **fields)
    assert time.monotonic() - started < 0.8 + SLACK
    assert answer.status_code in {502, 504}
    guarded.upstream.log.wait(lambda all_: all(each.ended for each in all_))
    assert max(each.started for each in asked(guarded)) < started + 0.8 + SLACK
    if wait == "5":
        assert len(asked(guarded)) == 1


def test_the_cap_on_calls_counts_retries(guarded):
    guarded.upstream.replies["stubborn-up"] = DOWN
    assert ask(guarded, "stubborn", moa={"max_calls": 2}).status_code == 502
    assert len(asked(guarded)) == 2


def test_retries_leave_the_output_its_call(guarded):
    guarded.upstream.replies["a-up"] = DOWN
    answer = ask(guarded, "capped")
    assert answer.status_code == 200
    assert Counter(each.model for each in asked(guarded)) == {"a-up": 1, "b-up": 1, "plain-up": 1}


def test_every_call_of_the_upstreams_log_is_in_the_record_and_no_other(guarded):
    guarded.upstream.replies.update({"a-up": DOWN, "right-up": DOWN})
    answer = ask(guarded, "mixed", **RUN)
    run = answer.json()["moa"]
    told = Counter(
        ("a" if call["model"] == "a" else "plain" if call["model"] == "plain" else "pools")
        for call in run["calls"]
    )
    sides = {"a-up": "a", "plain-up": "plain"}
    assert told == Counter(sides.get(each.model, "pools") for each in asked(guarded))
    assert told["a"] > 1
    assert {call["outcome"] for call in run["calls"] if call["model"] == "a"} == {"failed"}
    assert all(call["ended"] is not None for call in run["calls"])


def test_one_of_six_that_hangs_costs_the_grace_and_no_more(guarded):
    good = Reply(first=0.2)
    guarded.upstream.replies.update({f"{name}-up": good for name in "abcde"})
    guarded.upstream.replies["f-up"] = Reply(after=-1, then="hang")
    times = {}
    for graph in ("five", "six"):
        started = time.monotonic()
        assert ask(guarded, graph).status_code == 200
        times[graph] = time.monotonic() - started
    assert times["six"] > 0.5
    assert times["six"] - times["five"] < 0.3 + SLACK
    guarded.upstream.log.wait(lambda all_: all(each.ending is not Ending.OPEN for each in all_))
    assert [e.ending for e in asked(guarded, "f-up")] == [Ending.ABORTED]
