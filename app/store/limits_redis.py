"""Rate limits counted on a Redis: exact for all processes that share it, by its clock.

One script a step, so two processes never see a request half counted. A Redis that was restarted
without persistence has forgotten the last minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from itertools import chain

from app.access.limiter import Check, Verdict, window_second
from app.errors import StoreUnavailable
from app.store.redis_scripts import Answer, Script, Scripts

PREFIX = "moa:{limits}:"
"""The braces keep all limits on one node of a cluster: a script cannot reach over two."""

TAKE = Script.read("window", "take")
CORRECT = Script.read("window", "correct")
RELEASE = Script.read("release")


class RedisLimiter:
    """A `Limiter` of every process on one Redis. Only a test hands in a `clock` or a `prefix`."""

    def __init__(
        self,
        scripts: Scripts,
        *,
        clock: Callable[[], float] | None = None,
        prefix: str = PREFIX,
    ) -> None:
        self._scripts = scripts
        self._clock = clock
        self._prefix = prefix

    async def take(self, request_id: str, checks: Sequence[Check], lease: float) -> Verdict:
        """Count one request if every check passes; raises StoreUnavailable."""
        keys = [self._key(check.scope, check.kind) for check in checks]
        asked = chain.from_iterable((each.kind, each.limit, each.amount) for each in checks)
        answer = await self._scripts.run(
            TAKE, keys, [self._now(), request_id, f"{lease:.6f}", *asked]
        )
        return _verdict(checks, answer)

    async def correct(self, request_id: str, scope: str, delta: int, taken_at: float) -> None:  # noqa: ARG002 (tokens are not kept by request)
        """Add `delta` tokens to those counted at `taken_at`, if they still count."""
        args: list[str | int] = [self._now(), window_second(taken_at), delta]
        await self._try(CORRECT, [self._key(scope, "tokens")], args)

    async def release(self, request_id: str, scopes: Collection[str]) -> None:
        """The request has ended: give its leases back."""
        keys = [self._key(scope, "concurrent") for scope in scopes]
        await self._try(RELEASE, keys, [request_id])

    async def _try(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> None:
        try:
            await self._scripts.run(script, keys, args)
        except StoreUnavailable:
            return  # what was counted ends by itself

    def _key(self, scope: str, kind: str) -> str:
        return f"{self._prefix}{kind}:{scope}"

    def _now(self) -> str:
        return f"{self._clock():.6f}" if self._clock else ""


def _verdict(checks: Sequence[Check], answer: Answer) -> Verdict:
    refused, wait, now, *counted = answer
    remaining: dict[tuple[str, str], int] = {}
    reset: dict[tuple[str, str], float] = {}
    for at, check in enumerate(checks):
        name = (check.scope, check.kind)
        remaining[name] = max(0, check.limit - int(counted[2 * at]))
        if check.kind != "concurrent":
            reset[name] = float(counted[2 * at + 1])
    return Verdict(
        allowed=refused == 0,
        refused=checks[int(refused) - 1] if refused else None,
        retry_after=math.inf if float(wait) < 0 else float(wait),
        remaining=remaining,
        reset=reset,
        taken_at=float(now),
    )
