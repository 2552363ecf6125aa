"""The soak's line through its samples, and what it makes of it."""

from __future__ import annotations

import math

import pytest

from bench.trend import Sample, Series, slope, verdict

HOUR = 3_600.0


def samples(minutes: int, mb_per_hour: float, noise: float = 0.0) -> Series:
    series = Series()
    for n in range(minutes * 4):
        at = n * 15.0
        wobble = noise if n % 2 else -noise
        series.add(Sample(at, 100 + mb_per_hour * at / HOUR + wobble, 40, 7, 2 + wobble / 100, 5))
    return series


def test_a_straight_line_has_its_slope_and_no_error() -> None:
    found = slope([0, 10, 20, 30], [5, 6, 7, 8])
    assert found.value == pytest.approx(0.1 * HOUR)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.span == 30


def test_the_error_is_that_of_the_textbook() -> None:
    # y = 0.9 x + 1.3 with residuals -0.3, 0.8, -0.1, -0.2, …: checked by hand.
    found = slope([0, 1, 2, 3], [1, 3, 3, 4])
    assert found.value / HOUR == pytest.approx(0.9)
    assert found.error / HOUR == pytest.approx(math.sqrt(0.7 / 2 / 5))


def test_two_samples_tell_nothing() -> None:
    assert slope([0, 1], [1, 2]).error == math.inf


def test_steady_growth_over_a_long_time_is_bad() -> None:
    lines, is_good = verdict(samples(40, mb_per_hour=30, noise=0.5))
    assert not is_good
    assert "GROWS" in lines[1]


def test_noise_without_growth_is_good() -> None:
    lines, is_good = verdict(samples(40, mb_per_hour=0, noise=0.1))
    assert is_good
    assert "steady" in lines[1]


def test_a_short_run_condemns_nothing() -> None:
    lines, is_good = verdict(samples(5, mb_per_hour=300))
    assert is_good
    assert "too short" in lines[1]


def test_a_request_that_hung_is_bad_whatever_the_slopes() -> None:
    series = samples(40, mb_per_hour=0)
    series.broken = 1
    assert not verdict(series)[1]
