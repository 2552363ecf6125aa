"""The table, the ratios, and which of the design's targets are met."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.scenarios import SCENARIOS, Figures, Memory

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Target:
    """A figure, the limit it has to keep and the one we would like."""

    name: str
    value: float
    limit: float
    reach: float
    unit: str

    @property
    def verdict(self) -> str:
        """reach, hit or MISS."""
        if self.value <= self.reach:
            return "reach"
        return "hit" if self.value <= self.limit else "MISS"


def print_scenario(key: str, figures: dict[str, Figures]) -> None:
    """One block of the table."""
    scenario = SCENARIOS[key]
    over = " over the ideal" if scenario.ideal else ""
    print(f"\n{scenario.title}")
    print(
        f"  {'':14}{'p50 ms' + over:>24}{'p99 ms' + over:>24}"
        f"{'CPU ms/req':>12}{'of gateway':>12}{'req/s':>9}{'req/s/core':>12}{'CPU µs/event':>14}"
    )
    ours = figures.get("gateway")
    for name, row in figures.items():
        ratio = f"{row.cpu_ms / ours.cpu_ms:11.2f}x" if ours else f"{'-':>12}"
        event = f"{row.event_us:14.1f}" if row.event_us and scenario.paced else f"{'-':>14}"
        print(
            f"  {name:14}{row.p50:24.1f}{row.p99:24.1f}"
            f"{row.cpu_ms:12.2f}{ratio}{row.per_second:9.0f}{row.per_core:12.0f}{event}"
        )


def print_memory(memory: dict[str, Memory]) -> None:
    """The block on resident memory."""
    print("\nresident memory, MB")
    print(f"  {'':14}{'idle':>10}{'after load':>14}{'1000 streams open':>20}{'for them':>12}")
    for name, row in memory.items():
        print(
            f"  {name:14}{row.idle:10.0f}{row.loaded:14.0f}"
            f"{row.streaming:20.0f}{row.for_streams:12.0f}"
        )


def print_targets(targets: list[Target]) -> None:
    """The block on targets."""
    print(f"\n{'target':46}{'measured':>12}{'limit':>9}{'reach':>9}")
    for target in targets:
        print(
            f"{target.name:46}{target.value:12.2f}{target.limit:9.2f}{target.reach:9.2f}"
            f"  {target.unit:6}{target.verdict}"
        )


def targets(results: dict[str, dict[str, Figures]], memory: dict[str, Memory]) -> Iterator[Target]:
    """Every target the run has figures for."""
    for key, name, limit, reach in (
        ("moa7-1", "p50 over the ideal, 1 at once", 8, 4),
        ("moa7-32", "p50 over the ideal, 32 at once", 30, 10),
    ):
        if row := results.get(key, {}).get("gateway"):
            yield Target(name, row.p50, limit, reach, "ms")
    if row := results.get("moa7-32", {}).get("gateway"):
        yield Target("p99 over the ideal, 32 at once", row.p99, 100, 30, "ms")
    yield from _ratio(
        results.get("moa7-max", {}),
        "script",
        "MoA 7 CPU of the script's",
        limit=1 / 12,
        reach=1 / 18,
    )
    yield from _ratio(
        results.get("moa19-max", {}), "bare", "MoA 19 CPU of the bare one's", limit=1.5, reach=1.2
    )
    for key, name in (("plain-64", "plain"), ("burst-64", "burst")):
        if row := results.get(key, {}).get("gateway"):
            yield Target(f"pass-through CPU per request, {name}", row.cpu_ms, 0.45, 0.30, "ms")
    if (row := results.get("paced-64", {}).get("gateway")) and row.event_us:
        yield Target("paced streamed event", row.event_us, 75, 50, "µs")
    if used := memory.get("gateway"):
        yield Target("memory idle", used.idle, 100, 70, "MB")
        yield Target("memory per 1000 open streams", used.for_streams, 65, 45, "MB")


def _ratio(
    rows: dict[str, Figures], other: str, name: str, *, limit: float, reach: float
) -> Iterator[Target]:
    if "gateway" in rows and other in rows:
        yield Target(name, rows["gateway"].cpu_ms / rows[other].cpu_ms, limit, reach, "x")


def save(
    results: dict[str, dict[str, Figures]], memory: dict[str, Memory], met: list[Target]
) -> Path:
    """Write everything as JSON; returns the file."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    scenarios = {
        key: {name: asdict(row) for name, row in rows.items()} for key, rows in results.items()
    }
    everything = {
        "scenarios": scenarios,
        "memory": {name: asdict(row) for name, row in memory.items()},
        "targets": [{**asdict(target), "verdict": target.verdict} for target in met],
    }
    file.write_text(json.dumps(everything, indent=1))
    return file
