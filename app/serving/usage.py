"""What keys and teams have spent and what is left to them, for their owners and administrators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from app.access.caller import Limits
from app.access.keyring import utc_now
from app.access.money import to_pico
from app.access.register import Books, GroupBy, Period, Spent, Standing
from app.access.windows import window_end, window_id, window_start
from app.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget in its present window, in picodollars; `resets` is None where it never does."""

    limit: int
    standing: Standing
    starts: datetime | None
    resets: datetime | None

    @property
    def left(self) -> int:
        """What may still be reserved."""
        return max(0, self.limit - self.standing.spent - self.standing.reserved)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one key or team came to in a period, by model, and how its budget stands."""

    period: Period
    by_model: Sequence[Spent]
    limits: Limits
    budget: BudgetState | None


@dataclass(frozen=True, slots=True)
class UsageService:
    """Reads the books. Every method raises StoreUnavailable."""

    books: Books
    now: Callable[[], datetime] = utc_now

    def period(self, first: date | None, last: date | None) -> Period:
        """These days; unsaid, from the first of the last one's month, and until today.

        Raises InvalidRequest where they are in the wrong order.
        """
        until = last or self.now().astimezone(UTC).date()
        since = first or until.replace(day=1)
        if since > until:
            raise InvalidRequest(f"from: {since} is after {until}", param="from")
        return Period(since, until)

    async def report(self, period: Period, by: GroupBy) -> Sequence[Spent]:
        """What everybody spent."""
        return await self.books.spent(period, by)

    async def of_key(self, key_id: str, limits: Limits, period: Period) -> Usage:
        """A key's own usage; the id of static keys together is ""."""
        by_model = await self.books.spent(period, "model", key_id=key_id)
        return Usage(period, by_model, limits, await self._budget(f"key:{key_id}", limits))

    async def of_team(self, team_id: str, limits: Limits, period: Period) -> Usage:
        """The usage of all keys of a team."""
        by_model = await self.books.spent(period, "model", team_id=team_id)
        return Usage(period, by_model, limits, await self._budget(f"team:{team_id}", limits))

    async def _budget(self, scope: str, limits: Limits) -> BudgetState | None:
        if limits.budget is None:
            return None
        now, window = self.now(), limits.budget_window
        standing = await self.books.standing(scope, window_id(window, now))
        return BudgetState(
            to_pico(limits.budget),
            standing,
            None if window is None else window_start(window, now),
            None if window is None else window_end(window, now),
        )
