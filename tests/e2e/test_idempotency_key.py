"""A request repeated with its key is paid once, whoever leaves and comes back."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import orjson
import pytest

from app.upstream.fake_log import Ending
from app.upstream.fake_server import Reply

CHAT = "/v1/chat/completions"
ASK = {"model": "plain", "messages": [{"role": "user", "content": "Hi"}]}
KEY = {"Idempotency-Key": "key-1"}
PATIENCE = 10.0


def post(gateway, body=ASK, headers=KEY, path=CHAT):
    return httpx.post(gateway.url + path, json=body, headers=headers, timeout=PATIENCE)


def at_the_gate(upstream, calls=1):
    """Wait until so many calls stand at the upstream's gate."""
    upstream.log.wait(lambda asked: len(asked) == calls)


def raw(body, key="key-1"):
    data = orjson.dumps(body)
    return (
        f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"idempotency-key: {key}\r\ncontent-length: {len(data)}\r\n\r\n"
    ).encode() + data


@pytest.fixture
def upstream(fake_upstream):
    """Answers wait at the gate."""
    fake_upstream.replies["plain-up"] = Reply(text="Hello.", after=-1, then="gate")
    return fake_upstream


def test_a_finished_answer_is_given_again(gateway_with, fake_upstream):
    with gateway_with() as gateway:
        first, again = post(gateway), post(gateway)

    assert again.content == first.content
    assert again.headers["x-moa-run-id"] == first.headers["x-moa-run-id"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (
        None,
        "true",
    )
    assert len(fake_upstream.log.entries) == 1


def test_a_request_under_way_is_joined(gateway_with, upstream):
    with gateway_with() as gateway, ThreadPoolExecutor() as pool:
        first = pool.submit(post, gateway)
        at_the_gate(upstream)
        others = [pool.submit(post, gateway) for _ in range(3)]
        other_key = pool.submit(post, gateway, ASK, {"Idempotency-Key": "key-2"})
        at_the_gate(upstream, 2)
        upstream.open_gate()
        answers = [each.result(PATIENCE) for each in (first, *others)]
        assert other_key.result(PATIENCE).status_code == 200

    assert {each.content for each in answers} == {answers[0].content}
    assert answers[0].json()["choices"][0]["message"]["content"] == "Hello."
    assert len(upstream.log.entries) == 2


def test_the_run_goes_on_for_who_still_waits(gateway_with, upstream):
    with gateway_with() as gateway, ThreadPoolExecutor() as pool:
        with gateway.connect() as connection:
            connection.sendall(raw(ASK))
            at_the_gate(upstream)
            body = orjson.dumps(ASK)
            headers = {**KEY, "content-type": "application/json"}
            joined = pool.submit(
                httpx.post, gateway.url + CHAT, content=body, headers=headers, timeout=PATIENCE
            )
        upstream.open_gate()
        assert joined.result(PATIENCE).json()["choices"][0]["message"]["content"] == "Hello."

    assert [each.ending for each in upstream.log.entries] == [Ending.ANSWERED]


def test_a_client_that_gave_up_and_tries_again_gets_the_answer(gateway_with, upstream):
    with gateway_with() as gateway, gateway.openai(max_retries=1, timeout=1.0) as client:
        let_go = threading.Timer(1.2, upstream.open_gate)
        let_go.start()
        answer = client.chat.completions.create(**ASK, extra_headers=KEY)
        let_go.join()

    assert answer.choices[0].message.content == "Hello."
    assert [each.ending for each in upstream.log.entries] == [Ending.ANSWERED]


def test_without_a_key_a_second_try_is_paid_again(gateway_with, upstream):
    with gateway_with() as gateway, gateway.openai(max_retries=1, timeout=0.3) as client:
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(**ASK)
        upstream.log.wait(
            lambda asked: [each.ending for each in asked] == [Ending.ABORTED, Ending.ABORTED]
        )


def test_another_body_under_the_same_key_is_refused(gateway_with, fake_upstream):
    with gateway_with() as gateway:
        post(gateway)
        other = post(gateway, {**ASK, "temperature": 0})
        elsewhere = post(gateway, {"model": "plain", "input": "Hi"}, path="/v1/embeddings")

    for refused in (other, elsewhere):
        assert refused.status_code == 422
        error = refused.json()["error"]
        assert (error["code"], error["type"]) == ("idempotency_key_reused", "idempotency_error")
        assert error["param"] == "Idempotency-Key"
    assert len(fake_upstream.log.entries) == 1


def test_a_failure_is_shared_by_those_who_wait_and_not_kept(gateway_with, upstream):
    upstream.replies["plain-up"] = Reply(status=500, after=-1, then="gate")
    with gateway_with() as gateway, ThreadPoolExecutor() as pool:
        first = pool.submit(post, gateway)
        at_the_gate(upstream)
        joined = pool.submit(post, gateway)
        with pytest.raises(TimeoutError):
            upstream.log.wait(lambda asked: len(asked) > 1, patience=0.3)
        upstream.open_gate()
        failed = [first.result(PATIENCE), joined.result(PATIENCE)]
        upstream.replies["plain-up"] = Reply(text="Now.")
        later = post(gateway)

    assert [each.status_code for each in failed] == [502, 502]
    assert failed[0].json() == failed[1].json()
    assert later.json()["choices"][0]["message"]["content"] == "Now."


def test_streams_are_not_joined(gateway_with, fake_upstream):
    with gateway_with() as gateway:
        first, again = (post(gateway, {**ASK, "stream": True}) for _ in range(2))

    assert "[DONE]" in first.text
    assert "[DONE]" in again.text
    assert first.headers["x-moa-run-id"] != again.headers["x-moa-run-id"]
    assert len(fake_upstream.log.entries) == 2


def test_callers_have_keys_of_their_own(gateway_with, fake_upstream):
    with gateway_with(api_keys=("moa-a", "moa-b")) as gateway:
        answers = [
            post(gateway, headers={**KEY, "authorization": f"Bearer moa-{name}"}) for name in "aab"
        ]

    assert [each.headers.get("idempotent-replayed") for each in answers] == [None, "true", None]
    assert len(fake_upstream.log.entries) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "two words"])
def test_a_key_that_is_none_is_refused(gateway, key):
    refused = post(gateway, headers={"Idempotency-Key": key})

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "plain", "prompt": "Hi"}),
        ("/v1/embeddings", {"model": "plain", "input": "Hi"}),
    ],
)
def test_every_endpoint_has_it(gateway_with, fake_upstream, path, body):
    with gateway_with() as gateway:
        first, again = (post(gateway, body, path=path) for _ in range(2))

    assert first.status_code == 200
    assert again.content == first.content
    assert len(fake_upstream.log.entries) == 1
