from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.windows import FOR_EVER, BudgetWindow, window_end, window_id, window_start

WINDOWS = st.sampled_from(["hour", "day", "week", "month"])
ZONES = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))
FIRST, LAST = datetime(1990, 1, 1), datetime(2090, 1, 1)  # noqa: DTZ001 (zones are hypothesis's)
MOMENTS = st.datetimes(FIRST, LAST, timezones=ZONES)


@given(WINDOWS, MOMENTS)
def test_every_moment_is_in_exactly_one_window(window: BudgetWindow, now: datetime) -> None:
    start, end = window_start(window, now), window_end(window, now)
    assert start <= now < end
    assert window_start(window, end) == end
    assert window_start(window, end - timedelta(microseconds=1)) == start


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("hour", datetime(2024, 2, 29, 23, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        ("day", datetime(2024, 2, 29, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        ("week", datetime(2024, 2, 26, tzinfo=UTC), datetime(2024, 3, 4, tzinfo=UTC)),
        ("month", datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
    ],
)
def test_windows_follow_the_calendar(window: BudgetWindow, start: datetime, end: datetime) -> None:
    now = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
    assert (window_start(window, now), window_end(window, now)) == (start, end)


def test_windows_are_those_of_utc_wherever_one_is() -> None:
    in_tokyo = datetime(2024, 1, 1, 8, tzinfo=timezone(timedelta(hours=9)))
    assert window_start("month", in_tokyo) == datetime(2023, 12, 1, tzinfo=UTC)


def test_a_budget_without_a_window_has_one_for_ever() -> None:
    assert window_id(None, datetime.now(UTC)) == FOR_EVER
    assert window_id("day", datetime(1970, 1, 2, 5, tzinfo=UTC)) == 86400
