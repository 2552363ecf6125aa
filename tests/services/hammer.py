"""One of two processes that ask one Redis at once: `hammer.py URL RUN rate|places`.

Prints how many requests were allowed and the most under way in both together that it saw.
"""

from __future__ import annotations

import os
import sys

import anyio

from app.access.limiter import Check
from app.store.redis import RedisStores, open_redis

PROCESSES, WORKERS, ROUNDS = 2, 16, 40
REQUESTS, TOKENS, PLACES, AMOUNT = 1_000, 6_300, 5, 7
"""More is allowed than one process asks for, less than both do."""


def checks(what: str, run: str, worker: int) -> list[Check]:
    """Two keys of one team, so the limits of the team are reached first."""
    key, team = f"key:{run}-{worker % 2}", f"team:{run}"
    if what == "places":
        return [Check(key, "concurrent", PLACES, 1), Check(team, "concurrent", PLACES, 1)]
    requests = [Check(scope, "requests", REQUESTS, 1) for scope in (key, team)]
    return [*requests, Check(team, "tokens", TOKENS, AMOUNT)]


async def all_are_here(stores: RedisStores, run: str) -> None:
    """Wait for the other process, so that both ask at once."""
    name = f"test:here:{run}"
    here = await stores.server.ask(lambda client: client.incr(name))
    with anyio.fail_after(30):
        while int(here) < PROCESSES:
            await anyio.sleep(0.001)
            here = await stores.server.ask(lambda client: client.incrby(name, 0))


async def main(url: str, run: str, what: str) -> None:
    allowed = most = 0

    async def work(stores: RedisStores, worker: int) -> None:
        nonlocal allowed, most
        asked = checks(what, run, worker)
        for at in range(ROUNDS):
            request_id = f"{os.getpid()}-{worker}-{at}"
            verdict = await stores.limiter.take(request_id, asked, 60)
            while what == "places" and not verdict.allowed:
                await anyio.sleep(0.001)
                verdict = await stores.limiter.take(request_id, asked, 60)
            allowed += verdict.allowed
            if what == "places":
                under_way = await stores.server.ask(lambda client: client.incr(f"test:{run}"))
                most = max(most, int(under_way))
                await stores.server.ask(lambda client: client.decr(f"test:{run}"))
                await stores.limiter.release(request_id, {each.scope for each in asked})

    async with anyio.create_task_group() as tasks, open_redis(url, tasks, patience=10) as stores:
        await all_are_here(stores, run)
        with anyio.fail_after(50):
            async with anyio.create_task_group() as crowd:
                for worker in range(WORKERS):
                    crowd.start_soon(work, stores, worker)
    sys.stdout.write(f"{allowed} {most}\n")


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
