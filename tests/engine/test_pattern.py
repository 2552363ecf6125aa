from __future__ import annotations

import time

import pytest

from app.engine.pattern import LENGTHS, read_pattern


@pytest.mark.parametrize(
    "source",
    [
        r"^/deep\b",
        r"(?i)\b(sql|python|regex)\b",
        r"foo.*bar",
        r"https?://\S+",
        r"(\d{4}-)?\d{2}",
        r"[ab]*c",
        r"(?:foo|bar)++!",
        r"x*+y*+z*",
        r"",
    ],
)
def test_common_patterns_see_as_much_as_there_is(source: str) -> None:
    assert read_pattern(source).length == LENGTHS[0]


@pytest.mark.parametrize("source", [r".*.*x", r"\d+\s*(kg|lb)", r"(?m)^\w+\s+!"])
def test_patterns_with_two_repetitions_see_less(source: str) -> None:
    assert LENGTHS[-1] <= read_pattern(source).length < LENGTHS[0]


@pytest.mark.parametrize(
    "source",
    [
        r"(a+)+$",
        r"(a|a)*$",
        r"(a|ab)+c",
        r"(?:a?){40}b",
        "a?" * 40 + "a" * 40,
        r".*.*.*x",
        r"(x{0,16}){0,16}",
        r"(?=(a+)+$)",
    ],
)
def test_patterns_that_some_text_makes_slow_are_refused(source: str) -> None:
    with pytest.raises(ValueError, match="slow"):
        read_pattern(source)


@pytest.mark.parametrize("source", ["(", "*", "(?P<a>x)(?P<a>y)", r"\k", "[z-a]"])
def test_what_is_no_pattern_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        read_pattern(source)


@pytest.mark.parametrize("source", [r".*.*x", r"\w+\w*!", r"(?:foo|bar)++x"])
def test_the_worst_text_takes_no_time_to_speak_of(source: str) -> None:
    pattern = read_pattern(source)
    started = time.process_time()
    assert not pattern.is_in("foobar" * 100_000)
    assert time.process_time() - started < 1


def test_it_is_searched_for_not_matched_from_the_start() -> None:
    assert read_pattern("b+").is_in("aabb")
    assert not read_pattern("^b").is_in("ab")


def test_what_stands_further_down_is_not_seen() -> None:
    assert read_pattern("end").is_in("x" * 3000 + "end")
    assert not read_pattern("end").is_in("x" * 4000 + "end")


@pytest.mark.parametrize("source", [r"(a*)\1b", r"(a*)x\1"])
def test_a_reference_to_a_group_counts_with_what_it_compares(source: str) -> None:
    pattern = read_pattern(source)
    assert pattern.length < LENGTHS[0]
    started = time.process_time()
    assert not pattern.is_in("a" * 100_000)
    assert time.process_time() - started < 1
