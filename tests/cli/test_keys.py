"""`moa keys`, alone and beside a running server, which has to notice."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import httpx
import orjson
import pytest

from app.access.caller import Right
from tests.cli.conftest import Moa
from tests.cli.serving import PATIENCE, Serve, Server

A_SECOND = 1.0
SECRET = re.compile(r"moa-[0-9a-f]{8}-[A-Za-z0-9_-]{43}")
EVERYWHERE = "0.0.0.0"  # noqa: S104 - on a free port, for a moment


@pytest.fixture(autouse=True)
def _own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path / 'moa.db'}")
    monkeypatch.delenv("REDIS_URL", raising=False)


def told(moa: Moa, *arguments: object) -> dict[str, object]:
    result = moa(*arguments, "--json")
    assert result.exit_code == 0, result.output
    value = orjson.loads(result.stdout)
    assert isinstance(value, dict)
    return value


def listed(moa: Moa, *arguments: object) -> list[str]:
    """The names that `moa keys list` has."""
    value = orjson.loads(moa("keys", "list", *arguments, "--json").stdout)
    return [key["name"] for key in value]


def status(server: Server, key: object = None) -> int:
    body = {"model": "b", "messages": [{"role": "user", "content": "hello"}]}
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    address = f"{server.url}/v1/chat/completions"
    return httpx.post(address, json=body, headers=headers, timeout=PATIENCE).status_code


def becomes(server: Server, key: object, wanted: int) -> float:
    """Seconds until a call is answered with this status; the test fails after too many."""
    began = time.monotonic()
    while status(server, key) != wanted:
        assert time.monotonic() - began < PATIENCE
    return time.monotonic() - began


def test_the_secret_stands_alone_on_stdout(moa: Moa) -> None:
    result = moa("keys", "create", "alice")
    assert result.exit_code == 0
    assert SECRET.fullmatch(result.stdout.removesuffix("\n"))
    assert "shown this once" in result.stderr
    assert (
        result.stdout.strip()
        not in moa("keys", "list").stdout + moa("keys", "show", "alice").stdout
    )


def test_everything_that_is_given_is_kept(moa: Moa) -> None:
    moa("teams", "create", "research")
    limits = ("--budget", "1.50", "--budget-window", "day", "--rpm", 60, "--tpm", 9000)
    lists = ("--models", "duo, b", "--vendors", "fake", "--rights", "call,read_team")
    more = ("--concurrent", 4, "--expires", "90d", "--label", "app=chat", "--label", "env=dev")
    key = told(moa, "keys", "create", "alice", "--team", "research", *limits, *lists, *more)
    assert SECRET.fullmatch(str(key.pop("key")))
    assert told(moa, "keys", "show", "alice") == key == told(moa, "keys", "show", key["id"])
    assert (key["budget"], key["budget_window"]) == (1.5, "day")
    assert (key["requests_per_minute"], key["tokens_per_minute"], key["concurrent"]) == (
        60,
        9000,
        4,
    )
    assert (key["models"], key["vendors"]) == (["duo", "b"], ["fake"])
    assert key["rights"] == [Right.CALL, Right.READ_TEAM]
    assert key["labels"] == {"app": "chat", "env": "dev"}
    assert isinstance(team := key["team"], dict)
    assert team["name"] == "research"
    shown = moa("keys", "show", "alice").stdout
    assert "limits: $1.5 a day, 60 requests/min, 9000 tokens/min, 4 at once\n" in shown
    assert "$0.000000 spent, $0.000000 reserved, $1.500000 left until " in shown


def test_an_update_changes_what_is_given_and_nothing_else(moa: Moa) -> None:
    given = (
        "--budget",
        5,
        "--budget-window",
        "week",
        "--rpm",
        9,
        "--label",
        "a=1",
        "--label",
        "b=2",
    )
    before = told(moa, "keys", "create", "alice", *given)
    del before["key"]
    after = told(
        moa, "keys", "update", "alice", "--budget", "none", "--label", "a=", "--name", "al"
    )
    assert after == {
        **before, "name": "al", "budget": None, "budget_window": None, "labels": {"b": "2"}
    }  # fmt: skip


def test_revoked_keys_are_listed_on_demand_and_give_their_name_free(moa: Moa) -> None:
    first = told(moa, "keys", "create", "alice")
    moa("keys", "revoke", "alice")
    assert "is revoked since" in moa("keys", "revoke", first["id"]).stdout
    moa("keys", "create", "alice")
    moa("teams", "create", "empty")
    assert (listed(moa), listed(moa, "--all")) == (["alice"], ["alice", "alice"])
    assert listed(moa, "--team", "empty") == []
    assert first["id"] in moa("keys", "list", "--all").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rpm", "many"), "--rpm: found 'many', expected a whole number, or none"),
        (("--rpm", "9" * 12), "--rpm: found 999999999999, expected an integer from 0"),
        (("--budget", "ten"), "--budget: found 'ten', expected USD such as 10 or 0.50, or none"),
        (("--budget", "1e99"), "--budget: found 1E+99, expected a number from 0"),
        (("--budget", "nan"), "--budget: found "),
        (("--budget-window", "year"), "--budget-window: found 'year', expected hour, day, week"),
        (("--budget-window", "day"), "--budget-window: there is no budget"),
        (("--rights", "rule"), "--rights: found 'rule', expected some of call, see_proposals"),
        (("--models", "a,,b"), "--models: found 'a,,b', expected names separated by commas"),
        (("--expires", "soon"), "--expires: found 'soon', expected a time from now such as 12h"),
        (("--expires", "999999w"), "--expires: found '999999w', expected a time from now"),
        (("--expires", "2020-01-31"), "--expires: this moment is over"),
        (("--label", "red"), "--label: found 'red', expected NAME=VALUE"),
        (("--team", "nobody"), "--team: there is no such team"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    moa: Moa, arguments: tuple[str, ...], words: str
) -> None:
    result = moa("keys", "create", "alice", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"moa: {words}")
    assert result.stderr.count("\n") == 1


def test_a_name_that_is_taken_or_unknown_is_said(moa: Moa) -> None:
    key = told(moa, "keys", "create", "alice")
    taken = moa("keys", "create", "alice")
    assert (taken.exit_code, taken.stderr[:11]) == (1, "moa: Anothe")
    for unknown in ("bob", key["prefix"], key["key"], str(key["key"])[:20]):
        for command in ("show", "update", "rotate", "revoke"):
            result = moa("keys", command, unknown)
            assert result.exit_code == 1
            assert "There is no such key: give a name or an id" in result.stderr
            assert str(unknown) not in result.output
    assert (
        "--overlap: found '31d', expected"
        in moa("keys", "rotate", "alice", "--overlap", "31d").stderr
    )


def test_a_name_with_spaces_around_it_is_refused(moa: Moa) -> None:
    assert "NAME: found ' a', expected 1 to 100 characters" in moa("keys", "create", " a").stderr


def test_a_key_made_beside_a_running_server_closes_it_for_ever(
    moa: Moa, serve: Serve, config: Path
) -> None:
    server = serve("--config", config)
    assert status(server) == 200
    key = told(moa, "keys", "create", "alice")["key"]
    assert becomes(server, None, 401) < A_SECOND
    assert status(server, key) == 200
    assert status(server, "moa-00000000-wrong") == 401
    moa("keys", "revoke", "alice")
    assert becomes(server, key, 401) < A_SECOND
    assert status(server) == 401
    again = serve("--config", config)
    assert status(again) == 401
    assert again.lines[1:3] == [
        "access: a key is needed",
        "keys: no virtual keys; `moa keys create NAME` makes one",
    ]


def test_a_rotated_key_works_with_both_secrets_until_the_overlap_is_over(
    moa: Moa, serve: Serve, config: Path
) -> None:
    old = told(moa, "keys", "create", "alice")["key"]
    server = serve("--config", config)
    new = told(moa, "keys", "rotate", "alice")["key"]
    assert (status(server, old), status(server, new)) == (200, 200)
    newest = told(moa, "keys", "rotate", "alice", "--overlap", "0s")["key"]
    assert becomes(server, new, 401) < A_SECOND
    assert (status(server, old), status(server, newest)) == (401, 200)


def test_a_rotation_says_until_when_the_former_secret_works(moa: Moa) -> None:
    moa("keys", "create", "alice")
    assert "(the former secret has ended); its secret" in (
        moa("keys", "rotate", "alice", "--overlap", "0s").stderr
    )
    told = moa("keys", "rotate", "alice").stderr
    assert re.search(r"\(the former secret works until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)", told)


def test_a_change_counts_for_the_next_request(moa: Moa, serve: Serve, config: Path) -> None:
    key = told(moa, "keys", "create", "alice", "--models", "duo")["key"]
    server = serve("--config", config)
    assert status(server, key) in {403, 404}
    moa("keys", "update", "alice", "--models", "none")
    assert becomes(server, key, 200) < A_SECOND


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_with_a_virtual_key_other_machines_may_be_listened_to(
    moa: Moa, serve: Serve, config: Path
) -> None:
    key = told(moa, "keys", "create", "alice")["key"]
    server = serve("--config", config, "--host", EVERYWHERE)
    assert server.lines[2] == "keys: 1 virtual key; `moa keys create NAME` makes one"
    assert '-H "authorization: Bearer $KEY"' in server.lines[-1]
    assert (status(server), status(server, key)) == (401, 200)


def test_required_keys_are_enough_to_listen_to_other_machines(serve: Serve, config: Path) -> None:
    server = serve("--config", config, "--host", EVERYWHERE, MOA_REQUIRE_KEYS="true")
    assert status(server) == 401


def test_a_key_is_known_under_the_pepper_it_was_made_with_only(
    moa: Moa, serve: Serve, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOA_KEY_PEPPER", "a pepper of sixteen characters")
    key = told(moa, "keys", "create", "alice")["key"]
    assert status(serve("--config", config), key) == 200
    assert status(serve("--config", config, MOA_KEY_PEPPER="another pepper of as many"), key) == 401
    assert str(key).encode() not in (Path(os.environ["DATABASE_URL"][20:])).read_bytes()


def test_a_dead_redis_stops_nothing_and_a_wrong_address_everything(
    moa: Moa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    assert moa("keys", "create", "alice").exit_code == 0
    monkeypatch.setenv("REDIS_URL", "http://nowhere")
    refused = moa("keys", "create", "bob")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "REDIS_URL" in refused.stderr
    monkeypatch.delenv("REDIS_URL")
    assert listed(moa) == ["alice"]
