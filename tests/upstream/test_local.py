"""Supervision of embedded upstreams, with a stand-in for the native engine.

The child is the real `local_server.py`; the module `xllamacpp` it imports is a stub put in front
by PYTHONPATH, which answers `/health` and misbehaves as the "model" file says.
"""

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from logging import getLogger
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from app.errors import ConfigError
from app.upstream import local_process
from app.upstream.local import (
    COMMAND,
    Backoff,
    addresses_from_environment,
    addresses_to_environment,
    embedded_servers,
)
from app.upstream.local_spec import LlamaCppSpec

STUB = """
import json, os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace


class CommonParams(SimpleNamespace):
    def __init__(self):
        super().__init__(model=SimpleNamespace(path=""), cpuparams=SimpleNamespace(n_threads=0))


class Server:
    def __init__(self, params):
        print("native code printing to stdout")
        file = Path(params.model.path)
        script = file.read_text().removeprefix("GGUF")
        with file.with_suffix(".starts").open("a") as starts:
            start = {"pid": os.getpid(), "port": params.port, "prefix": params.api_prefix,
                     "n_ctx": params.n_ctx, "environ": sorted(os.environ)}
            starts.write(json.dumps(start) + "\\n")
        exec(script)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path == params.api_prefix + "/health" else 404)
                self.end_headers()

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer((params.hostnames[0], params.port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.listening_address = f"http://127.0.0.1:{server.server_port}"
"""
QUICK = Backoff(first=0.01, longest=0.05)
Model = Callable[[str], LlamaCppSpec]


@pytest.fixture(autouse=True)
def _quick_ends_and_visible_logs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    monkeypatch.setattr(local_process, "END_DEADLINE", 0.2)
    logger = getLogger("moa.upstream")
    logger.addHandler(caplog.handler)  # a set-up of logging by another test keeps it from the root
    with caplog.at_level("WARNING", logger=logger.name):
        yield
    logger.removeHandler(caplog.handler)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A spec whose "model" is a Python snippet that the stub runs while it starts."""
    (tmp_path / "xllamacpp.py").write_text(STUB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(script: str) -> LlamaCppSpec:
        (tmp_path / "model.gguf").write_text(f"GGUF{script}")
        return LlamaCppSpec(model=str(tmp_path / "model.gguf"))

    return make


def starts(tmp_path: Path) -> list[dict[str, object]]:
    file = tmp_path / "model.starts"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def listens(address: str) -> bool:
    try:
        stream = await anyio.connect_tcp("127.0.0.1", urlsplit(address).port or 0)
    except OSError:
        return False
    await stream.aclose()
    return True


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Other processes ring no bell here, so this asks, and fails after 10 s."""
    with anyio.fail_after(10):
        while not await condition():  # noqa: ASYNC110 - the condition lies outside this process
            await anyio.sleep(0.02)


async def until_listening(address: str) -> None:
    await until(lambda: listens(address))


async def until_gone(address: str) -> None:
    async def gone() -> bool:
        return not await listens(address)

    await until(gone)


async def test_the_address_carries_a_secret_path_and_the_api_version(
    model: Model, tmp_path: Path
) -> None:
    async with embedded_servers({"local": model("")}, environ={}) as addresses:
        url = urlsplit(addresses["local"])
        (start,) = starts(tmp_path)
        assert url.hostname == "127.0.0.1"
        assert url.path == f"{start['prefix']}/v1"
        assert len(str(start["prefix"])) > 20
        assert await listens(addresses["local"])


async def test_every_slot_gets_the_configured_context(model: Model, tmp_path: Path) -> None:
    spec = model("").model_copy(update={"context": 512, "parallel": 3})
    async with embedded_servers({"local": spec}, environ={}):
        assert starts(tmp_path)[0]["n_ctx"] == 512 * 3


async def test_leaving_ends_the_child(model: Model) -> None:
    async with embedded_servers({"local": model("")}, environ={}) as addresses:
        pass
    assert not await listens(addresses["local"])


async def test_a_child_that_dies_is_started_again_at_the_same_address(
    model: Model, tmp_path: Path
) -> None:
    spec = model("")
    async with embedded_servers({"local": spec}, environ={}, backoff=QUICK) as addresses:
        first = starts(tmp_path)[0]
        os.kill(int(str(first["pid"])), signal.SIGKILL)
        await until_gone(addresses["local"])
        await until_listening(addresses["local"])
        second = starts(tmp_path)[1]
        assert second["prefix"] == first["prefix"]
        assert second["port"] == urlsplit(addresses["local"]).port


