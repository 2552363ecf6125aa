"""The in-memory cache: what it keeps, how long, and how much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.interfaces import Cache
from app.store.memory import ENTRY_BYTES, MemoryCache


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def cache(**bounds: int) -> tuple[MemoryCache, Hand]:
    clock = Hand()
    return MemoryCache(clock, **bounds), clock


async def test_what_was_set_is_found() -> None:
    kept: Cache = cache()[0]
    await kept.set("a", b"1", 10)
    assert await kept.get("a") == b"1"
    assert await kept.get("b") is None


async def test_a_second_value_replaces_the_first_and_its_time() -> None:
    kept, clock = cache()
    await kept.set("a", b"1", 10)
    clock.now += 9
    await kept.set("a", b"22", 10)
    clock.now += 9
    assert await kept.get("a") == b"22"
    assert (len(kept), kept.size) == (1, ENTRY_BYTES + 3)


async def test_a_value_is_gone_when_its_time_is_over_and_not_before() -> None:
    kept, clock = cache()
    await kept.set("a", b"1", 10)
    clock.now += 9.999
    assert await kept.get("a") == b"1"
    clock.now += 0.001
    assert await kept.get("a") is None
    assert (len(kept), kept.size) == (0, 0)


async def test_reading_does_not_make_it_last_longer() -> None:
    kept, clock = cache()
    await kept.set("a", b"1", 10)
    clock.now += 6
    await kept.get("a")
    clock.now += 6
    assert await kept.get("a") is None


async def test_no_time_is_not_kept_and_lets_go_of_the_old_value() -> None:
    kept, _ = cache()
    await kept.set("a", b"1", 10)
    await kept.set("a", b"2", 0)
    assert await kept.get("a") is None
    assert kept.size == 0


async def test_the_one_used_longest_ago_makes_room_for_the_next() -> None:
    kept, _ = cache(max_entries=2)
    await kept.set("a", b"1", 10)
    await kept.set("b", b"2", 10)
    await kept.get("a")
    await kept.set("c", b"3", 10)
    assert [await kept.get(key) for key in "abc"] == [b"1", None, b"3"]


async def test_bytes_are_bounded_too() -> None:
    kept, _ = cache(max_bytes=2 * ENTRY_BYTES + 100)
    await kept.set("a", b"x" * 40, 10)
    await kept.set("b", b"x" * 40, 10)
    assert len(kept) == 2
    await kept.set("c", b"x" * 90, 10)
    assert [await kept.get(key) for key in "ab"] == [None, None]
    assert await kept.get("c") == b"x" * 90


async def test_a_value_above_the_bound_is_not_kept_and_costs_nobody_a_place() -> None:
    kept, _ = cache(max_bytes=ENTRY_BYTES + 100)
    await kept.set("a", b"1", 10)
    await kept.set("b", b"x" * 100, 10)
    assert await kept.get("a") == b"1"
    assert await kept.get("b") is None


async def test_the_size_of_a_key_is_in_bytes() -> None:
    kept, _ = cache()
    await kept.set("é", b"", 10)
    assert kept.size == ENTRY_BYTES + 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.binary(max_size=300), st.sampled_from([0.0, 1.0, 5.0])
        )
    )
)
async def test_bounds_hold_and_the_size_is_true_whatever_happens(
    steps: list[tuple[str, bytes, float]],
) -> None:
    kept, clock = cache(max_entries=4, max_bytes=1_500)
    for key, value, ttl in steps:
        await kept.set(key, value, ttl)
        clock.now += 0.5
        await kept.get(chr(ord(key) ^ 1))
        assert len(kept) <= 4
        assert kept.size <= 1_500
    found = {key: await kept.get(key) for key in "abcdefg"}
    left = [value for value in found.values() if value is not None]
    assert len(kept) == len(left)
    assert kept.size == sum(ENTRY_BYTES + 1 + len(value) for value in left)
