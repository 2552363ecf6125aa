"""Where requests go is the operator's choice; what upstreams refuse is not the client's fault."""

import socket

import httpx
import pytest

from app.upstream.fake_server import Reply

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]
BODIES = {
    CHAT: {"model": "plain", "messages": HI},
    "/v1/messages": {"model": "plain", "messages": HI, "max_tokens": 9},
    "/v1/responses": {"model": "plain", "input": "Hi"},
    "/v1/completions": {"model": "plain", "prompt": "Hi"},
    "/v1/embeddings": {"model": "plain", "input": "Hi"},
}
KEY = "sk-planted-upstream-key"
EVIL = "http://evil.example/v1"


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "field",
    [
        {"base_url": EVIL},
        {"api_base": EVIL},
        {"api_key": "sk-mine"},
        {"headers": {"x-any": "1"}},
        {"extra_headers": {"authorization": "1"}},
    ],
)
def test_a_caller_sets_no_address_no_key_and_no_header(gateway_with, fake_upstream, path, field):
    with gateway_with() as gateway:
        answer = httpx.post(gateway.url + path, json={**BODIES[path], **field})
    assert answer.status_code == 400
    assert next(iter(field)) in answer.text
    assert fake_upstream.log.entries == []


@pytest.mark.parametrize("name", ["x-base-url", "openai-organization", "x-api-base", "cookie"])
def test_a_header_of_a_caller_changes_no_upstream_call(gateway_with, fake_upstream, name):
    with gateway_with() as gateway:
        for headers in ({}, {name: EVIL}):
            httpx.post(gateway.url + CHAT, json=BODIES[CHAT], headers=headers)
    plain, tried = fake_upstream.log.entries
    assert tried.raw_body == plain.raw_body
    assert sorted(tried.raw_headers) == sorted(plain.raw_headers)


def pictured(path, url):
    """A body whose question has an image or a file at an address."""
    if path == "/v1/messages":
        parts = [{"type": "image", "source": {"type": "url", "url": url}}]
    elif path == "/v1/responses":
        image = {"type": "input_image", "image_url": url}
        turn = {"type": "message", "role": "user", "content": [image]}
        return {**BODIES[path], "input": [turn]}
    else:
        parts = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "video_url", "video_url": {"url": url}},
            {"type": "file", "file": {"file_data": url, "filename": "a.pdf"}},
        ]
    return {**BODIES[path], "messages": [{"role": "user", "content": parts}]}


@pytest.mark.parametrize("model", ["plain", "panel"])
@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
def test_an_image_of_a_caller_is_handed_on_and_never_fetched(
    gateway_with, fake_upstream, path, model
):
    with gateway_with() as gateway, socket.create_server(("127.0.0.1", 0)) as pictures:
        url = f"http://127.0.0.1:{pictures.getsockname()[1]}/a.png"
        answer = httpx.post(gateway.url + path, json={**pictured(path, url), "model": model})
        assert answer.status_code == 200
        pictures.setblocking(False)  # noqa: FBT003 - the socket's own signature
        with pytest.raises(BlockingIOError):  # nobody has connected
            pictures.accept()
    asked = fake_upstream.log.entries
    assert any(url in each.raw_body.decode() for each in asked)


def test_a_picture_at_an_address_of_this_machine_is_not_fetched_either(gateway_with, fake_upstream):
    for url in ("file:///etc/passwd", "http://169.254.169.254/latest/meta-data"):
        with gateway_with() as gateway:
            httpx.post(gateway.url + CHAT, json=pictured(CHAT, url))
        assert url in fake_upstream.log.entries[-1].raw_body.decode()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["plain", "panel"])
@pytest.mark.parametrize("status", [401, 403])
def test_dead_credentials_of_an_upstream_are_a_502_that_shows_no_word_of_it(
    gateway_with, fake_upstream, status, model, stream
):
    told = f"Incorrect API key provided: {KEY}"
    for name in ("plain-up", "first-up", "second-up"):
        fake_upstream.replies[name] = Reply(status=status, code="invalid_api_key", message=told)
    with gateway_with() as gateway:
        body = {**BODIES[CHAT], "model": model, "stream": stream}
        answer = httpx.post(gateway.url + CHAT, json=body)
    assert answer.status_code == 502
    assert "www-authenticate" not in answer.headers
    assert answer.json()["error"]["code"] != "invalid_api_key"
    assert KEY not in answer.text
    assert "Incorrect" not in answer.text
