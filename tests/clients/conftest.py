"""A gateway as its users start it, for clients in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import httpx
import pytest

from app.upstream.fake_server import FakeUpstream
from tests.clients.catalogue import Client
from tests.clients.processes import Gateway, Outcome, run
from tests.clients.upstream import CONFIG, KEY
from tests.docs.gateway import serving


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the clients out unless they are asked for, whatever else `-m` says."""
    if "clients" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("clients")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def gateway(
    _fake_upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    file = tmp_path_factory.mktemp("clients") / "gateway.yaml"
    file.write_text(CONFIG.replace("BASE", _fake_upstream_server.base_url))
    with serving(file, MOA_API_KEYS=KEY, MOA_LOG_LEVEL="error") as address:
        headers = {"authorization": f"Bearer {KEY}"}
        document = httpx.get(f"{address}/openapi.json", headers=headers).raise_for_status().json()
        yield Gateway(address, _fake_upstream_server, frozenset(document["paths"]))


@pytest.fixture(scope="session")
def outcome(gateway: Gateway) -> Callable[[Client], Outcome]:
    """What came of a client, which is started once for all its features."""
    return cache(lambda client: run(client, gateway))
