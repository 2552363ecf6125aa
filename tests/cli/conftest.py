"""A configuration over the fake upstream, and an environment without any setting of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.upstream.fake_server import FakeUpstream
from tests.cli.serving import Serve, serving

Moa: TypeAlias = Callable[..., Result]

CONFIG = """\
upstreams:
  fake: {{base_url: "{base_url}"}}
  gone: {{base_url: "{base_url}", api_key: "${{A_KEY_NOBODY_SET}}", optional: true}}
models:
  a: {{upstream: fake, model: a-1, price: {{input: 1, output: 2}}}}
  b: {{upstream: fake, model: b-1, price: {{input: 1, output: 2}}}}
  c: {{upstream: gone, model: c-1}}
graphs:
  duo:
    layers:
      - proposers: [a, b]
    aggregator: a
  solo:
    layers:
      - nodes: {{only: {{model: b, samples: 2}}}}
    aggregator: b
"""


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MOA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def config(tmp_path: Path, fake_upstream: FakeUpstream) -> Path:
    """Graphs `duo` and `solo` of the models `a` and `b`; `c` is left out."""
    file = tmp_path / "gateway.yaml"
    file.write_text(CONFIG.format(base_url=fake_upstream.base_url))
    return file


@pytest.fixture
def moa() -> Moa:
    """The command, run in this process."""
    runner = CliRunner()

    def run(*arguments: object, stdin: str | None = None) -> Result:
        return runner.invoke(app, [str(argument) for argument in arguments], input=stdin)

    return run


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """`serve(*arguments, **variables)`: `moa serve` in a process of its own, listening."""
    with serving(tmp_path) as start:
        yield start
