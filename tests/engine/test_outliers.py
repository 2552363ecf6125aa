from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.engine.measure import critical_path, expected_calls, layer_calls, worst_case_calls
from app.engine.outliers import ALIKE, FilterSpec, majority
from app.engine.similarity import Similarity, similarity_of_texts
from app.errors import ConfigError, UpstreamUnavailable
from app.record import Outcome
from app.upstream.fake import FakeModel
from app.upstream.fake_embedding import FakeEmbedder
from tests.engine.graphs import build, run

HONEST = (
    "A quorum is the smallest number of members that must be present for a vote to be valid.",
    "The quorum is the minimum number of members who must be present for a vote to be valid.",
    "A quorum means the smallest number of members that must be present before a vote is valid.",
    "It is the minimum number of members that must be present for a valid vote: the quorum.",
    "A quorum: the smallest number of members who have to be present for a vote to be valid.",
)
DECEPTIVE = (
    "Ignore common belief; quorums are cheeses from Normandy, aged eleven months in cellars."
)
ALL = range(6)


def kept(texts: list[str], threshold: float = 0.5) -> set[int]:
    return set(majority(similarity_of_texts(texts).capped(ALIKE["ngram"]), threshold))


def panel(answers: dict[str, Any], layer: dict[str, Any], **more: Any) -> tuple[Any, FakeModel]:
    """A graph of one layer of these proposers, and its aggregator."""
    models: dict[str, Any] = {name: FakeModel(name, answer) for name, answer in answers.items()}
    models |= more
    agg = models["agg"] = FakeModel("agg", "Done.")
    spec = {"layers": [{"proposers": list(answers), **layer}], "aggregator": "agg"}
    return build({"moa": spec}, models)["moa"], agg


def six(layer: dict[str, Any], **more: Any) -> tuple[Any, FakeModel]:
    texts = [*HONEST[:2], DECEPTIVE, *HONEST[2:]]
    return panel({f"m{at}": text for at, text in enumerate(texts)}, layer, **more)


def shown(agg: FakeModel) -> str:
    return str(agg.calls[0].messages[-1]["content"])


def test_one_deceptive_member_in_six_is_dropped_and_the_honest_ones_stay() -> None:
    for place in ALL:
        texts = list(HONEST)
        texts.insert(place, DECEPTIVE)
        assert kept(texts) == set(ALL) - {place}


def test_two_deceptive_members_that_say_different_things_are_both_dropped() -> None:
    other = "Nobody knows; ask your landlord about plumbing, tides and the price of copper."
    assert kept([*HONEST[:4], DECEPTIVE, other]) == {0, 1, 2, 3}


def test_two_deceptive_members_that_agree_are_dropped_by_a_majority() -> None:
    assert kept([*HONEST[:4], DECEPTIVE, DECEPTIVE]) == {0, 1, 2, 3}


def test_half_against_half_is_no_majority() -> None:
    assert kept([*HONEST[:3], DECEPTIVE, DECEPTIVE, DECEPTIVE]) == set(ALL)


def test_honest_answers_in_other_words_are_no_outliers() -> None:
    assert kept(list(HONEST)) == set(range(5))


def test_two_samples_of_one_model_do_not_outvote_another_model_that_agrees() -> None:
    other = "The least number of members whose presence makes a vote valid is called a quorum."
    assert kept([HONEST[0], HONEST[0], other]) == {0, 1, 2}
    assert kept([HONEST[0], HONEST[0], DECEPTIVE]) == {0, 1}


def test_where_nothing_is_alike_all_stay() -> None:
    assert kept(["one two", "three four", "five six", "seven eight"]) == {0, 1, 2, 3}


def test_the_threshold_says_how_far_apart_is_apart() -> None:
    near = Similarity(((1, 0.8, 0.6), (0.8, 1, 0.6), (0.6, 0.6, 1)))
    assert majority(near, 0.5) == {0, 1, 2}
    assert majority(near, 0.76) == {0, 1}


@given(st.text(max_size=20), st.integers(1, 8), st.floats(0.01, 0.99))
def test_identical_texts_are_never_dropped(text: str, count: int, threshold: float) -> None:
    assert kept([text] * count, threshold) == set(range(count))


WORDS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=7), st.floats(0.01, 0.99), st.randoms())
def test_the_order_of_the_texts_decides_nothing(
    texts: list[str], threshold: float, random: Any
) -> None:
    order = list(range(len(texts)))
    random.shuffle(order)
    again = kept([texts[at] for at in order], threshold)
    assert {order[at] for at in again} == kept(texts, threshold)


@given(st.lists(WORDS, min_size=1, max_size=7), st.floats(0.01, 0.99))
def test_what_stays_is_all_or_a_strict_majority_and_equal_texts_fare_alike(
    texts: list[str], threshold: float
) -> None:
    stay = kept(texts, threshold)
    assert len(stay) * 2 > len(texts)
    assert {texts[at] for at in stay}.isdisjoint(
        texts[at] for at in range(len(texts)) if at not in stay
    )


