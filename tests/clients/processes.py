"""Runs the script of a client in its own environment, against a running gateway."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.upstream.fake_server import FakeUpstream
from tests.clients.catalogue import ENVIRONMENTS, HERE, Client
from tests.clients.upstream import KEY, replies
from tests.docs.gateway import clean_environment

PATIENCE = 120.0
NOWHERE = "http://127.0.0.1:9"
"""Where a client ends up that calls anybody but the gateway."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The running gateway; `paths` are those of its OpenAPI document."""

    address: str
    upstream: FakeUpstream
    paths: frozenset[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a script told of each feature, and how often each upstream model was asked."""

    told: Mapping[str, Mapping[str, object]]
    asked: Mapping[str, int]


def run(client: Client, gateway: Gateway) -> Outcome:
    """Run all features of a client that can be; nothing may be under way at the end."""
    names = [
        name
        for name, feature in client.features.items()
        if feature.needs is None or feature.needs in gateway.paths
    ]
    gateway.upstream.reset()
    gateway.upstream.replies |= replies()
    done = subprocess.run(  # noqa: S603 - our scripts
        [*command(client), *names],
        env=environment(gateway.address),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log = gateway.upstream.log
    log.wait(lambda entries: all(asked.ended is not None for asked in entries))
    told = json.loads(done.stdout.rpartition("\n")[2])
    return Outcome(told, Counter(asked.model for asked in log.entries))


def command(client: Client) -> list[str]:
    """How its script is started; skips the test where the client is not installed."""
    if client.script.endswith(".mjs"):
        return [_tool("node"), str(_beside_the_modules(client.script))]
    if client.lock is None:
        _tool(client.package)
    script = str(HERE / "scripts" / client.script)
    environment = client.environment
    python = sys.executable if environment is None else str(environment / "bin/python")
    if not Path(python).exists():
        pytest.skip("not installed: make test-clients does that")
    return [python, script]


def environment(address: str) -> dict[str, str]:
    """What a user sets for an OpenAI client, and no way to anywhere else."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE)
    return {
        **clean_environment(),
        **proxies,
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        "MOA_ADDRESS": address,
        "OPENAI_BASE_URL": f"{address}/v1",
        "OPENAI_API_KEY": KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    return found


def _beside_the_modules(script: str) -> Path:
    """A copy of the script where Node.js finds what it imports."""
    folder = ENVIRONMENTS / "node"
    if not (folder / "node_modules").exists():
        pytest.skip("not installed: make test-clients does that")
    for source in (HERE / "node").glob("*.mjs"):
        shutil.copy(source, folder)
    return folder / script
