"""A gateway as a user starts it, `moa serve` in a process of its own, over the fake upstream."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.docs.pages import ROOT

PATIENCE = 60.0
"""Seconds a process may take to end before a test fails."""


@contextmanager
def serving(config: Path, **environment: str) -> Iterator[str]:
    """The address of a gateway with this configuration; it must drain and end with exit code 0."""
    command = [sys.executable, "-m", "app", "serve", "--config", str(config), "--port", "0"]
    with subprocess.Popen(  # noqa: S603 - our own command
        command,
        cwd=ROOT,
        env={**clean_environment(), **environment},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield address_of(process)
        finally:
            process.terminate()
            code = process.wait(PATIENCE)
    assert code == 0


def address_of(process: subprocess.Popen[str]) -> str:
    """The address in what the start says, which it does once requests are answered."""
    assert process.stdout is not None
    for line in process.stdout:
        label, _, text = line.partition(": ")
        if label == "address":
            return text.split()[0]
    raise AssertionError("the gateway did not start")


def clean_environment() -> dict[str, str]:
    """Nothing of the machine's that would change what a gateway or a client does."""
    dropped = ("MOA_", "GATEWAY_", "OPENAI_", "PROMETHEUS_")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(dropped) and not name.lower().endswith("_proxy")
    }
