"""Token usage as upstreams report it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.usage import Usage, parse_usage

counts = st.integers(0, 10**9)
usages = st.builds(Usage, counts, counts, counts, counts, counts, counts, st.booleans())
json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
likely = st.dictionaries(
    st.sampled_from(
        [
            "prompt_tokens",
            "completion_tokens",
            "total_tokens",
            "prompt_tokens_details",
            "completion_tokens_details",
        ]
    ),
    st.one_of(
        json,
        st.dictionaries(
            st.sampled_from(["cached_tokens", "reasoning_tokens", "audio_tokens"]), json
        ),
    ),
)


@given(usages, usages, usages)
def test_adding_up_does_not_depend_on_the_order(one: Usage, two: Usage, three: Usage) -> None:
    assert (one + two) + three == one + (two + three)
    assert one + two == two + one
    assert one + Usage() == one


def test_a_sum_with_one_estimate_is_an_estimate() -> None:
    assert (Usage(1) + Usage(2, estimated=True)).estimated


@given(st.one_of(json, likely))
def test_reading_never_raises_and_never_counts_below_nothing(raw: object) -> None:
    found = parse_usage(raw)
    if found is not None:
        numbers = (found.prompt, found.completion, found.cached, found.reasoning)
        assert all(number >= 0 for number in numbers)
        assert not found.estimated


@pytest.mark.parametrize(
    "raw", [None, {}, [], "12", {"total_tokens": 5}, {"prompt_tokens": None}, {"prompt_tokens": -1}]
)
def test_an_object_without_counts_is_no_usage(raw: object) -> None:
    assert parse_usage(raw) is None


def test_every_count_is_read() -> None:
    raw = {
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "total_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 8, "audio_tokens": 2},
    }
    assert parse_usage(raw) == Usage(10, 20, 4, 8, 1, 2)


@pytest.mark.parametrize("details", [None, [], "x", {}, {"cached_tokens": None}])
def test_missing_details_count_as_nothing(details: object) -> None:
    raw = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": details}
    assert parse_usage(raw) == Usage(10, 2)


def test_one_of_the_two_counts_is_enough() -> None:
    assert parse_usage({"prompt_tokens": 3}) == Usage(3, 0)
    assert parse_usage({"completion_tokens": 0}) == Usage(0, 0)


@given(usages)
def test_what_is_written_reads_the_same_again(usage: Usage) -> None:
    wire = usage.to_wire()
    assert wire["total_tokens"] == usage.prompt + usage.completion
    again = parse_usage(wire)
    assert again is not None
    assert again.to_wire() == wire


def test_true_is_not_a_count() -> None:
    assert parse_usage({"prompt_tokens": True, "completion_tokens": 5}) == Usage(0, 5)
