"""Which answer a text gives, and which answers are the same."""

from __future__ import annotations

import re
from time import process_time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.extraction import Rule, extract, normalise
from app.engine.pattern import LENGTHS


@pytest.mark.parametrize(
    ("rule", "text", "answer"),
    [
        ("answer", "6 times 7 is 40 and 2. The answer is 42.", "42."),
        ("answer", "Final answer: 42", "42"),
        ("answer", "**Final Answer:**\n\n42 apples", "42 apples"),
        ("answer", "The answer to your question is: Paris", "Paris"),
        ("answer", "The answer is 3. No, the answer is 4. Let me know!", "4"),
        ("answer", "So the answer is St. Petersburg. It lies in Russia.", "St. Petersburg"),
        ("answer", "It is\n#### 1,234", "1,234"),
        ("answer", "The answer is 7, that is\n\\boxed{\\frac{3}{4}}", "\\frac{3}{4}"),
        ("answer", "There are two.\n\nYes.\n", "Yes."),
        ("whole", "  Yes.\nNo. ", "Yes.\nNo."),
        ("last_line", "One\nTwo \n\n", "Two"),
        ("last_number", "3 and 4 make $1,007.50 in all.", "1,007.50"),
        ("last_number", "from 10-12", "12"),
        ("last_number", "it is -5.", "-5"),
        ("last_number", "you owe -$5", "-$5"),
        ("last_number", "about .5 of v2x", ".5"),
        ("last_number", "that is 3/4 of it", "3/4"),
        ("last_number", "that is $\\frac{3}{4}$", "3/4"),
        ("last_number", "1,00 is no thousand", "00"),
        ("last_number", "none at all", None),
        ("boxed", "\\boxed{1} and then \\boxed{x^{2}+\\sqrt{2}} end}", "x^{2}+\\sqrt{2}"),
        ("boxed", "\\boxed{1} and then \\boxed{{2}", None),
        ("boxed", "42", None),
        ("boxed", "\\boxed{}", None),
        ("choice", "A is wrong. The answer is (B) Paris.", "B"),
        ("choice", "Answer: b", "B"),
        ("choice", "The answer is C because A is wrong", "C"),
        ("choice", "Not A.\n**(D)**", "D"),
        ("choice", "Not A.\nD) None of them", "D"),
        ("choice", "Therefore I take option (C) here", "C"),
        ("choice", "$\\boxed{\\text{B}}$", "B"),
        ("choice", "The answer is a cat", None),
        ("choice", "Either (A) or (B)", None),
    ],
)
def test_each_rule_finds_its_answer(rule: Rule, text: str, answer: str | None) -> None:
    assert extract(text, rule) == answer


def test_a_pattern_gives_its_group_of_its_last_match() -> None:
    pattern = re.compile(r"=(\d+)?")
    assert extract("a=1 b=2", "regex", pattern) == "2"
    assert extract("a=1 b=", "regex", pattern) is None
    assert extract("none", "regex", pattern) is None


def test_a_pattern_is_searched_at_the_end_only() -> None:
    filler = "x" * LENGTHS[0]
    assert extract(f"=1{filler}", "regex", re.compile(r"=(\d)")) is None


@pytest.mark.parametrize("rule", [rule for rule in get_args(Rule) if rule != "regex"])
def test_an_empty_text_gives_no_answer(rule: Rule) -> None:
    assert extract(" \n\t\n", rule) is None


@pytest.mark.parametrize(
    "same",
    [
        ["1000", "1,000", "1,000.0", "1000.", "$1,000", "$1000$", "\\$1,000", "1{,}000", "+1000"],
        ["0.5", ".5", "0.50"],
        ["50", "50%", "50 %", "50\\%", " 50. "],
        ["-5", "\u22125", "- 5", "-$5", "$-5$"],
        ["0", "-0", "-0.0", "000"],
        ["4" * 60, "4" * 60 + ".00"],
        ["yes", "Yes.", "YES!", "**Yes**", "\u201cyes\u201d", "'yes'", "\\text{Yes}", "(yes)"],
        ["b", "B", "(B)", "B)", "**B.**", "\\boxed{\\text{b}}"],
        ["3/4", "\\frac{3}{4}", "\\dfrac{3}{4}", "$\\frac{3}{4}$", "\\boxed{\\frac{3}{4}}"],
        ["x+1", "\\(x+1\\)", "$x+1$"],
        ["it is, i think, so", "It is  I think\nso."],
        ["42", "\uff14\uff12"],
    ],
)
def test_the_same_answer_in_other_dress_is_the_same(same: list[str]) -> None:
    assert {normalise(each) for each in same} == {normalise(same[0])}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1000", "1"),
        ("1.5", "15"),
        ("-5", "5"),
        ("1,5", "15"),
        ("0.1", "0.10000000000000000000000000000000000000001"),
        ("9" * 40, "9" * 39 + "8"),
        ("x^2", "x2"),
        ("x\u00b2", "x2"),
        ("2*3", "23"),
        ("(1,2)", "[1,2]"),
        ("a-b", "ab"),
        ("1/2", "12"),
        ("yes", "no"),
    ],
)
def test_different_answers_stay_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize("nothing", ["", " ", "...", "**", "$", "\\boxed{}", '""'])
def test_what_says_nothing_is_empty(nothing: str) -> None:
    assert normalise(nothing) == ""


@given(st.integers(-(10**30), 10**30), st.integers(0, 5))
def test_a_number_is_the_same_however_it_is_written(number: int, zeros: int) -> None:
    forms = [f"{number:,}", f"${number}", f"{number}%", f"**{number}**", f"\\boxed{{{number}}}"]
    if zeros:
        forms.append(f"{number:,}.{'0' * zeros}")
    assert {normalise(form) for form in forms} == {str(number)}


@given(st.text(max_size=200), st.sampled_from([r for r in get_args(Rule) if r != "regex"]))
def test_any_text_can_be_read(text: str, rule: Rule) -> None:
    answer = extract(text, rule)
    assert answer is None or answer.strip() == answer != ""
    assert "  " not in normalise(text)


def test_hostile_text_is_read_in_linear_time() -> None:
    begun = process_time()
    for piece in ("answer ", "answer is ", "\\boxed{", "(", "1,", "\\frac{", "{", "####", "* "):
        for rule in get_args(Rule):
            extract(piece * 20_000, rule)
        normalise(piece * 20_000)
    assert process_time() - begun < 10.0
