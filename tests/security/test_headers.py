"""No line break in a header value: none is taken in, none is given out, on the real wire."""

import socket

import pytest

from tests.e2e.test_raw_http import read_to_close, read_until, request

BREAKS = {"crlf": b"a\r\n x-evil: 1", "lf": b"a\n x-evil: 1", "cr": b"a\rx-evil: 1", "nul": b"a\0b"}


@pytest.mark.parametrize("name", [b"x-request-id", b"x-moa-hops", b"idempotency-key", b"x-any"])
@pytest.mark.parametrize("broken", BREAKS)
def test_a_line_break_in_a_header_value_is_refused_or_never_given_back(gateway_with, name, broken):
    head = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    with gateway_with() as gateway, gateway.connect() as connection:
        connection.sendall(head + name + b": " + BREAKS[broken] + b"\r\n\r\n")
        raw = read_to_close(connection)
    assert raw.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 200 "))
    assert b"x-evil" not in raw
    if broken in {"cr", "nul"}:
        assert raw.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("given", ["a%0d%0ax-evil:%201", "a\tb", "a b", "ü", "x" * 129])
def test_only_a_sane_request_id_is_given_back(gateway_with, given):
    with gateway_with() as gateway, gateway.connect() as connection:
        connection.sendall(request({"model": "plain"}, f"x-request-id: {given}\r\n"))
        raw = read_until(connection, b"}}")
    assert b"\r\nx-request-id: req-" in raw
    assert b"x-evil" not in raw


@pytest.mark.parametrize(
    "path",
    [
        "/openai/deployments/a%0d%0ax-evil:%201/chat/completions",
        "/v1/models/a%0d%0ax-evil:%201",
        "/v1/responses/a%0d%0ax-evil:%201",
        "/%0d%0ax-evil:%201",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_a_line_break_in_a_path_starts_no_header(gateway_with, path, method):
    body = b'{"messages":[{"role":"user","content":"Hi"}]}'
    with gateway_with() as gateway, gateway.connect() as connection:
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        connection.shutdown(socket.SHUT_WR)
        head, _, _ = read_to_close(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4")
    assert b"\nx-evil" not in head


def test_no_value_of_a_request_reaches_a_header_that_goes_upstream(gateway_with, fake_upstream):
    headers = "x-request-id: mine\r\nidempotency-key: mine\r\nuser-agent: mine\r\nx-any: mine\r\n"
    with gateway_with() as gateway, gateway.connect() as connection:
        connection.sendall(request({"model": "plain", "user": "mine"}, headers))
        assert read_until(connection, b"}}").startswith(b"HTTP/1.1 200 ")
    (asked,) = fake_upstream.log.entries
    assert not [value for _, value in asked.raw_headers if b"mine" in value]
