from typing import Any

import anyio
import pytest

from app.upstream.fake_server import FakeUpstream
from app.upstream.probe import probe, warm_up


def listing(raw: Any, *ids: object) -> Any:
    return raw.answers(raw.json({"data": [{"id": each} for each in ids]}))


async def test_a_listed_model_is_usable(raw: Any, deploy: Any) -> None:
    raw.script = listing(raw, "other", "vendor/model")
    found = await probe(deploy(api_key="sk-key", query={"v": "1"}))
    assert (found.reachable, found.credentials, found.listed) == (True, True, True)
    assert found.is_usable
    [request] = raw.requests
    assert (request.method, request.path) == ("GET", "/v1/models?v=1")
    assert request.headers["authorization"] == "Bearer sk-key"


async def test_a_prefix_before_the_id_is_the_vendors(raw: Any, deploy: Any) -> None:
    raw.script = listing(raw, "models/vendor/model")
    assert (await probe(deploy())).listed is True


async def test_a_model_that_is_not_listed_is_not_usable(raw: Any, deploy: Any) -> None:
    raw.script = listing(raw, "other")
    found = await probe(deploy())
    assert found.listed is False
    assert not found.is_usable


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_told(raw: Any, deploy: Any, status: int) -> None:
    raw.script = raw.answers(raw.json({"error": {"message": "secret words"}}, status))
    found = await probe(deploy())
    assert found.reachable
    assert found.credentials is False
    assert not found.is_usable
    assert "secret words" not in found.says


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b'{"data": 3}', b'{"data": [3, {}]}', b"7"]
)
async def test_an_upstream_without_a_list_is_not_judged(raw: Any, deploy: Any, body: bytes) -> None:
    raw.script = raw.answers(raw.whole(body))
    found = await probe(deploy())
    assert found.reachable
    assert found.listed is None
    assert found.is_usable


async def test_an_upstream_that_knows_no_such_address_is_there(raw: Any, deploy: Any) -> None:
    raw.script = raw.answers(raw.whole(b"", 404))
    found = await probe(deploy())
    assert (found.reachable, found.credentials, found.listed) == (True, None, None)
    assert found.says.endswith("(status 404): does base_url end in /v1?")


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("http://127.0.0.1:9/v1", "connection refused at http://127.0.0.1:9/v1"),
        ("http://nobody.invalid/v1", "unknown host at http://nobody.invalid/v1"),
    ],
)
async def test_nobody_there_is_unreachable(deploy: Any, base_url: str, says: str) -> None:
    found = await probe(deploy(base_url=base_url))
    assert not found.reachable
    assert not found.is_usable
    assert found.says == says


async def test_an_address_without_tls_is_told(fake_upstream: FakeUpstream, deploy: Any) -> None:
    address = fake_upstream.base_url.replace("http://", "https://")
    assert (await probe(deploy(base_url=address))).says == f"no TLS connection at {address}"


async def test_a_probe_ends_in_time(raw: Any, deploy: Any) -> None:
    raw.script = raw.pieces(then="hang")
    with anyio.fail_after(1):
        found = await probe(deploy(), deadline=0.1)
    assert not found.reachable
    with anyio.fail_after(0.1):
        await raw.connections[0].gone.wait()


async def test_warm_connections_are_opened_and_used(raw: Any, deploy: Any, asking: Any) -> None:
    deployment = deploy(warm=5)
    await warm_up([deployment, deploy(warm=5)])
    assert len(raw.connections) == 5
    raw.script = raw.answers(raw.json(raw.completion("a")))
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(asking(deployment, stream=False).go)
    assert len(raw.connections) == 5
    assert len(raw.requests) == 10


async def test_warming_up_never_fails_the_start(raw: Any, deploy: Any) -> None:
    raw.script = raw.pieces(then="hang")
    with anyio.fail_after(1):
        await warm_up([deploy(warm=2), deploy(warm=0)], deadline=0.1)
    await warm_up([deploy(warm=2, base_url="http://127.0.0.1:9/v1")])
