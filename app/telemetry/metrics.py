"""Prometheus metrics, made from finished run records; of the process, only load and reloads.

Labels are names from the configuration and closed vocabularies, so their number is bounded. Each
`Metrics` has its own registry; with `PROMETHEUS_MULTIPROC_DIR` set, the numbers of all worker
processes are added up.
"""

from __future__ import annotations

import os
from collections import Counter as Tally
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from app.protocol.usage import Usage
from app.record import CallRecord, Outcome, RunRecord

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
RELOADS = ("ok", "unchanged", "refused")
OVERHEAD_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class _Family(Protocol):
    def labels(self, *labelvalues: Any) -> Any: ...


class Metrics:
    """All metrics of one server; `cost_of` gives a call's price in USD, None if unknown."""

    def __init__(self, cost_of: Callable[[CallRecord], Decimal | None]) -> None:
        # One more series for each, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types
        self._cost_of = cost_of
        self._registry = CollectorRegistry()
        self._children: dict[tuple[object, ...], Any] = {}
        self._requests = self._counter("moa_requests", "Requests by ending", "graph", "outcome")
        self._seconds = self._histogram("moa_request_seconds", "Whole requests", "graph")
        self._first = self._histogram("moa_time_to_first_token_seconds", "First token", "graph")
        self._overhead = self._histogram(
            "moa_overhead_seconds",
            "Time in which no upstream was waited for",
            "graph",
            buckets=OVERHEAD_SECONDS,
        )
        self._nodes = self._histogram(
            "moa_node_seconds", "Upstream calls", "graph", "node", "model", "outcome"
        )
        self._tokens = self._counter("moa_tokens", "Billed tokens", "model", "kind")
        self._cost = self._counter("moa_cost_usd", "USD, where prices are known", "model")
        self._unpriced = self._counter("moa_unpriced_calls", "Billed, price unknown", "model")
        self._degraded = self._counter("moa_degraded", "Degraded answers", "graph", "reason")
        self._errors = self._counter("moa_upstream_errors", "Failed calls", "upstream", "kind")
        self._in_flight = Gauge(
            "moa_inflight",
            "Requests under way",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._reloads = self._counter("moa_config_reloads", "Reloads by ending", "outcome")
        for outcome in RELOADS:
            self._child(self._reloads, outcome)

    def in_flight(self, count: int) -> None:
        """So many requests are under way in this process."""
        self._in_flight.set(count)

    def reloaded(self, outcome: str) -> None:
        """The configuration was read again; `outcome` is one of RELOADS."""
        self._child(self._reloads, outcome).inc()

    def observe(self, run: RunRecord) -> None:
        """Read a finished run. Never waits."""
        graph, ended = run.model, run.started if run.ended is None else run.ended
        outcome = run.error_kind or run.outcome.value
        self._child(self._requests, graph, outcome).inc()
        self._child(self._seconds, graph).observe(ended - run.started)
        if run.first_token is not None:
            self._child(self._first, graph).observe(run.first_token - run.started)
        self._child(self._overhead, graph).observe(overhead(run, ended))
        for reason in run.degraded:
            self._child(self._degraded, graph, reason).inc()
        for call in run.calls:
            self._observe_call(graph, call, ended)
        self._observe_billing(run)

    def render(self) -> bytes:
        """The text format, of all worker processes if there are several."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call] # the library has no types
        return generate_latest(together)

    def _observe_call(self, graph: str, call: CallRecord, run_ended: float) -> None:
        ended = run_ended if call.ended is None else call.ended
        labels = (call.graph or graph, call.node, call.target.model, call.outcome.value)
        self._child(self._nodes, *labels).observe(ended - call.started)
        if call.outcome is Outcome.FAILED:
            kind = call.error_kind or "other"
            self._child(self._errors, call.target.upstream, kind).inc()

    def _observe_billing(self, run: RunRecord) -> None:
        tokens: Tally[tuple[str, str]] = Tally()
        for call in run.billed():
            model = call.target.model
            for kind, count in _kinds(call.usage or Usage()):
                tokens[model, kind] += count
            cost = self._cost_of(call)
            if cost is None:
                self._child(self._unpriced, model).inc()
            else:
                self._child(self._cost, model).inc(float(cost))
        for labels, count in tokens.items():
            if count:
                self._child(self._tokens, *labels).inc(count)

    def _child(self, family: _Family, *labels: str) -> Any:
        """A labelled metric; looking it up in the library each time costs several times more."""
        key = (family, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = family.labels(*labels)
        return child

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS
    ) -> Histogram:
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)


def overhead(run: RunRecord, ended: float) -> float:
    """Seconds of a run during which no upstream call was under way: our own time."""
    busy, until = 0.0, run.started
    for call in sorted(run.calls, key=lambda each: each.started):
        stop = ended if call.ended is None else min(call.ended, ended)
        if stop > until:
            busy += stop - max(call.started, until)
            until = stop
    return max(0.0, ended - run.started - busy)


def _kinds(usage: Usage) -> tuple[tuple[str, int], ...]:
    return (
        ("prompt", usage.prompt),
        ("completion", usage.completion),
        ("cached", usage.cached),
        ("reasoning", usage.reasoning),
    )
