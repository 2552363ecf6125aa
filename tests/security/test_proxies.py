"""Whose word about the client is taken, and that no header moves the gateway elsewhere."""

import logging

import pytest

from app.config import load_settings
from app.errors import ConfigError
from app.upstream.fake import FakeModel

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
TRUSTED = {"MOA_TRUSTED_PROXIES": "10.0.0.1, 192.168.0.0/16,2001:db8::/32"}
NETWORKS = load_settings(TRUSTED).trusted_proxies
KEYED = {"api_keys": ("moa-planted",)}


@pytest.fixture
def logged(serve, client_of, caplog):
    """`logged(peer, headers, **settings)`: the client of the request's line in the access log."""

    async def ask(peer, headers, **settings):
        caplog.clear()
        with caplog.at_level(logging.INFO, "moa.access"):
            async with (
                serve({"m": FakeModel("m")}, **KEYED, **settings) as app,
                client_of(app, peer) as client,
            ):
                await client.get("/health/live", headers=headers)
        (line,) = [each for each in caplog.records if each.name == "moa.access"]
        return line.fields["client"]

    return ask


async def test_forwarded_headers_are_nobody_s_word_by_default(logged):
    forged = {
        "x-forwarded-for": "198.51.100.9",
        "forwarded": "for=198.51.100.9",
        "x-real-ip": "198.51.100.9",
        "true-client-ip": "198.51.100.9",
    }
    assert await logged("203.0.113.5", forged) == "203.0.113.5"
    assert await logged("127.0.0.1", forged) == "127.0.0.1"


@pytest.mark.parametrize(
    ("peer", "written", "client"),
    [
        ("10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "198.51.100.9:4711", "198.51.100.9"),
        ("10.0.0.1", "[2001:db9::1]:4711", "2001:db9::1"),
        ("::ffff:10.0.0.1", "198.51.100.9", "198.51.100.9"),
        # What a client wrote itself stands before what the proxy adds.
        ("10.0.0.1", "1.1.1.1, 198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "127.0.0.1, 198.51.100.9", "198.51.100.9"),
        # A chain of trusted proxies is followed to whom its first one saw.
        ("10.0.0.1", "1.1.1.1, 198.51.100.9, 192.168.7.7, 2001:db8::7", "198.51.100.9"),
        # Nothing after an entry that is no address counts.
        ("10.0.0.1", "198.51.100.9, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.9, <script>, 192.168.0.5", "192.168.0.5"),
        ("10.0.0.1", "", "10.0.0.1"),
        # Others may write what they like.
        ("203.0.113.5", "198.51.100.9", "203.0.113.5"),
        ("10.0.0.2", "198.51.100.9", "10.0.0.2"),
    ],
)
async def test_a_trusted_proxy_tells_who_the_client_is_and_nobody_else_can(
    logged, peer, written, client
):
    headers = {"x-forwarded-for": written}
    assert await logged(peer, headers, trusted_proxies=NETWORKS) == client


async def test_several_headers_are_one_list(logged):
    headers = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.9")]
    assert await logged("10.0.0.1", headers, trusted_proxies=NETWORKS) == "198.51.100.9"


async def test_open_mode_looks_at_the_client_behind_the_proxy(serve, client_of):
    async with (
        serve({"m": FakeModel("m")}, trusted_proxies=NETWORKS) as app,
        client_of(app, "10.0.0.1") as proxy,
        client_of(app, "203.0.113.5") as stranger,
    ):
        local, away = {"x-forwarded-for": "127.0.0.1"}, {"x-forwarded-for": "127.0.0.1, 1.1.1.1"}
        assert (await stranger.post(CHAT, json=BODY, headers=local)).status_code == 403
        assert (await proxy.post(CHAT, json=BODY, headers=away)).status_code == 403


@pytest.mark.parametrize("settings", [{}, {"trusted_proxies": NETWORKS}])
async def test_no_header_sets_the_root_path_or_the_host(serve, client_of, settings):
    forged = {
        "authorization": "Bearer moa-planted",
        "x-forwarded-prefix": "/evil",
        "x-script-name": "/evil",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "x-original-url": "/health/live",
        "x-rewrite-url": "/health/live",
    }
    async with (
        serve({"m": FakeModel("m")}, **KEYED, **settings) as app,
        client_of(app, "10.0.0.1") as client,
    ):
        answer = await client.get("/openapi.json", headers=forged)
        assert answer.status_code == 200
        assert "evil" not in answer.text
        assert "servers" not in answer.json()
        del forged["authorization"]
        assert (await client.get("/v1/models", headers=forged)).status_code == 401


def test_by_default_no_proxy_is_trusted():
    assert load_settings({}).trusted_proxies == ()


@pytest.mark.parametrize("text", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.1,", "10.0.0.300"])
def test_a_proxy_is_trusted_by_address_or_not_at_all(text):
    with pytest.raises(ConfigError, match="MOA_TRUSTED_PROXIES"):
        load_settings({"MOA_TRUSTED_PROXIES": text})
