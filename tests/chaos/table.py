"""The table of a chaos run: faults against what came of the requests they struck."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from app.upstream.fake_server import Asked, Ending
from tests.chaos.crowd import End, Request
from tests.chaos.faults import FAULTS, Planned

NO_LISTENER = "refused (nobody listens)"
ALL = "all"


class Table:
    """Counts by fault. A request that met several faults counts once in the row of each."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.ends: Counter[tuple[str, End]] = Counter()

    def add(
        self,
        requests: Sequence[Request],
        exchanges: Sequence[tuple[Asked, Planned]],
        refused: Iterable[str],
    ) -> None:
        """Count a round; `refused` names the request of each call that found no listener."""
        struck: dict[str, set[str]] = defaultdict(set)
        for asked, planned in exchanges:
            self.calls.update((planned.fault, ALL))
            if asked.ending is Ending.ABORTED:
                self.cancelled.update((planned.fault, ALL))
            struck[planned.fault].add(planned.request)
        for name in refused:
            self.calls.update((NO_LISTENER, ALL))
            struck[NO_LISTENER].add(name)
        struck[ALL] = {request.name for request in requests}
        ends = {request.name: request.end for request in requests}
        for fault, names in struck.items():
            self.ends.update((fault, ends[name]) for name in names)

    def lines(self) -> Iterator[str]:
        """The head, a row a fault, and the sum, in which each request counts once."""
        yield _row("fault", "calls", "cancelled", "requests", *End)
        for fault in (*FAULTS, NO_LISTENER, "none", ALL):
            counts = [self.ends[fault, end] for end in End]
            yield _row(fault, self.calls[fault], self.cancelled[fault], sum(counts), *counts)


def _row(first: object, *rest: object) -> str:
    return f"{first!s:<30}" + "".join(f"{each!s:>13}" for each in rest)
