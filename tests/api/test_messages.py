"""Anthropic's addresses without a socket: shapes of errors, keys, signs of life, late failures."""

import anyio
import orjson
import pytest

from app.errors import Overloaded, UpstreamTimeout
from app.upstream.fake import FakeModel, Script

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
KEY = "moa-secret-1"


def is_anthropic_error(response, kind):
    body = response.json()
    return (
        set(body) == {"type", "error", "request_id"}
        and body["type"] == "error"
        and body["error"]["type"] == kind
        and body["request_id"] == response.headers["request-id"] == response.headers["x-request-id"]
    )


@pytest.mark.parametrize(
    ("request_line", "status", "kind"),
    [
        (f"GET {MESSAGES}", 405, "invalid_request_error"),
        (f"POST {MESSAGES}/batches", 404, "not_found_error"),
        (f"POST {MESSAGES}/", 404, "not_found_error"),
        (f"POST {MESSAGES}", 400, "invalid_request_error"),
        (f"POST {COUNT}", 400, "invalid_request_error"),
    ],
)
async def test_every_error_here_has_anthropics_shape(serve, client_of, request_line, status, kind):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.request(*request_line.split(), json={})

    assert response.status_code == status
    assert is_anthropic_error(response, kind)


@pytest.mark.parametrize("path", ["/v1/messagesx", "/messages", "/v1/chat/completions"])
async def test_errors_elsewhere_keep_openais_shape(serve, client_of, path):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.post(path, json={})

    assert set(response.json()) == {"error"}
    assert "request-id" not in response.headers


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
async def test_an_unknown_model_is_told_the_known_ones(serve, client_of, path):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.post(path, json={**BODY, "model": "none"})

    assert response.status_code == 404
    assert is_anthropic_error(response, "not_found_error")
    assert "alias" in response.json()["error"]["message"]


@pytest.mark.parametrize("path", [MESSAGES, COUNT, "/v1/chat/completions", "/v1/models"])
@pytest.mark.parametrize(
    ("headers", "opens"),
    [
        ({"x-api-key": KEY}, True),
        ({"x-api-key": f" {KEY} "}, True),
        ({"authorization": f"Bearer {KEY}"}, True),
        ({"authorization": f"Bearer {KEY}", "x-api-key": "other"}, True),
        ({"authorization": "Basic abc", "x-api-key": KEY}, True),
        ({"authorization": "Bearer other", "x-api-key": KEY}, False),
        ({"x-api-key": "other"}, False),
        ({"x-api-key": f"Bearer {KEY}"}, False),
        ({"x-api-key": ""}, False),
        ({}, False),
    ],
)
async def test_a_key_opens_in_either_header(serve, client_of, path, headers, opens):
    async with serve({"m": FakeModel("m")}, api_keys=(KEY,)) as app, client_of(app) as client:
        method = "GET" if path.endswith("models") else "POST"
        response = await client.request(method, path, json=BODY, headers=headers)

    assert response.status_code == (200 if opens else 401)
    if not opens and path == MESSAGES:
        assert is_anthropic_error(response, "authentication_error")
    assert KEY not in response.text


async def test_strangers_are_refused_before_their_body_is_read(serve, wire):
    refused = wire(None, {"x-api-key": "other"}, path=MESSAGES)
    async with serve({"m": FakeModel("m")}, api_keys=(KEY,)) as app:
        with anyio.fail_after(5):
            await refused.run(app)

    assert refused.status == 401
    assert not refused.body_was_read


async def test_versions_and_betas_say_nothing_to_us(serve, client_of):
    headers = {"anthropic-version": "1999-01-01", "anthropic-beta": "a,b"}
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.post(f"{MESSAGES}?beta=true", json=BODY, headers=headers)

    assert response.status_code == 200
    assert response.headers["x-moa-run-id"] in response.json()["id"]


async def test_counting_asks_no_model(serve, client_of):
    model = FakeModel("m")
    async with serve({"m": model}) as app, client_of(app) as client:
        response = await client.post(COUNT, json={key: BODY[key] for key in ("model", "messages")})

    assert response.json() == {"input_tokens": 5}
    assert model.calls == []


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_before_the_first_token_is_a_real_status(serve, client_of, stream):
    failure = Overloaded("full", retry_after=1)
    async with serve({"m": FakeModel("m", failure)}) as app, client_of(app) as client:
        response = await client.post(MESSAGES, json={**BODY, "stream": stream})

    assert response.status_code == 503
    assert is_anthropic_error(response, "overloaded_error")
    assert response.headers["retry-after"] == "1"


async def test_a_failure_after_it_is_an_error_event_and_the_end(serve, wire):
    request = wire(orjson.dumps({**BODY, "stream": True}), path=MESSAGES)
    script = Script("one two", after=1, error=UpstreamTimeout("silent"))
    async with serve({"m": FakeModel("m", script)}) as app:
        await request.run(app)

    *_, last = [part for part in request.text.split("\n\n") if part]
    name, data = last.split("\n")
    assert (request.status, name) == (200, "event: error")
    error = orjson.loads(data.removeprefix("data: "))
    assert error["error"]["type"] == "timeout_error"
    assert error["request_id"] == request.response_headers["request-id"]
    assert "message_stop" not in request.text


async def test_while_a_model_is_silent_the_message_has_begun_and_pings(serve, wire):
    request = wire(orjson.dumps({**BODY, "stream": True}), path=MESSAGES)
    gate = anyio.Event()
    model = FakeModel("m", Script("one", gate=gate))
    async with (
        serve({"m": model}, commit_after=0.01, heartbeat=0.01) as app,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(request.run, app)
        await request.until(lambda wire: wire.text.count("event: ping") > 1)
        gate.set()

    names = [part.split("\n")[0] for part in request.text.split("\n\n") if part]
    assert names[:2] == ["event: message_start", "event: ping"]
    assert names.count("event: message_start") == 1
    assert names[-1] == "event: message_stop"


async def test_hidden_reasoning_leaves_a_late_failure_its_status(serve, wire):
    request = wire(orjson.dumps({**BODY, "stream": True}), path=MESSAGES)
    script = Script("one", reasoning="hm", after=1, error=UpstreamTimeout("silent"))
    async with serve({"m": FakeModel("m", script)}) as app:
        await request.run(app)

    assert request.status == 504


async def test_who_leaves_ends_the_run(serve, wire):
    request = wire(orjson.dumps({**BODY, "stream": True}), path=MESSAGES)
    model = FakeModel("m", Script(hang=True))
    async with serve({"m": model}) as app, anyio.create_task_group() as tasks:
        tasks.start_soon(request.run, app)
        await model.started()
        request.leave()

    assert model.calls[0].cancelled


async def test_both_addresses_are_in_the_schema_with_names_of_their_own(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        document = (await client.get("/openapi.json")).json()

    for path in (MESSAGES, COUNT):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert {"model", "messages", "tools"} <= set(body["schema"]["properties"])
    schemas = document["components"]["schemas"]
    assert "input_schema" in schemas["AnthropicTool"]["properties"]
    assert "function" in schemas["Tool"]["properties"]
