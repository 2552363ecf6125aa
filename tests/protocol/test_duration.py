"""Durations as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.duration import LONGEST, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), (" 5s ", 5.0), ("2m", 120.0), ("168h", LONGEST), (LONGEST, LONGEST), (0, 0)],
)
def test_seconds_may_have_a_unit(written, seconds):
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["9" * 400 + "ms", "169h", LONGEST + 1, math.inf, math.nan, 10**400]
)
def test_more_than_seven_days_is_refused(written):
    with pytest.raises(ValueError, match="seven days"):
        parse_duration(written)


@given(st.from_regex(r"[0-9]{1,400}(\.[0-9]{1,9})?(ms|s|m|h)", fullmatch=True))
def test_whatever_is_written_is_a_time_one_can_wait_or_refused(written):
    try:
        assert 0 <= parse_duration(written) <= LONGEST
    except ValueError as refusal:
        assert "seven days" in str(refusal)  # noqa: PT017 - both ends are allowed