async def test_a_failed_restart_is_tried_again(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = model("")
    async with embedded_servers({"local": spec}, environ={}, backoff=QUICK) as addresses:
        model("sys.exit('no memory')")
        os.kill(int(str(starts(tmp_path)[0]["pid"])), signal.SIGKILL)

        async def tried_twice() -> bool:
            return len(starts(tmp_path)) >= 3

        await until(tried_twice)
        model("")
        await until_listening(addresses["local"])
    assert "killed by signal 9" in caplog.text
    assert "no memory" in caplog.text


async def test_a_start_that_fails_shows_how_the_child_ended_and_its_last_lines(
    model: Model,
) -> None:
    spec = model("sys.exit('cannot map the file')")
    with pytest.raises(ConfigError, match="exit code 1") as caught:
        async with embedded_servers({"local": spec}, environ={}):
            pytest.fail("entered without a server")
    assert "cannot map the file" in caught.value.message
    assert "OLLAMA_BASE_URL" in caught.value.message
    assert caught.value.path == "upstreams.local.llama_cpp"


async def test_an_engine_that_does_not_import_is_named(model: Model, tmp_path: Path) -> None:
    spec = model("")
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('no GLIBC')")
    with pytest.raises(ConfigError, match="does not load on this platform: no GLIBC"):
        async with embedded_servers({"local": spec}, environ={}):
            pytest.fail("entered without a server")


async def test_a_start_that_hangs_is_given_up_and_ended(model: Model) -> None:
    spec = model("import time; time.sleep(60)").model_copy(update={"start_deadline": 0.5})
    with pytest.raises(ConfigError, match=r"no address within 0\.5 s"):
        async with embedded_servers({"local": spec}, environ={}):
            pytest.fail("entered without a server")


async def test_a_command_that_cannot_be_run_is_a_config_error(model: Model) -> None:
    with pytest.raises(ConfigError, match="cannot be run"):
        async with embedded_servers({"a": model("")}, environ={}, command=("/nowhere/python",)):
            pytest.fail("entered without a server")


async def test_a_child_that_reports_nonsense_is_a_config_error(model: Model) -> None:
    command = (sys.executable, "-c", "input(); print('hello'); input()")
    with pytest.raises(ConfigError, match="reported no address"):
        async with embedded_servers({"a": model("")}, environ={}, command=command):
            pytest.fail("entered without a server")


async def test_one_failing_server_ends_the_others(model: Model, tmp_path: Path) -> None:
    good = model("")
    bad = tmp_path / "bad.gguf"
    bad.write_text("GGUFsys.exit('bad')")
    specs = {"good": good, "bad": LlamaCppSpec(model=str(bad))}
    with pytest.raises(ConfigError, match=r"upstreams\.bad"):
        async with embedded_servers(specs, environ={}):
            pytest.fail("entered without a server")
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(starts(tmp_path)[0]["pid"])), 0)


async def test_a_child_that_writes_much_to_stderr_is_not_blocked(
    model: Model, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    spec = model("sys.stderr.write('noise\\n' * 200_000); sys.stderr.write('the end\\n')")
    async with embedded_servers({"local": spec}, environ={}, backoff=QUICK) as addresses:
        os.kill(int(str(starts(tmp_path)[0]["pid"])), signal.SIGKILL)
        await until_gone(addresses["local"])
        await until_listening(addresses["local"])
    message = caplog.records[0].getMessage()
    assert "the end" in message
    assert len(message) < 3 * local_process.TAIL_BYTES


async def test_a_deaf_child_is_killed(
    model: Model,
) -> None:
    script = (
        "import json, os, signal, time; input(); signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(json.dumps({'address': f'http://127.0.0.1:{os.getpid()}'}), flush=True);"
        "time.sleep(60)"
    )
    command = (sys.executable, "-c", script)
    with anyio.fail_after(5):
        async with embedded_servers({"a": model("")}, environ={}, command=command) as addresses:
            pid = urlsplit(addresses["a"]).port or 0
            os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_no_orphan_stays_when_the_gateway_is_killed(model: Model) -> None:
    gateway = (
        "import anyio, sys\n"
        "from app.upstream.local import embedded_servers\n"
        "from app.upstream.local_spec import LlamaCppSpec\n"
        "async def main():\n"
        "    specs = {'local': LlamaCppSpec(model=sys.argv[1])}\n"
        "    async with embedded_servers(specs) as addresses:\n"
        "        print(addresses['local'], flush=True)\n"
        "        await anyio.sleep(60)\n"
        "anyio.run(main)\n"
    )
    command = [sys.executable, "-c", gateway, model("").model]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        address = (
            await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 200)
        ).decode()
        assert await listens(address)
        process.kill()
    await until_gone(address)


async def test_the_child_inherits_no_secret(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    monkeypatch.setenv("MOA_API_KEYS", "planted")
    async with embedded_servers({"local": model("")}, environ={}):
        names = starts(tmp_path)[0]["environ"]
    assert isinstance(names, list)
    assert "PATH" in names
    assert not {"OPENAI_API_KEY", "MOA_API_KEYS"} & set(names)


async def test_an_exception_inside_comes_out_as_it_is(model: Model) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with embedded_servers({"local": model("")}, environ={}):
            raise KeyError("mine")


async def test_a_worker_uses_what_its_parent_started() -> None:
    environ = addresses_to_environment({"local": "http://127.0.0.1:1/x/v1", "other": "unused"})
    specs = {"local": LlamaCppSpec(model="/nowhere/model.gguf")}
    async with embedded_servers(specs, environ=environ, command=()) as addresses:
        assert addresses == {"local": "http://127.0.0.1:1/x/v1"}


async def test_a_worker_refuses_an_upstream_its_parent_did_not_start() -> None:
    environ = addresses_to_environment({})
    with pytest.raises(ConfigError, match="`local` is new since the start"):
        async with embedded_servers({"local": LlamaCppSpec()}, environ=environ):
            pytest.fail("entered without a server")


@pytest.mark.parametrize("addresses", [{}, {"a": "http://127.0.0.1:1/x/v1"}])
def test_addresses_survive_the_environment(addresses: Mapping[str, str]) -> None:
    assert addresses_from_environment(addresses_to_environment(addresses)) == addresses


def test_a_process_without_the_variable_starts_its_own_servers() -> None:
    assert addresses_from_environment({}) is None


def test_pauses_double_to_a_limit_and_start_over_after_a_steady_time() -> None:
    backoff = Backoff(first=1.0, longest=3.0, steady=60.0)
    assert backoff.after(1.0, uptime=0.1) == 2.0
    assert backoff.after(2.0, uptime=0.1) == 3.0
    assert backoff.after(3.0, uptime=60.0) == 1.0


def test_the_child_runs_outside_the_package() -> None:
    """Modules such as app/upstream/errors.py must not shadow others through the script's folder."""
    assert "-P" in COMMAND
