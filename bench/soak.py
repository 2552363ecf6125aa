"""`python -m bench.soak`: a steady, mixed load on `moa serve` for hours, to see what grows.

Healthy and faulty models, streams and whole answers, graphs and clients that leave, and beside
them one fixed probe whose latency is what counts. Memory, files, threads and the probe's latency
are read once per interval, and a straight line is laid through each of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import uvloop

from bench.contenders import fake_upstream
from bench.load import Connection, request_bytes
from bench.measure import cpu_seconds, free_port, open_files, resident_mb, server, threads
from bench.trend import Sample, Series, verdict

PER_SECOND = 36
"""Requests a second besides the probe: about half a core for gateway, upstream and client."""
LEAVERS = 0.1
PROBES_PER_SECOND = 8
PATIENCE = 15.0

UPSTREAM_MODELS = {
    "good": "good?tokens=40&every=10ms",
    "quick": "quick?tokens=64&joined=false",
    "slow": "slow?tokens=20&first=1500ms",
    "ill": "ill?status=500",
    "busy": "busy?status=429&retry_after=1",
    "cut": "cut?tokens=20&then=reset&after=5",
    "mute": "mute?then=hang&after=1",
    "noisy": "noisy?then=noise&after=-1",
    "vast": "vast?flood=line&megabytes=12",
    "probe": "probe?tokens=8",
}
PANEL = ["good", "quick", "quick", "cut", "ill", "mute"]
LAYER = {"proposers": PANEL, "quorum": 3, "grace": 0.2, "deadline": 5}
GRAPHS = {
    "panel": {"layers": [LAYER], "aggregator": "quick"},
    "deep": {
        "layers": [LAYER, LAYER, {"proposers": ["panel", "noisy", "good"], "quorum": 1}],
        "output": {"kind": "aggregate", "model": "cut", "fallback": ["quick"]},
    },
}
MIX = {
    "quick": 8,
    "good": 8,
    "panel": 5,
    "deep": 2,
    "slow": 2,
    "cut": 2,
    "ill": 1,
    "busy": 1,
    "mute": 1,
    "noisy": 1,
    "vast": 0.1,
}


def config(upstream: str) -> str:
    """The gateway's configuration; JSON, which is YAML."""
    limits = {"connect": 2, "first_token": 3, "idle": 2}
    models = {name: {"upstream": "fake", "model": id_} for name, id_ in UPSTREAM_MODELS.items()}
    upstreams = {"fake": {"base_url": upstream, "timeouts": limits}}
    return json.dumps({"upstreams": upstreams, "models": models, "graphs": GRAPHS})


@contextmanager
def gateway(upstream: str) -> Iterator[tuple[int, int]]:
    """The gateway as it is served; its process id and port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "soak.yaml"
        file.write_text(config(upstream))
        moa = str(Path(sys.executable).with_name("moa"))
        command = [moa, "serve", "--config", str(file), "--port", str(port)]
        quiet = {"MOA_LOG_LEVEL": "error"}
        with server(command, f"http://127.0.0.1:{port}/health/ready", quiet) as pid:
            yield pid, port


class Load:
    """The steady load.

    All mutable state: `ends`, what came of the requests, and the probe's latencies since they
    were last taken.
    """

    def __init__(self, port: int, seed: int) -> None:
        self.ends: Counter[str] = Counter()
        self._port = port
        self._rng = random.Random(seed)  # noqa: S311 - a seed that can be repeated
        self._latencies: list[float] = []

    async def run(self, seconds: float) -> None:
        """Ask at random moments, and probe at fixed ones, for so long."""
        stop = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._probe(stop))
            while time.monotonic() < stop:
                tasks.create_task(self._ask())
                await asyncio.sleep(self._rng.expovariate(PER_SECOND))

    def take_latencies(self) -> list[float]:
        """The probe's, in ms."""
        taken, self._latencies = self._latencies, []
        return sorted(taken)

    async def _ask(self) -> None:
        rng = self._rng
        [model] = rng.choices(list(MIX), list(MIX.values()))
        leaves = rng.uniform(0.0, 1.0) if rng.random() < LEAVERS else None
        request = request_bytes(self._port, model, stream=rng.random() < 0.7)
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
        try:
            async with asyncio.timeout(PATIENCE if leaves is None else leaves):
                await connection.send(request)
            self.ends[_ending(bytes(connection.buffer))] += 1
        except TimeoutError:
            self.ends["client left" if leaves is not None else "HUNG"] += 1
        except ConnectionError:
            self.ends["BROKEN"] += 1
        finally:
            transport.abort()

    async def _probe(self, stop: float) -> None:
        request = request_bytes(self._port, "probe", stream=True)
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
        while time.monotonic() < stop:
            started = time.perf_counter()
            async with asyncio.timeout(PATIENCE):
                await connection.send(request)
            self._latencies.append((time.perf_counter() - started) * 1_000)
            if b"[DONE]" not in connection.buffer:
                raise RuntimeError(f"the probe failed: {bytes(connection.buffer[:300])!r}")
            await asyncio.sleep(1 / PROBES_PER_SECOND)
        transport.close()


def _ending(answer: bytes) -> str:
    status = answer[9:12].decode("latin-1")
    if status != "200":
        return status
    return "error event" if b'data: {"error"' in answer else "200"


async def watch(pid: int, load: Load, series: Series, seconds: float, every: float) -> None:
    """Take a sample each `every` seconds, and print it."""
    started = time.monotonic()
    busy = cpu_seconds(pid)
    print(
        f"{'minute':>8}{'RSS MB':>10}{'files':>8}{'threads':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU':>7}"
    )
    while (passed := time.monotonic() - started) < seconds:
        await asyncio.sleep(min(every, seconds - passed))
        latencies = load.take_latencies()
        if len(latencies) < PROBES_PER_SECOND:
            continue
        now = cpu_seconds(pid)
        sample = Sample(
            time.monotonic() - started,
            resident_mb(pid),
            open_files(pid),
            threads(pid),
            median(latencies),
            latencies[int(len(latencies) * 0.99)],
        )
        series.add(sample)
        print(f"{sample.line()}{(now - busy) / every:7.0%}", flush=True)
        busy = now


async def soak(pid: int, port: int, seconds: float, every: float, seed: int) -> Series:
    """Load and watch."""
    load, series = Load(port, seed), Series()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run(seconds))
        tasks.create_task(watch(pid, load, series, seconds - 0.5, every))
    print("\nrequests: " + ", ".join(f"{end} {n}" for end, n in load.ends.most_common()))
    series.broken = load.ends["HUNG"] + load.ends["BROKEN"] + load.ends["500"]
    return series


def main() -> int:
    """Read the options, start everybody, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--every", type=float, help="seconds between two samples")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    options = parser.parse_args()
    seconds = options.minutes * 60
    every = options.every or min(max(seconds / 60, 3.0), 60.0)
    print(f"seed {options.seed}, {options.minutes:g} minutes, a sample every {every:g} s")
    with fake_upstream() as upstream, gateway(upstream) as (pid, port):
        series = uvloop.run(soak(pid, port, seconds, every, options.seed))
    lines, is_good = verdict(series)
    print("\n".join(lines))
    return 0 if is_good else 1


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
