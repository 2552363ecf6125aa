"""Every error as a client meets it: shape, status, code, headers, and what the real SDK does then.

How often it asks is counted where it hurts: at the upstream.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import openai
import pytest

from app import errors
from app.config import Settings
from app.errors import GraphFailed, MoaError, NodeFailure
from app.main import create_app
from app.serving.runtime import runtime_of
from app.upstream.fake import FakeModel
from app.upstream.fake_server import FakeUpstream, Reply
from tests.e2e.conftest import Gateway, running
from tests.e2e.test_raw_http import read_until

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "plain", "messages": [{"role": "user", "content": "Hi"}]}
SOON = 0.01
"""Seconds to wait before a second try, so that tests need not."""

RAISED = {
    "rejected": errors.UpstreamRejected("no", status=400, param="n", code="unsupported_value"),
    "unprocessable": errors.UpstreamRejected("no", status=422),
    "too-large": errors.UpstreamRejected("no", status=413),
    "forbidden": errors.Forbidden("no"),
    "limited": errors.UpstreamRateLimited("busy", retry_after=SOON),
    "no-quota": errors.CapReached("spent", should_retry=False),
    "bug": ZeroDivisionError("bug"),
    "denied": errors.UpstreamDenied("denied", should_retry=False),
    "down": errors.UpstreamUnavailable("down", retry_after=SOON),
    "garbage": errors.UpstreamMalformed("garbage"),
    "empty": errors.UpstreamEmpty("empty"),
    "overloaded": errors.Overloaded("full", retry_after=SOON),
    "silent": errors.UpstreamTimeout("silent"),
    "late": errors.DeadlineExceeded("late", should_retry=False),
    "loop": errors.LoopDetected("loop", should_retry=False),
    "nothing": GraphFailed("nothing", failures=(NodeFailure("a", errors.UpstreamEmpty("empty")),)),
}
"""What the model of this name raises; none of it was billed."""


@dataclass(frozen=True)
class Case:
    """`tries`: how often the SDK asks when it may ask twice."""

    model: str
    status: int
    code: str | None
    kind: type[openai.APIStatusError]
    tries: int


CASES = [
    Case("rejected", 400, "unsupported_value", openai.BadRequestError, 1),
    Case("too-large", 413, "upstream_rejected", openai.APIStatusError, 1),
    Case("unprocessable", 422, "upstream_rejected", openai.UnprocessableEntityError, 1),
    Case("forbidden", 403, "forbidden", openai.PermissionDeniedError, 1),
    Case("limited", 429, "upstream_rate_limited", openai.RateLimitError, 2),
    Case("no-quota", 429, "insufficient_quota", openai.RateLimitError, 1),
    Case("bug", 500, "internal_error", openai.InternalServerError, 2),
    Case("denied", 502, "upstream_denied", openai.InternalServerError, 1),
    Case("down", 502, "upstream_unavailable", openai.InternalServerError, 2),
    Case("garbage", 502, "upstream_malformed", openai.InternalServerError, 2),
    Case("empty", 502, "upstream_empty", openai.InternalServerError, 2),
    Case("nothing", 502, "graph_failed", openai.InternalServerError, 2),
    Case("overloaded", 503, "overloaded", openai.InternalServerError, 2),
    Case("silent", 504, "upstream_timeout", openai.InternalServerError, 2),
    Case("late", 504, "deadline_exceeded", openai.InternalServerError, 1),
    Case("loop", 508, "loop_detected", openai.InternalServerError, 1),
]


@dataclass
class Raising:
    gateway: Gateway
    models: dict[str, FakeModel]


@pytest.fixture(scope="module")
def raising(_fake_upstream_server: FakeUpstream) -> Iterator[Raising]:
    """A gateway whose models raise what they are named after."""
    models = {name: FakeModel(name, failure) for name, failure in RAISED.items()}
    app = create_app(Settings.read({}), runtime=runtime_of(models))
    with running(app, _fake_upstream_server) as gateway:
        yield Raising(gateway, models)


def checked(response: httpx.Response, status: int, code: str | None) -> dict[str, Any]:
    """The error of an answer that has OpenAI's shape, whatever its status."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    error: dict[str, Any] = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert set(error) - {"nodes"} == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"]
    assert error["code"] == code
    return error


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.model)
@pytest.mark.parametrize("stream", [True, False])
def test_the_sdk_asks_again_where_that_can_help_and_only_there(
    raising: Raising,
    case: Case,
    stream: bool,  # noqa: FBT001 - a case
) -> None:
    model = raising.models[case.model]
    model.calls.clear()
    with raising.gateway.openai(max_retries=1) as client, pytest.raises(case.kind) as caught:
        client.chat.completions.create(**{**ASK, "model": case.model}, stream=stream)

    error = caught.value
    assert (error.status_code, error.code) == (case.status, case.code)
    assert error.request_id == error.response.headers["x-request-id"]
    assert len(model.calls) == case.tries


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.model)
@pytest.mark.parametrize("stream", [True, False])
def test_its_body_and_headers_say_the_same_to_everybody(
    raising: Raising,
    case: Case,
    stream: bool,  # noqa: FBT001 - a case
) -> None:
    body = {**ASK, "model": case.model, "stream": stream}
    response = httpx.post(raising.gateway.url + CHAT, json=body)
    checked(response, case.status, case.code)
    headers = response.headers
    raised = RAISED[case.model]
    assert headers["x-moa-run-id"]
    if isinstance(raised, MoaError) and raised.retry_after is not None:
        assert (headers["retry-after"], headers["retry-after-ms"]) == ("1", "10")
    else:
        assert "retry-after" not in headers
    says_no = isinstance(raised, MoaError) and raised.should_retry is False
    assert headers.get("x-should-retry") == ("false" if says_no else None)


