"""The files a configuration was read from, and how they looked: so that a change is noticed.

Only ever asks for a file's state, never reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, int, int]
"""When a file or folder changed, in nanoseconds, its size in bytes, its number on the disk."""
Stamps: TypeAlias = Mapping[Path, Stamp | None]
"""How files looked; None: it was not there."""


class Seen:
    """Everything a configuration depends on, stamped before it is read.

    Folders of include patterns are among it, and places where a file was looked for in vain. It is
    as complete as the reading has come, also where that ended with an error.
    """

    def __init__(self) -> None:
        self._stamps: dict[Path, Stamp | None] = {}

    def add(self, path: Path) -> None:
        """Note how it looks now; the first look counts."""
        if path not in self._stamps:
            self._stamps[path] = stamp(path)

    @property
    def stamps(self) -> dict[Path, Stamp | None]:
        """What was seen so far."""
        return dict(self._stamps)


def stamp(path: Path) -> Stamp | None:
    """How a file or folder looks now, through links; None where it is not to be had."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def looks(stamps: Stamps) -> dict[Path, Stamp | None]:
    """How the same paths look now."""
    return {path: stamp(path) for path in stamps}
