"""The canary test: secrets planted everywhere, everything done, then all that came out searched.

What is looked at: logs, the database's files, metrics, error bodies, answers (but for what belongs
in them), headers, the schema, the admin API, what the command prints.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from app.access.caller import Right
from app.serving.admin import Admin
from app.store.database import open_database
from app.store.migrate import ensure_schema
from app.store.teams import StoredRegister
from app.upstream.fake_server import FakeUpstream, Reply
from tests.cli.serving import PATIENCE, Serve, Server
from tests.security.canary import CONFIG, KINDS, MODELS, WRONG_PLACES, Canaries, environment

OWN_WORDS = ("answer", "reasoning", "tool-arguments")
"""What an answer may hold."""
OURS = ("upstream-key", "upstream-header", "upstream-query")
"""What an upstream knows of ours; its errors repeat it."""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def script(upstream: FakeUpstream, canaries: Canaries) -> None:
    """Upstreams that answer, that repeat all secrets in their errors, and that break off."""
    everything = " ".join(canaries[kind] for kind in OURS)
    answer = f"{canaries['answer']} and more"
    arguments = f'{{"text": "{canaries["tool-arguments"]}"}}'
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "do", "arguments": arguments},
    }
    upstream.replies |= {
        "good-up": Reply(text=answer, reasoning=canaries["reasoning"]),
        "refused-up": Reply(status=401, code="invalid_api_key", message=everything),
        "broken-up": Reply(status=500, body=f"<html>{everything}</html>"),
        "cut-up": Reply(text=answer, after=1, then="error", message=everything),
        "garbage-up": Reply(text=answer, after=1, then="garbage"),
        "tools-up": Reply(text="", tool_calls=(call,)),
    }


async def first_key(canaries: Canaries, database: str) -> str:
    """A virtual key that may do everything, made as the command makes it."""
    async with open_database(database) as opened:
        await ensure_schema(opened)
        admin = Admin(StoredRegister(opened), canaries["pepper"].encode())
        _, secret = await admin.create_key({"name": "first", "rights": frozenset(Right)})
    return secret


class Visitor:
    """Asks a gateway everything there is, and hands what comes back to the canaries."""

    def __init__(self, server: Server, canaries: Canaries) -> None:
        self.canaries = canaries
        headers = {
            "x-secret": canaries["caller-header"],
            "user-agent": canaries["caller-header"],
            "x-request-id": f"{canaries['caller-header']} not sane",
        }
        self.client = httpx.Client(base_url=server.url, headers=headers, timeout=PATIENCE)

    def ask(self, method: str, path: str, key: str, **options: Any) -> httpx.Response:
        options.setdefault("params", {"key": self.canaries["caller-query"]})
        headers = {"authorization": f"Bearer {key}", **options.pop("headers", {})}
        answer = self.client.request(method, path, headers=headers, **options)
        but_for = OWN_WORDS if answer.is_success else ()
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        place = f"{method} {path} {answer.status_code}"
        self.canaries.look(place, head + "\n" + answer.text, but_for)
        return answer

    def body(self, model: str, **fields: Any) -> dict[str, Any]:
        messages = [
            {"role": "system", "content": self.canaries["system-prompt"]},
            {"role": "user", "content": self.canaries["question"]},
        ]
        return {"model": model, "messages": messages, "user": self.canaries["person"], **fields}

    def ask_all_models(self, key: str) -> set[int]:
        """Every model, whole and streamed, with the run's record; the statuses there were."""
        return {
            self.ask("POST", "/v1/chat/completions", key, json=body).status_code
            for model in MODELS
            for body in (
                self.body(model, moa={"include": ["run"]}),
                self.body(model, stream=True, moa={"progress": "reasoning"}),
            )
        }

    def ask_in_all_dialects(self, key: str) -> None:
        question = self.canaries["question"]
        turns = [{"role": "user", "content": question}]
        for model in ("good", "refused"):
            bodies = {
                "/v1/messages": {"model": model, "messages": turns, "max_tokens": 9},
                "/v1/messages/count_tokens": {"model": model, "messages": turns},
                "/v1/completions": {"model": model, "prompt": question},
                "/v1/embeddings": {"model": model, "input": question},
                "/v1/responses": {"model": model, "input": question, "store": False},
            }
            for path, body in bodies.items():
                self.ask("POST", path, key, json=body, headers={"idempotency-key": "k" + path[4:]})

    def ask_wrongly(self, key: str) -> None:
        """Requests at fault, each with something secret at the place of the fault."""
        question = self.canaries["question"]
        chat = "/v1/chat/completions"
        wrong: list[dict[str, Any]] = [
            {"content": question.encode()},
            {"content": b'{"messages": "' + question.encode()},
            {"json": self.body("good", temperature=question)},
            {"json": self.body("good", n=question)},
            {"json": {"model": "good", "messages": [{"role": question, "content": question}]}},
            {"json": {"model": "good", "messages": question}},
            {"json": self.body("good", moa={"include": [question]})},
            {"json": self.body("good", base_url=question)},
            {"json": self.body("good"), "headers": {"x-moa-hops": self.canaries["caller-header"]}},
            {"json": self.body("good"), "headers": {"idempotency-key": question + " x"}},
        ]
        for options in wrong:
            options.setdefault("headers", {})["content-type"] = "application/json"
            assert self.ask("POST", chat, key, **options).status_code == 400, options
        for path in (chat, "/metrics", "/admin/keys", "/v1/models"):
            assert self.ask("GET", path, self.canaries["wrong-key"]).status_code == 401
            self.ask("GET", path, "moa-12345678-" + self.canaries["wrong-key"])

    def administer(self, key: str) -> None:
        """Keys made, rotated, used and revoked; their secrets are planted too, once told."""
        for step, path in (("made", "/admin/keys"), ("rotated", "/admin/keys/second/rotate")):
            headers = {"authorization": f"Bearer {key}"}
            body = {"name": "second"} if step == "made" else {}
            answer = self.client.post(path, json=body, headers=headers)
            assert answer.is_success, answer.text
            self.canaries.planted[step] = answer.json()["key"]
            self.canaries.look(f"POST {path}", answer.text, (step,))
        for step in ("made", "rotated"):
            secret = self.canaries[step]
            answer = self.ask("POST", "/v1/chat/completions", secret, json=self.body("good"))
            assert answer.status_code == 200
            assert self.ask("GET", "/admin/keys", secret).status_code == 403
        for path in ("/admin/keys", "/admin/keys/second", "/admin/teams", "/admin/keys/no-such"):
            self.ask("GET", path, key)
        wrong = {"name": "third", "expires": self.canaries["question"]}
        assert self.ask("PATCH", "/admin/keys/second", key, json=wrong).status_code == 400
        self.ask("DELETE", "/admin/keys/second", key)
        revoked = self.ask("POST", "/v1/chat/completions", self.canaries["made"], json={})
        assert revoked.status_code == 401


