"""The compose file, as far as it can be read without a container engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gateway() -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return dict(service["services"]["gateway"])


def test_it_builds_this_repository(gateway: dict[str, Any]) -> None:
    assert gateway["build"] == "."


def test_it_does_not_start_without_keys(gateway: dict[str, Any]) -> None:
    assert re.fullmatch(r"\$\{MOA_API_KEYS:\?.+\}", gateway["environment"]["MOA_API_KEYS"])


def test_it_is_published_on_loopback_only(gateway: dict[str, Any]) -> None:
    assert gateway["ports"] == ["127.0.0.1:8000:8000"]


def test_it_has_no_more_rights_than_it_needs(gateway: dict[str, Any]) -> None:
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert gateway["security_opt"] == ["no-new-privileges:true"]


def test_no_secret_is_written_into_it(gateway: dict[str, Any]) -> None:
    passed_on = {name for name, value in gateway["environment"].items() if value is None}
    assert {*passed_on, "MOA_API_KEYS"} == set(gateway["environment"])


def test_every_variable_of_the_shipped_configuration_is_passed_on(gateway: dict[str, Any]) -> None:
    files = [ROOT / "config/gateway.yaml", *(ROOT / "config/graphs").glob("*.yaml")]
    without_comments = str([yaml.safe_load(file.read_text()) for file in files])
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", without_comments))
    assert used
    assert used <= set(gateway["environment"])
