"""Shows a run while it is under way, by looking at its record again and again.

Two ways: a live table for a terminal, plain lines for everything else. Neither touches the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, Self

import anyio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.record import CallRecord, Outcome, RunRecord

EVERY = 0.1
"""Seconds between two looks."""

_MARKS = {
    Outcome.RUNNING: ("●", "cyan"),
    Outcome.OK: ("✓", "green"),
    Outcome.FAILED: ("✗", "red"),
    Outcome.CANCELLED: ("-", "yellow"),
}


class Watcher(Protocol):
    """What is shown of a run."""

    def look(self, record: RunRecord) -> None:
        """Show what has changed."""

    def end(self, record: RunRecord) -> None:
        """Show the state before the answer begins, and again once it has ended; no look between."""


async def watch(record: RunRecord, watcher: Watcher) -> None:
    """Look until cancelled."""
    while True:
        watcher.look(record)
        await anyio.sleep(EVERY)


class Silent:
    """Shows nothing."""

    def look(self, record: RunRecord) -> None:
        """Nothing to do."""

    def end(self, record: RunRecord) -> None:
        """Nothing to do."""


@dataclass(slots=True)
class PlainLines:
    """A line when a call begins and one when it ends. `_seen` is how far each call was told.

    None while the answer is written: both may go into one pipe.
    """

    console: Console
    _seen: dict[int, Outcome] = field(default_factory=dict)
    _is_answering: bool = False

    def look(self, record: RunRecord) -> None:
        """Tell the calls that began or ended since the last look."""
        if not self._is_answering:
            self._tell(record)

    def end(self, record: RunRecord) -> None:
        """The same, and then no more until it is called again."""
        self._is_answering = True
        self._tell(record)

    def _tell(self, record: RunRecord) -> None:
        for index, call in enumerate(record.calls):
            told = self._seen.get(index)
            if told is None:
                self.console.print(f"{_where(record, call)}: asking {call.target.model}")
            if told != call.outcome and call.outcome is not Outcome.RUNNING:
                self.console.print(f"{_where(record, call)}: {_ending(record, call)}")
            self._seen[index] = call.outcome


class LiveTable:
    """A table that is drawn over itself; `end` leaves it standing, without the answer's own call.

    A context manager: on leaving, the terminal is as it was, whatever happened.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._is_over = False

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def look(self, record: RunRecord) -> None:
        """Draw the calls as they are now."""
        if not self._is_over:
            self._live.update(table(record, record.calls), refresh=True)

    def end(self, record: RunRecord) -> None:
        """Draw for the last time and let the cursor go on below."""
        if not self._is_over:
            calls = [call for call in record.calls if not call.is_output]
            self._live.update(table(record, calls), refresh=True)
            self._is_over = True
            self._live.stop()


def table(record: RunRecord, calls: list[CallRecord]) -> Table:
    """One row for each call: mark, layer, node, model, seconds, tokens, what went wrong."""
    grid = Table.grid(padding=(0, 2))
    for call in calls:
        mark, colour = _MARKS[call.outcome]
        grid.add_row(
            mark,
            f"layer {call.layer}",
            _node(record, call),
            call.target.model,
            f"{_elapsed(record, call):.1f} s",
            " ".join(_details(call)),
            style=colour,
        )
    return grid


def _where(record: RunRecord, call: CallRecord) -> str:
    return f"layer {call.layer}, {_node(record, call)}"


def _node(record: RunRecord, call: CallRecord) -> str:
    """The node, with its sample's number if there are several and its path in nested graphs."""
    place = (call.graph, call.layer, call.node)
    twins = {c.sample for c in record.calls if (c.graph, c.layer, c.node) == place}
    name = f"{call.node}#{call.sample + 1}" if len(twins) > 1 else call.node or call.target.model
    _, _, inside = call.graph.partition("/")
    return f"{inside}/{name}" if inside else name


def _ending(record: RunRecord, call: CallRecord) -> str:
    details = " ".join((call.outcome, *_details(call)))
    return f"{details} after {_elapsed(record, call):.1f} s"


def _elapsed(record: RunRecord, call: CallRecord) -> float:
    return (record.clock() if call.ended is None else call.ended) - call.started


def _details(call: CallRecord) -> Iterator[str]:
    if call.error_kind:
        yield call.error_kind
    if call.usage:
        about = "about " if call.usage.estimated else ""
        yield f"{about}{call.usage.completion} tokens"