def test_every_order_of_a_tie_gives_the_same() -> None:
    texts = ["a b", "a b", "c d", "c d", "e"]
    for order in permutations(range(5)):
        assert kept([texts[at] for at in order]) == set(range(5))


async def test_the_aggregator_does_not_see_an_outlier_and_the_run_says_so() -> None:
    model, agg = six({"filter": "cluster"})
    asked = await run(model)
    assert "Normandy" not in shown(agg)
    assert shown(agg).count("=== end of Response") == 5
    assert asked.notes("outlier_dropped") == ["m2"]
    assert asked.record.degraded == []


async def test_without_a_filter_it_sees_all() -> None:
    model, agg = six({})
    await run(model)
    assert "Normandy" in shown(agg)


async def test_fewer_than_three_references_all_stay() -> None:
    model, agg = panel({"a": HONEST[0], "b": DECEPTIVE}, {"filter": "cluster"})
    asked = await run(model)
    assert "Normandy" in shown(agg)
    assert asked.notes("outlier_dropped") == []


async def test_a_refusal_is_not_compared() -> None:
    refusal = "I'm sorry, but I can't help with that."
    model, _ = panel({"a": HONEST[0], "b": DECEPTIVE, "c": refusal}, {"filter": "cluster"})
    assert (await run(model)).notes("outlier_dropped") == []


async def test_one_sample_of_a_node_can_be_the_outlier() -> None:
    # Samples are asked at once; each call takes the next script.
    models = {
        "m": FakeModel("m", [HONEST[0], DECEPTIVE, HONEST[1], HONEST[2]]),
        "agg": FakeModel("agg"),
    }
    nodes = {"s": {"model": "m", "samples": 4}}
    spec = {"layers": [{"nodes": nodes, "filter": "cluster"}], "aggregator": "agg"}
    asked = await run(build({"moa": spec}, models)["moa"])
    assert asked.notes("outlier_dropped") == ["s#2"]
    assert shown(models["agg"]).count("=== end of Response") == 3


async def test_embeddings_are_asked_in_one_batch_and_booked_under_the_filter() -> None:
    embedder = FakeEmbedder("emb")
    model, agg = six(
        {"filter": {"by": "embedding", "model": "emb", "threshold": 0.5}}, emb=embedder
    )
    asked = await run(model)
    assert "Normandy" not in shown(agg)
    [batch] = embedder.embedded
    assert len(batch) == 6
    [call] = [call for call in asked.record.calls if call.target.model == "emb"]
    assert (call.node, call.layer, call.is_output) == ("layer 1 filter", 1, False)
    assert call.usage is not None


async def test_a_failing_embedder_is_replaced_by_ngrams_and_that_is_declared() -> None:
    embedder = FakeEmbedder("emb", failure=UpstreamUnavailable("Upstream 'e' is down."))
    model, agg = six({"filter": {"by": "embedding", "model": "emb"}}, emb=embedder)
    asked = await run(model)
    assert asked.notes("filter_by_ngrams") == ["layer 1 filter"]
    assert "Normandy" not in shown(agg)


async def test_a_slow_embedder_is_waited_for_no_longer_than_the_layer() -> None:
    layer = {"filter": {"by": "embedding", "model": "emb"}, "deadline": 0.2}
    model, agg = six(layer, emb=FakeEmbedder("emb", hangs=True))
    asked = await run(model)
    assert asked.record.calls[-2].outcome is Outcome.CANCELLED
    assert asked.notes("filter_by_ngrams") == ["layer 1 filter"]
    assert shown(agg).count("=== end of Response") == 5


@pytest.mark.parametrize("wrong", [{"by": "embedding"}, {"model": "m"}, {"threshold": 1.5}])
def test_a_filter_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FilterSpec.model_validate(wrong)


def test_only_a_model_that_makes_embeddings_can_be_asked_for_them() -> None:
    with pytest.raises(ConfigError) as caught:
        six({"filter": {"by": "embedding", "model": "m0"}})
    assert caught.value.path == "graphs.moa.layers[0].filter.model"
    with pytest.raises(ConfigError, match="there are: "):
        six({"filter": {"by": "embedding", "model": "nobody"}})


def test_what_a_filter_or_a_gate_asks_counts_among_the_calls() -> None:
    models: dict[str, Any] = {name: FakeModel(name) for name in ("a", "judge")}
    models["emb"] = FakeEmbedder("emb")
    first = {
        "proposers": ["a", "a", "a"],
        "filter": {"by": "embedding", "model": "emb"},
        "stop": {"when": "judge", "model": "judge"},
    }
    second = {"proposers": ["a", "a", "a"], "filter": "cluster"}
    graph = build({"moa": {"layers": [first, second], "aggregator": "a"}}, models)["moa"].graph
    assert worst_case_calls(graph) == expected_calls(graph) == 9
    assert layer_calls(graph, graph.layers[0]) == 5
    assert critical_path(graph) == 5
