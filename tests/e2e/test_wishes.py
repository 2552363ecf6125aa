"""Wishes in the body object `moa`, as an SDK sends them and as their refusal arrives."""

import openai
import pytest

from app.upstream.fake_server import Reply

QUESTION = [{"role": "user", "content": "Hi"}]


def ask(gateway, wishes, **fields):
    fields = {"model": "panel", "messages": QUESTION, **fields}
    with gateway.openai() as client:
        return client.chat.completions.create(**fields, extra_body={"moa": wishes})


@pytest.mark.parametrize("stream", [False, True])
def test_a_cap_that_leaves_no_reference_is_a_429_that_is_not_to_be_retried(gateway, stream):
    with pytest.raises(openai.RateLimitError) as refused:
        ask(gateway, {"max_calls": 1}, stream=stream)
    error = refused.value
    assert (error.status_code, error.code, error.type) == (429, *["insufficient_quota"] * 2)
    assert error.response.headers["x-should-retry"] == "false"
    assert error.response.headers["x-moa-run-id"]
    assert gateway.upstream.log.entries == []


@pytest.mark.parametrize("model", ["panel", "plain"])
def test_a_wished_timeout_is_a_504_that_is_not_to_be_retried(gateway, model):
    hangs = Reply(after=0, then="hang")
    gateway.upstream.replies |= dict.fromkeys(["first-up", "second-up", "plain-up"], hangs)
    with pytest.raises(openai.APIStatusError) as late:
        ask(gateway, {"timeout": "200ms"}, model=model)
    assert (late.value.status_code, late.value.code) == (504, "deadline_exceeded")
    assert late.value.response.headers["x-should-retry"] == "false"


def test_a_wish_out_of_range_is_a_400_that_names_it(gateway):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(gateway, {"max_cost": -1})
    assert refused.value.param == "moa.max_cost"


def test_a_wished_quorum_answers_without_the_slow_proposer(gateway):
    gateway.upstream.replies["second-up"] = Reply(after=0, then="hang")
    answer = ask(gateway, {"quorum": 1, "include": ["run"]})
    assert answer.choices[0].message.content
    assert answer.moa["caps"]["quorum"] == 1
    assert [call["outcome"] for call in answer.moa["calls"]] == ["ok", "cancelled", "ok"]
