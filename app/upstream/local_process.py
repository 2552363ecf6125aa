"""One child process that serves a model: started, heard, ended. Restarting it is not done here."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from subprocess import PIPE
from textwrap import indent
from typing import TypeVar

import anyio
import orjson
from anyio.abc import AsyncResource, Process, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

from app.upstream.local_server import Order

TAIL_BYTES = 4096
REPORT_BYTES = 4096
DRAIN_DEADLINE = 2.0
"""Seconds after its end in which the rest of its stderr is read."""
END_DEADLINE = 2.0
"""Seconds a child gets after its stdin was closed, and again after SIGTERM, before SIGKILL."""

_INHERITED = (
    *("PATH", "HOME", "LANG", "LC_", "TMP", "TEMP", "PYTHON", "VIRTUAL_ENV", "SYSTEMROOT"),
    *(
        "LD_LIBRARY_PATH",
        "DYLD_",
        "CUDA_",
        "NVIDIA_",
        "HIP_",
        "HSA_",
        "ROCR_",
        "VK_",
        "GGML_",
        "OMP_",
    ),
)

_Stream = TypeVar("_Stream", bound=AsyncResource)


class StartFailed(Exception):
    """The child did not report an address; the text says how it ended and its last lines."""


@dataclass(slots=True)
class Child:
    """A running child; `address` is where it serves, `tail` the end of what it wrote to stderr."""

    process: Process
    address: str = ""
    tail: bytearray = field(default_factory=bytearray)
    silent: anyio.Event = field(default_factory=anyio.Event)

    async def wait(self) -> str:
        """Wait for its end; says how it ended, with its last lines (at most 4 KiB)."""
        code = await self.process.wait()
        with anyio.move_on_after(DRAIN_DEADLINE):
            await self.silent.wait()
        ending = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return f"{ending}{self.last_lines()}"

    def last_lines(self) -> str:
        """The end of its stderr, indented under a heading; empty if it wrote nothing."""
        text = self.tail.decode(errors="replace").strip()
        return f"; its last lines:\n{indent(text, '    ')}" if text else ""

    async def keep_tail(self) -> None:
        """Read its stderr until it closes, keeping the end: a full pipe would block the child."""
        try:
            async for data in _pipe(self.process.stderr):
                self.tail += data
                del self.tail[:-TAIL_BYTES]
        except anyio.ClosedResourceError:
            pass
        finally:
            self.silent.set()


@asynccontextmanager
async def running_child(
    command: Sequence[str], order: Order, deadline: float, group: TaskGroup
) -> AsyncIterator[Child]:
    """A child that has reported its address within `deadline` seconds, ended on leaving.

    Raises `StartFailed`. It gets no signals from our terminal and none of our secrets: its
    environment holds only what an interpreter and a GPU library need. `group` runs the reader of
    its stderr.
    """
    process = await _open(command)
    child = Child(process)
    try:
        group.start_soon(child.keep_tail)
        child.address = await _reported_address(child, order, deadline)
        yield child
    finally:
        await _end(process)


async def _open(command: Sequence[str]) -> Process:
    try:
        return await anyio.open_process(
            command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise StartFailed(f"{command[0]} cannot be run ({error.strerror})") from error


def _environment() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_INHERITED)}


def _pipe(stream: _Stream | None) -> _Stream:
    if stream is None:
        raise RuntimeError("the child was started without pipes")
    return stream


async def _reported_address(child: Child, order: Order, deadline: float) -> str:
    with anyio.move_on_after(deadline):
        try:
            return await _ask_for_address(child.process, order)
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            raise StartFailed(await child.wait()) from None
        except (anyio.DelimiterNotFound, orjson.JSONDecodeError, KeyError, TypeError):
            raise StartFailed("it reported no address") from None
    raise StartFailed(f"no address within {deadline:g} s{child.last_lines()}")


async def _ask_for_address(process: Process, order: Order) -> str:
    await _pipe(process.stdin).send(orjson.dumps(order) + b"\n")
    stdout = BufferedByteReceiveStream(_pipe(process.stdout))
    report = await stdout.receive_until(b"\n", REPORT_BYTES)
    return str(orjson.loads(report)["address"])


async def _end(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        await _pipe(process.stdin).aclose()
        for signal in (process.terminate, process.kill):
            with anyio.move_on_after(END_DEADLINE):
                await process.wait()
            if process.returncode is not None:
                break
            signal()
        await process.aclose()
