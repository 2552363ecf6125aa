"""`moa check`: validate a configuration, draw its graphs, ask its upstreams if told to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import anyio
import orjson
import typer
from rich.console import Console

from app.cli.estimate import TYPICAL_ANSWER, TYPICAL_PROMPT, Estimate, dollars
from app.cli.facts import Facts, GraphFacts, facts, to_json
from app.cli.opening import choose, compiled, load, opened
from app.cli.picture import WIDTH, draw, one_line
from app.cli.pools import price_lines
from app.cli.terminal import EXIT_FAILED, EXIT_REFUSED, endings, stdout
from app.config import LoadedConfig, load_settings
from app.engine.graph import Graph
from app.serving.runtime import Runtime
from app.upstream.deployment import Deployment
from app.upstream.probe import Probe, probe


def check(
    file: Annotated[
        Path | None, typer.Argument(help="Configuration file; by default the one `serve` takes.")
    ] = None,
    *,
    ask_upstreams: Annotated[
        bool, typer.Option("--probe", help="Ask each upstream for its models; costs no tokens.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if there are warnings.")] = False,
) -> None:
    """Validate a configuration, draw its graphs, say what a request may come to.

    Exits with 2 if the configuration is wrong or a probed upstream would not serve.
    """
    with endings():
        chosen = choose(file, load_settings(os.environ).config)
        loaded = load(chosen.path)
        runtime, probes = anyio.run(_look, loaded, ask_upstreams)
        found = facts(chosen, loaded, runtime, probes)
    if as_json:
        stdout().out(orjson.dumps(to_json(found), option=orjson.OPT_INDENT_2).decode())
    else:
        _show(found, stdout())
    if not found.is_usable:
        raise typer.Exit(EXIT_REFUSED)
    if strict and found.has_warnings:
        raise typer.Exit(EXIT_FAILED)


async def _look(loaded: LoadedConfig, ask_upstreams: object) -> tuple[Runtime, tuple[Probe, ...]]:
    runtime = await compiled(loaded)
    if not ask_upstreams:
        return runtime, ()
    async with opened(loaded) as running:
        return runtime, await _probes(running.deployments)


async def _probes(deployments: Sequence[Deployment]) -> tuple[Probe, ...]:
    """What each deployment's upstream says, all asked at once, in the order of the file."""
    found: dict[int, Probe] = {}

    async def ask(position: int, deployment: Deployment) -> None:
        found[position] = await probe(deployment)

    async with anyio.create_task_group() as group:
        for position, deployment in enumerate(deployments):
            group.start_soon(ask, position, deployment)
    return tuple(found[position] for position in range(len(deployments)))


def _show(found: Facts, console: Console) -> None:
    console.print(f"{found.chosen.path} is valid")
    console.print(found.chosen.reason, style="dim")
    width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    for graph in found.graphs:
        console.print()
        _show_graph(graph, console, width)
    console.print()
    console.print(f"models: {', '.join(map(str, found.pools))}")
    console.print("prices, in USD per million tokens:")
    for line in price_lines(found.pools):
        console.print(f"  {line}", highlight=False, markup=False, style="dim")
    for sentence in (sentence for pool in found.pools for sentence in pool.advice):
        console.print(f"warning: {sentence}", style="yellow")
    for sentence in found.left_out:
        console.print(sentence, style="dim")
    for warning in found.warnings:
        console.print(f"warning: {warning}", style="yellow")
    if found.probes:
        console.print()
    for line, is_usable in _probe_lines(found.probes):
        console.print(line, style=None if is_usable else "red")


def _show_graph(found: GraphFacts, console: Console, width: int) -> None:
    graph = found.graph
    console.print(graph.name, style="bold")
    console.print(graph.description or one_line(graph, width))
    console.print()
    console.print(draw(graph, width))
    console.print()
    console.print(
        f"calls: {found.expected_calls}, {found.worst_case_calls} in the worst case · "
        f"critical path: {found.critical_path} calls · depth: {found.depth}"
    )
    console.print(f"a typical request: {_priced(found.estimate)}")
    if limits := _limits(graph):
        console.print(f"caps: {limits}, then {graph.on_cap}")
    for sentence in found.advice:
        console.print(f"warning: {sentence}", style="yellow")


def _limits(graph: Graph) -> str:
    calls, cost = graph.caps.max_calls, graph.caps.max_cost
    told = [] if calls is None else [f"{calls} calls"]
    return ", ".join(told if cost is None else [*told, dollars(cost)])


def _priced(estimate: Estimate) -> str:
    tokens = f"{estimate.usage.prompt} + {estimate.usage.completion} tokens"
    assumed = f"{tokens} from {TYPICAL_PROMPT} for the prompt, {TYPICAL_ANSWER} for each answer"
    if estimate.cost is None:
        return f"price unknown ({assumed}); no price for {', '.join(estimate.unpriced)}"
    return f"{dollars(estimate.cost)} ({assumed})"


def _probe_lines(probes: tuple[Probe, ...]) -> Iterator[tuple[str, bool]]:
    """What each upstream says, the same said of several models once; and whether it is good."""
    same: dict[tuple[str, str, bool], list[str]] = {}
    for found, name in zip(probes, _names(probes), strict=True):
        same.setdefault((found.upstream, found.says, found.is_usable), []).append(name)
    for (upstream, says, is_usable), models in same.items():
        mark = "ok" if is_usable else "NO"
        yield f"probe: {mark}: {upstream}: {says} ({', '.join(models)})", is_usable


def _names(probes: tuple[Probe, ...]) -> Iterator[str]:
    """The models, `gpt[1]` for the second deployment of several."""
    total = Counter(found.model for found in probes)
    so_far: Counter[str] = Counter()
    for found in probes:
        several = total[found.model] > 1
        yield f"{found.model}[{so_far[found.model]}]" if several else found.model
        so_far[found.model] += 1
