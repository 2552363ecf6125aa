"""Every error has OpenAI's shape, the right status and an id."""

import asyncio
import logging
import re

import anyio
import orjson
import pytest

from app.api.errors import log_failure
from app.errors import (
    DeadlineExceeded,
    GraphFailed,
    NodeFailure,
    Overloaded,
    StoreUnavailable,
    UpstreamDenied,
    UpstreamRateLimited,
    UpstreamRejected,
)
from app.upstream.errors import ErrorTranslator
from app.upstream.fake import FakeModel, Script

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def is_openai_error(response) -> bool:
    body = response.json()
    return set(body) == {"error"} and {"message", "type", "param", "code"} <= set(body["error"])


@pytest.mark.parametrize(
    ("request_line", "status", "code"),
    [
        ("GET /nope", 404, "unknown_url"),
        ("GET /v1/chat/completions/", 404, "unknown_url"),
        ("GET /docs", 404, "unknown_url"),
        ("POST /v1/images/generations", 404, "unknown_url"),
        ("GET /v1/files", 404, "unknown_url"),
        ("GET /v1", 404, "unknown_url"),
        (f"GET {CHAT}", 405, "method_not_allowed"),
        ("DELETE /v1/models", 405, "method_not_allowed"),
        ("GET /v1/models/none", 404, "model_not_found"),
    ],
)
async def test_wrong_addresses_are_refused_in_openais_shape(
    serve, client_of, request_line, status, code
):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.request(*request_line.split(), json={})

    assert response.status_code == status
    assert is_openai_error(response)
    assert response.json()["error"]["code"] == code
    assert response.headers["x-request-id"]