def logged(folder: Path, pattern: str, times: int) -> str:
    """The log, once a pattern is in it so many times."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        text = (folder / "log").read_text()
        if len(re.findall(pattern, text)) >= times:
            return text
        time.sleep(0.02)
    raise TimeoutError(pattern)


def printed(canaries: Canaries, environ: dict[str, str], *arguments: str) -> int:
    """Run the command and look at what it prints; its exit code."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "app", *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    canaries.look(f"moa {arguments[0]} {done.returncode}", done.stdout + done.stderr)
    return done.returncode


def test_no_planted_secret_comes_out_anywhere(
    command: Serve, fake_upstream: FakeUpstream, tmp_path: Path
) -> None:
    canaries, file = Canaries(), tmp_path / "gateway.yaml"
    script(fake_upstream, canaries)
    file.write_text(CONFIG.replace("BASE", fake_upstream.base_url))
    database = f"sqlite+aiosqlite:///{tmp_path / 'books.db'}"
    environ = {**environment(canaries, database), "MOA_WATCH_CONFIG": "false"}
    virtual = canaries.planted["virtual-key"] = anyio.run(first_key, canaries, database)

    server = command("--config", file, **environ)
    canaries.look("the banner", "\n".join(server.lines))
    visitor = Visitor(server, canaries)
    with visitor.client:
        for key in (canaries["static-key"], virtual):
            assert {200, 502} <= visitor.ask_all_models(key) <= {200, 502, 503}
            visitor.ask_in_all_dialects(key)
            visitor.ask_wrongly(key)
            for path in ("/metrics", "/openapi.json", "/v1/models", "/health/ready", "/nowhere"):
                visitor.ask("GET", path, key)
        visitor.administer(virtual)
        for number, wrong in enumerate(WRONG_PLACES, 1):
            file.write_text(wrong)
            server.process.send_signal(signal.SIGHUP)
            logged(tmp_path, "refused, all is as before", number)
            assert printed(canaries, environ, "check", str(file), "--json") != 0
            assert printed(canaries, environ, "check", str(file)) != 0
        visitor.ask("GET", "/metrics", virtual)
    file.write_text(CONFIG.replace("BASE", fake_upstream.base_url))
    for arguments in (("--json",), (), ("--probe", "--json")):
        printed(canaries, environ, "check", str(file), *arguments)
    for path in tmp_path.glob("books.db*"):
        canaries.look(f"the file {path.name} while it is open", path.read_bytes())
    assert server.stop(signal.SIGTERM) == 0

    canaries.look("the rest of the output", server.process.stdout.read())
    canaries.look("the log", (tmp_path / "log").read_text())
    canaries.look("the file books.db", (tmp_path / "books.db").read_bytes())
    assert b'"moa.access"' in canaries.places["the log"]
    assert b"SQLite format 3" in canaries.places["the file books.db"]
    assert sorted(canaries.found()) == []


