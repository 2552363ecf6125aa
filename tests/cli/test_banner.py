from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from app.cli.banner import Start, base_url, curl_line, facts, show
from app.cli.opening import choose, compiled, load
from app.config import load_settings


@pytest.fixture
def start(config: Path) -> Start:
    chosen, loaded = choose(config, None), load(config)
    return Start(load_settings({}), chosen, loaded, anyio.run(compiled, loaded), "uvloop")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 - shown, not bound
        ("::", "http://[::1]:80"),
        ("gateway.example.com", "http://gateway.example.com:80"),
    ],
)
def test_the_address_is_one_a_client_here_can_use(host: str, url: str) -> None:
    assert base_url(host, 80) == url


def test_a_start_on_every_address_says_so(start: Start) -> None:
    everywhere = replace(start, settings=load_settings({"MOA_HOST": "0.0.0.0"}))  # noqa: S104
    assert dict(facts(everywhere, 80))["address"] == (
        "http://127.0.0.1:80 (and every other address of this machine; 1 worker, uvloop, httptools)"
    )


def test_a_terminal_gets_a_table_and_a_command_that_is_not_broken(start: Start) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=60, soft_wrap=True)
    show(start, 8000, console)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("address   http://127.0.0.1:8000 (1 worker, uvloop,")
    assert lines[-1] == curl_line(start, 8000)


def test_warnings_are_shown(start: Start) -> None:
    warned = replace(start, warnings=("MOA_PROT is no setting",))
    assert ("warning", "MOA_PROT is no setting") in list(facts(warned, 8000))


def test_aliases_are_shown_with_what_they_stand_for(start: Start) -> None:
    runtime = replace(start.runtime, aliases={"gpt-4o": "duo", "mini": "b"})
    told = list(facts(replace(start, runtime=runtime), 8000))
    assert ("aliases", "gpt-4o → duo, mini → b") in told


def test_an_apostrophe_in_a_model_name_does_not_end_the_command(start: Start) -> None:
    runtime = replace(start.runtime, served={"it's": start.runtime.served["duo"]})
    assert '{"model": "it\'"\'"\'s", ' in curl_line(replace(start, runtime=runtime), 8000)
