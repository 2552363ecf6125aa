"""The whole gateway on a real socket, in front of the fake upstream on another."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

from app.config import Settings
from app.main import create_app
from app.upstream.fake_server import FakeUpstream

PATIENCE = 10.0
CONFIG = """
upstreams:
  fake: {base_url: BASE, api_key: sk-planted-upstream-key, retries: 0, breaker: off}
models:
  plain: {upstream: fake, model: plain-up}
  first: {upstream: fake, model: first-up}
  second: {upstream: fake, model: second-up}
graphs:
  panel:
    layers: [{proposers: [first, second]}]
    aggregator: plain
"""


@dataclass
class Gateway:
    host: str
    port: int
    upstream: FakeUpstream
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def openai(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(**self._options(options))

    def async_openai(self, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(**self._options(options))

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=PATIENCE)

    def drain(self) -> None:
        """Let running requests end and take no others; returns when that has begun."""
        self.server.force_exit = False
        self.server.should_exit = True
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.connect().close()
            except ConnectionError:
                return
        raise TimeoutError("the gateway still accepts connections")

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"base_url": f"{self.url}/v1", "api_key": "none", "max_retries": 0, **options}


@contextmanager
def running(app: Any, upstream: FakeUpstream) -> Iterator[Gateway]:
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", log_config=None, access_log=False, lifespan="on"
    )
    server = uvicorn.Server(config)
    server.force_exit = True
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield Gateway(*listener.getsockname(), upstream, server)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


@pytest.fixture
def gateway_with(
    fake_upstream: FakeUpstream, tmp_path: Path
) -> Callable[..., AbstractContextManager[Gateway]]:
    """`gateway_with(text, **settings)`: a gateway for one test, with a configuration of its own."""
    file = tmp_path / "gateway.yaml"
    file.write_text(CONFIG.replace("BASE", fake_upstream.base_url))

    @contextmanager
    def started(text: str = CONFIG, **settings: Any) -> Iterator[Gateway]:
        if text is not CONFIG:
            file.write_text(text.replace("BASE", fake_upstream.base_url))
        app = create_app(Settings.read({}, config=file, **settings), environ={})
        with running(app, fake_upstream) as gateway:
            yield gateway

    return started


@pytest.fixture(scope="module")
def _shared(
    _fake_upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    file = tmp_path_factory.mktemp("config") / "gateway.yaml"
    file.write_text(CONFIG.replace("BASE", _fake_upstream_server.base_url))
    app = create_app(Settings.read({}, config=file), environ={})
    with running(app, _fake_upstream_server) as gateway:
        yield gateway


@pytest.fixture
def gateway(_shared: Gateway, fake_upstream: FakeUpstream) -> Gateway:
    """A gateway with default settings, shared by the tests of a module; the upstream is as new."""
    assert _shared.upstream is fake_upstream
    return _shared


@pytest.fixture
def own_gateway(
    gateway_with: Callable[..., AbstractContextManager[Gateway]],
) -> Iterator[Gateway]:
    """A gateway for one test: what it learns of its upstream would trouble the others."""
    with gateway_with() as gateway:
        yield gateway
