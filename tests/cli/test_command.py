from __future__ import annotations

import subprocess
import sys

import pytest

from app import __version__
from tests.cli.conftest import Moa


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version_is_told(moa: Moa, arguments: list[str]) -> None:
    result = moa(*arguments)
    assert (result.exit_code, result.stdout) == (0, f"moa-gateway {__version__}\n")


def test_the_package_can_be_run_as_a_module() -> None:
    command = [sys.executable, "-m", "app", "--version"]
    result = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == f"moa-gateway {__version__}\n"


def test_no_arguments_show_the_commands(moa: Moa) -> None:
    output = moa().output
    assert all(command in output for command in ("serve", "check", "ask", "version"))
