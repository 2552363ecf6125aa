"""What a transaction of the ledger is: a generator of statements that is told the rows of each.

Whoever runs one is a `Writer`: `sqlite_writer` and `postgres_writer`. What they say is in
`reserving`, `booking` and `leases`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

T = TypeVar("T")
Row: TypeAlias = Sequence[Any]
"""A row as a driver gives or takes it; which types is for the statement to know."""


class Ask(NamedTuple):
    """A statement whose rows are wanted; `?` stands for a parameter."""

    sql: str
    params: Row = ()


class Do(NamedTuple):
    """A statement to be run once for each of these parameters."""

    sql: str
    rows: Sequence[Row]


Steps: TypeAlias = Generator[Ask | Do, Sequence[Row], T]


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where the two databases differ: `among` is the test for a packed list of texts."""

    among: str
    in_order: str
    pack: Callable[[Sequence[str]], object]
    unclaimed: str = ""


SQLITE_WORDS = Dialect("IN (SELECT value FROM json_each(?))", "", json.dumps)
POSTGRES_WORDS = Dialect(
    "= ANY(?::text[])", ' ORDER BY id COLLATE "C" FOR UPDATE', list, " FOR UPDATE SKIP LOCKED"
)


class StoreDown(Exception):
    """The database did not answer; whether it did what it was told is unknown."""


class Conflict(Exception):
    """Another transaction was in the way; this one did nothing and may be run again."""


class Refused(Exception):
    """The database will never take this; it did nothing."""


class Writer(Protocol):
    """Runs transactions one after the other."""

    dialect: Dialect

    async def run(self, begin: Callable[[Dialect], Steps[T]]) -> T:
        """Run one whole transaction, or nothing of it; a cancelled one is in doubt.

        Raises StoreDown, Conflict or Refused.
        """

    async def close(self) -> None:
        """Let go of the connection; the writer opens another if it is used again."""
