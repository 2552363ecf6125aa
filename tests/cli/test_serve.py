"""`moa serve` as a process of its own: what it prints, refuses and does on a signal."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.cli.desk import database_shown
from app.cli.serve import is_loopback
from app.config import load_settings
from app.upstream.fake_server import FakeUpstream, Reply
from tests.cli.serving import COMMAND, PATIENCE, Serve, until_closed

EVERYWHERE = "0.0.0.0"  # noqa: S104 - on a free port, for a moment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def refused(*arguments: object, **environ: str) -> str:
    """What a start that is refused says; it must end with code 2, without a traceback."""
    result = subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        timeout=PATIENCE,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    return result.stderr


def test_it_says_where_it_listens_what_it_serves_and_how_to_ask(
    serve: Serve, config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["a-1"] = Reply(text="Served.")
    server = serve("--config", config)
    assert server.lines[1:-1] == [
        "access: open mode: no key is set, so programs on this machine may call, nobody else",
        "keys: no virtual keys; `moa keys create NAME` makes one; from then on a key is needed",
        f"database: {database_shown(load_settings(os.environ))}",
        f"config: {config}",
        "chosen: Named on the command line.",
        "left out: gone (A_KEY_NOBODY_SET is not set), with 1 model",
        "graph: duo: a + b → a",
        "graph: solo: 2 \N{MULTIPLICATION SIGN} b → b",
        "models: a, b",
    ]
    assert f"{server.url}/v1/chat/completions" in server.lines[-1]
    assert server.ask().json()["choices"][0]["message"]["content"] == "Served."


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_command_to_try_can_be_pasted(serve: Serve, config: Path) -> None:
    server = serve("--config", config)
    result = subprocess.run(  # noqa: S602 - a shell is what it is for
        server.lines[-1], shell=True, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert result.stdout.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_code_0(serve: Serve, config: Path, number: signal.Signals) -> None:
    assert serve("--config", config).stop(number) == 0


def test_it_runs_on_the_fast_parts_and_does_not_name_its_server(serve: Serve, config: Path) -> None:
    server = serve("--config", config)
    assert "uvloop, httptools" in server.lines[0]
    assert "server" not in httpx.get(f"{server.url}/health/live").headers


def test_keys_are_counted_never_shown_and_required(serve: Serve, config: Path) -> None:
    server = serve("--config", config, MOA_API_KEYS="canary-key-1,canary-key-2")
    printed = "\n".join(server.lines)
    assert "access: 2 keys from MOA_API_KEYS" in printed
    assert '-H "authorization: Bearer $KEY"' in printed
    assert "canary" not in printed
    assert server.ask().status_code == 401


def test_workers_share_the_port_and_their_metrics_and_leave_nothing_behind(
    serve: Serve, config: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    server = serve("--config", config, "--workers", "2", TMPDIR=str(scratch))
    assert "2 workers" in server.lines[0]
    assert [server.ask().status_code for _ in range(6)] == [200] * 6
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'moa_requests_total{graph="duo",outcome="ok"} 6.0' in metrics
    assert [path.name[:12] for path in scratch.iterdir()] == ["moa-metrics-"]
    assert server.stop(signal.SIGTERM) == 0
    assert list(scratch.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/health/live")


def test_a_request_under_way_is_finished_before_the_end(
    serve: Serve, config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["b-1"] = Reply(text="To the end.", after=1, then="gate", every="1ms")
    server = serve("--config", config)
    body = {"model": "b", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    url = f"{server.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=PATIENCE) as response:
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        until_closed(server.url)
        fake_upstream.open_gate()
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert server.process.wait(PATIENCE) == 0


def test_a_second_interrupt_ends_it_at_once_and_says_what_was_cut(
    serve: Serve, config: Path, fake_upstream: FakeUpstream, tmp_path: Path
) -> None:
    fake_upstream.replies["b-1"] = Reply(text="Never done.", after=1, then="hang", every="1ms")
    server = serve("--config", config, MOA_LOG_FORMAT="text")
    body = {"model": "b", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    url = f"{server.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=PATIENCE) as response:
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGINT)
        until_closed(server.url)
        assert server.stop(signal.SIGINT) == 0
    log = (tmp_path / "log").read_text()
    assert "stopped with 1 request unfinished" in log
    assert "Traceback" not in log


def test_a_wrong_configuration_is_refused_with_file_and_path(config: Path) -> None:
    config.write_text(config.read_text().replace("aggregator: a", "aggregator: nobody"))
    told = refused("--config", config)
    assert f"{config}:12" in told
    assert "graphs.duo.aggregator" in told


def test_a_wrong_setting_is_refused_by_its_name(config: Path) -> None:
    assert "MOA_LOG_LEVEL" in refused("--config", config, MOA_LOG_LEVEL="loud")
    assert "--port: found 70000" in refused("--config", config, "--port", "70000")


def test_a_port_that_is_taken_is_refused(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = refused("--config", config, "--port", port)
    assert f"port {port} on 127.0.0.1 is taken" in told


def test_an_address_of_another_machine_is_refused(config: Path) -> None:
    told = refused("--config", config, "--insecure", "--host", "192.0.2.1")
    assert "192.0.2.1 is no address of this machine" in told


def test_open_mode_beyond_this_machine_is_refused_with_the_ways_out(config: Path) -> None:
    told = refused("--config", config, "--host", EVERYWHERE)
    assert all(way in told for way in ("MOA_API_KEYS", "127.0.0.1", "--insecure"))


def test_insecure_listens_anyway_and_says_so(serve: Serve, config: Path) -> None:
    server = serve("--config", config, "--host", EVERYWHERE, "--insecure")
    assert server.lines[1].startswith("access: OPEN: ")
    assert server.url.startswith("http://127.0.0.1:")


def test_an_embedded_model_that_cannot_start_is_refused(config: Path, tmp_path: Path) -> None:
    text = config.read_text().replace(
        "models:", f"  embedded: {{llama_cpp: {{model: {tmp_path}/no.gguf}}}}\nmodels:", 1
    )
    config.write_text(text)
    assert "no.gguf" in refused("--config", config, "--port", "0")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        (EVERYWHERE, False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_what_counts_as_this_machine(host: str, *, expected: bool) -> None:
    assert is_loopback(host) is expected
