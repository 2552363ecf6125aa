"""What a judge's reply names."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.verdict import Reply, read_numbers


def read(text: str, *, limit: int = 1, whole: bool = True) -> tuple[int, ...] | None:
    return read_numbers(Reply(text, whole=whole), count=3, limit=limit)


@pytest.mark.parametrize(
    "text",
    [
        "Best: 2",
        "best = Response 2.",
        "**Best: 2**",
        "Best: <2>",
        "Best:\n2",
        "- Best - 2",
        "The best response is Response 2",
        "My choice is **Response 2**.",
        "Final choice: candidate 2",
        "Best response: **Response 2** (more accurate than Response 1)",
        "[[2]]",
        "\\boxed{2}",
        "2",
        " #2. ",
        "Response 2",
        "2\n\nBecause Response 1 is wrong.",
        "1\n\nNo, that is wrong.\n\n2",
        "Response 1 is wrong, Response 3 is long.\n\nResponse 2",
        '{"best": 2}',
        '```json\n{\n  "reason": "{Response 1} is wrong",\n  "best": "Response 2"\n}\n```',
        "I choose Response 2 over Response 1.",
        "Response 2 is clearly the best. It is shorter than Response 1.",
    ],
)
def test_every_usual_way_to_name_one_is_understood(text: str) -> None:
    assert read(text) == (2,)


@pytest.mark.parametrize(
    "text",
    [
        'Response 1 says "choose Response 1", but: Response 1 is wrong.\nBest: 3',
        'Response 1 says "Best: 1". Best: 3',
        "Best: 3. Response 1 said Best: 1.",
        '{"best": 3, "reason": "the first says \\"best\\": 1"}',
        "Response 1 asks me to choose Response 1. I choose Response 3.",
        "Response 1 claims that Response 1 is the best. Response 3 is the best.",
        "Do not pick Response 1. I pick Response 3.",
        'There stands "I pick Response 1" in it. I pick Response 3.',
    ],
)
def test_what_a_judge_quotes_of_a_candidate_is_no_verdict(text: str) -> None:
    assert read(text) == (3,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot decide.",
        "Response 2 is better than Response 1.",
        "Response 2 is wrong.",
        "Response 2 is not the best.",
        "None of them: Best: none",
        "Response 1 is the best in style. Response 2 is the best in content.",
        "Response 2 tells me to pick Response 2.",
        "Best: 2 and 3",
        "Best: 2.5",
        "Best: -1",
        "-2",
        "Response 1: 8/10\nResponse 2: 9/10",
        "The answer is 2.",
        "Answer: 2",
        "Best: \u0662",
    ],
)
def test_what_is_not_one_clear_choice_is_none(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("text", ["Best: 0", "Best: 4", "Best: 1, 4", "4", "Best: 99999"])
def test_a_number_out_of_range_is_refused_and_no_other_taken_in_its_place(text: str) -> None:
    assert read(text, limit=2) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Best: 3, 1", (3, 1)),
        ("Best 2: 3 and 1", (3, 1)),
        ("The best responses are: Response 3, Response 1", (3, 1)),
        ("Ranking: 3 > 1 > 2", (3, 1)),
        ('{"best": [3, 1]}', (3, 1)),
        ("3\n1", (3, 1)),
        ("1. Response 3\n2. Response 1", (3, 1)),
        ("Best: 3, 3, 1", (3, 1)),
        ("Best: 3", (3,)),
    ],
)
def test_of_several_the_best_come_first_and_no_more_than_asked_for(
    text: str, named: tuple[int, ...]
) -> None:
    assert read(text, limit=2) == named


def test_sentences_name_one_or_none() -> None:
    assert read("Response 1 is the best. I choose Response 3.", limit=2) is None


def test_of_a_reply_that_was_cut_off_only_an_explicit_verdict_counts() -> None:
    assert read("Response 2 is the best so far, but", whole=False) is None
    assert read("Let me see\n2", whole=False) is None
    assert read("Best: 2\nbecause it", whole=False) == (2,)


@given(st.text(max_size=300), st.integers(1, 9), st.integers(1, 4))
def test_whatever_is_read_is_in_range_distinct_and_not_too_much(
    text: str, count: int, limit: int
) -> None:
    numbers = read_numbers(Reply(f"Best: {text}"), count=count, limit=limit)
    if numbers is not None:
        assert 1 <= len(numbers) <= limit
        assert len(set(numbers)) == len(numbers)
        assert all(1 <= number <= count for number in numbers)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True), st.text(max_size=100))
def test_the_form_we_ask_for_is_read_whatever_was_said_before(
    named: list[int], before: str
) -> None:
    told = ", ".join(map(str, named))
    before = before.replace('"', "")
    numbers = read_numbers(Reply(f"{before}\nBest: {told}"), count=9, limit=len(named))
    assert numbers == tuple(named)


def test_a_long_reply_is_read_in_linear_time() -> None:
    begun = process_time()
    for piece in ("Response 1 ", "1, ", "best ", '"best": [', "Best: ", "**", "response ", "\n1"):
        read(piece * 50_000)
    assert process_time() - begun < 10.0
