"""Keys are found once, forgotten when something changes, and known while the store is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from app.access.caller import Right, VirtualKey
from app.access.keyring import LOOKUPS_PER_SECOND, TRUSTED_FOR, KeyPolicy, KeyRing
from app.access.keys import StaticKeys, digest_of, new_secret
from app.access.known_keys import Finding, KnownKeys
from app.errors import Overloaded, StoreUnavailable

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
PATIENCE = 5.0


@dataclass
class Store:
    """A key store in memory that can be away, and slow until it is let go."""

    keys: dict[str, VirtualKey] = field(default_factory=dict)
    number: int = 1
    is_away: bool = False
    asked: list[str] = field(default_factory=list)
    polls: int = 0
    gate: anyio.Event | None = None
    polled: anyio.Event = field(default_factory=anyio.Event)

    def add(self, key: VirtualKey, pepper: bytes | None = None) -> bytes:
        secret, _ = new_secret()
        self.keys[digest_of(secret.encode(), pepper)] = key
        self.number += 1
        return secret.encode()

    def change(self, **changes: object) -> None:
        self.keys = {digest: replace(key, **changes) for digest, key in self.keys.items()}
        self.number += 1

    async def find(self, digest: str) -> VirtualKey | None:
        self.asked.append(digest)
        found = self.keys.get(digest)
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise StoreUnavailable("away")
        return found

    async def revision(self) -> int:
        self.polls += 1
        self.polled.set()
        self.polled = anyio.Event()
        if self.is_away:
            raise StoreUnavailable("away")
        return self.number

    async def any_created(self) -> bool:
        return bool(self.keys)


@dataclass
class Time:
    seconds: float = 0.0

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


def ring_of(time: Time, *static: str, **policy: object) -> KeyRing:
    return KeyRing(StaticKeys(static), KeyPolicy(**policy), now=time.now, clock=time.clock)


@asynccontextmanager
async def following(
    store: Store, time: Time, *static: str, **policy: object
) -> AsyncIterator[KeyRing]:
    ring = ring_of(time, *static, **policy)
    with anyio.fail_after(PATIENCE):
        async with ring.following(store):
            yield ring


def key(**changes: object) -> VirtualKey:
    return replace(VirtualKey("key_1", "one", "moa-1", NOW), **changes)


def stranger() -> bytes:
    return new_secret()[0].encode()


async def test_a_static_key_needs_no_store():
    ring = ring_of(Time(), "moa-static")
    found = await ring.find(b"moa-static")
    assert found is not None
    assert found.key is None
    assert await ring.find(b"moa-other") is None


async def test_a_static_key_is_found_before_the_store_is_asked():
    store = Store()
    async with following(store, Time(), "moa-static") as ring:
        assert await ring.find(b"moa-static") is not None
    assert store.asked == []


async def test_a_virtual_key_is_found_with_its_rights_and_asked_for_once():
    store = Store()
    secret = store.add(key(rights=frozenset({Right.ADMIN})))
    async with following(store, Time()) as ring:
        for _ in range(3):
            found = await ring.find(secret)
            assert found is not None
            assert (found.id, found.rights) == ("key_1", {Right.ADMIN})
    assert len(store.asked) == 1


async def test_a_secret_never_reaches_the_store():
    store = Store()
    secret = store.add(key())
    async with following(store, Time()) as ring:
        await ring.find(secret)
    assert secret.decode() not in repr(store.asked)


async def test_a_pepper_is_part_of_the_digest():
    store = Store()
    secret = store.add(key(), b"a pepper")
    async with following(store, Time(), pepper=b"a pepper") as ring:
        assert await ring.find(secret) is not None
    async with following(store, Time()) as ring:
        assert await ring.find(secret) is None


async def test_an_unknown_key_is_asked_for_once():
    store, wrong = Store(), stranger()
    async with following(store, Time()) as ring:
        for _ in range(3):
            assert await ring.find(wrong) is None
    assert len(store.asked) == 1


@pytest.mark.parametrize("presented", [b"sk-not-ours", b"", b"moa-" + b"x" * 500, b"\xff\xfe"])
async def test_what_is_no_key_of_ours_is_not_asked_for(presented):
    store = Store()
    async with following(store, Time()) as ring:
        assert await ring.find(presented) is None
    assert store.asked == []


async def test_a_flood_of_wrong_keys_reaches_the_store_at_a_bounded_rate():
    store, time, refused = Store(), Time(), 0
    async with following(store, time) as ring:
        for _ in range(3 * int(LOOKUPS_PER_SECOND)):
            try:
                await ring.find(stranger())
            except Overloaded:
                refused += 1
        assert len(store.asked) == LOOKUPS_PER_SECOND
        assert refused == 2 * LOOKUPS_PER_SECOND
        time.seconds += 1
        assert await ring.find(store.add(key())) is not None


async def test_a_flood_does_not_shut_out_keys_that_were_found_before_a_change():
    store, time = Store(), Time()
    secrets = [store.add(key()) for _ in range(2 * int(LOOKUPS_PER_SECOND))]
    async with following(store, time) as ring:
        for number, secret in enumerate(secrets):
            time.seconds += number / LOOKUPS_PER_SECOND
            assert await ring.find(secret) is not None
        store.number += 1
        await ring.refresh()
        with suppress(Overloaded):
            while True:
                await ring.find(stranger())
        for secret in secrets:
            assert await ring.find(secret) is not None


def test_of_former_keys_no_more_digests_are_kept_than_of_present_ones():
    known = KnownKeys(most=3)
    for number in range(10):
        known.keep(f"key {number}", Finding(object()), number)
        known.forget()
    assert [number for number in range(10) if known.is_familiar(f"key {number}")] == [7, 8, 9]


async def test_a_flood_does_not_drive_out_keys_that_were_found():
    known = KnownKeys(most=3)
    known.keep("right", Finding(None), 0)
    right = Finding(object())
    known.keep("good", right, 0)
    for number in range(10):
        known.keep(f"wrong {number}", Finding(None), 0)
    assert known.get("good") is right
    assert known.get("right") is None


async def test_all_who_bring_the_same_key_at_once_ask_once():
    store = Store(gate=anyio.Event())
    secret, found = store.add(key()), []
    async with following(store, Time()) as ring:

        async def bring() -> None:
            found.append(await ring.find(secret))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(bring)
            await anyio.wait_all_tasks_blocked()
            store.gate.set()
    assert len(store.asked) == 1
    assert all(each is not None for each in found)


async def test_a_revocation_is_known_after_the_next_poll():
    store, time = Store(), Time()
    secret = store.add(key())
    async with following(store, time) as ring:
        assert await ring.find(secret) is not None
        store.change(revoked=NOW)
        while await ring.find(secret) is not None:
            await store.polled.wait()


async def test_who_is_told_of_a_change_does_not_wait_for_the_poll():
    store = Store()
    secret = store.add(key())
    async with following(store, Time()) as ring:
        assert await ring.find(secret) is not None
        before = store.polls
        store.change(revoked=NOW)
        ring.invalidate()
        await anyio.wait_all_tasks_blocked()
        assert store.polls == before + 1
        assert await ring.find(secret) is None


async def test_an_answer_from_before_a_change_is_not_kept_after_it():
    store = Store(gate=anyio.Event())
    secret = store.add(key())
    async with following(store, Time()) as ring:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ring.find, secret)
            await anyio.wait_all_tasks_blocked()
            store.change(revoked=NOW)
            await ring.refresh()
            store.gate.set()
        assert await ring.find(secret) is None
    assert len(store.asked) == 2


@pytest.mark.parametrize("end", ["expires", "replaced_until"])
async def test_a_remembered_key_ends_at_its_moment(end):
    store, time = Store(), Time()
    secret = store.add(key(**{end: NOW + timedelta(seconds=10)}))
    async with following(store, time) as ring:
        time.seconds = 9.9
        assert await ring.find(secret) is not None
        time.seconds = 10
        assert await ring.find(secret) is None


async def test_a_key_is_needed_from_the_first_one_on_and_for_ever():
    store = Store()
    async with following(store, Time()) as ring:
        assert not ring.is_required
        store.add(key())
        await ring.refresh()
        assert ring.is_required
        store.keys.clear()
        store.number += 1
        await ring.refresh()
        assert ring.is_required


@pytest.mark.parametrize(("static", "require"), [(("moa-a",), False), ((), True)])
def test_a_key_is_needed_with_static_keys_and_where_it_is_said(static, require):
    assert ring_of(Time(), *static, require=require).is_required
    assert not ring_of(Time()).is_required


@pytest.mark.parametrize("mode", ["open", "closed"])
async def test_while_the_store_is_away_nobody_new_gets_in(mode):
    store = Store()
    secret = store.add(key())
    async with following(store, Time(), on_store_failure=mode) as ring:
        store.is_away = True
        for presented in (secret, stranger()):
            with pytest.raises(StoreUnavailable):
                await ring.find(presented)
        assert len(store.asked) == 1, "the second one is refused without asking"
        store.is_away = False
        await ring.refresh()
        assert await ring.find(secret) is not None


@pytest.mark.parametrize("mode", ["open", "closed"])
async def test_while_the_store_is_away_remembered_keys_go_on_for_a_while(mode):
    store, time = Store(), Time()
    secret = store.add(key())
    async with following(store, time, on_store_failure=mode) as ring:
        assert await ring.find(secret) is not None
        store.is_away = True
        time.seconds = TRUSTED_FOR
        assert await ring.find(secret) is not None
        time.seconds = TRUSTED_FOR + 0.1
        if mode == "open":
            assert await ring.find(secret) is not None
            return
        with pytest.raises(StoreUnavailable):
            await ring.find(secret)
        store.is_away = False
        await ring.refresh()
        assert await ring.find(secret) is not None


async def test_a_start_without_an_answer_of_the_store_is_refused():
    ring = ring_of(Time())
    with pytest.raises(StoreUnavailable):
        async with ring.following(Store(is_away=True)):
            pass
