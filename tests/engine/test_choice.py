"""Choosing without a model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.choice import candidates, longest, most_diverse
from app.engine.reference import Reference


def references(*texts: str) -> tuple[Reference, ...]:
    return tuple(Reference(f"n{number}", 0, text) for number, text in enumerate(texts))


def test_words_about_answers_are_no_candidates() -> None:
    answer, critique = Reference("a", 0, "Yes."), Reference("c", 0, "Hm.", role="critique")
    assert candidates([critique, answer]) == (answer,)
    assert candidates([critique]) == ()
    assert candidates([]) == ()


def test_a_reference_that_came_over_two_inputs_is_one_candidate() -> None:
    one, other = references("Same.", "Same.")
    assert candidates([one, other, one]) == (one, other)


def test_of_equally_long_references_the_earlier_comes_first() -> None:
    chosen = longest(references("bb", "a", "cc", "ddd"), 3)
    assert [each.text for each in chosen] == ["ddd", "bb", "cc"]


def test_diversity_begins_with_the_most_typical_and_goes_on_with_the_farthest() -> None:
    # 0 and 1 are near each other, 2 is near both, 3 stands apart, 4 a little less so.
    alike = (
        (1.0, 0.9, 0.8, 0.0, 0.2),
        (0.9, 1.0, 0.7, 0.0, 0.2),
        (0.8, 0.7, 1.0, 0.1, 0.2),
        (0.0, 0.0, 0.1, 1.0, 0.1),
        (0.2, 0.2, 0.2, 0.1, 1.0),
    )
    every = references("a", "b", "c", "d", "e")
    chosen = most_diverse(every, 5, alike)
    assert [each.text for each in chosen] == ["a", "d", "e", "c", "b"]


def test_the_next_one_is_far_from_all_chosen_not_from_the_last_one_only() -> None:
    # From 0, 1 is farthest; 2 is farther from 1 than 3 is, but almost the same as 0.
    alike = (
        (1.0, 0.1, 0.9, 0.4),
        (0.1, 1.0, 0.0, 0.3),
        (0.9, 0.0, 1.0, 0.2),
        (0.4, 0.3, 0.2, 1.0),
    )
    chosen = most_diverse(references("a", "b", "c", "d"), 3, alike)
    assert [each.text for each in chosen] == ["a", "b", "d"]


@given(st.integers(1, 6), st.integers(1, 8), st.data())
def test_diversity_gives_so_many_different_ones(size: int, count: int, data: st.DataObject) -> None:
    unit = st.floats(0, 1)
    alike = [[data.draw(unit) for _ in range(size)] for _ in range(size)]
    every = references(*map(str, range(size)))
    chosen = most_diverse(every, count, alike)
    assert len(set(chosen)) == len(chosen) == min(size, count)
    assert set(chosen) <= set(every)
