"""What a run of a graph may still spend: its caps held against its record before each layer.

Nothing under way is ever cancelled for money or calls: such a cap decides what is begun.
"""

from __future__ import annotations

from dataclasses import replace

import anyio

from app.caps import Cap, short_of
from app.engine.graph import OUTPUT, Graph, Layer
from app.engine.measure import layer_calls, least_output_calls, output_calls
from app.errors import CapReached, DeadlineExceeded, MoaError
from app.record import CallRecord, Degradation, Step

PANEL_SHARE = 0.8
"""The part of a request's time that its layers may use, so that the output node has the rest."""
SOON = 0.01
"""Seconds that are not worth beginning a layer for; timers are no more exact than that."""


def patience(seconds: float, share: float) -> float:
    """So many seconds, or this share of the time left if that is less: others come after."""
    left = anyio.current_effective_deadline() - anyio.current_time()
    return min(seconds, share * left)


class Allowance:
    """What is left to one run of a graph; made when it begins, under the request's deadline.

    The caps of the run count all of its calls; those of a nested graph count its own.
    """

    def __init__(self, graph: Graph, step: Step, path: str) -> None:
        self._graph, self._record, self._path = graph, step.run, path
        self._is_nested = bool(step.graph)
        self._first = len(step.run.calls)
        if not self._is_nested:
            step.run.caps = step.run.caps.tightened(graph.caps)
        own, whole = graph.caps, step.run.caps
        limits = (own.max_calls, own.max_cost, whole.max_calls, whole.max_cost)
        self._has_limits = any(limit is not None for limit in limits)
        now, end = anyio.current_time(), anyio.current_effective_deadline()
        self._panel_ends = now + PANEL_SHARE * (end - now)
        self.reached: Cap | None = None

    def covers_layer(self, number: int, layer: Layer) -> bool:
        """Whether a layer may begin; its calls must leave room for the output's."""
        wanted = 0
        if self._has_limits:
            wanted = layer_calls(self._graph, layer) + least_output_calls(self._graph)
        return self._covers(f"layer {number}", wanted) and self._promise(wanted)

    def covers_output(self, references: int) -> bool:
        """Whether the output node may ask all it wants to of these references; once it may."""
        wanted = 0
        if self._has_limits:
            self._declare_unpriced()
            several = output_calls(self._graph, references)
            is_single = several <= least_output_calls(self._graph)
            wanted = 0 if is_single and self._graph.on_cap == "degrade" else several
        is_covered = self._covers(OUTPUT, wanted)
        self._promise(wanted if wanted and is_covered else 1)
        return is_covered

    def bounded(self, layer: Layer) -> Layer:
        """The layer as this run waits for it: no more answers and no longer than it may."""
        quorum, deadline = layer.quorum, layer.deadline
        if self._record.caps.quorum is not None:
            quorum = min(quorum, self._record.caps.quorum)
        if self._graph.on_cap == "degrade":
            deadline = min(deadline, self._panel_ends - anyio.current_time())
        if (quorum, deadline) == (layer.quorum, layer.deadline):
            return layer
        return replace(layer, quorum=quorum, deadline=deadline)

    def error(self, cap: Cap) -> MoaError:
        """What a client is told where a cap leaves it without an answer."""
        name = self._graph.name
        if cap is Cap.TIME:
            what = f"The graph '{name}' had no time left for an answer."
            return DeadlineExceeded(what, should_retry=False)
        caps = self._record.caps
        most = caps.max_calls if cap is Cap.CALLS else caps.max_cost
        unit = "upstream calls" if cap is Cap.CALLS else "USD"
        what = f"The graph '{name}' came to its cap before an answer ({unit}: {most})."
        return CapReached(what, should_retry=False)

    def _promise(self, calls: int) -> bool:
        """Hold so many calls from fallbacks; those of nested graphs are part of it. True."""
        if not self._is_nested:
            self._record.promised = len(self._record.calls) + calls
        return True

    def _declare_unpriced(self) -> None:
        run = self._record
        if run.caps.max_cost is not None and any(call.cost is None for call in run.calls):
            run.note("cost_unknown", OUTPUT)

    def _covers(self, where: str, wanted: int) -> bool:
        cap = self._short_of(wanted)
        if cap is None:
            return True
        self.reached = cap
        if self._graph.on_cap == "error":
            raise self.error(cap)
        self._record.degrade(Degradation.CAP_REACHED)
        self._record.note("cap_reached", where, cap)
        return False

    def _short_of(self, wanted: int) -> Cap | None:
        if self._graph.on_cap == "degrade" and self._panel_ends - anyio.current_time() < SOON:
            return Cap.TIME
        calls = self._record.calls
        cap = short_of(self._record.caps, calls, wanted)
        if cap is None and self._is_nested:
            own = [call for call in calls[self._first :] if self._is_own(call)]
            cap = short_of(self._graph.caps, own, wanted)
        return cap

    def _is_own(self, call: CallRecord) -> bool:
        return call.graph == self._path or call.graph.startswith(f"{self._path}/")
