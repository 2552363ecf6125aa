"""What is said of the clients is what is run: versions, features, pins."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.clients.catalogue import CLIENTS, HERE, NODE, ROOT, Client
from tests.clients.table import PAGE, page

LOCKS = sorted((HERE / "requirements").glob("*.txt"))


def names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


def test_the_page_has_the_clients_versions_and_features_of_today() -> None:
    assert page(PAGE.read_text()) == PAGE.read_text(), "run python -m tests.clients.table"


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_feature_of_a_script_is_expected(client: Client) -> None:
    folder = "node" if client.script.endswith(".mjs") else "scripts"
    text = (HERE / folder / client.script).read_text()
    if folder == "node":
        _, _, told = text.partition("await tell({")
        found = re.findall(r'^  "?([a-z ]+)"?: async', told, re.MULTILINE)
    else:
        found = [
            name.replace("_", " ")
            for name in re.findall(r"^@feature\ndef (\w+)", text, re.MULTILINE)
        ]
    assert found == list(client.features)


def test_every_lock_is_of_a_client_or_a_tool() -> None:
    used = {client.lock for client in CLIENTS}
    others = [lock.stem for lock in LOCKS if str(lock.relative_to(ROOT)) not in used]
    assert others == ["schemathesis"]
    assert names(LOCKS) == names(sorted((HERE / "requirements").glob("*.in")))


@pytest.mark.parametrize("lock", LOCKS, ids=names(LOCKS))
def test_every_package_of_a_client_is_pinned_with_hashes(lock: Path) -> None:
    text = lock.read_text()
    blocks = [block for block in re.split(r"\n(?=[a-z0-9])", text) if "==" in block]
    assert len(blocks) > 5
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert "--index-url" not in text


def test_the_packages_for_node_are_pinned_and_no_lock_file_names_where_they_are_from() -> None:
    versions = json.loads((ROOT / NODE).read_text())["dependencies"].values()
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)
    assert not list((ROOT / NODE).parent.glob("*lock*"))
