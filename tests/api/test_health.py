"""What probes are told."""

from dataclasses import replace

import httpx
import pytest

from app.upstream.fake import FakeModel


@pytest.mark.parametrize(("draining", "status"), [(False, 200), (True, 503)])
async def test_a_server_that_drains_is_alive_and_not_ready(serve, draining, status):
    async with serve({"m": FakeModel("m")}) as app:

        async def server(scope, receive, send):
            await app({**scope, "state": {"draining": draining}}, receive, send)

        transport = httpx.ASGITransport(server)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/health/ready")).status_code == status
            assert (await client.get("/health/live")).status_code == 200


async def test_without_anything_to_serve_it_is_not_ready(serve, client_of):
    async with serve({}) as app, client_of(app) as client:
        assert (await client.get("/health/ready")).status_code == 503


@pytest.mark.parametrize(("is_there", "status"), [(True, 200), (False, 503)])
async def test_without_what_every_request_needs_it_is_not_ready(
    serve, client_of, is_there, status
) -> None:
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        app.state.services = replace(app.state.services, can_admit=lambda: is_there)
        assert (await client.get("/health/ready")).status_code == status