@pytest.mark.parametrize(
    ("reply", "status", "calls"),
    [
        (Reply(status=429, retry_after="0.01"), 429, 2),
        (Reply(status=429, code="insufficient_quota"), 429, 1),
        (Reply(status=400), 400, 1),
        (Reply(status=401), 502, 1),
        (Reply(status=403), 502, 1),
        (Reply(status=404), 502, 1),
        (Reply(status=500, retry_after="0.01"), 502, 2),
        (Reply(status=503, retry_after="0.01"), 502, 2),
        (Reply(status=508), 502, 1),
        (Reply(body="<html>"), 502, 1),
        (Reply(text="one", after=0, then="end"), 502, 1),
        (Reply(status=429, retry_after="600"), 429, 1),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_an_upstream_is_asked_again_only_where_nothing_was_billed_and_it_may_help(
    own_gateway: Gateway,
    reply: Reply,
    status: int,
    calls: int,
    stream: bool,  # noqa: FBT001 - a case
) -> None:
    own_gateway.upstream.replies["plain-up"] = reply
    with (
        own_gateway.openai(max_retries=1) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(**ASK, stream=stream)

    assert caught.value.status_code == status
    assert len(own_gateway.upstream.log.entries) == calls


def test_a_fan_out_that_was_billed_is_not_paid_twice(gateway: Gateway) -> None:
    gateway.upstream.replies["plain-up"] = Reply(status=500)
    with gateway.openai(max_retries=2) as client, pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**{**ASK, "model": "panel"})

    assert len(gateway.upstream.log.entries) == 3


def test_a_panel_whose_keys_are_refused_is_not_asked_again(gateway: Gateway) -> None:
    gateway.upstream.replies |= {"first-up": Reply(status=401), "second-up": Reply(status=403)}
    with gateway.openai(max_retries=2) as client, pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**{**ASK, "model": "panel"})

    assert len(gateway.upstream.log.entries) == 2


def test_a_gateway_that_calls_itself_is_not_asked_again(gateway: Gateway) -> None:
    headers = {"x-moa-hops": "4"}
    response = httpx.post(gateway.url + CHAT, json=ASK, headers=headers)
    checked(response, 508, "loop_detected")
    assert response.headers["x-should-retry"] == "false"


def test_the_sdk_waits_as_long_as_it_is_told(own_gateway: Gateway) -> None:
    own_gateway.upstream.replies["plain-up"] = Reply(status=429, retry_after="1")
    started = time.monotonic()
    with own_gateway.openai(max_retries=1) as client, pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**ASK)

    first, second = own_gateway.upstream.log.entries
    assert second.started - first.started >= 1
    assert time.monotonic() - started < 5


