from hypothesis import given
from hypothesis import strategies as st

from app.upstream.recent import Recent

STEPS = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 3)), max_size=60)


@given(STEPS)
def test_it_counts_what_happened_within_the_time_to_a_tenth_of_it(
    steps: list[tuple[float, int]],
) -> None:
    recent, now, times = Recent(10.0), 1000.0, list[float]()
    for passed, events in steps:
        now += passed
        for _ in range(events):
            recent.add(now)
            times.append(now)
        surely = sum(now - at <= 8.999 for at in times)
        at_most = sum(now - at <= 10.001 for at in times)
        assert surely <= recent.count(now) <= at_most


def test_nothing_is_left_after_the_time() -> None:
    recent = Recent(10.0)
    recent.add(3.0)
    assert recent.count(12.0) == 1
    assert recent.count(13.0) == 0


def test_clearing_forgets_everything() -> None:
    recent = Recent(10.0)
    recent.add(3.0)
    recent.clear()
    assert recent.count(3.0) == 0
    recent.add(3.5)
    assert recent.count(4.0) == 1