@pytest.mark.parametrize(
    ("variable", "address"),
    [
        ("DATABASE_URL", "postgresql+asyncpg://moa:{database-password}@127.0.0.1:9/moa"),
        ("DATABASE_URL", "postgresql+asyncpg://moa:{database-password}@[/moa"),
        ("DATABASE_URL", "mysql://moa:{database-password}@127.0.0.1/moa"),
        ("REDIS_URL", "http://moa:{redis-password}@127.0.0.1:9/0"),
    ],
)
def test_a_store_that_does_not_answer_does_not_give_its_password_away(
    fake_upstream: FakeUpstream, tmp_path: Path, variable: str, address: str
) -> None:
    canaries, file = Canaries(), tmp_path / "gateway.yaml"
    file.write_text(CONFIG.replace("BASE", fake_upstream.base_url))
    database = f"sqlite+aiosqlite:///{tmp_path / 'books.db'}"
    for kind in KINDS:
        address = address.replace(f"{{{kind}}}", canaries[kind])
    environ = {**environment(canaries, database), variable: address}

    assert printed(canaries, environ, "serve", "--config", str(file), "--port", "0") != 0
    assert sorted(canaries.found()) == []


def test_a_redis_that_is_away_does_not_give_its_password_away(
    command: Serve, fake_upstream: FakeUpstream, tmp_path: Path
) -> None:
    canaries, file = Canaries(), tmp_path / "gateway.yaml"
    file.write_text(CONFIG.replace("BASE", fake_upstream.base_url))
    database = f"sqlite+aiosqlite:///{tmp_path / 'books.db'}"
    redis = f"redis://moa:{canaries['redis-password']}@127.0.0.1:9/0"
    environ = {**environment(canaries, database), "REDIS_URL": redis}

    server = command("--config", file, **environ)
    visitor = Visitor(server, canaries)
    with visitor.client:
        for path in ("/health/ready", "/metrics"):
            visitor.ask("GET", path, canaries["static-key"])
        for stream in (False, True):
            body = visitor.body("good", stream=stream)
            visitor.ask("POST", "/v1/chat/completions", canaries["static-key"], json=body)
    assert server.stop(signal.SIGTERM) == 0
    canaries.look("the log", (tmp_path / "log").read_text())
    assert b'"moa.access"' in canaries.places["the log"]
    assert sorted(canaries.found()) == []


def test_a_canary_that_sings_is_heard() -> None:
    canaries = Canaries()
    for kind in ("proxy-password", "answer"):
        canaries.look("here", f"before {canaries[kind]} after", but_for=("answer",))
    assert canaries.found() == [("proxy-password", "here")]
