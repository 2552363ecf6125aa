"""What a process holds: counted, and listed for people."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Holdings:
    """What this process holds: tasks of the gateway's loop, threads, files and sockets, MB."""

    tasks: int
    connections: int
    threads: int
    files: int
    megabytes: float

    def exceeds(self, before: Holdings) -> list[str]:
        """What there is more of, but for memory, which has a bound of its own."""
        counted = ("tasks", "connections", "threads", "files")
        pairs = [(name, getattr(before, name), getattr(self, name)) for name in counted]
        return [f"{name}: {old} before, {new} after" for name, old, new in pairs if new > old]


def megabytes() -> float:
    """Resident memory; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0.0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    """How many files and sockets are open, the one that counts them included."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - no paths wanted


def named_files() -> Iterator[str]:
    """The open files and sockets, as far as the system names them."""
    for file in range(1_024):
        with suppress(OSError):
            yield f"{file}: {Path(f'/proc/self/fd/{file}').readlink()} {_peers(file)}"


def _peers(file: int) -> str:
    """The two ends of a socket; raises OSError if it has none."""
    with socket.socket(fileno=os.dup(file)) as opened, suppress(OSError):
        return f"{opened.getsockname()} {opened.getpeername()}"
    return ""


def trim() -> None:
    """Hand freed memory back to the system, where the C library knows how."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
