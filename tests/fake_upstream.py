"""The fake upstream on a real loopback socket, for any test: the fixture `fake_upstream`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.upstream.fake_server import FakeUpstream, running


@pytest.fixture(scope="session")
def _fake_upstream_server() -> Iterator[FakeUpstream]:
    with running(FakeUpstream()) as upstream:
        yield upstream


@pytest.fixture
def fake_upstream(_fake_upstream_server: FakeUpstream) -> FakeUpstream:
    """One server for all tests, as if it were new: no replies, an empty log."""
    _fake_upstream_server.reset()
    return _fake_upstream_server
