"""Finds the caller behind a presented key, static or virtual, and knows whether one is needed.

Virtual keys are looked up by digest and remembered until keys or teams change anywhere. The SQL is
the store's, what a route asks of a caller the door's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal, Protocol, TypeVar

import anyio

from app.access.caller import Caller, VirtualKey
from app.access.keys import SIGN, StaticKeys, digest_of
from app.access.known_keys import Finding, KnownKeys, Rate
from app.errors import Overloaded, StoreUnavailable

T = TypeVar("T")

POLL_EVERY = 0.5
"""Seconds after which a change is noticed at the latest, where nobody tells of it."""
LOOKUPS_PER_SECOND = 100.0
"""Digests that one process asks the store for at most, but for those of keys it has seen."""
TRUSTED_FOR = 60.0
"""Seconds that remembered keys go on with `closed` once the store stops to answer."""
PATIENCE = 2.0
"""Seconds for one question to the store."""
_LONGEST = 200
_AWAY = "The gateway's database does not answer, so this key cannot be checked; try again"

_log = logging.getLogger("moa.keys")


class KeyStore(Protocol):
    """Where virtual keys are; every method raises StoreUnavailable."""

    async def find(self, digest: str) -> VirtualKey | None:
        """The key with a secret of this digest, whether it still works or not."""

    async def revision(self) -> int:
        """A number that every change of keys and teams makes another one."""

    async def any_created(self) -> bool:
        """Whether a key was ever created, revoked ones included."""


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """What the operator decided: whether a key is always needed, and what a dead store means."""

    require: bool = False
    on_store_failure: Literal["open", "closed"] = "closed"
    pepper: bytes | None = None


USUAL_POLICY = KeyPolicy()


def utc_now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


class KeyRing:
    """All keys of a gateway. Without a store there are only the static ones.

    `now` is the time of day that keys expire by, `clock` one that is never set back.
    """

    def __init__(
        self,
        static: StaticKeys,
        policy: KeyPolicy = USUAL_POLICY,
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._static, self._policy, self._now, self._clock = static, policy, now, clock
        self._known = KnownKeys()
        self._rate = Rate(LOOKUPS_PER_SECOND, clock)
        self._asking: dict[str, anyio.Event] = {}
        self._store: KeyStore | None = None
        self._revision: int | None = None
        self._has_keys, self._is_away, self._confirmed = False, False, clock()
        self._changed: anyio.Event | None = None

    @property
    def has_virtual(self) -> bool:
        """Whether a virtual key was ever made: then requests need the store."""
        return self._has_keys

    @property
    def is_required(self) -> bool:
        """Whether nobody gets in without a key; once true, it stays so."""
        return bool(self._static) or self._policy.require or self._has_keys

    @property
    def pepper(self) -> bytes | None:
        """What digests are made with."""
        return self._policy.pepper

    @asynccontextmanager
    async def following(self, store: KeyStore) -> AsyncIterator[None]:
        """Look keys up in a store, and follow its changes, within the context.

        Raises StoreUnavailable if it does not answer now.
        """
        self._store, self._changed = store, anyio.Event()
        try:
            await self.refresh()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._follow)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._store = None

    async def find(self, presented: bytes) -> Caller | None:
        """The caller with this key, None if there is none or it does not work any more.

        Raises StoreUnavailable where that cannot be found out, and Overloaded where too many keys
        that nobody knows are tried.
        """
        static = self._static.find(presented)
        if static is not None:
            return static
        is_ours = presented.startswith(SIGN.encode()) and len(presented) <= _LONGEST
        if self._store is None or not is_ours:
            return None
        found = await self._look_up(digest_of(presented, self._policy.pepper), self._store)
        works = found is not None and found.key is not None and found.key.works(self._now())
        return found if works else None

    def invalidate(self) -> None:
        """Something may have changed: ask for it now instead of at the next poll."""
        if self._changed is not None:
            self._changed.set()

    async def refresh(self) -> None:
        """Forget what was found if keys or teams have changed. Raises StoreUnavailable."""
        if self._store is None:
            return
        asked = self._clock()
        number = await self._ask(self._store.revision)
        if number != self._revision:
            self._known.forget()
            self._has_keys = self._has_keys or await self._ask(self._store.any_created)
            self._revision = number
        self._confirmed = asked

    async def _follow(self) -> None:
        while self._changed is not None:
            with anyio.move_on_after(POLL_EVERY):
                await self._changed.wait()
            self._changed = anyio.Event()
            was_away = self._is_away
            try:
                await self.refresh()
            except StoreUnavailable as problem:
                if not was_away:
                    _log.warning("keys cannot be looked up: %s", problem.detail)
            except Exception:  # noqa: BLE001 - a revocation must be seen after a bug too
                _log.exception("keys cannot be followed")
            else:
                if was_away:
                    _log.warning("keys can be looked up again")

    async def _look_up(self, digest: str, store: KeyStore) -> Caller | None:
        """What a digest stands for; of those who ask for one at a time, only the first asks."""
        while True:
            known = self._known.get(digest)
            if known is not None and self._is_trusted():
                return known.caller
            if known is not None or self._is_away:
                raise StoreUnavailable(_AWAY)
            others = self._asking.get(digest)
            if others is None:
                return await self._find(digest, store)
            await others.wait()

    async def _find(self, digest: str, store: KeyStore) -> Caller | None:
        if not (self._known.is_familiar(digest) or self._rate.take()):
            raise Overloaded(
                "Too many keys are being tried that are not known here; try again",
                retry_after=1.0,
                detail=f"more than {LOOKUPS_PER_SECOND:g} unknown keys a second",
            )
        done = self._asking[digest] = anyio.Event()
        age = self._known.age
        try:
            key = await self._ask(partial(store.find, digest))
        finally:
            del self._asking[digest]
            done.set()
        caller = None if key is None else Caller(key.id, key, key.rights)
        self._known.keep(digest, Finding(caller), age)
        return caller

    def _is_trusted(self) -> bool:
        """Whether what was found may still be gone by."""
        is_open = self._policy.on_store_failure == "open"
        return is_open or self._clock() - self._confirmed <= TRUSTED_FOR

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        try:
            with anyio.fail_after(PATIENCE):
                answer = await question()
        except TimeoutError:
            self._is_away = True
            raise StoreUnavailable(_AWAY, detail="no answer in time") from None
        except StoreUnavailable as problem:
            self._is_away = True
            raise StoreUnavailable(_AWAY, detail=problem.detail) from problem
        self._is_away = False
        return answer
