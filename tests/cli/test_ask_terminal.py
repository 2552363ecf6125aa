"""`moa ask` as a process of its own: on a terminal, and interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.upstream.fake_log import Ending
from app.upstream.fake_server import FakeUpstream, Reply

pty = pytest.importorskip("pty", reason="POSIX terminals")

PATIENCE = 60.0


@contextmanager
def asking(config: Path, model: str, **streams: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "app", "ask", "hello", "--config", str(config), "-g", model]
    environ = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, env=environ, **streams) as process:  # type: ignore[call-overload]  # noqa: S603 - our own command
        try:
            yield process
        finally:
            process.kill()


def on_terminal(config: Path, model: str) -> str:
    """Everything a terminal gets to see."""
    ours, theirs = pty.openpty()
    with asking(config, model, stdout=theirs, stderr=theirs):
        os.close(theirs)
        seen = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    return seen.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that the other side is closed
        return b""


def test_a_terminal_sees_the_proposers_at_work_then_the_answer(
    config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["a-1"] = Reply(text="Because of the air.")
    seen = on_terminal(config, "duo")
    panel, _, rest = seen.partition("\x1b[?25h")
    assert "layer 1" in panel
    assert "2 tokens" in panel
    assert rest.startswith("Because of the air.\r\n")
    assert "tokens · cost $" in rest


def test_a_models_text_cannot_steer_a_terminal(config: Path, fake_upstream: FakeUpstream) -> None:
    fake_upstream.replies["b-1"] = Reply(text="\x1b]0;title\x07one\u009b2J\ttwo")
    assert "]0;titleone2J\ttwo\r\n" in on_terminal(config, "b")


def test_ctrl_c_cancels_the_calls_and_exits_with_130(
    config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["b-1"] = Reply(after=-1, then="hang")
    with asking(config, "duo", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        fake_upstream.log.wait(lambda entries: any(entry.model == "b-1" for entry in entries))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err
    hanging = next(entry for entry in fake_upstream.log.entries if entry.model == "b-1")
    fake_upstream.log.wait(lambda _: hanging.ended is not None)
    assert hanging.ending is Ending.ABORTED
