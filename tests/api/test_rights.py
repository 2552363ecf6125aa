"""Every route says what it asks of a caller, and whoever has not got it is kept out."""

import re
from contextlib import asynccontextmanager

import pytest
from starlette.routing import Route

from app.access.caller import Right
from app.api.middleware.authentication import ANYBODY
from app.api.rights import Anyone, declared
from app.upstream.fake import FakeModel

PARAM = re.compile(r"{\w+(?::path)?}")
PEPPER = "a pepper for this test"


@pytest.fixture
def keyed(serve, client_of, tmp_path):
    """`keyed()`: an application over a database, a client, and what makes keys for it."""

    @asynccontextmanager
    async def started(**settings):
        where = {"database_url": f"sqlite+aiosqlite:///{tmp_path / 'moa.db'}", "key_pepper": PEPPER}
        async with (
            serve({"m": FakeModel("m")}, **where, **settings) as app,
            client_of(app) as client,
        ):

            async def make(name, *rights, **changes):
                admin = app.state.services.admin
                wanted = {"name": name, "rights": frozenset(rights), **changes}
                _, secret = await admin.create_key(wanted)
                return {"authorization": f"Bearer {secret}"}

            yield app, client, make

    return started


def leaves(app):
    return [
        (route, method, PARAM.sub("m", route.path))
        for route in app.router.routes
        for method in sorted(route.methods - {"HEAD"})
    ]


def needs(app, need):
    return [
        (method, path) for route, method, path in leaves(app) if isinstance(declared(route), need)
    ]


async def test_every_route_declares_what_it_needs(keyed):
    async with keyed() as (app, _, _):
        found = leaves(app)
        assert len(found) > 30
        assert [path for route, _, path in found if declared(route) is None] == []


async def test_the_needs_are_those_that_were_decided(keyed):
    async with keyed() as (app, _, _):
        for route, _, path in leaves(app):
            if path.startswith("/health/"):
                wanted = Anyone.OPEN
            elif path == "/openapi.json":
                wanted = Anyone.WITH_KEY
            elif path.startswith("/admin/"):
                wanted = Right.ADMIN
            else:
                wanted = Right.READ_METRICS if path == "/metrics" else Right.CALL
            assert declared(route) is wanted, path


async def test_without_a_key_every_route_but_the_open_ones_is_a_401(keyed):
    async with keyed(require_keys=True) as (app, client, _):
        for route, method, path in leaves(app):
            status = (await client.request(method, path)).status_code
            assert (status == 401) == (declared(route) is not Anyone.OPEN), (method, path)


async def test_a_key_that_lacks_the_right_of_a_route_is_a_403(keyed):
    async with keyed() as (app, client, make):
        lacking = {right: await make(f"no {right}", *(set(Right) - {right})) for right in Right}
        routes = needs(app, Right)
        assert len(routes) > 25
        for route, method, path in leaves(app):
            need = declared(route)
            if isinstance(need, Right):
                response = await client.request(method, path, headers=lacking[need])
                assert response.status_code == 403, (method, path)
                assert response.json()["error"].get("code", "forbidden") == "forbidden"
                assert need in response.json()["error"]["message"]


async def test_a_key_with_no_other_right_than_that_of_a_route_gets_in(keyed):
    async with keyed() as (app, client, make):
        having = {right: await make(f"only {right}", right) for right in Right}
        for route, method, path in leaves(app):
            need = declared(route)
            if isinstance(need, Right):
                response = await client.request(method, path, headers=having[need])
                assert response.status_code not in {401, 403}, (method, path)


async def test_any_key_sees_the_schema(keyed):
    async with keyed() as (_, client, make):
        assert (await client.get("/openapi.json", headers=await make("bare"))).status_code == 200


async def test_a_route_that_declares_nothing_is_shut(keyed):
    async def endpoint(_request):
        raise AssertionError("the door was open")

    async with keyed() as (app, client, make):
        app.router.routes.insert(0, Route("/forgotten", endpoint))
        everything = await make("everything", *Right)
        assert (await client.get("/forgotten", headers=everything)).status_code == 403


async def test_an_address_that_does_not_exist_is_a_404_for_a_key_and_a_401_without(keyed):
    async with keyed() as (_, client, make):
        bare = await make("bare")
        assert (await client.get("/admin/nothing", headers=bare)).status_code == 404
        assert (await client.put("/admin/keys", headers=bare)).status_code == 405
        assert (await client.get("/admin/nothing")).status_code == 401


async def test_static_keys_have_their_rights_and_no_more(keyed):
    static = {"authorization": "Bearer moa-static-key"}
    async with keyed(api_keys=("moa-static-key",)) as (_, client, _):
        assert (await client.get("/v1/models", headers=static)).status_code == 200
        assert (await client.get("/metrics", headers=static)).status_code == 200
        refused = await client.get("/admin/keys", headers=static)
    assert refused.status_code == 403
    assert "moa keys create" in refused.json()["error"]["message"]


async def test_open_mode_makes_no_keys_and_ends_with_the_first_one(keyed):
    assert not ANYBODY.may(Right.ADMIN)
    async with keyed() as (_, client, make):
        assert (await client.get("/v1/models")).status_code == 200
        assert (await client.post("/admin/keys", json={"name": "mine"})).status_code == 403
        key = await make("first", Right.CALL)
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/v1/models", headers=key)).status_code == 200


async def test_revoking_the_last_key_opens_nothing(keyed):
    async with keyed() as (app, client, make):
        key = await make("only", Right.CALL)
        await app.state.services.admin.revoke_key("only")
        assert (await client.get("/v1/models", headers=key)).status_code == 401
        assert (await client.get("/v1/models")).status_code == 401
    async with keyed() as (_, client, _):
        assert (await client.get("/v1/models")).status_code == 401, "nor after a restart"


async def test_the_answer_with_a_secret_is_not_kept_for_repetitions(keyed):
    async with keyed() as (_, client, make):
        admin = {**await make("admin", Right.ADMIN), "idempotency-key": "once"}
        first = await client.post("/admin/keys", json={"name": "a"}, headers=admin)
        again = await client.post("/admin/keys", json={"name": "a"}, headers=admin)
    assert first.status_code == 200
    assert again.status_code == 409