WRONG = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages[0].content[0].text",
    ),
    ({"temperature": 3}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"n": 0}, "n"),
    ({"stop": [1]}, "stop[0]"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"response_format": {}}, "response_format.type"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"moa": {"quorom": 1}}, "moa.quorom"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG)
def test_a_400_names_the_field(gateway: Gateway, fields: dict[str, Any], param: str) -> None:
    response = httpx.post(gateway.url + CHAT, json={**ASK, **fields})
    error = checked(response, 400, None)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert param in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff", b'{"model": NaN}'])
def test_a_body_that_is_no_json_object_is_a_400(gateway: Gateway, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    checked(httpx.post(gateway.url + CHAT, content=body, headers=headers), 400, None)


def test_a_missing_or_wrong_key_is_a_401_and_final(gateway_with: Any) -> None:
    with gateway_with(api_keys=("moa-key",)) as gateway:
        error = checked(httpx.post(gateway.url + CHAT, json=ASK), 401, "invalid_api_key")
        assert error["type"] == "invalid_request_error"
        with gateway.openai(max_retries=2) as client, pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(**ASK)


def test_a_page_from_elsewhere_is_a_403(gateway: Gateway) -> None:
    headers = {"origin": "http://evil.example"}
    response = httpx.post(gateway.url + CHAT, json=ASK, headers=headers)
    assert checked(response, 403, "origin_not_allowed")["type"] == "permission_error"


def test_an_unknown_model_is_a_404(gateway: Gateway) -> None:
    response = httpx.post(gateway.url + CHAT, json={**ASK, "model": "none"})
    assert checked(response, 404, "model_not_found")["param"] == "model"


@pytest.mark.parametrize("request_line", ["POST /v1/nothing", "GET /", "PUT /v1/models/x/y/z"])
def test_an_unknown_address_or_method_is_a_404_or_405(gateway: Gateway, request_line: str) -> None:
    method, path = request_line.split()
    response = httpx.request(method, gateway.url + path, json={})
    is_method = method == "PUT"
    code = "method_not_allowed" if is_method else "unknown_url"
    checked(response, 405 if is_method else 404, code)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", CHAT, "POST"), ("DELETE", CHAT, "POST"), ("POST", "/v1/models", "GET, HEAD")],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(
    gateway: Gateway, method: str, path: str, allowed: str
) -> None:
    response = httpx.request(method, gateway.url + path, json={})
    checked(response, 405, "method_not_allowed")
    assert response.headers["allow"] == allowed


def test_a_body_that_never_comes_is_a_408_and_the_end_of_the_connection() -> None:
    app = create_app(Settings.read({}), runtime=runtime_of({"plain": FakeModel("plain")}))
    with running(app, FakeUpstream()) as gateway:
        httpx.get(f"{gateway.url}/health/live")  # it has started
        app.state.services = replace(app.state.services, body_patience=0.1)
        with gateway.connect() as connection:
            connection.sendall(
                f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n"
                "content-type: application/json\r\n\r\n{".encode()
            )
            raw = read_until(connection, b"}}")
            assert connection.recv(100) == b""
    assert raw.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in raw
    assert b"x-request-id: " in raw


def test_a_body_above_the_limit_is_a_413(gateway_with: Any) -> None:
    with gateway_with(max_body_bytes=1024) as gateway:
        body = {**ASK, "user": "x" * 2000}
        checked(httpx.post(gateway.url + CHAT, json=body), 413, "request_too_large")


def test_a_body_of_another_kind_is_a_415(gateway: Gateway) -> None:
    response = httpx.post(gateway.url + CHAT, content="a=b", headers={"content-type": "text/plain"})
    checked(response, 415, "unsupported_media_type")


def test_the_clients_own_request_id_comes_back(gateway: Gateway) -> None:
    response = httpx.post(gateway.url + CHAT, json={}, headers={"x-request-id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
