"""What is measured, in rounds that take turns between the contenders."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from statistics import median, quantiles

from bench.contenders import Contender, Job, Sample, Server
from bench.load import hold_open, request_bytes
from bench.measure import resident_mb
from bench.workload import LATENCY

ALL = ("gateway", "gateway+keys", "gateway+team", "bare", "script")
SERVERS = ("gateway", "gateway+keys", "gateway+team", "bare")
UNKEYED = ("gateway", "bare", "script")
TWO = ("gateway", "bare")
OPEN_STREAMS = 1_000


@dataclass(frozen=True)
class Scenario:
    """A job and who does it. `ideal` is the critical path in seconds; None where there is none."""

    title: str
    job: Job
    who: tuple[str, ...]
    ideal: float | None = None

    @property
    def paced(self) -> bool:
        """Whether events come one by one, so that CPU time per event means something."""
        return self.job.model == "paced"


SCENARIOS = {
    "moa7-1": Scenario(
        "MoA 7 calls, upstream 200 ms, 1 at once",
        Job("moa7", 1, count=5),
        UNKEYED,
        ideal=2 * LATENCY,
    ),
    "moa7-32": Scenario(
        "MoA 7 calls, upstream 200 ms, 32 at once",
        Job("moa7", 32, count=96),
        UNKEYED,
        ideal=2 * LATENCY,
    ),
    "moa7-max": Scenario(
        "MoA 7 calls, saturated, 32 at once", Job("moa7-fast", 32, seconds=1.2), ALL
    ),
    "moa19-max": Scenario(
        "MoA 19 calls, saturated, 16 at once", Job("moa19-fast", 16, seconds=1.2), UNKEYED
    ),
    "plain-64": Scenario(
        "one call, plain, 64 at once", Job("one", 64, stream=False, seconds=1.0), SERVERS
    ),
    "burst-64": Scenario(
        "one call, 64 tokens in a burst, 64 at once", Job("one", 64, seconds=1.0), SERVERS
    ),
    "paced-64": Scenario(
        "one call, 100 tokens, one per 20 ms, 64 at once", Job("paced", 64, count=64), TWO
    ),
}


@dataclass(frozen=True)
class Figures:
    """A scenario's result for one contender: medians over the rounds; times in milliseconds.

    `p50` and `p99` are over the ideal where there is one.
    """

    p50: float
    p99: float
    cpu_ms: float
    per_second: float
    event_us: float | None

    @property
    def per_core(self) -> float:
        """Requests a core could serve in a second."""
        return 1_000 / self.cpu_ms


async def warm_up(running: dict[str, Contender]) -> None:
    """Open every connection and compile every path, unmeasured."""
    for name, contender in running.items():
        models = ("moa7",) if name == "script" else ("moa7", "one", "moa19-fast")
        for model in models:
            await contender.run(Job(model, 64 if model == "one" else 32, count=128))


async def measure(
    scenario: Scenario, running: dict[str, Contender], rounds: int, scale: float
) -> dict[str, Figures]:
    """All rounds of a scenario, the contenders taking turns."""
    job = scenario.job
    job = replace(job, seconds=job.seconds * scale)
    if scenario.job.count and scale > 1:
        job = replace(job, count=int(job.count * scale))
    samples: dict[str, list[Sample]] = {name: [] for name in scenario.who if name in running}
    for _ in range(rounds):
        for name, taken in samples.items():
            taken.append(await running[name].run(job))
            await asyncio.sleep(0.1)
    return {name: _figures(taken, scenario.ideal or 0.0) for name, taken in samples.items()}


def _figures(samples: list[Sample], ideal: float) -> Figures:
    everything = sorted(latency for sample in samples for latency in sample.latencies)
    events = sum(sample.events for sample in samples)
    return Figures(
        p50=(median(everything) - ideal) * 1_000,
        p99=(quantiles(everything, n=100, method="inclusive")[98] - ideal) * 1_000,
        cpu_ms=median(sample.cpu / len(sample.latencies) for sample in samples) * 1_000,
        per_second=median(len(sample.latencies) / sample.wall for sample in samples),
        event_us=sum(sample.cpu for sample in samples) / events * 1e6 if events else None,
    )


@dataclass(frozen=True)
class Memory:
    """Resident MB before anything was asked, after the load, and with `OPEN_STREAMS` more open."""

    idle: float
    loaded: float
    streaming: float

    @property
    def for_streams(self) -> float:
        """MB for `OPEN_STREAMS` open streams."""
        return self.streaming - self.loaded


async def measure_memory(contender: Server, idle: float) -> Memory:
    """Hold streams open that never end, and look."""
    loaded = resident_mb(contender.pid)
    request = request_bytes(contender.port, "held", stream=True, key=contender.key)
    held = await hold_open(contender.port, request, OPEN_STREAMS)
    streaming = resident_mb(contender.pid)
    for transport in held:
        transport.close()
    return Memory(idle, loaded, streaming)
