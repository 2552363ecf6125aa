"""What the process remembers of its upstreams, kept over reloads of the configuration.

Nothing is kept for its own sake: what no runtime uses any more is forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar
from weakref import WeakValueDictionary

from app.upstream.breaker import Breaker
from app.upstream.limit import Slots
from app.upstream.retry_budget import RetryBudget
from app.upstream.spec_guards import BreakerSpec, ConcurrencySpec
from app.upstream.vitals import Vitals

_Key = TypeVar("_Key")
_Part = TypeVar("_Part")
_Wanted: TypeAlias = tuple[str, BreakerSpec | None, ConcurrencySpec | None]


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Standing:
    """How one deployment stands; None for a guard that is off."""

    vitals: Vitals
    breaker: Breaker | None = None
    slots: Slots | None = None


class Standings:
    """One per process: the standing of each deployment, and the retry budget of each upstream.

    Each part is found again under its key and the spec it was made for, while anyone holds it. So
    a reload that is given up takes nothing from the runtime that stays.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._vitals = WeakValueDictionary[str, Vitals]()
        self._breakers = WeakValueDictionary[tuple[str, BreakerSpec], Breaker]()
        self._slots = WeakValueDictionary[tuple[str, ConcurrencySpec], Slots]()
        self._budgets = WeakValueDictionary[str, RetryBudget]()
        self._standings = WeakValueDictionary[_Wanted, Standing]()

    def of(
        self, key: str, breaker: BreakerSpec | None, concurrency: ConcurrencySpec | None
    ) -> Standing:
        """The standing of the deployment with this key: the same as before for the same specs.

        Under another spec a breaker or its slots are made anew, the vitals stay.
        """
        return _kept(
            self._standings,
            (key, breaker, concurrency),
            lambda: Standing(
                _kept(self._vitals, key, lambda: Vitals(self._clock)),
                None if breaker is None else self._breaker_of(key, breaker),
                None if concurrency is None else self._slots_of(key, concurrency),
            ),
        )

    def budget(self, upstream: str) -> RetryBudget:
        """The retry budget that all models of this upstream share."""
        return _kept(self._budgets, upstream, lambda: RetryBudget(self._clock))

    def _breaker_of(self, key: str, spec: BreakerSpec) -> Breaker:
        return _kept(self._breakers, (key, spec), lambda: Breaker(spec, self._clock))

    def _slots_of(self, key: str, spec: ConcurrencySpec) -> Slots:
        return _kept(self._slots, (key, spec), lambda: Slots(spec))


def _kept(store: WeakValueDictionary[_Key, _Part], key: _Key, make: Callable[[], _Part]) -> _Part:
    """What is stored under `key`; made now where there is nothing, or nobody held it."""
    found = store.get(key)
    if found is None:
        found = store[key] = make()
    return found
