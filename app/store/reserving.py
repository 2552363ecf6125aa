"""Setting money aside, statement by statement: what is locked, checked and written.

Rows are locked in the order of their ids, and new ones are made in a transaction of their own, so
no two transactions wait for each other. Nothing here waits or connects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from app.access.ledger import Budget, Claim, Reservation, reservation_of
from app.access.windows import FOR_EVER
from app.store.tables import insertion, reservations
from app.store.transactions import Ask, Dialect, Do, Row, Steps


@dataclass(frozen=True, slots=True)
class NoRoom:
    """A claim that was not granted; `scope` is the budget it is above."""

    scope: str


@dataclass(frozen=True, slots=True)
class NewWindows:
    """Budgets have no row for these windows yet: `begin_windows`, then ask again."""

    windows: tuple[tuple[str, int], ...]


Granted: TypeAlias = Reservation | NoRoom


def scope_of_key(key_id: str) -> str:
    """A key's name among budgets."""
    return f"key:{key_id}"


def scope_of_team(team_id: str) -> str:
    """A team's name among budgets."""
    return f"team:{team_id}"


def budget_id(scope: str, window: int) -> str:
    """The name of one window of a budget."""
    return f"{scope}@{window}"


_FIND = "SELECT id, spent, reserved FROM budgets WHERE id "
_SET_ASIDE = "UPDATE budgets SET reserved = reserved + ? WHERE id = ?"
OPEN = insertion(reservations)


def reserve(
    claims: Sequence[Claim], process_id: str, words: Dialect
) -> Steps[list[Granted] | NewWindows]:
    """Grant what the budgets allow, in the order of the claims: each whole or not at all."""
    wanted = {
        budget_id(scope, budget.window): (scope, budget.window)
        for claim in claims
        for scope, budget in _budgets(claim)
    }
    used: dict[str, int] = {}
    if wanted:
        rows = yield Ask(_FIND + words.among + words.in_order, (words.pack(sorted(wanted)),))
        used = {name: spent + reserved for name, spent, reserved in rows}
    missing = sorted(wanted.keys() - used.keys())
    if missing:
        return NewWindows(tuple(wanted[name] for name in missing))
    aside: dict[str, int] = defaultdict(int)
    granted = [_grant(claim, used, aside) for claim in claims]
    if aside:
        yield Do(_SET_ASIDE, [(amount, name) for name, amount in sorted(aside.items())])
    opened = [_open_row(one, process_id) for one in granted if isinstance(one, Reservation)]
    if opened:
        yield Do(OPEN, opened)
    return granted


def _grant(claim: Claim, used: dict[str, int], aside: dict[str, int]) -> Granted:
    budgets = [(scope, budget_id(scope, b.window), b.limit) for scope, b in _budgets(claim)]
    for scope, name, limit in budgets:
        if used[name] + claim.amount > limit:
            return NoRoom(scope)
    for _, name, _limit in budgets:
        used[name] += claim.amount
        aside[name] += claim.amount
    return reservation_of(claim)


def _budgets(claim: Claim) -> Iterable[tuple[str, Budget]]:
    if claim.key_budget:
        yield scope_of_key(claim.key_id), claim.key_budget
    if claim.team_budget and claim.team_id:
        yield scope_of_team(claim.team_id), claim.team_budget


def _open_row(one: Reservation, process_id: str) -> Row:
    return (
        one.booking_id,
        process_id,
        one.request_id,
        one.key_id,
        one.team_id,
        one.model,
        one.caller,
        one.created,
        one.amount,
        one.key_window,
        one.team_window,
    )


_BEGIN = (
    "INSERT INTO budgets (id, scope, window_start, spent, reserved) "
    "SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT), "
    "CAST(COALESCE(SUM(cost), 0) AS BIGINT), 0 FROM spend WHERE {owner} = ? AND day >= ? "
    "ON CONFLICT (id) DO NOTHING"
)
_BEGIN_FOR = {owner: _BEGIN.format(owner=f"{owner}_id") for owner in ("key", "team")}


def begin_windows(budgets: Iterable[tuple[str, int]], _words: Dialect) -> Steps[None]:
    """Make rows for windows, with what was spent in them before there was a budget.

    The books are by day, so an hour begins at nothing spent.
    """
    for scope, window in budgets:
        owner, _, name = scope.partition(":")
        row = (budget_id(scope, window), scope, window, name, _first_day(window))
        yield Do(_BEGIN_FOR[owner], [row])


def _first_day(window: int) -> str:
    if window == FOR_EVER:
        return ""
    start = datetime.fromtimestamp(window, UTC)
    first = start if start.hour == 0 else start + timedelta(days=1)
    return first.date().isoformat()
