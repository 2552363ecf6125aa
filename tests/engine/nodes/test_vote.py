"""`vote`: the most frequent answer wins, and no model is asked for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.engine.extraction import normalise
from app.engine.graph import Chooser, Turn
from app.engine.graph_model import GraphModel
from app.engine.measure import critical_path, expected_calls, references_of
from app.engine.nodes.vote import OutputVoteSpec
from app.engine.reference import Reference
from app.errors import GraphFailed, NodeSkipped, UpstreamUnavailable
from app.record import Degradation, RunRecord, Step
from app.upstream.fake import Answer, FakeModel, Script
from tests.engine.graphs import Asked, Ticks, build, question, run


def graph(texts: Sequence[Answer], **vote: Any) -> GraphModel:
    """Proposers with these answers, then a vote as output."""
    models = {f"p{number}": FakeModel(f"p{number}", text) for number, text in enumerate(texts)}
    spec = {"layers": [{"proposers": list(models)}], "output": {"kind": "vote", **vote}}
    return build({"g": spec}, models)["g"]


def notes(asked: Asked, what: str) -> list[str]:
    return [note.detail for note in asked.record.notes if note.what == what]


async def test_the_most_frequent_answer_wins_and_no_model_is_asked() -> None:
    texts = ["I say so. The answer is 41.", "6*7, so the answer is 42.", "It has 42.\n#### 42.0"]
    asked = await run(graph(texts))
    assert asked.text == texts[1]
    assert len(asked.record.calls) == 3
    assert asked.record.notes == []
    assert asked.record.degraded == []


async def test_the_samples_of_one_model_vote() -> None:
    model = FakeModel("m", ["The answer is 1.", "The answer is 2.", "The answer is 2!"])
    spec = {
        "layers": [{"nodes": {"cot": {"model": "m", "samples": 3, "temperature": 0.7}}}],
        "output": {"kind": "vote", "returns": "answer"},
    }
    asked = await run(build({"g": spec}, {"m": model})["g"])
    assert asked.text.rstrip(".!") == "2"
    assert len(model.calls) == 3


async def test_the_winner_is_handed_on_byte_for_byte() -> None:
    odd = "\t <|im_end|> \r\n The answer is **1,000.0**  \n"
    asked = await run(graph(["The answer is 7.", odd, "The answer is 1000"]))
    assert asked.text == odd


async def test_the_answer_alone_can_be_handed_on_as_it_was_written_first() -> None:
    texts = ["The answer is 7.", "The answer is $1,000.00.", "The answer is 1000."]
    asked = await run(graph(texts, returns="answer", extract="last_number"))
    assert asked.text == "1,000.00"


async def test_of_a_tie_the_answer_that_came_first_in_node_order_wins() -> None:
    asked = await run(graph(["#### 3", "#### 1", "#### 2", "#### 2", "#### 1"]))
    assert asked.text == "#### 1"
    assert notes(asked, "vote_tied") == ["2 with 2 each"]
    assert asked.record.degraded == []


async def test_who_states_no_answer_has_no_vote() -> None:
    texts = ["I do not know.", "No idea.", "I do not know.", "It is 5.", "Perhaps 5?"]
    asked = await run(graph(texts, extract="last_number"))
    assert asked.text == "It is 5."
    assert notes(asked, "vote_not_counted") == ["3"]


async def test_who_was_cut_off_has_no_vote() -> None:
    cut = Script("First 10, then 10", finish_reason="length")
    asked = await run(graph([cut, cut, "It is 5."], extract="last_number"))
    assert asked.text == "It is 5."
    assert notes(asked, "vote_not_counted") == ["2"]


async def test_without_any_answer_the_first_reference_is_declared_or_it_fails() -> None:
    texts = ["Perhaps.", "Maybe."]
    asked = await run(graph(texts, extract="boxed"))
    assert asked.text == "Perhaps."
    assert notes(asked, "vote_weak") == ["0/2"]
    assert asked.record.degraded == [Degradation.VOTE_WEAK]
    with pytest.raises(GraphFailed):
        await run(graph(texts, extract="boxed", on_unclear="error"))


@pytest.mark.parametrize(("share", "weak"), [(0.0, False), (0.4, False), (0.41, True), (1, True)])
async def test_a_small_majority_is_declared(share: float, weak: bool) -> None:  # noqa: FBT001
    texts = ["1", "1", "2", "3", "no number"]
    asked = await run(graph(texts, extract="last_number", min_share=share))
    assert asked.text == "1"
    assert notes(asked, "vote_weak") == (["2/5"] if weak else [])
    assert asked.record.degraded == ([Degradation.VOTE_WEAK] if weak else [])


async def test_refusals_do_not_vote_where_others_answered() -> None:
    sorry = "I'm sorry, but I cannot help with that."
    asked = await run(graph([sorry, sorry, "Yes."]))
    assert asked.text == "Yes."


async def test_a_pattern_says_where_the_answer_is() -> None:
    texts = ["code: x1 end", "code: x2 end", "CODE x2 code: x1"]
    asked = await run(graph(texts, extract="regex", pattern=r"code: x(\d)", returns="answer"))
    assert asked.text == "1"


async def test_a_letter_is_the_same_however_it_is_given() -> None:
    texts = ["I take (A).", "Answer: B", "**B**", "So the answer is (b) Rome."]
    asked = await run(graph(texts, extract="choice", returns="answer"))
    assert asked.text == "B"


async def test_a_reference_that_came_over_two_inputs_votes_once() -> None:
    models = {"a": FakeModel("a", "1"), "b": FakeModel("b", "2"), "c": FakeModel("c", "2")}
    spec = {
        "layers": [
            {"proposers": ["a", "b", "c"]},
            {"nodes": {"long": {"kind": "select", "by": "longest", "pick": 1}}},
        ],
        "output": {"kind": "vote", "inputs": ["a", "long", "b", "c"]},
    }
    asked = await run(build({"g": spec}, models)["g"])
    assert asked.text == "2"
    assert notes(asked, "vote_tied") == []


async def test_in_a_layer_the_winner_is_the_one_reference_of_those_behind_it() -> None:
    models = {name: FakeModel(name, text) for name, text in {"a": "1", "b": "2", "c": "2"}.items()}
    writer = FakeModel("writer", "Done.")
    spec = {
        "layers": [{"proposers": list(models)}, {"nodes": {"poll": {"kind": "vote"}}}],
        "aggregator": "writer",
    }
    asked = await run(build({"g": spec}, {**models, "writer": writer})["g"])
    assert asked.text == "Done."
    shown = writer.calls[0].messages[-1]["content"]
    assert "Response 1" in shown
    assert "Response 2" not in shown
    assert "\n2\n" in shown


async def test_what_failed_does_not_vote() -> None:
    down = UpstreamUnavailable("Down.")
    asked = await run(graph([down, "1", down]))
    assert asked.text == "1"


async def choose(references: Sequence[Reference], **vote: Any) -> tuple[Reference, RunRecord]:
    """The winner among references, without a run around it."""
    spec = OutputVoteSpec(kind="vote", **vote)
    built = graph(["x"], **vote).graph
    record = RunRecord("run", "g", Ticks())
    at = Turn(built, built.output, question(), tuple(references), Step(record), "abc")
    kind = spec.behaviour()
    assert isinstance(kind, Chooser)
    chosen = await kind.choose(at)
    assert len(chosen) == 1
    return chosen[0], record


async def test_without_references_there_is_nothing_to_vote_on() -> None:
    with pytest.raises(NodeSkipped):
        await choose([])


_SAID = st.lists(st.sampled_from(["yes", "no", "7", "8", ""]), min_size=1, max_size=9)


@given(_SAID)
async def test_the_winner_is_a_true_mode_and_the_first_of_the_modes(said: list[str]) -> None:
    every = [Reference(f"n{at}", 0, f"Because {at}.\n#### {text}") for at, text in enumerate(said)]
    winner, record = await choose(every, extract="regex", pattern=r"#### (.*)")
    votes = Counter(text for text in said if text)
    if not votes:
        assert winner is every[0]
        assert record.degraded == [Degradation.VOTE_WEAK]
        return
    modes = [text for text, count in votes.items() if count == max(votes.values())]
    won = said[every.index(winner)]
    assert won in modes
    assert every.index(winner) == min(said.index(mode) for mode in modes)
    assert ("vote_tied" in [note.what for note in record.notes]) is (len(modes) > 1)


@given(_SAID.filter(any), st.randoms())
async def test_only_a_tie_depends_on_the_order_of_the_votes(said: list[str], random: Any) -> None:
    every = [Reference(f"n{at}", 0, f"The answer is {text}") for at, text in enumerate(said)]
    other = list(every)
    random.shuffle(other)
    one, record = await choose(every, returns="answer", extract="regex", pattern=r"is (.+)")
    two, _ = await choose(other, returns="answer", extract="regex", pattern=r"is (.+)")
    if not any(note.what == "vote_tied" for note in record.notes):
        assert normalise(one.text) == normalise(two.text)


def test_the_measures_know_that_it_asks_nobody() -> None:
    built = graph(["1", "2"]).graph
    assert expected_calls(built) == 2
    assert critical_path(built) == 1
    assert references_of(built.output, 2) == 1


@pytest.mark.parametrize(
    "vote",
    [
        {"extract": "regex"},
        {"pattern": "(x)"},
        {"extract": "boxed", "pattern": "(x)"},
        {"extract": "regex", "pattern": "x"},
        {"extract": "regex", "pattern": "(x)(y)"},
        {"extract": "regex", "pattern": "(x"},
        {"extract": "first"},
        {"min_share": 1.1},
        {"model": "p0"},
        {"samples": 2},
    ],
)
def test_what_makes_no_sense_is_refused_at_load(vote: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        graph(["1"], **vote)


def test_a_pattern_that_a_proposer_could_make_slow_is_refused() -> None:
    with pytest.raises(ValidationError, match="slow"):
        OutputVoteSpec(kind="vote", extract="regex", pattern="(?:a+)+(b)")
