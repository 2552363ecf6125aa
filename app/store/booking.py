"""Booking what requests came to, statement by statement: what is locked and written.

Locks are taken in one order everywhere, so no two transactions wait for each other: reservations,
requests, budgets, spend; rows of one table by their id. Nothing here waits or connects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeAlias, get_args

import orjson

from app.access.ledger import LOST, CallLine, Reservation, Settlement
from app.access.windows import BudgetWindow, window_id
from app.store.reserving import OPEN, budget_id, scope_of_key, scope_of_team
from app.store.tables import insertion, requests, spend
from app.store.transactions import Ask, Dialect, Do, Row, Steps


@dataclass(frozen=True, slots=True)
class Void:
    """A reservation nobody will use; whether it was ever written is unknown."""

    reservation: Reservation


Entry: TypeAlias = Settlement | Void

_HOUR = 3600
RECOVERED_AT_ONCE = 100
_TOMBSTONE = OPEN + " ON CONFLICT (id) DO NOTHING"
_CLOSE = "DELETE FROM reservations WHERE id "
_CLOSED = " RETURNING key_id, team_id, amount, key_window, team_window"
_KNOWN = "SELECT id, outcome, cost FROM requests WHERE id "
_BOOK = insertion(requests)
_CORRECT = (
    "UPDATE requests SET ended = ?, outcome = ?, error_kind = ?, cost = ?, is_estimate = ?, "
    "unpriced = ?, tokens_in = ?, tokens_out = ?, tokens_cached = ?, calls = ? WHERE id = ?"
)
_LOCK = "SELECT id FROM budgets WHERE id "
_SPEND = "UPDATE budgets SET spent = spent + ?, reserved = reserved - ? WHERE id = ?"
_ROLL_UP = insertion(spend) + (
    " ON CONFLICT (day, key_id, team_id, graph, model) DO UPDATE SET "
    "calls = spend.calls + excluded.calls, tokens_in = spend.tokens_in + excluded.tokens_in, "
    "tokens_out = spend.tokens_out + excluded.tokens_out, "
    "tokens_cached = spend.tokens_cached + excluded.tokens_cached, "
    "cost = spend.cost + excluded.cost"
)
_LEFT_BEHIND = (
    "SELECT request_id, key_id, team_id, model, caller, created, amount, key_window, team_window, "
    "id FROM reservations WHERE process_id = ? ORDER BY id LIMIT ?"
)


def book(entries: Sequence[Entry], words: Dialect) -> Steps[None]:
    """Book what has ended and let go of its reservations. To say it again changes nothing.

    A request whose process seemed lost was booked at what was reserved; what it really came to
    takes the place of that.
    """
    voids = sorted(one.reservation.booking_id for one in entries if isinstance(one, Void))
    if voids:
        # Waits for a transaction of ours that may still be on its way to making the row.
        yield Do(_TOMBSTONE, [(name, "", "", "", None, "", "", 0, 0, None, None) for name in voids])
    names = words.pack([one.reservation.booking_id for one in entries])
    deltas = _Deltas()
    for row in (yield Ask(_CLOSE + words.among + _CLOSED, (names,))):
        deltas.release(row)
    settlements = [one for one in entries if isinstance(one, Settlement)]
    if settlements:
        yield from _book(settlements, deltas, words)
    yield from deltas.written(words)


def recover(process_id: str, now: float, words: Dialect) -> Steps[int]:
    """Book some of what a lost process left behind at what it reserved; says how many."""
    asked = Ask(_LEFT_BEHIND + words.unclaimed, (process_id, RECOVERED_AT_ONCE))
    lost = [Settlement(Reservation(*row), now, LOST) for row in (yield asked)]
    if lost:
        yield from book(lost, words)
    return len(lost)


def _book(settlements: Sequence[Settlement], deltas: _Deltas, words: Dialect) -> Steps[None]:
    ended = {one.reservation.booking_id: one for one in reversed(settlements)}
    asked = Ask(_KNOWN + words.among + words.in_order, (words.pack(list(ended)),))
    known = {name: (outcome, cost) for name, outcome, cost in (yield asked)}
    fresh = [one for name, one in sorted(ended.items()) if name not in known]
    for one in fresh:
        deltas.book(one)
    if fresh:
        yield Do(_BOOK, [_row(one) for one in fresh])
    corrected = []
    for name, (outcome, cost) in known.items():
        if outcome == LOST != ended[name].outcome:
            deltas.unbook(ended[name].reservation, cost)
            deltas.book(ended[name])
            corrected.append(ended[name])
    if corrected:
        yield Do(_CORRECT, [(*_findings(one), one.reservation.booking_id) for one in corrected])


class _Deltas:
    """What a transaction changes in budgets (spent, released) and in the sums."""

    def __init__(self) -> None:
        self._budgets: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])

    def release(self, closed: Row) -> None:
        """Let go of what a reservation set aside."""
        key_id, team_id, amount, key_window, team_window = closed
        for name in _budgets(key_id, team_id, key_window, team_window):
            self._budgets[name][1] += amount

    def book(self, one: Settlement) -> None:
        """Count a request and its calls."""
        self._spend(one.reservation, one.cost)
        if one.outcome == LOST:
            self._add(one.reservation, "", (0, 0, 0, 0, one.cost))
        for call in one.calls:
            sums = (1, call.prompt, call.completion, call.cached, call.cost or 0)
            self._add(one.reservation, call.model, sums)

    def unbook(self, reservation: Reservation, cost: int) -> None:
        """Take back what was counted for a request that seemed lost."""
        self._spend(reservation, -cost)
        self._add(reservation, "", (0, 0, 0, 0, -cost))

    def written(self, words: Dialect) -> Steps[None]:
        """Write them, the budgets as far as they have rows."""
        if self._budgets:
            names = words.pack(sorted(self._budgets))
            there = yield Ask(_LOCK + words.among + words.in_order, (names,))
            changes = [(*self._budgets[name], name) for name in sorted(row[0] for row in there)]
            if changes:
                yield Do(_SPEND, changes)
        if self._sums:
            yield Do(_ROLL_UP, [(*where, *sums) for where, sums in sorted(self._sums.items())])

    def _spend(self, one: Reservation, cost: int) -> None:
        for name in _spent_in(one):
            self._budgets[name][0] += cost

    def _add(self, one: Reservation, model: str, sums: tuple[int, ...]) -> None:
        day = _day(int(one.created // _HOUR))
        known = self._sums[day, one.key_id, one.team_id or "", one.model, model]
        for place, number in enumerate(sums):
            known[place] += number


def _budgets(
    key_id: str, team_id: str | None, key_window: int | None, team_window: int | None
) -> Iterable[str]:
    if key_window is not None:
        yield budget_id(scope_of_key(key_id), key_window)
    if team_window is not None and team_id is not None:
        yield budget_id(scope_of_team(team_id), team_window)


def _spent_in(one: Reservation) -> Iterator[str]:
    """Every window of the key and team that a request falls in, whatever budget they have now.

    So a budget that is changed, taken away and set again knows all that was spent meanwhile.
    """
    hour = int(one.created // _HOUR)
    if one.key_id:
        yield from _names_in(scope_of_key(one.key_id), hour, one.key_window)
    if one.team_id is not None:
        yield from _names_in(scope_of_team(one.team_id), hour, one.team_window)


@lru_cache(1024)
def _names_in(scope: str, hour: int, own: int | None) -> tuple[str, ...]:
    windows = _windows_of(hour).union(() if own is None else (own,))
    return tuple(budget_id(scope, window) for window in windows)


@lru_cache(8)
def _day(hour: int) -> str:
    return datetime.fromtimestamp(hour * _HOUR, UTC).date().isoformat()


@lru_cache(8)
def _windows_of(hour: int) -> frozenset[int]:
    """The windows that this hour since 1970 is in, of every length."""
    now = datetime.fromtimestamp(hour * _HOUR, UTC)
    return frozenset(window_id(each, now) for each in (None, *get_args(BudgetWindow)))


def _row(one: Settlement) -> Row:
    it = one.reservation
    return (
        it.booking_id,
        it.request_id,
        it.key_id,
        it.team_id,
        it.model,
        it.caller,
        it.created,
        it.amount,
        *_findings(one),
    )


def _findings(one: Settlement) -> Row:
    return (
        one.ended,
        one.outcome,
        one.error_kind,
        one.cost,
        one.is_estimate,
        one.unpriced,
        sum(call.prompt for call in one.calls),
        sum(call.completion for call in one.calls),
        sum(call.cached for call in one.calls),
        _calls(one.calls),
    )


def _calls(calls: Sequence[CallLine]) -> str:
    return orjson.dumps(calls).decode()
