"""The servers that other tests kill: they answer, hang, die, come back, and leave nothing."""

from __future__ import annotations

import pytest

from tests.services.servers import (
    PostgresProcess,
    RedisProcess,
    Server,
    children,
    is_alive,
    wait_until,
)

pytestmark = pytest.mark.services


@pytest.fixture(params=["redis_server", "postgres_server"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def test_it_answers_and_after_a_restart_on_the_same_port(server: Server) -> None:
    url = server.url
    assert server.is_ready()
    server.restart()
    assert server.is_ready()
    assert server.url == url


def test_paused_it_hangs_until_it_goes_on(server: Server) -> None:
    server.pause()
    assert server.is_running
    assert not server.is_ready()
    server.resume()
    wait_until(server.is_ready, "answering again")


def test_killed_it_is_gone_with_its_children_and_can_start_again(server: Server) -> None:
    pids = server._pids()
    server.kill()
    assert not server.is_running
    assert not server.is_ready()
    assert not any(map(is_alive, pids))
    server.start()
    assert server.is_ready()


def test_a_paused_one_can_be_killed(server: Server) -> None:
    server.pause()
    server.kill()
    assert not server.is_running


@pytest.mark.parametrize("kind", [RedisProcess, PostgresProcess])
def test_the_end_of_its_context_leaves_no_process_and_no_file(kind: type[Server]) -> None:
    with kind() as server:
        pid = server._pid()
        pids = [pid, *children(pid)]
    assert not any(map(is_alive, pids))
    assert not server.folder.exists()
