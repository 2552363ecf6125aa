"""What counts as a reference response, and what is taken off it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.reference import (
    Reference,
    is_refusal,
    read_reference,
    without_thoughts,
    worth_showing,
)
from app.protocol.answer import Answer
from app.protocol.chat import Chunk, text_chunk


def answered(**message: object) -> Answer:
    finish = message.pop("finish_reason", "stop")
    answer = Answer()
    answer.add([Chunk(({"index": 0, "delta": message, "finish_reason": finish},))])
    return answer


def read(*, reasoning_as_reference: bool = False, **message: object) -> Reference | None:
    return read_reference(
        answered(**message), node="n", sample=2, reasoning_as_reference=reasoning_as_reference
    )


def test_a_reference_is_the_text_word_for_word_with_its_node_and_sample() -> None:
    found = read(content=" Forty-two.\n")
    assert found == Reference("n", 2, " Forty-two.\n")
    assert found.safe == "Forty-two."


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"content": None},
        {"content": " \n\t "},
        {"content": []},
        {"content": "<think>All I did was think.</think>"},
        {"content": "<think>Cut off while thin"},
        {"content": None, "reasoning_content": "Hm."},
        {"content": "", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
    ],
)
def test_an_answer_that_says_nothing_is_no_reference(message: dict[str, object]) -> None:
    assert read(**message) is None


def test_no_chunk_at_all_is_no_reference() -> None:
    assert read_reference(Answer(), node="n", sample=0) is None


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_counts_as_the_answer_only_where_the_operator_says_so(field: str) -> None:
    message: dict[str, object] = {"content": None, field: " So it is 42. "}
    assert read(**message) is None
    found = read(reasoning_as_reference=True, **message)
    assert found is not None
    assert found.safe == "So it is 42."


def test_reasoning_never_joins_a_text_that_is_there() -> None:
    found = read(content="42", reasoning_content="Hm.", reasoning_as_reference=True)
    assert found is not None
    assert found.text == "42"


def test_an_answer_that_hit_its_length_is_marked_as_cut() -> None:
    found = read(content="Once upon", finish_reason="length")
    assert found is not None
    assert found.cut


def test_a_declared_refusal_is_a_refused_reference() -> None:
    found = read(content=None, refusal="No.")
    assert found == Reference("n", 2, "No.", refused=True)


def test_a_filtered_answer_is_a_refused_reference() -> None:
    found = read(content="Half of", finish_reason="content_filter")
    assert found is not None
    assert found.refused


def test_a_streamed_answer_reads_like_a_whole_one() -> None:
    answer = Answer()
    for piece in ("<thi", "nk>x</th", "ink>Forty", "-two"):
        answer.add([text_chunk(piece)])
    answer.add([text_chunk("", finish_reason="length")])
    assert read_reference(answer, node="n", sample=0) == Reference("n", 0, "Forty-two", cut=True)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>a</think>b", "b"),
        ("\n <think>\na\n</think>\n\nb", "b"),
        ("<think>\n\n</think>\n\nb", "b"),
        ("<thinking>a</thinking>b", "b"),
        ("<Think>a</THINK>b", "b"),
        ("[THINK]a[/THINK]b", "b"),
        ("<think>a</think>\n<think>c</think>b", "b"),
        ("<think>a <think>c</think> d</think>\nb", "b"),
        ("<think>a</thinking></think>b", "b"),
        ("opened by the template\n</think>\n\nb", "b"),
        ("opened by the template</think>b", "b"),
        ("it ends here</think>", ""),
        ("<think>never closed", ""),
        ("b", "b"),
    ],
)
def test_thoughts_before_the_answer_go(text: str, left: str) -> None:
    assert without_thoughts(text).strip() == left


@pytest.mark.parametrize(
    "text",
    [
        "Reasoning models write `<think>` and `</think>` around it.",
        "Close it with `</think>`.",
        'The tag is "</think>" here.',
        "They end with a </think> tag, then the answer.",
        "Put it so:\n<think>\nsteps\n</think>\nThen answer.",
        "```xml\n<think>\nx\n</think>\n```",
        "I think <b>so</b>.",
        "<thinker>x</thinker>",
    ],
)
def test_an_answer_that_talks_about_thoughts_stays_whole(text: str) -> None:
    assert without_thoughts(text) == text


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", "\n", " ", "`", "[THINK]"])))
def test_what_is_left_is_always_the_end_of_the_text(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert text.endswith(without_thoughts(text))


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I\u2019m sorry, but I can\u2019t help with that request.",
        "I'm sorry, I can't assist with that.",
        "I am sorry, but I cannot do that.",
        "Sorry, I can't help with that.",
        "I apologize, but I cannot fulfill this request.",
        "My apologies, but I'm unable to do so.",
        "Unfortunately, I cannot assist with that.",
        "I cannot provide instructions for that.",
        "I can not answer that.",
        "I cannot and will not provide that.",
        "I can't in good conscience help with this.",
        "I'm unable to help with this request.",
        "I am not able to discuss that topic.",
        "I'm not comfortable with providing that.",
        "I don't feel comfortable writing that.",
        "I must respectfully decline.",
        "I won't help with that.",
        "As an AI language model, I cannot have opinions on that.",
        "**I'm sorry, but I cannot do that.**",
    ],
)
def test_a_short_text_that_declines_is_a_refusal(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "No.",
        "42",
        "I can confirm that it works.",
        "I can't believe it: the answer is 4.",
        "I cannot stress enough that you should back up first.",
        "I can't recommend this book enough.",
        "I can't help but notice a bug in line 3.",
        "I can't see any error; the code is right.",
        "I cannot wait for spring, wrote the poet.",
        "I won't lie, it is hard. Use a heap.",
        "I am unable to reproduce the bug; it works with 3.11.",
        "I'm sorry to hear that. Try turning it off and on.",
        "I'm sorry, but I think step 2 is wrong: 3 times 4 is 12.",
        "Sorry, but I disagree: it is 42.",
        "I apologize for the confusion. The answer is 9.",
        "Unfortunately, it rained.",
        "As an AI engineer, you can't skip tests.",
        "The clerk said: I'm sorry, but I can't help you.",
        "I'm sorry, but I can't share the formula. " + "Here is how to derive it. " * 20,
    ],
)
def test_an_answer_that_sounds_a_little_like_one_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)


def test_refusals_are_not_shown_when_others_answered() -> None:
    answer, refusal = Reference("a", 0, "42"), Reference("b", 0, "No.", refused=True)
    assert worth_showing([refusal, answer]) == [answer]


def test_refusals_are_shown_when_there_is_nothing_else() -> None:
    refusals = [Reference("a", 0, "No.", refused=True), Reference("b", 0, "Never.", refused=True)]
    assert worth_showing(refusals) == refusals
    assert worth_showing([]) == []
