"""The table of which request field goes where, row by row, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.forwarding import inner_params, output_cap, output_params

OWN_ELSE_CALLERS = {
    "temperature": (0.2, 0.9),
    "top_p": (0.5, 0.8),
    "frequency_penalty": (0.1, 1.0),
    "presence_penalty": (-1.0, 1.0),
}
OWN = {
    "max_tokens": (100, 200),
    "reasoning_effort": ("low", "high"),
    "verbosity": ("low", "high"),
    "service_tier": ("flex", "priority"),
}
OUTPUT_ALONE = {
    "max_completion_tokens": 200,
    "stop": ["\n"],
    "n": 3,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"5": 1},
    "response_format": {"type": "json_object"},
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "functions": [{"name": "f"}],
    "function_call": "auto",
    "audio": {"voice": "x"},
    "modalities": ["text"],
    "prediction": {"type": "content", "content": "x"},
    "user": "u",
    "safety_identifier": "s",
    "metadata": {"a": "b"},
    "store": True,
    "web_search_options": {},
    "top_k": 40,
    "x_unknown": {"deep": [1]},
}
BOTH = OWN_ELSE_CALLERS | OWN


def inner(
    own: dict[str, object], caller: dict[str, object], salt: str = "n:0"
) -> dict[str, object]:
    return inner_params(own, caller, salt=salt)


@pytest.mark.parametrize("field", OWN_ELSE_CALLERS)
def test_a_sampling_field_of_an_inner_node_is_its_own_else_the_callers(field: str) -> None:
    own, callers = OWN_ELSE_CALLERS[field]
    assert inner({field: own}, {field: callers}) == {field: own}
    assert inner({}, {field: callers}) == {field: callers}
    assert inner({field: own}, {}) == {field: own}
    assert inner({}, {field: None}) == {}


@pytest.mark.parametrize("field", OWN)
def test_caps_and_efforts_of_an_inner_node_are_its_own_alone(field: str) -> None:
    own, callers = OWN[field]
    assert inner({field: own}, {field: callers}) == {field: own}
    assert inner({}, {field: callers}) == {}


@pytest.mark.parametrize("field", OUTPUT_ALONE)
def test_what_is_asked_of_the_answer_never_reaches_an_inner_node(field: str) -> None:
    assert inner({}, {field: OUTPUT_ALONE[field]}) == {}


@pytest.mark.parametrize("field", [*OUTPUT_ALONE, "seed"])
def test_what_is_asked_of_the_answer_reaches_the_output_node_untouched(field: str) -> None:
    value = OUTPUT_ALONE.get(field, 7)
    assert output_params({}, {field: value}) == {field: value}
    assert output_params({}, {field: value})[field] is value


@pytest.mark.parametrize("field", BOTH)
def test_the_output_node_takes_the_callers_value_else_its_own(field: str) -> None:
    own, callers = BOTH[field]
    assert output_params({field: own}, {field: callers}) == {field: callers}
    assert output_params({field: own}, {}) == {field: own}
    assert output_params({field: own}, {field: None}) == {field: own}


@pytest.mark.parametrize("value", [0, 0.0, False, "", []])
def test_a_value_that_is_only_falsy_is_the_callers_word(value: object) -> None:
    assert output_params({"temperature": 1.0}, {"temperature": value})["temperature"] == value
    assert inner({}, {"temperature": value}) == {"temperature": value}


def test_a_null_the_caller_sent_stays_a_null_for_the_output_node() -> None:
    assert output_params({}, {"x": None, "stop": None}) == {"x": None, "stop": None}


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_callers_cap_in_either_spelling_replaces_the_nodes(field: str) -> None:
    assert output_params({"max_tokens": 9}, {field: 5}) == {field: 5}


def test_a_caller_who_sends_no_cap_but_a_null_gets_the_nodes() -> None:
    params = output_params({"max_tokens": 9}, {"max_completion_tokens": None})
    assert output_cap(params) == 9


@pytest.mark.parametrize(
    ("params", "cap"),
    [
        ({}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
    ],
)
def test_the_cap_is_read_in_both_spellings(params: dict[str, object], cap: int | None) -> None:
    assert output_cap(params) == cap


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_seed_becomes_another_one_for_each_sample_and_the_same_again(seed: int) -> None:
    salts = [f"{node}:{sample}" for node in ("a", "b") for sample in range(4)]
    seeds = [inner({}, {"seed": seed}, salt)["seed"] for salt in salts]
    assert len(set(seeds)) == len(salts)
    assert seeds == [inner({}, {"seed": seed}, salt)["seed"] for salt in salts]
    assert all(isinstance(value, int) and 0 <= value < 2**31 for value in seeds)


@pytest.mark.parametrize("caller", [{}, {"seed": None}])
def test_without_a_seed_of_the_callers_none_is_sent(caller: dict[str, object]) -> None:
    assert inner({}, caller) == {}


@given(
    st.dictionaries(
        st.sampled_from([*BOTH, *OUTPUT_ALONE, "seed"]), st.one_of(st.none(), st.just(1))
    )
)
def test_the_callers_parameters_are_never_changed(caller: dict[str, object]) -> None:
    before = dict(caller)
    own: dict[str, object] = {"temperature": 0.1, "max_tokens": 5}
    inner(own, caller)
    output_params(own, caller)
    assert caller == before
    assert own == {"temperature": 0.1, "max_tokens": 5}
