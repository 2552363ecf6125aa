from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import (
    UpstreamConnectTimeout,
    UpstreamDenied,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from app.upstream.errors import ErrorTranslator, retry_after
from app.upstream.transport import (
    ConnectTimeout,
    Disconnected,
    NotConnected,
    ReadTimeout,
    TransportError,
    Unreadable,
)

KEY = "sk-very-secret-key"
SAY = ErrorTranslator("up", (KEY,))
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def no_header(_: str) -> None:
    return None


def status(code: int, error: Any = None, **headers: str) -> UpstreamError:
    body = b"" if error is None else orjson.dumps({"error": error})
    return SAY.status(code, lambda name: headers.get(name.replace("-", "_")), body)


@pytest.mark.parametrize(
    ("code", "kind", "seen"),
    [
        (301, UpstreamUnavailable, 502),
        (400, UpstreamRejected, 400),
        (401, UpstreamDenied, 502),
        (402, UpstreamUnavailable, 502),
        (403, UpstreamDenied, 502),
        (404, UpstreamUnavailable, 502),
        (405, UpstreamUnavailable, 502),
        (408, UpstreamTimeout, 504),
        (413, UpstreamRejected, 413),
        (422, UpstreamRejected, 422),
        (429, UpstreamRateLimited, 429),
        (500, UpstreamUnavailable, 502),
        (503, UpstreamUnavailable, 502),
        (504, UpstreamTimeout, 504),
        (529, UpstreamUnavailable, 502),
    ],
)
def test_each_status_has_its_error(code: int, kind: type[UpstreamError], seen: int) -> None:
    error = status(code, {"message": "m"})
    assert type(error) is kind
    assert error.status == seen


@pytest.mark.parametrize(
    ("raised", "kind", "while_answering"),
    [
        (NotConnected("x"), UpstreamUnavailable, UpstreamMalformed),
        (Disconnected("x"), UpstreamUnavailable, UpstreamMalformed),
        (ConnectTimeout("x"), UpstreamConnectTimeout, UpstreamConnectTimeout),
        (ReadTimeout("x"), UpstreamTimeout, UpstreamTimeout),
        (Unreadable("x"), UpstreamMalformed, UpstreamMalformed),
    ],
)
def test_each_broken_connection_has_its_error(
    raised: TransportError, kind: type[UpstreamError], while_answering: type[UpstreamError]
) -> None:
    assert type(SAY.transport(raised, answering=False)) is kind
    assert type(SAY.transport(raised, answering=True)) is while_answering


@given(st.sampled_from([301, 400, 401, 404, 413, 422, 429, 500]), st.text(), st.text())
def test_no_word_of_the_upstream_reaches_a_client(code: int, text: str, other: str) -> None:
    text = f"{text}☃"  # so that it is none of our own words
    fields = {"message": text, "type": other, "param": text, "code": other}
    for error in (status(code, fields), SAY.inside({**fields, "code": code})):
        told = error.message + str(error.param or "") + str(error.code or "")
        assert text not in told


@pytest.mark.parametrize(
    "error",
    [
        status(500, {"message": f"bad key {KEY}"}),
        SAY.inside({"message": KEY}),
        SAY.transport(NotConnected(f"http://x/?key={KEY}"), answering=False),
        SAY.malformed("is odd", KEY.encode()),
    ],
)
def test_details_name_the_fault_without_the_key(error: UpstreamError) -> None:
    assert KEY not in (error.detail or "")
    assert "***" in (error.detail or "")
    assert KEY not in error.message
    assert "'up'" in error.message


def test_details_are_short() -> None:
    error = SAY.status(500, no_header, b"x" * 100_000)
    assert len(error.detail or "") <= 2_000


def test_a_known_code_and_param_go_on_to_the_client() -> None:
    error = status(400, {"code": "invalid_value", "param": "messages[1].content"})
    assert (error.code, error.param) == ("invalid_value", "messages[1].content")


@pytest.mark.parametrize("code", ["our_internal_code", 400, None, {"a": 1}])
def test_an_unknown_code_does_not(code: object) -> None:
    assert status(400, {"code": code}).code == "upstream_rejected"


@pytest.mark.parametrize("param", ["https://evil", "messages x", "secret_field", 4, "a" * 500])
def test_an_unknown_param_does_not(param: object) -> None:
    assert status(400, {"param": param}).param is None


@pytest.mark.parametrize(
    "error",
    [
        {"code": "context_length_exceeded"},
        {"code": 400, "message": "This model's maximum context length is 4096 tokens."},
        {"type": "exceed_context_size_error", "message": "exceeds the available context size"},
        {"message": "prompt is too long: 210000 tokens > 200000 maximum"},
    ],
)
def test_a_conversation_that_is_too_long_is_recognised(error: dict[str, object]) -> None:
    assert status(400, error).code == "context_length_exceeded"


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"code": "content_filter"}}',
        b'[{"error": {"code": "content_filter"}}]',
        b'{"object": "error", "code": "content_filter"}',
        b'{"code": "content_filter"}',
    ],
)
def test_error_bodies_of_every_shape_are_read(body: bytes) -> None:
    assert SAY.status(400, no_header, body).code == "content_filter"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"3", b'{"error": "no"}', b"\xff"])
def test_error_bodies_of_no_shape_do_no_harm(body: bytes) -> None:
    assert SAY.status(400, no_header, body).code == "upstream_rejected"


def test_a_template_that_fails_is_a_refused_request() -> None:
    error = status(500, {"message": "Jinja Exception: Conversation roles must alternate"})
    assert type(error) is UpstreamRejected
    assert error.status == 400


@pytest.mark.parametrize(
    ("error", "kind", "seen"),
    [
        ({"code": 429}, UpstreamRateLimited, 429),
        ({"code": "429"}, UpstreamRateLimited, 429),
        ({"type": "rate_limit_error"}, UpstreamRateLimited, 429),
        ({"code": "context_length_exceeded"}, UpstreamRejected, 400),
        ({"type": "invalid_request_error"}, UpstreamRejected, 400),
        ({"type": "BadRequestError", "code": 400}, UpstreamRejected, 400),
        ({"type": "authentication_error"}, UpstreamDenied, 502),
        ({"type": "overloaded_error"}, UpstreamUnavailable, 502),
        ({"type": "timeout_error"}, UpstreamTimeout, 504),
        ({"code": 200}, UpstreamUnavailable, 502),
        ({"code": None, "type": "²"}, UpstreamUnavailable, 502),
        ({}, UpstreamUnavailable, 502),
    ],
)
def test_errors_inside_an_answer_mean_what_their_status_would(
    error: dict[str, object], kind: type[UpstreamError], seen: int
) -> None:
    told = SAY.inside(error)
    assert type(told) is kind
    assert told.status == seen


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30"}, 30),
        ({"retry-after": "999999999"}, 86_400),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read_in_every_form(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers.get, NOW) == seconds


@given(st.text(max_size=60))
def test_an_unreadable_wait_is_none(text: str) -> None:
    seconds = retry_after({"retry-after": text}.get, NOW)
    assert seconds is None or 0 <= seconds <= 86_400


def test_a_rate_limit_says_how_long_to_wait() -> None:
    assert status(429, {"message": "slow down"}, retry_after="7").retry_after == 7
    assert status(503, None, retry_after="7").retry_after == 7


def test_a_retry_cannot_mend_an_empty_account_or_a_wrong_address() -> None:
    assert status(429, {"code": "insufficient_quota"}).should_retry is False
    assert status(404).should_retry is False
    assert status(429, {"code": "rate_limit_exceeded"}).should_retry is None
    assert status(500).should_retry is None