async def test_who_left_out_v1_is_told(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.post("/v2/chat/completions", json=BODY)

    message = response.json()["error"]["message"]
    assert "POST /v2/chat/completions" in message
    assert "under /v1" in message


async def test_a_wrong_method_is_told_the_right_one(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        assert (await client.get(CHAT)).headers["allow"] == "POST"


async def test_an_unknown_model_is_told_the_known_ones(serve, client_of):
    async with (
        serve({"m": FakeModel("m"), "a/b": FakeModel("a/b")}) as app,
        client_of(app) as client,
    ):
        response = await client.post(CHAT, json={**BODY, "model": "x"})

    error = response.json()["error"]
    assert response.status_code == 404
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "a/b" in error["message"]
    assert "alias" in error["message"]


async def test_a_wrong_field_is_named(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.post(CHAT, json={**BODY, "messages": [{"role": "robot"}]})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "messages[0].role"


FAILURES = [
    (UpstreamRateLimited("busy", retry_after=2.5), 429, {"retry-after": "3"}),
    (UpstreamDenied("denied", detail="key sk-123"), 502, {}),
    (UpstreamRejected("no", status=422, param="n"), 422, {}),
    (DeadlineExceeded("late", should_retry=False), 504, {"x-should-retry": "false"}),
    (Overloaded("full", retry_after=1), 503, {"retry-after": "1", "retry-after-ms": "1000"}),
]


@pytest.mark.parametrize("expected", FAILURES)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_before_the_first_token_is_a_real_status(
    serve, client_of, expected, stream
):
    failure, status, headers = expected
    async with serve({"m": FakeModel("m", failure)}) as app, client_of(app) as client:
        response = await client.post(CHAT, json={**BODY, "stream": stream})

    assert response.status_code == status
    assert is_openai_error(response)
    assert headers.items() <= dict(response.headers).items()
    assert response.headers["x-moa-run-id"]
    assert "sk-123" not in response.text


async def test_a_failed_graph_says_why_node_by_node(serve, client_of):
    failure = GraphFailed("nothing", failures=(NodeFailure("a", UpstreamDenied("denied")),))
    async with serve({"m": FakeModel("m", failure)}) as app, client_of(app) as client:
        response = await client.post(CHAT, json=BODY)

    nodes = response.json()["error"]["nodes"]
    assert nodes == [{"node": "a", "message": "denied", "code": "upstream_denied"}]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_bug_is_a_500_that_says_nothing_and_is_logged_once(
    serve, client_of, caplog, stream
):
    model = FakeModel("m", ValueError("secret text"))
    async with serve({"m": model}) as app, client_of(app) as client:
        with caplog.at_level(logging.ERROR):
            response = await client.post(CHAT, json={**BODY, "stream": stream})

    assert response.status_code == 500
    assert is_openai_error(response)
    assert "secret text" not in response.text
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.fields == {"request_id": response.headers["x-request-id"]}
    assert "secret text" in str(record.exc_info[1])


async def test_a_sane_request_id_is_kept_and_another_one_replaced(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        kept = await client.get("/health/live", headers={"x-request-id": "abc-1.2_3"})
        replaced = [
            await client.get("/health/live", headers={"x-request-id": given})
            for given in ("a b", "x" * 129, "", 'a"b')
        ]

    assert kept.headers["x-request-id"] == "abc-1.2_3"
    ids = {response.headers["x-request-id"] for response in replaced}
    assert len(ids) == 4
    assert all(re.fullmatch(r"req-[0-9a-f]{32}", each) for each in ids)


@pytest.mark.parametrize(("hops", "status"), [("0", 200), ("3", 200), ("4", 508), ("99", 508)])
async def test_a_request_that_passed_too_many_gateways_is_refused(serve, client_of, hops, status):
    model = FakeModel("m")
    async with serve({"m": model}) as app, client_of(app) as client:
        response = await client.post(CHAT, json=BODY, headers={"x-moa-hops": hops})

    assert response.status_code == status
    assert [call.step.run.hops for call in model.calls] == ([int(hops)] if status == 200 else [])


@pytest.mark.parametrize("hops", ["-1", "many", "1.0", "9" * 5_000])
async def test_hops_that_are_no_number_are_refused(serve, client_of, hops):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.post(CHAT, json=BODY, headers={"x-moa-hops": hops})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-moa-hops"


async def test_a_body_above_the_limit_is_refused_before_it_is_read(serve, wire):
    request = wire(None, {"content-length": "2000"})
    async with serve({"m": FakeModel("m")}, max_body_bytes=1024) as app:
        with anyio.fail_after(5):
            await request.run(app)

    assert request.status == 413
    assert '"code":"request_too_large"' in request.text


async def test_a_body_of_undeclared_length_is_counted(serve, client_of):
    async def pieces():
        for _ in range(10):
            yield b" " * 200

    async with serve({"m": FakeModel("m")}, max_body_bytes=1024) as app, client_of(app) as client:
        headers = {"content-type": "application/json"}
        response = await client.post(CHAT, content=pieces(), headers=headers)

    assert response.status_code == 413


@pytest.mark.parametrize("length", ["-1", "x", ""])
async def test_a_length_that_is_no_number_is_refused(serve, wire, length):
    request = wire(b"{}", {"content-length": length})
    async with serve({"m": FakeModel("m")}) as app:
        await request.run(app)

    assert request.status == 400


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_a_shutdown_cuts_off_may_be_tried_again(serve, wire, stream):
    request = wire(orjson.dumps({**BODY, "stream": stream}))
    model = FakeModel("m", Script(hang=True))
    async with serve({"m": model}) as app:
        running = asyncio.create_task(request.run(app))
        await model.started()
        running.cancel()  # what the server does when the time to drain is over
        with pytest.raises(asyncio.CancelledError):
            await running

    assert request.status == 503
    assert request.response_headers["retry-after"] == "1"
    assert orjson.loads(request.text)["error"]["code"] == "overloaded"
    assert model.calls[0].cancelled


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_an_upstreams_own_words_are_logged_to_debug_only(caplog, level) -> None:
    body = b'{"error": {"message": "your prompt was: my diary"}}'
    quoting = ErrorTranslator("up").status(500, lambda _: None, body)
    caplog.set_level(level, "moa.error")
    log_failure("req", quoting, quoting)
    log_failure("req", StoreUnavailable("Away.", detail="connection refused"), quoting)
    logged = str([record.fields for record in caplog.records])
    assert ("my diary" in logged) is (level == logging.DEBUG)
    assert "connection refused" in logged
