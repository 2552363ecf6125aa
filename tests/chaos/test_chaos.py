"""Hundreds of requests at once, over graphs of three layers, against upstreams that fail at random.

`make chaos` runs it; `SEED=` repeats a run's choices, `ROUNDS=` makes it longer.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import pytest

from app.upstream.fake_server import FakeUpstream
from tests.chaos import books
from tests.chaos.crowd import End, Request, ask_all, crowd
from tests.chaos.faults import Plan, Planned
from tests.chaos.holdings import Holdings
from tests.chaos.setting import DEADLINE, RATES, WRITERS
from tests.chaos.stage import Stage, staged
from tests.chaos.table import Table

pytestmark = pytest.mark.chaos

ROUNDS = int(os.environ.get("ROUNDS") or 6)
SEED = os.environ.get("SEED") or secrets.token_hex(4)
CROWD = 150
GRACE = 1.5
"""Seconds a request may take beyond its deadline: clients, gateway and upstream share two cores."""
MEGABYTES = 40.0
"""What resident memory may grow by between the end of the first round and that of the last."""
GOOD = frozenset({End.ANSWER, End.DEGRADED})
RECOVERY = 8.0
"""Seconds in which every name must answer again once no upstream fails any more."""


class Trial:
    """What was asked so far, and what was wrong with it."""

    def __init__(self, stage: Stage, plan: Plan) -> None:
        self.table = Table()
        self.flaws: list[str] = []
        self.leaving: list[tuple[float, Planned]] = []
        self.slowest = 0.0
        self._stage, self._plan = stage, plan
        self._asked = 1

    async def round(self, size: int = CROWD) -> None:
        """A crowd asks; then the books are checked and closed."""
        stage, plan = self._stage, self._plan
        requests = crowd(SEED, self._asked, size)
        self._asked += size
        await ask_all(stage.url, requests)
        await self._quiet()
        exchanges = books.played(stage.fake.log.entries, plan.calls)
        self.flaws += (f"{request.name}: {flaw}" for request in requests for flaw in request.flaws)
        self.flaws += plan.lies
        self.flaws += books.errors(requests, stage.runs, exchanges)
        self.flaws += _overtime(requests)
        self.leaving += books.leaving_times(requests, exchanges)
        self.slowest = max(self.slowest, *(request.took for request in requests))
        self.table.add(requests, exchanges, _refused(stage))
        self._close_books()

    async def holdings(self) -> Holdings:
        """What is held between two rounds, when no connection is kept for later.

        httpx notices with its next request which of its connections the other side has closed.
        """
        self._plan.calm = True
        for _ in range(2):
            self._stage.hang_up()
            await ask_all(self._stage.url, [Request("r0", "calm-h", stream=False)])
        self._stage.hang_up()
        self._close_books()
        self._plan.calm = False
        return await self._stage.settled()

    async def recover(self) -> list[str]:
        """The names that do not answer although nothing fails any more, but for a dead upstream."""
        self._plan.calm = True
        left = [name for name in WRITERS if name != "refused"]
        give_up = time.monotonic() + RECOVERY
        while left and time.monotonic() < give_up:
            requests = [
                Request(f"r{self._asked + n}", name, stream=bool(n % 2))
                for n, name in enumerate(left)
            ]
            self._asked += len(requests)
            await ask_all(self._stage.url, requests)
            left = [request.model for request in requests if request.end not in GOOD]
        await self._quiet()
        self._close_books()
        return left

    async def _quiet(self) -> None:
        """Wait until no exchange is under way; what never ends is in the books then."""
        log = self._stage.fake.log
        try:
            await log.reached(lambda entries: all(each.ended for each in entries), patience=5.0)
        except TimeoutError:
            self.flaws.append("upstream exchanges go on although no request is under way")

    def _close_books(self) -> None:
        self._stage.fake.log.clear()
        self._stage.runs.clear()
        self._plan.forget()


def _overtime(requests: list[Request]) -> Iterator[str]:
    for request in requests:
        if request.took > DEADLINE + GRACE:
            yield f"{request.name} ({request.model}, {request.end}) took {request.took:.1f} s"


def _refused(stage: Stage) -> list[str]:
    return [
        name
        for name, runs in stage.runs.items()
        for run in runs
        for call in run.calls
        if call.target.upstream == "dead"
    ]


@pytest.fixture
def plan() -> Plan:
    return Plan(SEED, RATES)


@pytest.fixture
def stage(plan: Plan, tmp_path: Path) -> Iterator[Stage]:
    models = (*RATES, "calm")
    fake = FakeUpstream(dict.fromkeys(models, plan.reply), default=None, log_size=1_000_000)
    with staged(fake, tmp_path) as stage:
        yield stage


async def test_nothing_hangs_nothing_lies_nothing_is_lost(
    stage: Stage, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    def show(*lines: object) -> None:
        with capsys.disabled():
            print("", *lines, sep="\n", flush=True)  # noqa: T201 - what CI is to show

    show(f"make chaos SEED={SEED} ROUNDS={ROUNDS}: {CROWD} requests a round")
    trial = Trial(stage, plan)
    await trial.round()
    before = await trial.holdings()
    for _ in range(ROUNDS):
        await trial.round()
    useless = await trial.recover()
    after = await trial.holdings()
    held = stage.held()
    show(*trial.table.lines(), _summary(trial), f"before: {before}", f"after:  {after}")
    assert not trial.flaws, f"{len(trial.flaws)} flaws, SEED={SEED}:\n" + "\n".join(
        trial.flaws[:40]
    )
    assert not useless
    assert not after.exceeds(before), f"{after.exceeds(before)}\n{held}"
    assert after.megabytes - before.megabytes < MEGABYTES


def _summary(trial: Trial) -> str:
    """How long it took at worst, and how soon upstreams were told that a client had left."""
    gone = sorted(trial.leaving, key=itemgetter(0))
    late = [f"{planned} after {seconds * 1e3:.0f} ms" for seconds, planned in gone if seconds > 0.1]
    middle = gone[len(gone) // 2][0] * 1e3 if gone else 0.0
    head = (
        f"slowest request {trial.slowest:.2f} s; {len(gone)} upstream exchanges under way when "
        f"their client left: ended after {middle:.0f} ms (median), {len(late)} after 100 ms or more"
    )
    return "\n  ".join([head, *late[-5:]])
