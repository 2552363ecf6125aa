"""`python -m bench`: one interleaved run against the fake upstream, then the table."""

from __future__ import annotations

import argparse
import time

import uvloop

from bench import report
from bench.contenders import Contender, Server, contenders, fake_upstream
from bench.measure import raise_file_limit, resident_mb
from bench.scenarios import ALL, SCENARIOS, Figures, Memory, measure, measure_memory, warm_up


async def run(options: argparse.Namespace, running: dict[str, Contender]) -> None:
    """Measure, print, save."""
    started = time.monotonic()
    servers = {name: each for name, each in running.items() if isinstance(each, Server)}
    idle = {name: resident_mb(each.pid) for name, each in servers.items()}
    await warm_up(running)
    results: dict[str, dict[str, Figures]] = {}
    for key in options.scenarios:
        results[key] = await measure(SCENARIOS[key], running, options.rounds, options.scale)
        report.print_scenario(key, results[key])
    memory: dict[str, Memory] = {}
    if not options.no_memory:
        memory = {name: await measure_memory(each, idle[name]) for name, each in servers.items()}
        report.print_memory(memory)
    met = list(report.targets(results, memory))
    report.print_targets(met)
    file = report.save(results, memory, met)
    print(f"\n{time.monotonic() - started:.0f} s, {options.rounds} rounds; figures in {file}")


def main() -> None:
    """Read the options, start everybody."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns each contender takes")
    parser.add_argument("--scale", type=float, default=1.0, help="length of each turn")
    parser.add_argument("--only", nargs="+", default=list(ALL), metavar="CONTENDER")
    parser.add_argument(
        "--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS), metavar="NAME"
    )
    parser.add_argument("--no-memory", action="store_true")
    options = parser.parse_args()
    raise_file_limit()
    with fake_upstream() as upstream, contenders(options.only, upstream) as running:
        uvloop.run(run(options, running))


if __name__ == "__main__":
    main()
