"""Embeddings pass through to a model's upstream, in whichever form a client wants them."""

import openai
import orjson
import pytest

from app.upstream.fake_embedding import vector
from app.upstream.fake_server import Reply

BASE64 = "AADAPwAAAMA="  # 1.5 and -2 as 32-bit floats


def answering(*vectors, **usage):
    data = [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(vectors)]
    counts = usage or {"prompt_tokens": 4, "total_tokens": 4}
    body = orjson.dumps({"object": "list", "data": data, "model": "x", "usage": counts})
    return Reply(body=body.decode(), content_type="application/json")


def test_the_sdk_gets_numbers(gateway):
    with gateway.openai() as client:
        answer = client.embeddings.create(model="plain", input=["one text", "another"])

    assert [each.embedding for each in answer.data] == [vector("one text"), vector("another")]
    assert [each.index for each in answer.data] == [0, 1]
    assert answer.model == "plain"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


@pytest.mark.parametrize("sent", [BASE64, [1.5, -2.0]])
@pytest.mark.parametrize(("form", "got"), [("base64", BASE64), ("float", [1.5, -2.0])])
def test_a_client_gets_the_form_it_asked_for(gateway, sent, form, got):
    gateway.upstream.replies["plain-up"] = answering(sent)
    with gateway.openai() as client:
        answer = client.embeddings.create(model="plain", input="a", encoding_format=form)

    assert answer.data[0].embedding == got


def test_fields_go_on_as_they_came_but_for_the_users_name(gateway):
    gateway.upstream.replies["plain-up"] = answering([1.0], [2.0])
    fields = {"input": [[1, 2], [3]], "dimensions": 8, "encoding_format": "float"}
    with gateway.openai() as client:
        answer = client.embeddings.create(
            **fields, model="plain", user="ann", extra_body={"input_type": "query"}
        )

    (asked,) = gateway.upstream.log.entries
    assert asked.path == "/v1/embeddings"
    body = asked.body
    assert len(body.pop("user")) == 64
    assert body == {**fields, "model": "plain-up", "input_type": "query"}
    assert len(answer.data) == 2


def test_it_is_booked_like_any_call(gateway):
    gateway.upstream.replies["plain-up"] = answering([1.0], prompt_tokens=7, total_tokens=7)
    with gateway.openai() as client:
        raw = client.embeddings.with_raw_response.create(
            model="plain", input="a", extra_body={"moa": {"include": ["run"]}}
        )

    (call,) = raw.parse().model_extra["moa"]["calls"]
    assert (call["outcome"], call["usage"]["prompt_tokens"]) == ("ok", 7)
    assert raw.headers["x-moa-run-id"] == raw.parse().model_extra["moa"]["run_id"]


@pytest.mark.parametrize(
    ("wrong", "status", "param"),
    [
        ({"model": "panel"}, 400, "model"),
        ({"model": "none"}, 404, "model"),
        ({"input": ""}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"dimensions": 0}, 400, "dimensions"),
    ],
)
def test_what_cannot_be_done_is_refused(gateway, wrong, status, param):
    with gateway.openai() as client, pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(**{"model": "plain", "input": "a", **wrong})

    assert (caught.value.status_code, caught.value.param) == (status, param)
    assert gateway.upstream.log.entries == []


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(status=400), 400),
        (Reply(status=429, retry_after="2"), 429),
        (Reply(status=401), 502),
        (Reply(body="<html>"), 502),
        (answering([1.0], [2.0]), 502),
        (answering("%%%"), 502),
        (answering("AAA="), 502),
        (answering(None), 502),
        (answering([]), 502),
        (answering(["x"]), 502),
    ],
)
def test_what_an_upstream_does_wrong_is_an_error(own_gateway, reply, status):
    own_gateway.upstream.replies["plain-up"] = reply
    with own_gateway.openai() as client, pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model="plain", input="a")

    assert caught.value.status_code == status
