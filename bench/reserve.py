"""`python -m bench.reserve`: what the one wait for the books costs a request, on SQLite.

So many tasks reserve and settle, each as soon as its last reservation is booked; what is printed is
the time of a reservation, its CPU, and how many share a transaction. `DATABASE_URL` names another
database.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from statistics import quantiles

import anyio
import uvloop

from app.access.caller import Limits, Team, VirtualKey
from app.access.ledger import CallLine, Settlement, claim_of
from app.store.database import open_database
from app.store.ledger import StoredLedger, open_ledger
from app.store.migrate import upgrade

CALLS = 7
NOW = datetime.now(UTC)
LIMITS = Limits(budget=Decimal(1_000_000), budget_window="day")
KEY = VirtualKey("k1", "bench", "moa-b", NOW, Team("t1", "bench", NOW, LIMITS), LIMITS)
LINE = CallLine("g", "n", "m", "u", "ok", 100, 64, 0, 10**6)


async def customer(ledger: StoredLedger, times: list[float], until: float) -> None:
    """Reserve and settle, again and again."""
    while time.monotonic() < until:
        started = time.perf_counter()
        claim = claim_of(
            KEY, request_id="r", model="g", caller="c", usd=Decimal("0.01"), now=datetime.now(UTC)
        )
        reservation = await ledger.reserve(claim)
        times.append(time.perf_counter() - started)
        ledger.settle(Settlement(reservation, time.time(), "ok", None, (LINE,) * CALLS))


async def measure(url: str, concurrency: int, seconds: float) -> None:
    """Run the customers, print."""
    async with open_database(url) as database:
        await upgrade(database)
        async with open_ledger(database) as ledger:
            times: list[float] = []
            cpu, until = time.process_time(), time.monotonic() + seconds
            async with anyio.create_task_group() as tasks:
                for _ in range(concurrency):
                    tasks.start_soon(customer, ledger, times, until)
            await ledger.drain()
            cpu = time.process_time() - cpu
    cuts = quantiles(times, n=100)
    print(
        f"{concurrency:4d} at once  p50 {cuts[49] * 1000:6.2f} ms  p99 {cuts[98] * 1000:6.2f} ms  "
        f"{len(times) / seconds:7.0f}/s  CPU {cpu / len(times) * 1e6:5.0f} us (reserve and settle)"
    )


def main() -> None:
    """Read the options, measure each concurrency on a database of its own."""
    parser = argparse.ArgumentParser(prog="python -m bench.reserve", description=__doc__)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    for concurrency in options.at_once:
        with tempfile.TemporaryDirectory() as folder:
            own = f"sqlite+aiosqlite:///{Path(folder) / 'moa.db'}"
            url = os.environ.get("DATABASE_URL", own)
            uvloop.run(measure(url, concurrency, options.seconds))


if __name__ == "__main__":
    main()
