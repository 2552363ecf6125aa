"""Whether a measured value grows: a least-squares line, its standard error, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

WARM_UP = 0.25
"""Share of the samples that is left out at the start: pools fill, caches and arenas grow once."""
SURE = 3.0
"""Standard errors a slope must be above zero to count as growth."""
SHORTEST = 600.0
"""Seconds of samples below which growth is no more than settling in."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the server: seconds since the start, MB, counts, milliseconds."""

    at: float
    megabytes: float
    files: float
    threads: float
    p50: float
    p99: float

    def line(self) -> str:
        """As a row of the table."""
        head = f"{self.at / 60:8.1f}{self.megabytes:10.1f}{self.files:8.0f}{self.threads:9.0f}"
        return f"{head}{self.p50:9.2f}{self.p99:9.2f}"


@dataclass(slots=True)
class Series:
    """The samples so far; `broken` counts requests that got no end, or a bug for an answer."""

    samples: list[Sample] = field(default_factory=list)
    broken: int = 0

    def add(self, sample: Sample) -> None:
        """Keep one."""
        self.samples.append(sample)


@dataclass(frozen=True, slots=True)
class Slope:
    """A line's slope and its standard error, both per hour, over `span` seconds."""

    value: float
    error: float
    span: float

    @property
    def is_growth(self) -> bool:
        """Whether it is above zero beyond doubt."""
        return self.span >= SHORTEST and self.value > SURE * self.error

    def judged(self, tolerated: float) -> str:
        """Steady, GROWS, or undecided; `tolerated` is per hour."""
        if self.is_growth and self.value > tolerated:
            return "GROWS"
        if self.value + SURE * self.error <= tolerated:
            return "steady"
        return "too short to tell" if self.span < SHORTEST else "no growth for sure"


def slope(times: Sequence[float], values: Sequence[float]) -> Slope:
    """Least squares over seconds; infinite error where there are fewer than three samples."""
    count = len(times)
    if count < 3:
        return Slope(0.0, math.inf, 0.0)
    mean_time, mean = sum(times) / count, sum(values) / count
    spread = sum((time - mean_time) ** 2 for time in times)
    value = sum((t - mean_time) * (v - mean) for t, v in zip(times, values, strict=True)) / spread
    residuals = (v - mean - value * (t - mean_time) for t, v in zip(times, values, strict=True))
    error = math.sqrt(sum(residual**2 for residual in residuals) / (count - 2) / spread)
    return Slope(value * 3_600, error * 3_600, max(times) - min(times))


JUDGED = (
    ("memory", 1, "MB per hour", 2.0),
    ("files", 2, "per hour", 2.0),
    ("threads", 3, "per hour", 1.0),
    ("probe p50", 4, "ms per hour", 0.5),
    ("probe p99", 5, "ms per hour", 5.0),
)
"""Name, place in a `Sample`, unit, and the slope that is tolerated."""


def verdict(series: Series) -> tuple[list[str], bool]:
    """The lines to print, and whether nothing grows and nothing broke."""
    kept = [astuple(each) for each in series.samples[int(len(series.samples) * WARM_UP) :]]
    times = [row[0] for row in kept]
    lines = [f"slopes over the last {len(kept)} samples (least squares ± standard error):"]
    judgements = []
    for name, place, unit, tolerated in JUDGED:
        found = slope(times, [row[place] for row in kept])
        judgements.append(found.judged(tolerated))
        lines.append(
            f"  {name:10}{found.value:+10.2f} ± {found.error:<8.2f} {unit:12} "
            f"{judgements[-1]} (tolerated {tolerated:g})"
        )
    is_good = "GROWS" not in judgements and not series.broken
    ending = f"{series.broken} requests hung, broke or met a bug" if series.broken else "none broke"
    lines.append(f"verdict: {'good' if is_good else 'BAD'}; {ending}")
    return lines, is_good
