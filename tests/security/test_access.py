"""Who may do what: by the route that is taken, with a right, in constant time, from no web page."""

import ast
import inspect
import textwrap

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app.access.caller import Right
from app.access.keys import StaticKeys
from app.api.rights import declared
from app.upstream.fake import FakeModel

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
KEYED = {"api_keys": ("moa-planted",)}
KEY = {"authorization": "Bearer moa-planted"}


@pytest.mark.parametrize(
    "host", ["localhost/health/live?", "localhost/health/live#", "x@localhost/health/live", "["]
)
async def test_a_host_header_that_bends_the_request_url_opens_nothing(serve, client_of, host):
    """`request.url` is built from the Host header: its path would be `/health/live` here."""
    async with serve({"m": FakeModel("m")}, **KEYED) as app, client_of(app) as client:
        for path in ("/v1/models", "/metrics", "/openapi.json"):
            answer = await client.get(path, headers={"host": host})
            assert answer.status_code == 401, path


@pytest.mark.parametrize(
    "path", ["/metrics%2f..%2fhealth/live", "/health/live%00", "/health/live;x", "/HEALTH/LIVE"]
)
async def test_a_path_that_only_looks_open_needs_a_key(serve, client_of, path):
    async with serve({"m": FakeModel("m")}, **KEYED) as app, client_of(app) as client:
        assert (await client.get(path)).status_code == 401


async def test_a_route_that_says_nothing_about_its_need_is_shut(serve, client_of):
    async def secret(_):
        return PlainTextResponse("open by mistake")

    async with serve({"m": FakeModel("m")}, **KEYED) as app, client_of(app) as client:
        app.router.routes.insert(0, Route("/forgotten", secret))
        assert (await client.get("/forgotten")).status_code == 401
        assert (await client.get("/forgotten", headers=KEY)).status_code == 403


def test_static_keys_are_compared_in_constant_time_and_all_of_them():
    tree = ast.parse(textwrap.dedent(inspect.getsource(StaticKeys.find)))
    loop = next(node for node in ast.walk(tree) if isinstance(node, ast.For))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}

    assert "hmac.compare_digest" in called
    assert not any(isinstance(node, ast.Compare) for node in ast.walk(tree))
    assert not any(isinstance(node, ast.Return | ast.Break) for node in ast.walk(loop))


async def test_metrics_schema_and_admin_need_a_key_and_admin_one_with_that_right(serve, client_of):
    async with serve({"m": FakeModel("m")}, **KEYED) as app, client_of(app) as client:
        for path in ("/metrics", "/openapi.json"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers=KEY)).status_code == 200
        admin = [each for each in app.router.routes if declared(each) is Right.ADMIN]
        assert {each.path for each in admin} >= {"/admin/keys", "/admin/teams"}
        for route in admin:
            for method in route.methods:
                path = route.path.replace("{", "").replace("}", "")
                assert (await client.request(method, path)).status_code == 401
                assert (await client.request(method, path, headers=KEY)).status_code == 403


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
async def test_there_are_no_pages_of_api_docs(serve, client_of, path):
    async with serve({"m": FakeModel("m")}, **KEYED) as app, client_of(app) as client:
        assert (await client.get(path, headers=KEY)).status_code == 404


@pytest.mark.parametrize("settings", [{}, KEYED])
async def test_no_answer_lets_a_page_of_another_origin_read_it(serve, client_of, settings):
    page = {"origin": "https://page.example", **(KEY if settings else {})}
    preflight = {**page, "access-control-request-method": "POST"}
    preflight["access-control-request-headers"] = "authorization, content-type"
    async with serve({"m": FakeModel("m")}, **settings) as app, client_of(app) as client:
        answers = [
            await client.options(CHAT, headers=preflight),
            await client.post(CHAT, json=BODY, headers=page),
            await client.get("/v1/models", headers=page),
            await client.get("/health/live", headers=page),
        ]
    assert not answers[0].is_success
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control-")]
