"""Who gets in: keys, open mode, and that nothing is read before."""

import anyio
import pytest

from app.api.paths import OPEN_PATHS
from app.upstream.fake import FakeModel

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
KEYED = {"api_keys": ("moa-secret-1", "moa-secret-2")}


def walk(router):
    """Every route with a path that reaches it."""
    for route in router.routes:
        if hasattr(route, "original_router"):
            yield from walk(route.original_router)
        else:
            yield from (
                (method, route.path.replace("{name:path}", "m")) for method in route.methods
            )


async def test_every_route_needs_a_key_except_the_open_ones(serve, client_of):
    async with serve({"m": FakeModel("m")}, **KEYED) as app, client_of(app) as client:
        found = set(walk(app))
        for method, path in found:
            response = await client.request(method, path)
            assert (response.status_code == 401) == (path not in OPEN_PATHS), (method, path)
        assert {path for _, path in found} >= {CHAT, "/metrics", "/openapi.json", *OPEN_PATHS}


async def test_an_address_that_does_not_exist_needs_a_key_too(serve, client_of):
    async with serve({"m": FakeModel("m")}, **KEYED) as app, client_of(app) as client:
        assert (await client.get("/admin")).status_code == 401


@pytest.mark.parametrize("key", ["moa-secret-1", "moa-secret-2"])
async def test_any_of_the_keys_opens(serve, client_of, key):
    async with serve({"m": FakeModel("m")}, **KEYED) as app, client_of(app) as client:
        response = await client.post(CHAT, json=BODY, headers={"authorization": f"Bearer {key}"})

    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer moa-secret-3"},
        {"authorization": "Bearer moa-secret-1x"},
        {"authorization": "Basic moa-secret-1"},
        {"authorization": "moa-secret-1"},
        {"api-key": "moa-secret-3"},
        {"key": "moa-secret-1"},
    ],
)
async def test_no_other_header_opens(serve, client_of, headers):
    async with serve({"m": FakeModel("m")}, **KEYED) as app, client_of(app) as client:
        response = await client.post(CHAT, json=BODY, headers=headers)

    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"] == "Bearer"
    assert "moa-secret" not in response.text


async def test_a_root_path_does_not_open_a_closed_address(serve, client_of):
    async with serve({"m": FakeModel("m")}, **KEYED) as app, client_of(app) as client:
        for path in ("/health/live/../../v1/models", "//health/live", "/health/live/", "/health"):
            assert (await client.get(path)).status_code == 401, path


async def test_strangers_are_refused_before_their_body_is_read(serve, wire):
    refused = wire(None)
    async with serve({"m": FakeModel("m")}, **KEYED) as app:
        with anyio.fail_after(5):
            await refused.run(app)

    assert refused.status == 401
    assert not refused.body_was_read


async def test_open_mode_serves_this_machine(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "a.localhost"):
            response = await client.post(CHAT, json=BODY, headers={"host": host})
            assert response.status_code == 200, host


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "10.0.0.1", "", "[::1"]
)
async def test_open_mode_refuses_other_host_names(serve, client_of, host):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.post(CHAT, json=BODY, headers={"host": host})

    assert response.status_code == 403


async def test_open_mode_refuses_other_machines(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app, "192.0.2.7") as client:
        assert (await client.post(CHAT, json=BODY)).status_code == 403
        assert (await client.get("/v1/models")).status_code == 403
        assert (await client.get("/health/live")).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "localhost", ""]
)
@pytest.mark.parametrize("insecure", [True, False])
async def test_open_mode_refuses_web_pages_of_other_origins(serve, client_of, origin, insecure):
    async with serve({"m": FakeModel("m")}, insecure=insecure) as app, client_of(app) as client:
        response = await client.post(CHAT, json=BODY, headers={"origin": origin})

    assert response.status_code == 403
    assert response.json()["error"]["code"] == "origin_not_allowed"


async def test_open_mode_serves_pages_of_its_own_origin(serve, client_of):
    headers = {"host": "localhost:8000", "origin": "http://localhost:8000"}
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        assert (await client.post(CHAT, json=BODY, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "declared",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"],
)
async def test_open_mode_takes_only_declared_json(serve, client_of, declared):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.post(CHAT, json=BODY, headers={"content-type": declared})

    assert response.status_code == 415


@pytest.mark.parametrize(
    "declared", ["application/json", "Application/JSON; charset=utf-8", "application/x+json"]
)
async def test_json_may_be_declared_in_any_way(serve, client_of, declared):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.post(CHAT, json=BODY, headers={"content-type": declared})

    assert response.status_code == 200


async def test_insecure_drops_the_checks_of_host_and_client_only(serve, client_of):
    models = {"m": FakeModel("m")}
    async with serve(models, insecure=True) as app, client_of(app, "192.0.2.7") as client:
        headers = {"host": "gateway.example"}
        assert (await client.post(CHAT, json=BODY, headers=headers)).status_code == 200
        headers["content-type"] = "text/plain"
        assert (await client.post(CHAT, json=BODY, headers=headers)).status_code == 415


@pytest.mark.parametrize(
    "host",
    ["evil.com@localhost", "localhost#x", "localhost/x", "localhost?x", "localhost:8000@evil.com"],
)
async def test_open_mode_takes_no_host_that_is_more_than_a_name_and_a_port(serve, client_of, host):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.post(CHAT, json=BODY, headers={"host": host})

    assert response.status_code == 403


@pytest.mark.parametrize("insecure", [True, False])
async def test_open_mode_refuses_two_hosts(serve, client_of, insecure):
    headers = [("host", "localhost"), ("host", "evil.example")]
    async with serve({"m": FakeModel("m")}, insecure=insecure) as app, client_of(app) as client:
        for given in (headers, headers[::-1]):
            assert (await client.get("/v1/models", headers=given)).status_code == 400


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_wrong_method_is_said_before_a_wrong_body(serve, client_of, method):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.request(method, CHAT, content=b"x")

    assert response.status_code == 405
