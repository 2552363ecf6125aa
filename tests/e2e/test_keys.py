"""Virtual keys on a real socket: who gets in, what he sees, and how fast a change is known."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import openai
import pytest

from app.access.caller import Right
from app.config import Settings
from app.main import create_app
from app.serving.admin import Admin
from app.store.database import open_database
from app.store.teams import StoredRegister
from app.upstream.fake_server import FakeUpstream
from tests.e2e.books import bearing, database_in, first_key
from tests.e2e.conftest import Gateway, running

PATIENCE = 5.0
TWO_VENDORS = """
upstreams:
  home: {base_url: BASE, retries: 0, breaker: off}
  away: {base_url: BASE, retries: 0, breaker: off}
models:
  cheap: {upstream: home, model: cheap-up}
  dear: {upstream: away, model: dear-up}
  backed: {upstream: home, model: backed-up, fallback: [dear]}
graphs:
  inner: {layers: [{proposers: [cheap, dear]}], aggregator: cheap}
  outer: {layers: [{proposers: [cheap, inner]}], aggregator: cheap}
  homely: {layers: [{proposers: [cheap, cheap]}], aggregator: cheap}
aliases: {best: outer, plainest: cheap}
"""


@dataclass
class Team:
    """A gateway with a database, and an administrator of it."""

    gateway: Gateway
    address: str
    admin: httpx.Client

    def make(self, **body: Any) -> str:
        answer = self.admin.post("/admin/keys", json={"name": f"key {time.time_ns()}", **body})
        assert answer.status_code == 200, answer.text
        secret: str = answer.json()["key"]
        return secret

    def names(self, key: str) -> set[str]:
        with bearing(self.gateway.url, key) as client:
            return {each["id"] for each in client.get("/v1/models").json()["data"]}

    def client(self, key: str) -> openai.OpenAI:
        return self.gateway.openai(api_key=key)


@pytest.fixture
def team(fake_upstream: FakeUpstream, tmp_path: Path) -> Iterator[Team]:
    file, address = tmp_path / "gateway.yaml", database_in(tmp_path)
    file.write_text(TWO_VENDORS.replace("BASE", fake_upstream.base_url))
    key = first_key(address)
    app = create_app(Settings.read({}, config=file, database_url=address), environ={})
    with running(app, fake_upstream) as gateway, bearing(gateway.url, key) as admin:
        yield Team(gateway, address, admin)


def ask(client: openai.OpenAI, model: str) -> str | None:
    messages: list[Any] = [{"role": "user", "content": "Hi"}]
    answer = client.chat.completions.create(model=model, messages=messages)
    return answer.choices[0].message.content


def until_refused(client: openai.OpenAI) -> float:
    """Seconds until a key does not work any more."""
    begun = time.monotonic()
    while time.monotonic() < begun + PATIENCE:
        try:
            client.models.list()
        except openai.AuthenticationError:
            return time.monotonic() - begun
    raise TimeoutError("the key still works")


def beside(address: str, what: Callable[[Admin], Any]) -> Any:
    """What another process does to the same database."""

    async def act() -> Any:
        async with open_database(address) as database:
            return await what(Admin(StoredRegister(database)))

    return anyio.run(act)


def test_a_new_key_works_at_once_and_a_wrong_one_does_not(team: Team) -> None:
    key = team.make()
    assert ask(team.client(key), "cheap")
    with pytest.raises(openai.AuthenticationError):
        ask(team.client(key[:-1] + ("A" if key[-1] != "A" else "B")), "cheap")


def test_a_revoked_key_is_refused_at_once_where_it_was_revoked(team: Team) -> None:
    key = team.make(name="short-lived")
    assert ask(team.client(key), "cheap")
    assert team.admin.delete("/admin/keys/short-lived").json()["revoked"]
    with pytest.raises(openai.AuthenticationError):
        ask(team.client(key), "cheap")


def test_a_revocation_by_another_process_is_known_within_a_second(team: Team) -> None:
    key = team.make(name="short-lived")
    assert ask(team.client(key), "cheap")
    beside(team.address, lambda admin: admin.revoke_key("short-lived"))
    assert until_refused(team.client(key)) < 1.0


def test_after_a_rotation_both_secrets_work_until_the_overlap_is_over(team: Team) -> None:
    old = team.make(name="turning")
    rotated = team.admin.post("/admin/keys/turning/rotate", json={"overlap": 1})
    new = rotated.json()["key"]
    assert ask(team.client(old), "cheap")
    assert ask(team.client(new), "cheap")
    assert until_refused(team.client(old)) < 2.0
    assert ask(team.client(new), "cheap")


def test_a_key_sees_and_uses_only_its_models(team: Team) -> None:
    key = team.make(models=["cheap", "outer"])
    assert team.names(key) == {"cheap", "plainest", "outer", "best"}
    assert ask(team.client(key), "plainest")
    with pytest.raises(openai.PermissionDeniedError) as refusal:
        ask(team.client(key), "homely")
    assert refusal.value.code == "model_not_allowed"
    assert refusal.value.param == "model"
    with pytest.raises(openai.NotFoundError) as unknown:
        ask(team.client(key), "nothing")
    assert "homely" not in unknown.value.message


def test_a_vendor_that_is_not_allowed_is_reached_by_no_way_round(team: Team) -> None:
    key = team.make(vendors=["home"])
    assert team.names(key) == {"cheap", "plainest", "homely"}
    for name in ("dear", "backed", "inner", "outer", "best"):
        with pytest.raises(openai.PermissionDeniedError):
            ask(team.client(key), name)
    assert ask(team.client(key), "homely")


def test_the_lists_of_a_team_narrow_those_of_its_keys(team: Team) -> None:
    created = team.admin.post("/admin/teams", json={"name": "narrow", "vendors": ["home"]})
    assert created.status_code == 200, created.text
    key = team.make(team="narrow", models=["cheap", "dear"])
    assert team.names(key) == {"cheap", "plainest"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/responses", {"input": "Hi"}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/embeddings", {"input": "Hi"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    ],
)
def test_no_address_has_a_way_around_the_list(team: Team, path: str, body: Any) -> None:
    with bearing(team.gateway.url, team.make(models=["cheap"])) as client:
        refused = client.post(path, json={"model": "dear", **body})
        shown = client.get("/v1/models/dear")
    assert (refused.status_code, shown.status_code) == (403, 403), refused.text


def test_a_gateway_in_open_mode_closes_when_a_key_is_made_beside_it(
    gateway_with: Callable[..., AbstractContextManager[Gateway]], tmp_path: Path
) -> None:
    address = database_in(tmp_path)
    with gateway_with(database_url=address) as gateway:
        assert ask(gateway.openai(), "plain")
        key = first_key(address, Right.CALL)
        assert until_refused(gateway.openai()) < 1.0
        assert ask(gateway.openai(api_key=key), "plain")


@contextmanager
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(f"{record.getMessage()} {record.__dict__}")  # type: ignore[method-assign]
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def test_a_secret_is_in_no_log_no_database_no_metric_and_no_answer(
    team: Team, tmp_path: Path
) -> None:
    with logged() as lines:
        key = team.make(name="canary")
        secret = key.rpartition("-")[2] if "-" in key[13:] else key[13:]
        assert ask(team.client(key), "cheap")
        with pytest.raises(openai.NotFoundError) as refusal:
            ask(team.client(key), "nothing")
        pages = [
            team.admin.get(path).text
            for path in ("/metrics", "/admin/keys", "/admin/keys/canary", "/admin/spend")
        ]
    told = [*lines, *pages, refusal.value.message]
    assert any("request" in line for line in lines)
    assert [text for text in told if secret in text or key[13:] in text] == []
    files = list(tmp_path.glob("moa.db*"))
    assert files
    assert [file for file in files if key[13:].encode() in file.read_bytes()] == []
